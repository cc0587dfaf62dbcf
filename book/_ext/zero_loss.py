"""What the book computes about itself at build time.

- The execution cache is keyed on what outputs depend on: `zl/`, the lock, Python.
- Chapters that must be executed are executed side by side.
- Evidence cells get an anchor and a badge; the `ledger` directive collects them on one page, below
  a drawing of which statement rests on which.
- The macros of `_config.yml` serve LaTeX as well.
- Executed notebooks keep their outputs when these come from the cache.

Beside it: reading.py, what makes the pages pleasant to read; notebooks.py, the notebooks for
download; printing.py, the book in print.
"""

import hashlib
import html
import re
import sys
from contextlib import suppress
from pathlib import Path

import nbformat
import yaml
from docutils import nodes
from jupyter_cache import get_cache
from jupyter_cache.executors import load_executor
from sphinx.addnodes import pending_xref
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[2]
PAGE = re.compile(r"(?:root|file): (\S+)")
EVIDENCE = re.compile(
    r"(?P<kind>symbolic|numeric|exact|certified|counterexample)"
    r"( \(hypothesis: (?P<hypothesis>.+)\))?"
)
BADGES = {
    "symbolic": "Derived symbolically",
    "numeric": "Checked numerically",
    "exact": "Checked in exact arithmetic",
    "certified": "Certified",
    "counterexample": "Counterexample",
}


def statements(root: Path = ROOT) -> list[dict]:
    """The ledger's source, `book/statements.yml`."""
    return yaml.safe_load((root / "book" / "statements.yml").read_text())


# --- the execution cache ---------------------------------------------------------------------


