"""The files around the book agree with each other, and what they show runs."""

import ast
import contextlib
import io
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import jupytext
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import zl

ROOT = Path(__file__).parents[1]
PYPROJECT = (ROOT / "pyproject.toml").read_text()
PROJECT = tomllib.loads(PYPROJECT)["project"]
DEPENDENCIES = sum(PROJECT["optional-dependencies"].values(), PROJECT["dependencies"])
LOCK = [x for x in (ROOT / "requirements.txt").read_text().splitlines() if not x.startswith("#")]


def pins():
    """Each locked package's versions (several, if they differ between platforms)."""
    found = {}
    for requirement in map(Requirement, LOCK):
        [pin] = requirement.specifier
        found.setdefault(canonicalize_name(requirement.name), []).append(pin.version)
    return found


def test_lock_has_exact_pins_and_no_address():
    exact = re.compile(r"[a-z0-9-]+==[\w.!+]+( ; [^:@]+)?")  # name, version, perhaps a marker
    assert LOCK and not [line for line in LOCK if not exact.fullmatch(line)]


@pytest.mark.parametrize("dependency", DEPENDENCIES)
def test_dependency_is_locked_and_has_a_reason(dependency):
    wanted = Requirement(dependency)
    versions = pins()[canonicalize_name(wanted.name)]
    assert all(wanted.specifier.contains(v, prereleases=True) for v in versions)
    lines = [x for x in PYPROJECT.splitlines() if x.lstrip().startswith(f'"{dependency}",')]
    assert lines and all(re.search(r'",\s+# \S', x) for x in lines)


def test_conda_and_binder_get_the_lock():
    *packages, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert pip == {"pip": ["-r requirements.txt", "-e ."]}
    [python] = [p.split("=")[1] for p in packages if p.startswith("python=")]
    assert python in SpecifierSet(PROJECT["requires-python"])
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]
    post_build = (ROOT / "postBuild").read_text()
    assert "jupytext-config" in post_build and "jupytext" in pins()
    assert all("==" in line for line in re.findall("pip install .*", post_build))


def test_core_and_cells_bring_what_is_imported():
    """So that `zero-loss[cells]` suffices on Colab."""
    pages = [p for p in (ROOT / "book").rglob("*.md") if "{code-cell}" in p.read_text()]
    cells = [cell for page in pages for cell in jupytext.read(page).cells]
    codes = [cell.source for cell in cells if cell.cell_type == "code"]
    codes += [file.read_text() for file in (ROOT / "zl").rglob("*.py")]
    nodes = [node for code in codes for node in ast.walk(ast.parse(code))]
    imported = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    imported |= {n.module for n in nodes if isinstance(n, ast.ImportFrom) and not n.level}
    top = {name.partition(".")[0] for name in imported} - {"zl", *sys.stdlib_module_names}
    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["cells"]
    brought = {canonicalize_name(Requirement(x).name) for x in wanted}
    owners = packages_distributions()
    assert {canonicalize_name(owners[module][0]) for module in top} <= brought


def test_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == zl.__version__ == PROJECT["version"]
    readme = (ROOT / "README.md").read_text()
    assert all(paper["url"] in readme for paper in citation["references"])


def test_workflows_let_make_do_the_work():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    workflows = [yaml.safe_load(f.read_text()) for f in (ROOT / ".github/workflows").iterdir()]
    jobs = {name: job for workflow in workflows for name, job in workflow["jobs"].items()}
    runs = {name: "\n".join(s.get("run", "") for s in job["steps"]) for name, job in jobs.items()}
    called = {name: re.findall(r"make ([a-z]+)", run) for name, run in runs.items()}
    assert called.pop("book") == ["test", "publish"] and called.pop("versions") == ["lock", "test"]
    assert called == {"binder": ["binder"]} and targets >= {"test", "publish", "lock", "binder"}
    assert "github.repository" in jobs["book"]["env"]["ZERO_LOSS_REPOSITORY"]


ELSEWHERE = re.compile(  # what only one machine or network knows; does not match itself
    r"p[y]pi\.org|pythonh[o]sted\.org|an[a]conda\.org|registry\.np[m]js|art[i]factory|dev[p]i"
    r"|--(extra-)?index-url|--find[-]links|https?://[^\s)]*(mirror|/simple\b)"
    r"|(?<![\w.])/(home|root|Users|tmp|work|opt)/|\b[A-Z]:\\"
)


def test_no_address_of_a_registry_and_no_path_of_a_machine():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    contents = {f: f.read_bytes() for f in files if f.is_file()}
    texts = {f: c.decode() for f, c in contents.items() if b"\0" not in c}
    assert texts
    found = {(f.name, m[0]) for f, text in texts.items() for m in ELSEWHERE.finditer(text)}
    assert not found


def run(code):
    """What the code prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, {})
    return out.getvalue().strip()


def test_example_of_the_readme():
    readme = (ROOT / "README.md").read_text()
    [example] = re.findall(r"^```python\n(.*?)^```", readme, re.S | re.M)
    assert f"It prints `{run(example)}`" in readme


def test_template_of_a_chapter(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    [template] = re.findall(
        r"^`{5}markdown\n(.*?)^`{5}", (ROOT / "CONTRIBUTING.md").read_text(), re.S | re.M
    )
    cells = re.findall(r"^```{code-cell}\n(?:---\n.*?^---\n)?(.*?)^```", template, re.S | re.M)
    assert max(cell.count("\n") for cell in cells) <= 15
    assert "w = -0.500000, b = 2.500000" in run("".join(cells))
