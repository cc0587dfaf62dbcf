"""What the buttons of the published book lead to: a chapter in Binder, a chapter on Colab.

    python tests/launch.py [--python python3.12] binder [book/setting/networks.md ...]
    python tests/launch.py [--python python3.12] colab [book/setting/networks.md ...]

Both services are imitated on this machine, in a new environment below `_build`, and with the last
commit instead of what is published. Without chapters, the first one of each part is taken.
"""

import argparse
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import jupytext
import nbformat
import psutil
import yaml
from browser import find
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "book" / "_ext"))
from notebooks import INSTALL  # noqa: E402

UV = Path(sys.executable).with_name("uv")

# What repo2docker gave a Python environment before it read environment.yml, in October 2025. Older
# than today's on purpose: postBuild must not rest on what is there.
BASE = [
    "ipywidgets==8.1.7",
    "jupyter-offlinenotebook==0.3.2",
    "jupyter-resource-usage==1.2.0",
    "jupyter_server==2.17.0",
    "jupyterhub==5.4.0",
    "jupyterlab==4.4.9",
    "notebook==7.4.7",
]
MEMORY = 2 * 2**30  # bytes: what mybinder.org lets a reader's server take
PATIENCE = 600  # seconds for one chapter, on a busy machine

REPOSITORY = "OWNER/REPO"  # stands for a publisher's


def first_chapters():
    """The first chapter of each part."""
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    return [f"{part['chapters'][0]['file']}.md" for part in parts if part.get("numbered")]


def run(*command, **options):
    """Run a command, shown as it runs."""
    print("$", *command, flush=True)
    subprocess.run(list(map(str, command)), check=True, **options)


def new_environment(name, python):
    """An empty folder `_build/name`, and in it a new virtual environment with pip."""
    folder = ROOT / "_build" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run(UV, "venv", "--quiet", "--seed", "--python", python, folder / "env")
    return folder, folder / "env" / "bin"


def variables(bin, **more):
    """This process's variables, without what would lead to another Python or another Jupyter."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "JUPYTER", "MPL"))}
    return {**kept, "PATH": f"{bin}{os.pathsep}{kept['PATH']}", **more}


# --- Binder ----------------------------------------------------------------------------------


def binder(python, chapters):
    """Make what Binder makes of this repository, and read and run the chapters there."""
    folder, bin = new_environment("binder", python)
    home = folder / "home"  # Binder's home is the repository
    run("git", "clone", "--quiet", ROOT, home)
    run(UV, "pip", "install", "--quiet", "--python", bin / "python", *BASE)
    dependencies = yaml.safe_load((home / "environment.yml").read_text())["dependencies"]
    [pip] = [d["pip"] for d in dependencies if isinstance(d, dict)]
    lines = [word for line in pip for word in line.split()]
    run(UV, "pip", "install", "--quiet", "--python", bin / "python", *lines, cwd=home)
    environment = variables(bin, HOME=str(home))
    run("./postBuild", cwd=home, env=environment)
    with served(bin, home, environment) as (address, token, server), sync_playwright() as play:
        browser = play.chromium.launch(executable_path=find(), args=["--no-sandbox"])
        for chapter in chapters:
            page = browser.new_page(viewport={"width": 1280, "height": 1600})
            launched = f"{address}lab/tree/{chapter}?token={token}&reset"  # nothing else is open
            read_and_run(page, launched, home, chapter, server)
            page.close()
        browser.close()
    print(f"{len(chapters)} chapters run in JupyterLab; pictures of them are in {folder}")


@contextmanager
def served(bin, home, environment):
    """JupyterLab, started as Binder starts it: its address, its token, its process."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    token = secrets.token_hex()
    address = f"http://127.0.0.1:{port}/user/reader/"
    command = [
        bin / "jupyter-lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
        "--ServerApp.base_url=/user/reader/", f"--IdentityProvider.token={token}",
        "--LabApp.expose_app_in_browser=True",  # lets us ask what a cell has printed
        "--allow-root",
    ]  # fmt: skip
    with open(home.parent / "server.log", "w") as log:
        server = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log)
        try:
            for _ in range(PATIENCE):
                with suppress(OSError), urllib.request.urlopen(f"{address}api"):
                    break
                time.sleep(1)
            yield address, token, psutil.Process(server.pid)
        finally:
            server.terminate()
            server.wait(PATIENCE)


# In the page: the open notebook, and whether its kernel is there and has nothing to do.
NOTEBOOK = "jupyterapp.shell.currentWidget"
IDLE = f"window.jupyterapp && {NOTEBOOK}?.sessionContext?.session?.kernel?.status == 'idle'"
CELLS = f"{NOTEBOOK}.context.model.toJSON().cells"
RAN = f"{IDLE} && {CELLS}.every(c => c.cell_type != 'code' || c.execution_count)"


