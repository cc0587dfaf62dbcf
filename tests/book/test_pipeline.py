"""How notebooks become pages: nothing stale, nothing failing in silence."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[2]
CHAPTER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  name: python3
---

# A chapter

```{code-cell}
%s
```
"""


@pytest.fixture(scope="module")
def small_book(tmp_path_factory):
    """A copy of the project with one short chapter."""
    book = tmp_path_factory.mktemp("book")
    for name in ("_config.yml", "requirements.txt", "zl", "book/_ext", "book/_static"):
        source, target = ROOT / name, book / name
        target.parent.mkdir(exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
    (book / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    (book / "book/references.bib").write_text("")
    (book / "book/statements.yml").write_text("[]\n")
    return book


def build(book, cell, **environment):
    (book / "book/index.md").write_text(CHAPTER % cell)
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    command = [jupyter_book, "build", ".", "--warningiserror", "--nitpick", "--keep-going"]
    environment = {**os.environ, "ZERO_LOSS_REPOSITORY": "", **environment}
    done = subprocess.run(command, cwd=book, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


# The cell reads the copy of zl beside it, not the installed one.
PRINT_VERSION = (
    "import sys; sys.path.insert(0, '..'); import zl\nprint('version', zl.__version__, zl.__file__)"
)


def test_an_edit_of_zl_or_the_lock_is_never_served_from_the_cache(small_book):
    page = small_book / "_build/html/book/index.html"
    status, log = build(small_book, PRINT_VERSION)
    assert status == 0, log
    assert "version 0.1.0" in page.read_text() and str(small_book) in page.read_text()

    status, log = build(small_book, PRINT_VERSION)
    assert status == 0 and "Executing: " not in log  # nothing changed: nothing is run

    init = small_book / "zl/__init__.py"
    init.write_text(init.read_text().replace('"0.1.0"', '"9.9.9"'))
    status, log = build(small_book, PRINT_VERSION)
    assert status == 0 and "Executing: " in log
    assert "version 9.9.9" in page.read_text()

    lock = small_book / "requirements.txt"
    lock.write_text(lock.read_text() + "# another lock\n")
    status, log = build(small_book, PRINT_VERSION)
    assert status == 0 and "Executing: " in log


def test_a_failing_cell_fails_the_build_and_is_named(small_book):
    status, log = build(small_book, "answer = 41\nassert answer == 42")
    assert status != 0
    assert "book/index.md" in log and "assert answer == 42" in log


def test_an_undefined_reference_fails_the_build(small_book):
    reference = "```\n\nSee {prf:ref}`thm-nowhere`.\n\n```{code-cell}\n"
    status, log = build(small_book, f"1 + 1\n{reference}2")
    assert status != 0 and "thm-nowhere" in log


def links_and_cells(book):
    """Where a page's buttons lead to, outside the book, and the cells of its notebook."""
    page = BeautifulSoup((book / "_build/html/book/index.html").read_text(), "html.parser")
    links = [a["href"] for a in page.select(".article-header-buttons a[href^=http]")]
    notebook = nbformat.read(book / "_build/html/_sources/book/index.ipynb", as_version=4)
    nbformat.validate(notebook)
    return links, [c.source for c in notebook.cells if c.cell_type == "code"]


def test_a_published_book_is_launched_from_the_publishers_repository(small_book):
    status, log = build(small_book, "1 + 1", ZERO_LOSS_REPOSITORY="euler/zero-loss")
    assert status == 0, log
    links, [install, cell] = links_and_cells(small_book)
    assert links == [
        "https://colab.research.google.com/github/euler/zero-loss/blob/gh-pages/"
        "_sources/book/index.ipynb",
        "https://mybinder.org/v2/gh/euler/zero-loss/HEAD?urlpath=lab/tree/book/index.md",
        "https://github.com/euler/zero-loss/blob/HEAD/book/index.md",
    ]
    assert "git+https://github.com/euler/zero-loss" in install and cell == "1 + 1"

    status, log = build(small_book, "1 + 1")  # nobody publishes it: no buttons, on any page
    assert status == 0, log
    assert links_and_cells(small_book) == ([], ["1 + 1"])


def test_a_publishers_repository_must_have_an_owner_and_a_name(small_book):
    status, log = build(small_book, "1 + 1", ZERO_LOSS_REPOSITORY="https://example.org/book")
    assert status != 0 and "such as owner/name" in log
