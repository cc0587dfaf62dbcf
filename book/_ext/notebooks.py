"""The notebook of a page: to be downloaded, and in a published book to be launched.

Pages are written in MyST, which Jupyter and Colab do not draw. So the notebook that is offered has
plain Markdown, with the numbers that statements, equations and exercises have on the pages.
"""

import os
import posixpath
import re
from pathlib import Path

import nbformat
from sphinx.errors import ConfigError
from zero_loss import definitions, numbered

INSTALL = """\
# Where the book's package is missing, as on Colab, install it with what the cells need.
import importlib.util

if importlib.util.find_spec("zl") is None:
    %pip install --quiet "zero-loss[cells] @ git+https://github.com/{repository}"
"""


# --- MyST as plain Markdown ------------------------------------------------------------------

BLOCK = re.compile(r"(?ms)^:::\{(\S+)\} *(.*?)\n((?::\w+: .*?\n)*)(.*?)^:::$")
ROLE = re.compile(r"\{(prf:ref|ref|eq|doc|cite:[pt])\}`(?:([^`<]+?) *<)?([^`>]+)>?`")
ANCHOR = re.compile(r"(?m)^\([\w-]+\)=$\n")
LINK = re.compile(r"\[([^]\n]+)\]\(([a-z]+-[a-z-]+)\)")
NUMBERED = re.compile(r"\$\$ *\((eq-[\w-]+)\)")


def plain(markdown, env, page):
    """A Markdown cell without directives and roles."""
    markdown = BLOCK.sub(lambda m: block(*m.groups(), env), markdown)
    markdown = ROLE.sub(lambda m: m[2] or words(m[1], m[3], env, page), markdown)
    markdown = NUMBERED.sub(lambda m: rf"\\tag{{{number(env, m[1])}}}$$", markdown)
    labels = env.get_domain("std").labels
    markdown = LINK.sub(lambda m: m[1] if m[2] in labels else m[0], markdown)
    return ANCHOR.sub("", markdown)


def block(kind, argument, options, content, env):
    """A directive: a line in bold, then what it holds. Solutions are folded."""
    options = dict(re.findall(r":(\w+): (.*)", options))
    if kind == "solution":
        summary = f"<summary>Solution to {exercise(env, argument)}</summary>"
        return f"<details>{summary}\n\n{content}\n</details>"
    if kind == "solution-start":
        return f"**Solution to {exercise(env, argument)}.**"
    if kind == "solution-end":
        return ""
    if kind == "exercise":
        return f"**{exercise(env, options['label'])}.**\n\n{content}"
    if kind == "admonition":
        return f"**{argument}**\n\n{content}"
    if kind == "prf:proof":
        labels = re.findall(r"proves-(\S+)", options.get("class", ""))
        of = " and ".join(statement(env, label) for label in labels)
        return f"*Proof{' of ' * bool(of) + of}.*\n\n{content.rstrip()} ∎"
    return f"**{statement(env, options['label'])}** ({argument}).\n\n{content}"


def words(role, target, env, page):
    """What a reference shows."""
    if role == "prf:ref":
        return statement(env, target)
    if role == "eq":
        return f"({number(env, target)})"
    if role == "doc":
        path = posixpath.join(posixpath.dirname(page), target)
        return env.titles[posixpath.normpath(path)].astext()
    if role == "ref" and target.startswith("ex-"):
        return exercise(env, target)
    if role == "ref":
        return env.get_domain("std").labels[target][2]
    return ", ".join(citation(role, key.strip(), env) for key in target.split(","))


def statement(env, label):
    """“Theorem 3.2”."""
    _, kind, number = numbered(env, label)
    return f"{kind} {number}"


def exercise(env, label):
    """“Exercise 3.2”."""
    pages = (numbers.get("exercise", {}) for numbers in env.toc_fignumbers.values())
    [found] = [numbers[label] for numbers in pages if label in numbers]
    return "Exercise " + ".".join(map(str, found))


def number(env, label):
    """The number of an equation, such as 3.2."""
    page, plain_number = env.get_domain("math").equations[label]
    numbers = env.toc_fignumbers.get(page, {}).get("displaymath", {})
    return ".".join(map(str, numbers.get(f"equation-{label}", [plain_number])))


def citation(role, key, env):
    """“[CM25]”, after the authors' names if these are part of the sentence."""
    domain = env.get_domain("cite")
    [label] = {c.formatted_entry.label for c in domain.citations if c.key == key}
    names = [" ".join(p.last_names) for p in domain.bibdata.data.entries[key].persons["author"]]
    authors = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
    return f"{authors} [{label}]" if role == "cite:t" else f"[{label}]"


# --- downloads and launches ------------------------------------------------------------------


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
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = plain(cell.source, app.env, pagename)
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
    app.connect("config-inited", repository)
    app.connect("html-page-context", offer_notebook, priority=400)  # before the theme's buttons
    app.connect("html-page-context", launch_buttons, priority=510)  # after the theme has begun
    return {"version": "1", "parallel_read_safe": False}
