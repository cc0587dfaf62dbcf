"""See to it that there is a browser for the tests: one that is there, or one that is installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ["chromium", "chromium-browser", "google-chrome"]


def find() -> str | None:
    """The browser on PATH; None stands for Playwright's own."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


def playwright_has_one() -> bool:
    """Whether Playwright's own browser has been downloaded before."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        return Path(playwright.chromium.executable_path).exists()


def run(*command: str) -> bool:
    """Run a command, shown as it runs; whether it succeeded."""
    print("$", *command, flush=True)
    return subprocess.run(command).returncode == 0


def install_debians() -> bool:
    """Install Debian's chromium, where there is apt-get and we may use it without a password."""
    if not shutil.which("apt-get"):
        return False
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if sudo and not (shutil.which("sudo") and run(*sudo, "true")):
        return False
    apt_get = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    installed = run(*apt_get, "update") and run(
        *apt_get, "install", "--yes", "--no-install-recommends", "chromium"
    )
    return installed and find() is not None


def download_playwrights() -> bool:
    """Let Playwright download its own browser."""
    return run(sys.executable, "-m", "playwright", "install", "chromium")


if __name__ == "__main__":
    if not (find() or playwright_has_one() or install_debians() or download_playwrights()):
        sys.exit("The tests read the book in a browser: install Chromium or Google Chrome.")
