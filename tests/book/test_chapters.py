"""What must stay true of every chapter's source."""

import ast
import re
from pathlib import Path

import jupytext
import pytest
import yaml

ROOT = Path(__file__).parents[2]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *[c["file"] for part in TOC["parts"] for c in part["chapters"]]]
PAGES_WITH_CELLS = [p for p in PAGES if "{code-cell}" in (ROOT / f"{p}.md").read_text()]
NUMBERED_CHAPTERS = [
    c["file"] for part in TOC["parts"] if part.get("numbered") for c in part["chapters"]
]


def cells(page):
    return [c for c in jupytext.read(ROOT / f"{page}.md").cells if c.cell_type == "code"]


def where(page, cell):
    return f"{page}, the cell beginning {cell.source.splitlines()[0]!r}"


def test_every_page_of_the_book_is_in_the_table_of_contents():
    sources = {str(p.relative_to(ROOT).with_suffix("")) for p in (ROOT / "book").rglob("*.md")}
    assert sources == set(PAGES)


@pytest.mark.parametrize("page", PAGES_WITH_CELLS)
def test_cells_are_short(page):
    for cell in cells(page):
        lines = cell.source.splitlines()
        code = [x for x in lines if x.strip()]
        setup = cell.source.startswith(("import ", "from "))
        assert len(code) <= 15 or setup, f"{where(page, cell)}: {len(code)} lines"
        assert max(map(len, lines)) <= 88, f"{where(page, cell)}: a line over 88 characters"


@pytest.mark.parametrize("page", PAGES_WITH_CELLS)
def test_the_first_cell_is_folded_and_lets_failures_explain_themselves(page):
    first = cells(page)[0]
    assert first.metadata["tags"] == ["hide-input"]
    assert "notebook.explain_failures()" in first.source


@pytest.mark.parametrize("page", PAGES_WITH_CELLS)
def test_figures_end_with_show_and_have_alternative_text(page):
    for cell in cells(page):
        draws = re.search(r"plt\.(?!rcParams)|figures\.(?!style|COLOURS)", cell.source)
        if draws:
            assert cell.source.endswith("plt.show()"), where(page, cell)
            assert len(cell.metadata["mystnb"]["image"]["alt"]) >= 40, where(page, cell)


@pytest.mark.parametrize("chapter", NUMBERED_CHAPTERS)
def test_every_chapter_has_symbols_jax_exercises_and_sources(chapter):
    text = (ROOT / f"{chapter}.md").read_text()
    code = "\n".join(c.source for c in cells(chapter))
    assert "sp." in code and "jax." in code
    exercises = re.findall(r"^:::\{exercise\}\n:label: (\S+)", text, flags=re.M)
    solutions = re.findall(r"^:::\{solution(?:-start)?\} (\S+)\n:class: dropdown", text, flags=re.M)
    assert 4 <= len(exercises) <= 8 and sorted(solutions) == sorted(exercises)
    in_code = re.findall(r"solution-start\}.*?```\{code-cell\}.*?solution-end", text, flags=re.S)
    assert len(in_code) >= 2
    assert "## Notes and sources" in text and "{cite" in text


@pytest.mark.parametrize("chapter", NUMBERED_CHAPTERS)
def test_every_chapter_says_what_it_needs_and_ends_in_five_lines(chapter):
    text = (ROOT / f"{chapter}.md").read_text()
    before, first_section = text.index("Before you start\n:class: needs\n"), text.index("\n## ")
    assert before < first_section
    end = text.split("\n## In five lines\n")[1]
    assert [line[:2] for line in end.strip().splitlines()] == 5 * ["- "]


def test_the_six_weeks_of_teaching_have_every_exercise_once():
    plan = (ROOT / "book/appendix/teaching.md").read_text()
    weeks = plan.split("## Six weeks")[1].split("## Two weeks")[0]
    exercises = [
        label
        for chapter in NUMBERED_CHAPTERS
        for label in re.findall(
            r"^:::\{exercise\}\n:label: (\S+)", (ROOT / f"{chapter}.md").read_text(), flags=re.M
        )
    ]
    assert sorted(re.findall(r"\{ref\}`(ex-[^`]+)`", weeks)) == sorted(exercises)


@pytest.mark.parametrize("page", PAGES_WITH_CELLS)
def test_outputs_are_compared_unless_a_comment_says_why_not(page):
    for cell in cells(page):
        if "nbval-ignore-output" in cell.metadata.get("tags", []):
            assert "#" in cell.source, where(page, cell)


@pytest.mark.parametrize("page", PAGES_WITH_CELLS)
def test_cells_are_python(page):
    for cell in cells(page):
        ast.parse(cell.source)
