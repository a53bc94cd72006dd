"""The built book, served on localhost and opened in a headless Chromium, on a phone and on a desk."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TOC = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for chapter in TOC["chapters"]), "search", "genindex"]
WIDTHS = [390, 1280]  # pixels: a phone, a desk
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

# Equations that a reader would have to scroll to read.
LONG_EQUATIONS = """() => [...document.querySelectorAll('.bd-article mjx-container[display=true]')].filter(e => {
    const room = e.closest('div.math').getBoundingClientRect();
    return e.querySelector('mjx-math').getBoundingClientRect().right > room.right + 1;
}).map(e => e.closest('div.math').textContent.trim().slice(0, 80))"""


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_page_loads_and_fits_the_screen(visit, name, width):
    page, wrong = visit(name, width)
    page.wait_for_function(TYPESET, timeout=20_000)
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0, "an equation has an error"
    assert page.evaluate(BROKEN_IMAGES) == []
    assert page.evaluate(TOO_WIDE) == []
    assert page.evaluate(LONG_EQUATIONS) == []
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
    is_setting = path.name == "try_it.html" and anchor.startswith("try?")  # of the live page
    return path.is_file() and (
        not anchor or is_setting or re.search(f'id="{re.escape(unquote(anchor))}"', path.read_text()) is not None
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
