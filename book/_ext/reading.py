"""What makes the pages pleasant to read and ready to run.

- Each chapter says how long it takes to read.
- A link to a statement shows the statement (`book/_static/previews.js`, from one file each).
- A full stop stays with the formula before it.
- Pictures load when they are near, icons once, lists are lists.
- The executed notebook of a page can be downloaded, and in a published book be launched.
"""

import json
import os
import re
from pathlib import Path

import nbformat
from docutils import nodes
from PIL import Image
from sphinx.errors import ConfigError
from zero_loss import definitions

# --- how long it takes -----------------------------------------------------------------------

WORDS_A_MINUTE = 120  # slower than prose, as every sentence has its thought
MINUTES = {nodes.math_block: 0.5, nodes.literal_block: 0.5, nodes.image: 0.5}


def reading_time(app, doctree):
    """Say in the box “Before you start” how long the page takes to read, without exercises."""
    for box in doctree.findall(nodes.admonition):
        if "needs" in box["classes"]:
            minutes = 5 * round(minutes_of(doctree) / 5)
            text = f"Reading takes about {minutes} minutes, without the exercises."
            box += nodes.paragraph("", text)


def minutes_of(node):
    """The minutes that a part of a page takes: its words, and half a minute for the rest."""
    if "exercises" in node["ids"] or "tag_hide-input" in node["classes"]:
        return sum(MINUTES[nodes.image] for _ in node.findall(nodes.image))
    if isinstance(node, nodes.paragraph | nodes.title):
        return len(node.astext().split()) / WORDS_A_MINUTE
    inside = (minutes_of(child) for child in node.children if isinstance(child, nodes.Element))
    return MINUTES.get(type(node), 0) + sum(inside)


# --- previews --------------------------------------------------------------------------------

STATEMENT = re.compile(r'<div class="[^"]*" id="((?:def|thm|lem|prop|cor)-[a-z0-9-]+)">')
NOT_IN_A_PREVIEW = re.compile(r'<a class="headerlink".*?</a>|</?a\b[^>]*>| id="[^"]*"', re.DOTALL)


def write_previews(app, pagename, templatename, context, doctree):
    """Write each statement of a page to a file of its own, which links to it show.

    It is a script, because a page that is read from a folder may load a script and nothing else.
    """
    folder, body = Path(app.outdir) / "_static" / "previews", context.get("body", "")
    folder.mkdir(parents=True, exist_ok=True)
    for statement in STATEMENT.finditer(body):
        html = NOT_IN_A_PREVIEW.sub("", element(body, statement.start()))
        script = f"previews[{json.dumps(statement[1])}] = {json.dumps(html)};\n"
        (folder / f"{statement[1]}.js").write_text(script)


def element(html, start):
    """The `div` that begins at `start`, up to the tag that closes it."""
    depth = 0
    for tag in re.compile(r"<(/?)div\b[^>]*>").finditer(html, start):
        depth += -1 if tag[1] else 1
        if depth == 0:
            return html[start : tag.end()]


# --- formulas and their punctuation ----------------------------------------------------------


def keep_together(app, doctree, docname):
    """Keep a formula in a sentence together with the punctuation that follows it."""
    if app.builder.format != "html":
        return
    for formula in list(doctree.findall(nodes.math)):
        after = formula.next_node(descend=False, siblings=True)
        if isinstance(after, nodes.Text) and (mark := re.match(r"[-.,;:!?)’”]+", after)):
            formula.parent.replace(after, nodes.Text(after[mark.end() :]))
            together = nodes.inline(classes=["together"])
            formula.replace_self(together)
            together += [formula, nodes.Text(mark[0])]


# --- what the pages' HTML gets wrong ---------------------------------------------------------


def lists_are_lists(app, pagename, templatename, context, doctree):
    """Mark up as lists what is one: the bibliography, and a signature's parameters.

    Docutils gives the entries of the one an obsolete role, Sphinx makes the others a definition
    list (the only one without a class) that defines nothing.
    """
    body = context.get("body", "").replace('role="doc-biblioentry"', 'role="listitem"')
    for signature in set(re.findall(r"(?s)<dl>.*?</dl>", body)):
        body = body.replace(signature, re.sub("dd(?=>)", "li", signature).replace("dl>", "ul>"))
    context["body"] = body


