"""The built book, served on localhost and opened in a headless Chromium, on a phone and on a desk.

The browser is the one that `LEMMSE_BROWSER` names (it must then work), else Playwright's own (`playwright install
chromium`), else a Chromium or Chrome on the PATH. Where there is none, these tests are skipped.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
import yaml

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ROOT = Path(__file__).parents[2]
TOC = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for chapter in TOC["chapters"]), "search", "genindex"]
WIDTHS = [390, 1280]  # pixels: a phone, a desk
FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
TYPESET = "() => [...document.querySelectorAll('.math')].every(e => e.querySelector('mjx-container'))"
BROKEN_IMAGES = """async () => (await Promise.all([...document.images].map(
    image => image.decode().then(() => null, () => image.src || image.outerHTML)))).filter(Boolean)"""
# What sticks out of the screen, unless the reader can scroll to it inside the page.
TOO_WIDE = """() => {
    const scrolls = e => e && (/auto|scroll/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
    const wide = [...document.querySelectorAll('.bd-article *')].filter(e => {
        const box = e.getBoundingClientRect();
        return box.width > 1 && box.right > innerWidth + 1 && !e.closest('mjx-assistive-mml') && !scrolls(e);
    });
    const page = document.scrollingElement.scrollWidth;
    return [...(page > innerWidth ? [`page of ${page} pixels`] : []), ...wide.map(e => e.outerHTML.slice(0, 120))];
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def site(html):
    """The address of the book on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(html))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser(site):  # after the book is built: Playwright's event loop and the one that runs notebooks do not mix
    named = os.environ.get("LEMMSE_BROWSER")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    paths = [named] if named else [None, *filter(None, map(shutil.which, names))]
    errors = []
    with sync_api.sync_playwright() as playwright:
        for path in paths:
            try:
                found = playwright.chromium.launch(executable_path=path, args=FLAGS)
            except sync_api.Error as error:
                errors.append(error)
            else:
                yield found
                found.close()
                return
    if named:
        raise errors[0]
    pytest.skip(f"no browser: {errors[0].message.splitlines()[0]}")


@pytest.fixture
def visit(browser, site):
    """Open a page of the book at a width; returns it with all that went wrong while it loaded."""
    contexts = []

    def open_page(name: str, width: int, scheme: str = "light"):
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme))
        page, wrong = contexts[-1].new_page(), []
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("requestfailed", lambda request: wrong.append(f"{request.url}: {request.failure}"))
        page.on("response", lambda r: wrong.append(f"{r.url}: status {r.status}") if r.status >= 400 else None)
        page.on("request", lambda r: None if is_here(r.url, site) else wrong.append(f"asks another host: {r.url}"))
        page.goto(f"{site}{name}.html", wait_until="networkidle")
        return page, wrong

    yield open_page
    for context in contexts:
        context.close()


def is_here(url: str, site: str) -> bool:
    return url.startswith(site) or urlsplit(url).scheme in ("data", "blob")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_page_loads_and_fits_the_screen(visit, name, width):
    page, wrong = visit(name, width)
    page.wait_for_function(TYPESET, timeout=20_000)
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0, "an equation has an error"
    assert page.evaluate(BROKEN_IMAGES) == []
    assert page.evaluate(TOO_WIDE) == []
    assert wrong == []


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(visit, html, site, name):
    inside = links(visit(name, 1280)[0], site)
    assert [href for href in inside if not leads_somewhere(href, html)] == []
    assert len(inside) >= len(PAGES) - 2


def links(page, site: str) -> set[str]:
    """The addresses inside the book that a page links to."""
    hrefs = page.eval_on_selector_all("a[href]", "links => links.map(link => link.href)")
    return {href for href in hrefs if href.startswith(site)}


def leads_somewhere(href: str, html: Path) -> bool:
    """Whether a link inside the book has its file, and its anchor there."""
    address, anchor = urldefrag(href)
    path = html / (unquote(urlsplit(address).path).lstrip("/") or "index.html")
    return path.is_file() and (
        not anchor or re.search(f'id="{re.escape(unquote(anchor))}"', path.read_text()) is not None
    )


def test_there_are_equations_and_images(visit):
    theory, _ = visit("theory", 1280)
    assert theory.locator("mjx-container").count() > 10
    assert theory.locator(".bd-article img").count() >= 1


def test_figures_keep_a_white_ground_in_dark_mode(visit):
    page, wrong = visit("theory", 390, "dark")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    grounds = page.eval_on_selector_all(
        ".bd-article img", "images => images.map(image => getComputedStyle(image).backgroundColor)"
    )
    assert set(grounds) == {"rgb(255, 255, 255)"}
    assert wrong == []


def test_a_bad_page_is_found_out(visit, html, site):
    bad = html / "bad.html"
    bad.write_text("""<link rel="icon" href="data:,"><article class="bd-article"><div style="width: 2000px">wide</div>
        <span class="math">x^2</span><img src="none.png"><a href="none.html">a</a><a href="#none">b</a></article>
        <script src="http://example.org/"></script><script>console.error("an error")</script>""")
    try:
        page, wrong = visit("bad", 390)
        assert not page.evaluate(TYPESET)
        assert page.evaluate(BROKEN_IMAGES) == [f"{site}none.png"]
        assert len(page.evaluate(TOO_WIDE)) == 2
        assert [href for href in links(page, site) if leads_somewhere(href, html)] == []
        for what in ("none.png: status 404", "asks another host: http://example.org/", "an error"):
            assert any(what in message for message in wrong), wrong
    finally:
        bad.unlink()
