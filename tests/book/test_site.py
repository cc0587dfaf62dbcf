"""The built site, as a reader meets it: every page in a real browser, every link, every download.

`faults` opens a page, tries it and says what is wrong with it, in sentences. `test_page` wants
none on any page of the book; `test_faults_are_found` wants them all on a page made of faults.
"""

import functools
import importlib
import pkgutil
import re
import threading
from contextlib import contextmanager, suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import nbformat
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from browser import find
from bs4 import BeautifulSoup
from playwright.sync_api import TimeoutError, expect, sync_playwright

import zl

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build" / "html"
DOCUMENTS = re.findall(r"(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text())
CHAPTERS = [d for d in DOCUMENTS if "{code-cell}" in (ROOT / f"{d}.md").read_text()]
PAGES = [f"{document}.html" for document in [*DOCUMENTS, "search"]]

PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
HEAVY = 1_500_000  # bytes on first load, MathJax apart, which all pages share
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # there is no other host
]

# --- a server and a browser ------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, keeps connections open, logs nothing."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass


@contextmanager
def served(folder):
    """The address at which a folder is served on this machine."""
    handler = functools.partial(Quiet, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def site():
    """The folder of the built book."""
    if not HTML.is_dir():
        pytest.fail("There is no built book to read: run make book first.")
    return HTML


@pytest.fixture(scope="module")
def address(site):
    """The address of the built book."""
    with served(site) as address:
        yield address


@pytest.fixture(scope="module")
def reader():
    """One browser for all pages, closed after them: its event loop would disturb other tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=FLAGS)
        yield browser.new_context(viewport=PHONE)
        browser.close()


def opened(reader, url):
    """A page, its formulas set, all that was folded unfolded; and its errors, as they come."""
    page, errors, bytes_of = reader.new_page(), [], {}
    ours = ("{0.scheme}://{0.netloc}/".format(urlsplit(url)), "data:", "blob:")

    def on_request(request):
        if not request.url.startswith(ours):
            errors.append(f"asks another host: {request.url}")

    def on_response(response):
        if response.status >= 400:
            errors.append(f"gets a {response.status}: {response.url}")
        if "/mathjax/" not in response.url:
            bytes_of[response.url] = int(response.headers.get("content-length", 0))

    def on_console(message):
        if message.type == "error":
            errors.append(f"console error: {message.text} ({message.location['url']})")

    page.on("request", on_request)
    page.on("response", on_response)
    page.on("console", on_console)
    page.on("requestfailed", lambda request: errors.append(f"cannot get {request.url}"))
    page.on("pageerror", lambda error: errors.append(f"script error: {error}"))
    page.goto(url)
    if (weight := sum(bytes_of.values())) > HEAVY:
        errors.append(f"weighs {weight} bytes on first load")
    page.add_style_tag(content="* { transition: none !important; animation: none !important; }")
    page.evaluate(
        """async () => {
            await window.MathJax?.startup?.promise;
            document.querySelectorAll("details").forEach(e => e.open = true);
            document.querySelectorAll(".toggle-hidden > .admonition-title").forEach(e => e.click());
        }"""
    )
    return page, errors


# --- what can be wrong with a page -----------------------------------------------------------


def faults(reader, url):
    """All that is wrong with a page: on a phone in the dark, then on a desk by daylight."""
    page, errors = opened(reader, url)
    try:
        page.emulate_media(color_scheme="dark")
        found = mathematics(page) + pictures(page) + too_wide(page) + barriers(page, "dark")
        page.set_viewport_size(DESK)
        page.emulate_media(color_scheme="light")
        return found + barriers(page, "light") + search_fields(page) + errors
    finally:
        page.close()


def mathematics(page):
    """Formulas that MathJax did not set, could not set, or never saw."""
    return page.evaluate(
        r"""() => {
            const found = [];
            for (const e of document.querySelectorAll(".math"))
                if (!e.querySelector("mjx-container"))
                    found.push(`formula not set: ${e.textContent}`);
            for (const e of document.querySelectorAll("mjx-merror, [data-mjx-error]"))
                found.push(`formula with an error: ${e.dataset.mjxError ?? e.textContent}`);
            for (const e of document.querySelectorAll("mjx-container mtext"))
                if (e.textContent.startsWith("\\"))
                    found.push(`formula with an unknown command: ${e.textContent}`);
            const code = "code, pre, script, style, .math, mjx-container";
            const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
            for (let text; (text = texts.nextNode());)
                if (/\\[(\[]|\\begin\{|\$/.test(text.data) && !text.parentElement.closest(code))
                    found.push(`raw TeX: ${text.data.trim()}`);
            if (document.title.includes("\\")) found.push(`raw TeX: ${document.title}`);
            return found;
        }"""
    )


def pictures(page):
    """Pictures that do not load, and pictures that say nothing to who cannot see them."""
    images = page.locator("article img").evaluate_all(
        """images => Promise.all(images.map(async e => {
            e.loading = "eager";
            await e.decode().catch(() => {});
            return [e.src, e.alt, e.naturalWidth > 0];
        }))"""
    )
    broken = [f"picture does not load: {src}" for src, _, loads in images if not loads]
    mute = [
        f"picture without a description: {src} ({alt!r})"
        for src, alt, _ in images
        if len(alt.strip()) < 20 or "/" in alt or ".png" in alt
    ]
    return broken + mute


def too_wide(page):
    """What makes a page scroll sideways, or is cut off where nobody can scroll to it."""
    return page.evaluate(
        """() => {
            const width = document.documentElement.clientWidth;
            const escapes = e => {
                if (e.getBoundingClientRect().right <= width + 1) return false;
                for (let box = e.parentElement; box.tagName != "ARTICLE"; box = box.parentElement) {
                    const overflow = getComputedStyle(box).overflowX;
                    if (overflow != "visible") return !["auto", "scroll"].includes(overflow);
                }
                return true;
            };
            const found = [...document.querySelectorAll("article *:not(mjx-container *)")]
                .filter(escapes)
                .map(e => `sticks out: <${e.tagName.toLowerCase()}> ${e.textContent.slice(0, 60)}`);
            if (document.scrollingElement.scrollWidth > width)
                found.push(`${document.scrollingElement.scrollWidth} pixels wide on a phone`);
            return found;
        }"""
    )


def barriers(page, scheme):
    """Serious and critical violations of axe's rules of accessibility, in one colour scheme.

    Axe takes its time over thousands of elements that are all alike. So formulas are first
    replaced by their text, and of each kind of token in each kind of listing only one stays.
    """
    try:
        expect(page.locator("html")).to_have_attribute("data-theme", scheme)
    except AssertionError:
        return [f"does not turn {scheme} for a reader who wants it {scheme}"]
    page.evaluate(
        """() => {
            document.querySelectorAll("span.math").forEach(e => e.replaceWith(e.textContent));
            document.querySelectorAll(".math > *").forEach(e => e.replaceChildren(e.textContent));
            const seen = new Set();
            for (const e of document.querySelectorAll("pre > span")) {
                const kind = `${e.closest("div:not(.highlight)").className} ${e.className}`;
                seen.has(kind) ? e.replaceWith(e.textContent) : seen.add(kind);
            }
            document.body.normalize();
        }"""
    )
    with suppress(TimeoutError):  # the theme gives tab stops a moment after the last change
        page.wait_for_function(
            """() => [...document.querySelectorAll("pre")].every(e => e.tabIndex == 0
                || e.scrollWidth <= e.clientWidth && e.scrollHeight <= e.clientHeight)""",
            timeout=5_000,
        )
    # Without `preload` axe does not fetch the style sheets once more, from wrong addresses.
    options = {"resultTypes": ["violations"], "preload": False}
    return [
        f"{scheme}: {rule['help']} ({rule['id']}): {node['html'][:200]}"
        for rule in Axe().run(page, options=options).response["violations"]
        for node in rule["nodes"]
        if rule["impact"] in ("serious", "critical")
    ]


def search_fields(page):
    """Other than one field after a click on the search button. (Some themes draw three.)"""
    page.locator(".search-button__button:visible").first.click()
    fields = page.locator("input[type=search]:visible").count()
    return [] if fields == 1 else [f"{fields} search fields"]


# --- the book --------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_page(reader, address, page):
    found = faults(reader, address + page)
    assert not found, "\n".join(found)


def test_search_finds_a_theorem(reader, address, site):
    page, title = next((page, title) for page in PAGES for title in theorem_titles(site / page))
    tab, errors = opened(reader, address + PAGES[0])
    tab.set_viewport_size(DESK)
    tab.locator(".search-button__button:visible").first.click()
    tab.keyboard.type(max(re.findall("[A-Za-z]+", title), key=len))
    tab.keyboard.press("Enter")
    expect(tab.locator(f'#search-results a[href*="{page}"]').first).to_be_visible(timeout=20_000)
    assert errors == []
    tab.close()


@pytest.mark.parametrize(
    "page, link",
    [
        ("book/manifold/hessian.html", "[href$='positive_sector.html#thm-family']"),
        ("book/appendix/ledger.html", ".ledger-title [href$='#thm-family']"),  # has no formula
        ("book/appendix/ledger.html", "svg [href$='#thm-family']"),
    ],
)
def test_a_link_to_a_statement_shows_it(reader, address, page, link):
    tab, errors = opened(reader, address + page)
    tab.set_viewport_size(DESK)
    link, preview = tab.locator(f"article {link}").first, tab.locator(".preview")
    link.hover()
    expect(preview).to_contain_text("Theorem 5.4 (The family of minimizers)")
    expect(preview.locator("mjx-container").first).to_be_visible(timeout=20_000)
    assert mathematics(tab) == [] and preview.locator("[id], a").count() == 0
    preview.hover()
    expect(preview).to_be_visible()
    tab.keyboard.press("Escape")
    expect(preview).to_have_count(0)
    link.focus()
    expect(preview).to_be_visible()
    tab.locator("article h1").hover()
    expect(preview).to_have_count(0)
    assert errors == []
    tab.close()


def test_every_statement_has_a_preview(site):
    statements = yaml.safe_load((ROOT / "book/statements.yml").read_text())
    scripts = {file.stem: file.read_text() for file in (site / "_static/previews").glob("*.js")}
    assert {s["id"] for s in statements} <= scripts.keys()
    assert all(scripts[s["id"]].endswith('</div>";\n') for s in statements)


def test_the_book_can_be_read_from_a_folder(reader, site):
    """As after unpacking `make zip`: no server, no network."""
    tab, errors = opened(reader, (site / "book/construction/pull_back.html").as_uri())
    assert mathematics(tab) == [] and pictures(tab) == []
    tab.set_viewport_size(DESK)
    tab.locator("article a[href*='#thm-']").first.focus()
    expect(tab.locator(".preview mjx-container").first).to_be_visible(timeout=20_000)
    tab.locator(".search-button__button:visible").first.click()
    tab.keyboard.type("Jacobian")
    tab.keyboard.press("Enter")
    expect(tab.locator("#search-results a").first).to_be_visible(timeout=20_000)
    tab.wait_for_load_state("networkidle")  # an excerpt would have been asked for by now
    assert errors == []
    tab.close()


def test_what_is_folded_opens_with_the_keyboard(reader, address):
    tab = reader.new_page()
    tab.goto(address + "book/construction/pull_back.html")
    solution = tab.locator(".solution.toggle-hidden").first
    solution.locator("button.toggle-button").focus()
    tab.keyboard.press("Enter")
    cell = tab.locator("article details:not([open]) summary").first
    cell.focus()
    tab.keyboard.press("Enter")
    expect(tab.locator(".solution:not(.toggle-hidden)").first).to_be_visible()
    expect(tab.locator("article details[open] pre").first).to_be_visible()
    tab.close()


def test_each_page_leads_to_the_one_before_and_the_one_after(site):
    for before, after in pairwise(DOCUMENTS):
        [forth] = soup(site / f"{before}.html").select(".prev-next-footer a.right-next")
        [back] = soup(site / f"{after}.html").select(".prev-next-footer a.left-prev")
        assert (site / before).parent.joinpath(forth["href"]).resolve() == site / f"{after}.html"
        assert (site / after).parent.joinpath(back["href"]).resolve() == site / f"{before}.html"


def test_the_api_has_every_public_name(site):
    page = BeautifulSoup((site / "book/appendix/api.html").read_text(), "html.parser")
    shown = {e["id"].rsplit(".", 1)[-1] for e in page.select("dt.sig[id]")}
    modules = [importlib.import_module(m.name) for m in pkgutil.iter_modules(zl.__path__, "zl.")]
    names = {name for module in modules for name in getattr(module, "__all__", [])}
    assert len(names) > 50 and names <= shown


def test_the_drawing_has_every_statement_and_every_use(site):
    drawing = soup(site / "book/appendix/ledger.html").select_one("svg.rests-on")
    statements = yaml.safe_load((ROOT / "book/statements.yml").read_text())
    labels = [urlsplit(link["href"]).fragment for link in drawing.select("a")]
    assert [label for label in labels if label] == [s["id"] for s in statements]
    assert len(drawing.select("path")) == sum(len(s["uses"]) for s in statements)


def theorem_titles(file):
    """The titles of the theorems, lemmas and propositions of a page, without their formulas."""
    selector = ":is(.theorem, .lemma, .proposition) > .admonition-title"
    for title in soup(file).select(selector):
        words = [t for t in title.find_all(string=True) if not t.find_parent(class_="math")]
        if named := re.search(r"\((.+)\)", " ".join(words), re.DOTALL):
            yield named[1]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_notebook_can_be_downloaded(site, chapter):
    page = soup(site / f"{chapter}.html")
    links = page.select(".dropdown-download-buttons a[href$='.ipynb']")
    assert len(links) == 1, "the download button offers no notebook, or more than one"
    notebook = nbformat.read(site / urljoin(f"{chapter}.html", links[0]["href"]), as_version=4)
    nbformat.validate(notebook)
    outputs = [cell for cell in notebook.cells if cell.get("outputs")]
    assert len(outputs) >= len(page.select(".cell_output")), "the page shows more than the notebook"
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    myst = r"(?m)^:::.*|^\(.*\)=$|\{[a-z:]+\}`.*?`|\$\$ *\(|\]\([a-z]+-[a-z-]+\)"
    assert re.findall(myst, text) == []
    numbers = [caption.get_text(" ", strip=True) for caption in page.select(".caption-number")]
    assert all(f"**{number}" in text for number in numbers)


def test_links_lead_somewhere(site):
    found = broken_links(site)
    assert not found, "\n".join(found)


def broken_links(site):
    """Links within a site to a file or an anchor that is not there, or is there twice."""
    found = []
    for file in sorted(site.rglob("*.html")):
        if "_static" in file.parts:
            continue
        for link in soup(file).select("a[href]"):
            to = urlsplit(link["href"])
            target = (file.parent / unquote(to.path)).resolve() if to.path else file
            if to.scheme or to.netloc:
                continue
            if not target.is_file():
                found.append(f"{file.relative_to(site)} links to {link['href']}: no such file")
            elif to.fragment and (n := ids(target).count(unquote(to.fragment))) != 1:
                found.append(f"{file.relative_to(site)} links to {link['href']}: {n} such anchors")
    return found


@functools.cache
def soup(file):
    """A page of the site, parsed."""
    return BeautifulSoup(file.read_bytes(), "html.parser")


@functools.cache
def ids(file):
    """All ids of a page, as often as they occur."""
    return [element["id"] for element in soup(file).select("[id]")]


# --- the tests of these tests ----------------------------------------------------------------

SOUND = """<!doctype html>
<html lang="en" data-theme="light">
<title>A sound page</title>
<link rel="icon" href="data:,">
<script>
let turn = scheme => document.documentElement.dataset.theme = scheme;
let show = dark => turn(dark ? "dark" : "light");
matchMedia("(prefers-color-scheme: dark)").onchange = event => show(event.matches);
</script>
<main>
<h1>A sound page</h1>
<button class="search-button__button">Search</button>
<input type="search" aria-label="Search">
<article><p>In the beginning was the word. <code>$PATH</code></p><!-- here --></article>
</main>
</html>
"""
BAD = {
    "asks another host: https://example.org/x.js": "<script src=https://example.org/x.js></script>",
    "gets a 404": '<script src="nowhere.js"></script>',
    "console error: oh": '<script>console.error("oh")</script>',
    "script error: oh": '<script>throw Error("oh")</script>',
    "formula not set: x": '<span class="math">x</span>',
    "formula with an error: x": "<mjx-merror>x</mjx-merror>",
    r"formula with an unknown command: \oh": r"<mjx-container><mtext>\oh</mtext></mjx-container>",
    "raw TeX: a $$x$$": "<p>a $$x$$</p>",
    r"raw TeX: \(x\)": r"<p>\(x\)</p>",
    r"raw TeX: \begin{align}": r"<p>\begin{align}</p>",
    "picture does not load": '<img src="data:image/png;base64,x" alt="Two lines that cross at 1">',
    "picture without a description": '<img src="data:," alt="../_images/0123456789abcdef.png">',
    "sticks out: <p> Wide": '<p style="width: 500px; margin-left: -8px">Wide</p>',
    "500 pixels wide on a phone": "",  # the same paragraph
    "sticks out: <p> Cut": '<div style="overflow: hidden"><p style="width: 500px">Cut</p></div>',
    "dark: Elements must meet minimum color contrast": '<p style="color: #ddd">Pale</p>',
    "dark: Images must have alternative text": '<img src="data:,">',
    "does not turn light": "<script>show = dark => dark && turn('dark')</script>",
    "weighs 16": f"<!--{'x' * 1_600_000}-->",
    "2 search fields": '<input type="search" aria-label="Search, too">',
}


def bad_site(folder, html):
    """A site of one page, sound but for a piece of HTML."""
    (folder / "page.html").write_text(SOUND.replace("<!-- here -->", html))
    return folder


def test_sound_page_has_no_faults(reader, tmp_path):
    with served(bad_site(tmp_path, "")) as address:
        assert faults(reader, address + "page.html") == []


def test_faults_are_found(reader, tmp_path):
    with served(bad_site(tmp_path, "\n".join(BAD.values()))) as address:
        found = faults(reader, address + "page.html")
    assert [bad for bad in BAD if not any(fault.startswith(bad) for fault in found)] == []


def test_broken_links_are_found(tmp_path):
    html = """<a href="page.html#here" id="here">1</a> <a href="nowhere.html">2</a>
        <a href="#nowhere">3</a> <a href="#twice">4</a> <b id="twice"></b> <b id="twice"></b>"""
    assert broken_links(bad_site(tmp_path, html)) == [
        "page.html links to nowhere.html: no such file",
        "page.html links to #nowhere: 0 such anchors",
        "page.html links to #twice: 2 such anchors",
    ]