def read_and_run(page, address, home, chapter, server):
    """Open a chapter by its launch path and run it top to bottom, as a reader would."""
    page.set_default_timeout(1000 * PATIENCE)
    errors = []
    page.on("console", lambda message: message.type == "error" and errors.append(message.text))
    source = jupytext.read(home / chapter)
    page.goto(address)
    page.wait_for_function(IDLE)
    cells = page.evaluate(CELLS)
    assert [c["source"] for c in cells] == [c.source for c in source.cells], "not as a notebook"
    asked = page.locator(".jp-Dialog, .Toastify__toast")
    assert not asked.count(), f"JupyterLab asks: {asked.all_inner_texts()}"
    statements = [i for i, c in enumerate(source.cells) if ":::{prf:" in c.source]
    for i in statements[:1]:
        shown(page, i, "aside")
    picture = str(home.parent / Path(chapter).stem)
    page.screenshot(path=f"{picture}_opened.png")

    began = time.monotonic()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.wait_for_function(RAN)
    seconds = time.monotonic() - began
    cells = page.evaluate(CELLS)
    outputs = [(i, o) for i, c in enumerate(cells) for o in c.get("outputs", [])]
    failed = [(i, o["evalue"]) for i, o in outputs if o["output_type"] == "error"]
    assert not failed, f"cells that fail: {failed}"

    figures = [i for i, c in enumerate(source.cells) if "alt" in str(c.metadata.get("mystnb"))]
    assert figures == sorted({i for i, o in outputs if "image/png" in o.get("data", {})})
    for i in figures:
        shown(page, i, "img")
    page.screenshot(path=f"{picture}_ran.png")
    unknown = {m for e in errors for m in re.findall(r"Undefined control sequence: (\S+)", e)}
    assert not unknown, f"macros that JupyterLab does not know: {unknown}"

    memory = sum(p.memory_info().rss for p in [server, *server.children(recursive=True)])
    assert memory <= MEMORY, f"{memory / 2**20:.0f} MiB"
    page.keyboard.press("Control+s")
    page.wait_for_function(f"!{NOTEBOOK}.context.model.dirty")
    saved = jupytext.read(home / chapter)
    assert [(c.cell_type, c.source, c.metadata) for c in saved.cells] == [
        (c.cell_type, c.source, c.metadata) for c in source.cells
    ], "saving changes the notebook"
    page.evaluate(f"{NOTEBOOK}.sessionContext.shutdown()")
    print(
        f"{chapter}: {sum(c['cell_type'] == 'code' for c in cells)} cells in {seconds:.0f} s, "
        f"{len(figures)} figures, {memory / 2**20:.0f} MiB",
        flush=True,
    )


def shown(page, cell, element):
    """Scroll to a cell and wait until an element of it can be seen."""
    page.evaluate(f"{NOTEBOOK}.content.scrollToItem({cell}, 'center')")
    page.locator(f".jp-Cell[data-windowed-list-index='{cell}'] {element}").first.wait_for()


# --- Colab -----------------------------------------------------------------------------------


def colab(python, chapters):
    """Run published notebooks where there is a kernel and nothing of this book.

    Git takes this repository for the publisher's.
    """
    folder, bin = new_environment("colab", python)
    run(UV, "pip", "install", "--quiet", "--python", bin / "python", "ipykernel", "nbclient")
    elsewhere = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{ROOT}.insteadOf",
        "GIT_CONFIG_VALUE_0": f"https://github.com/{REPOSITORY}",
    }
    environment = variables(bin, **elsewhere)
    for chapter in chapters:
        published = ROOT / "_build/html/_sources" / Path(chapter).with_suffix(".ipynb")
        notebook = nbformat.read(published, as_version=4)
        notebook.cells.insert(0, nbformat.v4.new_code_cell(INSTALL.format(repository=REPOSITORY)))
        nbformat.write(notebook, folder / published.name)
        run(bin / "jupyter-execute", published.name, cwd=folder, env=environment)
    where = [bin / "python", "-c", "import zl; print(zl.__file__)"]
    zl = subprocess.check_output(where, cwd=folder, env=environment, text=True)
    assert "site-packages" in zl, zl
    print(f"{len(chapters)} notebooks run with zl from {zl}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("service", choices=["binder", "colab"])
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("chapters", nargs="*")
    arguments = parser.parse_args()
    service = {"binder": binder, "colab": colab}[arguments.service]
    service(arguments.python, arguments.chapters or first_chapters())
