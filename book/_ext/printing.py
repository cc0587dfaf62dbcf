"""The pages as a printed book, for `make pdf`; its look is in `book/_latex/zero_loss.sty`."""

from docutils import nodes
from sphinx.addnodes import start_of_file


def for_print(app, doctree, docname):
    """Prepare the tree of all pages for LaTeX."""
    if app.builder.format != "latex":
        return
    make_a_book(doctree, app.config.external_site_map.root.subtrees, app.env.titles)
    for block in list(doctree.findall(nodes.Admonition)):
        classes = block["classes"]
        kinds = [kind for kind in ("exercise", "solution", "proof") if kind in classes]
        if "realtype" in block:
            kinds = ["statement"]
        elif kinds == ["proof"]:
            block.insert(0, nodes.title())  # Sphinx would take the first words for one
        if kinds:
            around = nodes.container(classes=[f"print-{kinds[0]}"])
            block.replace_self(around)
            around += block
            if kinds == ["exercise"]:  # references want the label with its page, and a number
                page, label = block["docname"], block["label"]
                number = app.env.toc_fignumbers[page]["exercise"][label]
                number = ".".join(map(str, number))
                around.insert(0, tex(rf"\zllabel{{{number}}}{{{page}:{label}}}"))
            elif kinds == ["proof"]:
                anchor(around, block["ids"])
    for cell in list(doctree.findall(nodes.container)):
        if cell.get("nb_element") == "cell_code":
            if "tag_hide-input" in cell["classes"] and "evidence" not in cell["cell_metadata"]:
                cell.remove(next(c for c in cell if "cell_input" in c["classes"]))
            anchor(cell, cell["ids"])
    for entry in list(doctree.findall(nodes.entry)):
        if not entry.astext():
            entry.clear()  # an empty paragraph would take two lines
    for section in list(doctree.findall(nodes.section)):
        if section[0].astext() == "In five lines":  # not one of them alone on a chapter's last page
            section.insert(0, tex(r"\needspace{13\baselineskip}"))


def anchor(block, ids):
    """Let links lead to its first line; before that, the page may end."""
    if ids:
        next(block.findall(nodes.paragraph)).insert(0, nodes.target("", "", ids=ids))


def tex(code):
    """What only LaTeX sees."""
    return nodes.raw("", code, format="latex")


def make_a_book(doctree, parts, titles):
    """Give it parts, and make a preface of what is on the first page."""
    pages = {page["docname"]: page for page in doctree.findall(start_of_file)}
    for name, page in pages.items():  # sphinx-proof looks for a page by its title
        next(page.findall(nodes.section))["names"].append(titles[name].astext().lower())
    for part in parts:
        heading = tex(rf"\part{{{part.caption}}}")
        if part.caption == "Appendices":
            in_contents = r"\clearpage\phantomsection\addcontentsline{toc}{part}{Appendices}"
            heading = tex(rf"\appendix{in_contents}\part*{{Appendices}}")
        wrapper = pages[part.items[0]].parent
        wrapper.insert(0, heading)
    [book] = [node for node in doctree if isinstance(node, nodes.section)]
    preface = [node for node in book[1:] if "toctree-wrapper" not in node.get("classes", [])]
    for node in preface:
        book.remove(node)
    section = nodes.section("", nodes.title("", "About this book"), *preface)
    unnumbered = r"\setcounter{secnumdepth}{%d}"
    book.insert(1, [tex(unnumbered % -1), section, tex(unnumbered % 2)])


def setup(app):
    """Register it with Sphinx."""
    app.connect("doctree-resolved", for_print)
    return {"version": "1", "parallel_read_safe": False}
