"""What makes the pages pleasant to read.

- Each chapter says how long it takes to read.
- A link to a statement shows the statement (`book/_static/previews.js`, from one file each).
- A full stop stays with the formula before it.
- Pictures load when they are near, icons once, lists are lists.
"""

import json
import re
from pathlib import Path

from docutils import nodes
from PIL import Image

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


# The search reads pages for its excerpts, which a page in a folder may not.
NO_EXCERPTS = 'if (location.protocol == "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false'

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


def setup(app):
    """Register all of it with Sphinx."""
    app.set_html_assets_policy("always")  # a preview has formulas, also where the page has none
    app.add_js_file("previews.js", loading_method="defer")
    app.add_js_file(None, body=NO_EXCERPTS)
    app.connect("doctree-read", reading_time, priority=600)
    app.connect("doctree-resolved", keep_together, priority=900)
    app.connect("html-page-context", lists_are_lists)
    app.connect("html-page-context", pictures_load_late)
    app.connect("html-page-context", write_previews)
    app.connect("build-finished", icons_once)
    return {"version": "1", "parallel_read_safe": False}
