"""Check the printed book, after LaTeX: nothing is missing, undefined or off the page.

`make pdf` runs it; it reads what LaTeX wrote beside the PDF.
"""

import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
WIDEST = 5  # points by which a line may stick out into the margin, of 71


def sources(root: Path) -> dict[str, set[str]]:
    """What must be in print: the label of each statement, exercise and chapter."""
    toc = yaml.safe_load((root / "_toc.yml").read_text())
    pages = [
        (page["file"], "numbered" in part) for part in toc["parts"] for page in part["chapters"]
    ]
    text = "".join((root / f"{page}.md").read_text() for page, _ in pages)
    chapters = [page for page, numbered in pages if numbered]
    statements = yaml.safe_load((root / "book" / "statements.yml").read_text())
    return {
        "statement": {s["id"] for s in statements},
        "exercise": set(re.findall(r"^:::\{exercise\}\n:label: (\S+)", text, flags=re.M)),
        # LaTeX counts chapters itself, and must count as the pages do
        "chapter": {f"{chapter} {n}" for n, chapter in enumerate(chapters, start=1)},
        "figure": set(range(text.count("plt.show()\n```"))),
    }


def printed(aux: str, log: str) -> dict[str, set[str]]:
    """What is in print, by LaTeX's own account."""
    return {
        "statement": set(re.findall(r"\\newlabel\{book/[a-z_/]+:([a-z]+-[a-z-]+)\}", aux)),
        "exercise": set(re.findall(r"\\newlabel\{exercise:([^}]+)\}", aux)),
        "chapter": {
            f"{page} {number}"
            for page, number in re.findall(r"\\newlabel\{(book/[a-z_/]+)::doc\}\{\{(\d+)\}", aux)
        },
        "figure": set(range(len(re.findall(r"^File: \w+\.png", log, flags=re.M)))),
    }


def complaints(log: str) -> list[str]:
    """The lines of LaTeX's log that a reader would see on paper."""
    log = re.sub(r"(?m)(?<=^.{79})\n", "", log)  # LaTeX breaks its lines there
    seen = re.findall(r"Missing character: .*|LaTeX Warning: .*undefined.*", log)
    wide = re.findall(r"(Overfull \\hbox \((\d+)\.\d+pt too wide\).*)", log)
    return seen + [line for line, points in wide if int(points) > WIDEST]


def astray(tex: str, toc: str) -> list[str]:
    """What is listed with a page next to its own."""
    anchor = r"\\label\{\\detokenize\{(\S+:(?:evidence|proof)-\d+)\}\}"
    found = [f"not at a line of text: {a}" for a in re.findall(anchor + r"(?!\\sphinxstyle)", tex)]
    line = r"(?m)^\\contentsline \{%s\}.*\{(\d+)\}\{.*\}%%$"
    parts, chapters = [set(re.findall(line % kind, toc)) for kind in ("part", "chapter")]
    return found + [f"not the page of a part: {page}" for page in parts & chapters]


def main(folder: Path) -> None:
    """Stop with what is wrong, or say what is there."""
    aux, log, tex, toc = [
        (folder / f"zero_loss.{kind}").read_text(errors="replace")
        for kind in ("aux", "log", "tex", "toc")
    ]
    wanted, found = sources(ROOT), printed(aux, log)
    wrong = complaints(log) + astray(tex, toc)
    for kind, labels in wanted.items():
        wrong += [f"no such {kind} in print: {label}" for label in labels - found[kind]]
    pages = re.search(r"Output written on \S+ \((\d+) pages", log)[1]
    if wrong:
        sys.exit("\n".join(["The printed book is not as it should be.", *wrong]))
    print(f"{pages} pages:", ", ".join(f"{len(labels)} {kind}s" for kind, labels in wanted.items()))


if __name__ == "__main__":
    main(ROOT / "_build" / "latex")