def pictures_load_late(app, pagename, templatename, context, doctree):
    """Let pictures load when a reader comes near, and keep their place free until then."""
    files = {name: file for file, name in app.builder.images.items()}

    def with_size(tag):
        width, height = Image.open(Path(app.srcdir) / files[tag[2]]).size
        return f'<img loading="lazy" width="{width}" height="{height}"{tag[1]}'

    picture = r'<img((?: alt="[^"]*")? src="[^"]*_images/([^"]+\.png)")'
    context["body"] = re.sub(picture, with_size, context.get("body", ""))


TWICE = re.compile(
    r'<script src="[^"]*/fontawesome/[^>]*></script>|<link rel="preload" as="font"[^>]*>'
)


def icons_once(app, exception):
    """Take the theme's program that draws icons out of the pages: 1.5 MB, and its fonts do, too.

    The fonts are asked for as they are needed: asked for before, they are errors in a folder.
    """
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text()
        if TWICE.search(text):
            page.write_text(TWICE.sub("", text))


# --- downloads and launches ------------------------------------------------------------------

INSTALL = """\
# Where the book's package is missing, as on Colab, install it with what the cells need.
import importlib.util

if importlib.util.find_spec("zl") is None:
    %pip install --quiet "zero-loss[cells] @ git+https://github.com/{repository}"
"""


def repository(app, config):
    """The publisher's repository, from the environment of the job that publishes the book."""
    name = config.repository = os.environ.get("ZERO_LOSS_REPOSITORY", "")
    if name and not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ConfigError(
            "ZERO_LOSS_REPOSITORY is the name of a repository on GitHub, such as owner/name, "
            f"and not {name!r}. Without it the book is built without launch buttons."
        )


def offer_notebook(app, pagename, templatename, context, doctree):
    """Put the executed notebook beside its source; the theme then draws a download button.

    Jupyter does not know the book's macros, so the copy opens with their definitions; in a
    published book a cell follows that installs what it needs.
    """
    executed = Path(app.outdir).parent / "jupyter_execute" / f"{pagename}.ipynb"
    if "kernelspec" in app.env.metadata.get(pagename, {}) and executed.exists():
        notebook = nbformat.read(executed, as_version=4)
        macros = "$" + "".join(definitions(app.config, "newcommand")) + "$"
        cells = [nbformat.v4.new_markdown_cell(macros, id="macros")]
        if name := app.config.repository:
            cells.append(nbformat.v4.new_code_cell(INSTALL.format(repository=name), id="install"))
        notebook.cells[:0] = cells
        offered = Path(app.outdir) / "_sources" / f"{pagename}.ipynb"
        offered.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, offered)
        context["ipynb_source"] = f"{pagename}.ipynb"


def launch_buttons(app, pagename, templatename, context, doctree):
    """In a published book, link a chapter to Binder and Colab, and every page to its source.

    Binder opens the chapter's source in the repository. Colab cannot read that; it opens the
    notebook for download, in the branch that `make publish` pushes the site to.
    """
    name = app.config.repository
    if not name or doctree is None:
        return
    source = f"https://github.com/{name}/blob/HEAD/{pagename}.md"
    places = {"Source on GitHub": ("fab fa-github", source)}
    if "ipynb_source" in context:
        places |= {
            "Binder": (
                "_static/images/logo_binder.svg",
                f"https://mybinder.org/v2/gh/{name}/HEAD?urlpath=lab/tree/{pagename}.md",
            ),
            "Colab": (
                "_static/images/logo_colab.png",
                f"https://colab.research.google.com/github/{name}/blob/gh-pages/_sources/"
                + context["ipynb_source"],
            ),
        }
    buttons = [
        {"type": "link", "text": text, "tooltip": f"Open: {text}", "icon": icon, "url": url}
        for text, (icon, url) in reversed(places.items())
    ]
    group = {"type": "group", "icon": "fas fa-rocket", "label": "launch-buttons"}
    context["header_buttons"].insert(0, group | {"tooltip": "Run this page", "buttons": buttons})


def setup(app):
    """Register all of it with Sphinx."""
    app.add_config_value("repository", "", "html")  # when it changes, every page is written anew
    app.add_js_file("previews.js", loading_method="defer")
    app.connect("config-inited", repository)
    app.connect("doctree-read", reading_time, priority=600)
    app.connect("doctree-resolved", keep_together, priority=900)
    app.connect("html-page-context", lists_are_lists)
    app.connect("html-page-context", pictures_load_late)
    app.connect("html-page-context", write_previews)
    app.connect("html-page-context", offer_notebook, priority=400)  # before the theme's buttons
    app.connect("html-page-context", launch_buttons, priority=510)  # after the theme has begun
    app.connect("build-finished", icons_once)
    return {"version": "1", "parallel_read_safe": False}