def outputs_depend_on(root: Path = ROOT) -> str:
    """A hash of everything, other than the chapters, that decides what their cells print."""
    digest = hashlib.sha256(sys.version.encode())
    for file in [root / "requirements.txt", *sorted((root / "zl").rglob("*.py"))]:
        digest.update(str(file.relative_to(root)).encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def key_the_cache(app, config):
    """Give each state of `zl/` and the lock a cache of its own, and read all pages anew for it.

    The values are Sphinx settings of kind "env": when one changes, as it does with these
    extensions, too, no page is taken as up to date.
    """
    config.outputs_depend_on = outputs_depend_on()
    made_by = sorted((ROOT / "book" / "_ext").glob("*.py"))
    config.pages_depend_on = hashlib.sha256(b"".join(f.read_bytes() for f in made_by)).hexdigest()
    cache = Path(app.outdir).parent / ".jupyter_cache" / config.outputs_depend_on
    config.nb_execution_cache_path = str(cache)


def execute_together(app, config):
    """Execute the notebooks that the cache lacks side by side; the build finds them there.

    One that fails is left to the build, which names the cell.
    """
    cache, root = get_cache(config.nb_execution_cache_path), Path(app.srcdir)
    pages = [root / f"{page}.md" for page in PAGE.findall((root / "_toc.yml").read_text())]
    chapters = [str(page) for page in pages if "{code-cell}" in page.read_text()]
    for chapter in chapters:
        cache.add_nb_to_project(chapter, read_data={"name": "myst_nb_md", "type": "plugin"})
    executor = load_executor("local-parallel", cache)
    executor.logger.setLevel("INFO")  # a line when a notebook starts, and one when it is done
    executor.run_and_cache(filter_uris=chapters, timeout=config.nb_execution_timeout)


def keep_outputs(app, doctree):
    """Write a page's notebook with its outputs, also when they came from the cache.

    MyST-NB shows outputs from the cache on the page, but writes the notebook without them.
    """
    file = Path(app.outdir).parent / "jupyter_execute" / f"{app.env.docname}.ipynb"
    if file.exists():
        cache, notebook = get_cache(app.config.nb_execution_cache_path), nbformat.read(file, 4)
        with suppress(KeyError):  # in no cache: a notebook that failed
            nbformat.write(cache.merge_match_into_notebook(notebook)[1], file)


# --- evidence cells and proofs, while a page is read -----------------------------------------


def collect(app, doctree):
    """Anchor and label the evidence cells and the proofs of one page."""
    env = app.env
    found = env.zl_found = getattr(env, "zl_found", {})
    here = found[env.docname] = {"evidence": [], "proofs": {}}
    for cell in doctree.findall(nodes.container):
        metadata = cell.get("cell_metadata", {})
        if cell.get("nb_element") != "cell_code" or "evidence" not in metadata:
            continue
        evidence = EVIDENCE.fullmatch(metadata["evidence"])
        anchor = f"evidence-{len(here['evidence']) + 1}"
        cell["ids"].append(anchor)
        for statement in metadata["statement"].split(", "):
            here["evidence"].append((statement, *evidence.group("kind", "hypothesis"), anchor))
        cell.insert(0, badge(env.docname, metadata["statement"].split(", "), evidence))
    for block in doctree.findall(nodes.admonition):
        if "proof" in block["classes"] and block["ids"] == ["proof"]:
            labels = [
                c.removeprefix("proves-") for c in block["classes"] if c.startswith("proves-")
            ]
            block["ids"] = [f"proof-{len(here['proofs']) + 1}"]
            here["proofs"] |= {label: block["ids"][0] for label in labels}
            name_the_proof(block, labels, env.docname)
    for number, section in enumerate(doctree.findall(nodes.section)):
        if section["ids"] in (["proof-content"], ["exercise-content"], ["solution-content"]):
            section["ids"] = [f"statement-content-{number}"]  # all of a kind had the same id


def name_the_proof(block, labels, docname):
    """Begin with “Proof of Theorem 3.1.”, linked, instead of “Proof.”."""
    paragraph = block[0]
    opening = paragraph[0]
    paragraph.replace(opening, nodes.Text(opening.astext().removeprefix("Proof. ")))
    words = nodes.strong("", "Proof of ")
    words += [reference(docname, label) for label in labels]
    paragraph.insert(0, [words, nodes.Text(". ")])


def reference(docname, label):
    """A reference that becomes “Theorem 3.1”."""
    return pending_xref(
        "", nodes.literal("", label), refdoc=docname, refdomain="prf", reftype="ref",
        reftarget=label, refexplicit=False, refwarn=True,
    )  # fmt: skip


def badge(docname, labels, evidence):
    """The line above an evidence cell: what kind of evidence, for which statement."""
    kind, hypothesis = evidence.group("kind", "hypothesis")
    text = nodes.paragraph("", "", nodes.strong("", BADGES[kind]), nodes.Text(": "))
    for i, label in enumerate(labels):
        text += [*[nodes.Text(", ")] * bool(i), reference(docname, label)]
    if hypothesis:
        text += nodes.Text(f" without “{hypothesis}”")
    return nodes.container("", text, classes=["evidence", f"evidence-{kind}"])


def purge(app, env, docname):
    """Forget what a page held before it is read again."""
    getattr(env, "zl_found", {}).pop(docname, None)


# --- the ledger's page -----------------------------------------------------------------------


class ledger(nodes.General, nodes.Element):
    """Stands where the ledger or its drawing will be, until all pages are read."""


class Ledger(SphinxDirective):
    """The ledger: every statement, where it is proved and what supports it."""

    def run(self):
        """Leave a mark; `fill_ledger` replaces it."""
        self.env.zl_ledger = self.env.docname
        self.env.note_dependency(str(ROOT / "book" / "statements.yml"))
        return [ledger(name=self.name)]


def rewrite_ledger(app, env):
    """Write the ledger's page in every build, as any page may have changed what it says."""
    return [env.zl_ledger] if hasattr(env, "zl_ledger") else []


def fill_ledger(app, doctree, docname):
    """Replace the marks: by one entry a statement, and by the drawing."""
    for mark in list(doctree.findall(ledger)):
        if mark["name"] == "ledger":
            mark.replace_self([entry(app, docname, s) for s in statements()])
        elif app.builder.format == "latex":  # no drawing to point at: leave its section out
            mark.parent.parent.remove(mark.parent)
        else:
            mark.replace_self(nodes.raw("", drawing(app, docname), format="html"))


def numbered(env, label):
    """A statement's page, kind and number: as in “Theorem 3.2”."""
    place = env.proof_list[label]
    number = env.toc_fignumbers[place["docname"]][place["countertype"]][label]
    return place["docname"], place["realtype"].title(), ".".join(map(str, number))


def drawing(app, docname, line=15, margin=90):
    """Which statement rests on which, as SVG: a line a statement, an arc for each use.

    The arcs leave a statement to the left and end at what its proof uses. They are grouped with
    the statement's line, so that the style sheet can stress them while the pointer is there.
    """
    env, rows, place = app.env, [], {}
    for statement in statements():
        page, kind, number = numbered(env, statement["id"])
        if not rows or rows[-1][0] != page:
            chapter = f"{number.split('.')[0]}. {env.titles[page].astext()}"
            rows.append((page, "", "chapter", chapter, []))
        place[statement["id"]] = len(rows)
        rows.append((page, statement["id"], kind.lower(), f"{number} {statement['title']}",
                     statement["uses"]))  # fmt: skip

    def arc(above, below):
        y, z = sorted((line * (above + 0.5), line * (below + 0.5)))
        x = margin - 6 - (margin - 8) * ((z - y) / (line * len(rows))) ** 0.5 * 4 / 3
        return f'<path d="M{margin - 6} {y:g}C{x:.0f} {y:g} {x:.0f} {z:g} {margin - 6} {z:g}"/>'

    lines = []
    for i, (page, label, kind, text, uses) in enumerate(rows):
        target = app.builder.get_relative_uri(docname, page) + (label and f"#{label}")
        arcs = "".join(arc(place[used], i) for used in uses)
        lines.append(
            f'<g class="{kind}">{arcs}<a href="{target}">'
            f'<text x="{margin}" y="{line * (i + 0.5) + 4:g}">{html.escape(text)}</text></a></g>'
        )
    size = f"0 0 350 {line * len(rows)}"
    return f'<svg class="rests-on" viewBox="{size}">{"".join(lines)}</svg>'


def entry(app, docname, statement):
    """One statement: its number, source, proof, what it rests on, its evidence."""
    env, label = app.env, statement["id"]
    found = env.zl_found

    def link(text, target, anchor):
        uri = app.builder.get_relative_uri(docname, target) + f"#{anchor}"
        page = nodes.raw("", rf" (p.~\pageref*{{{target}:{anchor}}})", format="latex")
        return nodes.reference("", text, page, refuri=uri, internal=True)

    def named(label):
        """“Theorem 3.2”, linked."""
        page, kind, number = numbered(env, label)
        return link(f"{kind} {number}", page, label)

    def item(term, *content):
        return nodes.list_item("", nodes.paragraph("", "", nodes.strong("", term + " "), *content))

    def separated(parts):
        return [x for i, p in enumerate(parts) for x in ([nodes.Text(", "), p] if i else [p])]

    title = nodes.paragraph("", "", named(label), nodes.Text(f" · {statement['title']}"))
    title["classes"] = ["ledger-title"]
    items = [item("Source", nodes.Text(statement["source"]))]
    proofs = [
        link("proved", d, f["proofs"][label]) for d, f in found.items() if label in f["proofs"]
    ]
    if proofs:
        items.append(item("Proof", *separated(proofs)))
    if statement.get("uses"):
        items.append(item("Rests on", *separated([named(u) for u in statement["uses"]])))
    cells = [(d, *e) for d, f in found.items() for e in f["evidence"] if e[0] == label]
    for kind, words in BADGES.items():
        links = [
            link(f"cell {n}" + (f" (without “{hypothesis}”)" if hypothesis else ""), d, anchor)
            for n, (d, _, k, hypothesis, anchor) in enumerate(cells, start=1)
            if k == kind
        ]
        if links:
            items.append(item(words, *separated(links)))
            items[-1]["classes"] = [f"evidence-{kind}"]
    return nodes.container("", title, nodes.bullet_list("", *items), classes=["ledger-entry"])


# --- the API's page --------------------------------------------------------------------------


def as_restructured_text(app, what, name, thing, options, lines):
    """Let docstrings be plain text: |x| is a norm, and `x` is code."""
    in_code = re.compile(r"(?<!`)`([^`]+)`(?!`)")
    example = False  # up to the next empty line
    for i, line in enumerate(lines):
        example = bool(line.strip()) and (example or line.lstrip().startswith(">>>"))
        if not example:
            lines[i] = in_code.sub(r"``\1``", line.replace("|", r"\|").replace("*", r"\*"))


def short_types(app, what, name, thing, options, signature, returns):
    """Write Array for JAX's arrays, as the package does."""
    short = [text and text.replace("jaxlib._jax.Array", "Array") for text in (signature, returns)]
    return tuple(short)


def skip_fields(app, what, name, thing, skip, options):
    """Leave out the fields of named tuples: the docstring of the class describes them."""
    return skip or str(getattr(thing, "__doc__", "")).startswith("Alias for field number")


# --- one set of macros -----------------------------------------------------------------------


def definitions(config, command):
    """The macros of `mathjax3_config`, defined with a TeX command."""
    for name, body in config.mathjax3_config["tex"]["macros"].items():
        body, arguments = (body, 0) if isinstance(body, str) else body
        yield f"\\{command}{{\\{name}}}[{arguments}]{{{body}}}"


def macros_for_latex(app, config):
    """Define them for LaTeX too, whether or not it has a command of that name."""
    preamble = [config.latex_elements.get("preamble", "")]
    preamble += definitions(config, "DeclareRobustCommand")
    config.latex_elements["preamble"] = "\n".join(preamble)


def setup(app):
    """Register all of it with Sphinx."""
    app.add_config_value("outputs_depend_on", "", "env")
    app.add_config_value("pages_depend_on", "", "env")
    app.add_node(ledger)
    app.add_directive("ledger", Ledger)
    app.add_directive("rests-on", Ledger)
    app.connect("config-inited", key_the_cache)
    app.connect("config-inited", execute_together)
    app.connect("config-inited", macros_for_latex)
    app.connect("autodoc-process-docstring", as_restructured_text, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", short_types)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("doctree-read", keep_outputs)
    app.connect("doctree-read", collect)
    app.connect("env-purge-doc", purge)
    app.connect("env-updated", rewrite_ledger)
    app.connect("doctree-resolved", fill_ledger)
    return {"version": "1", "parallel_read_safe": False}
