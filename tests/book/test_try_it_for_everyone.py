"""The live page for everyone: by keyboard, in the dark, without motion, on a phone, in chapters, and from one host."""

from __future__ import annotations

import re

import pytest

from lemmse import LocalEquivariantMMSE
from lemmse.book import export
from tests.book.live_page import PATIENCE, SETTLED, set_state, shown

SMALL = [("notebooks/00_one_pixel", 7, 0.1, "test-4"), ("notebooks/06_patchwork", 5, 0.1, "test-0")]
# The contrast of each piece of text with its ground, by the formula of WCAG 2, where it is below the bar.
PALE = """() => {
    const numbers = color => (color.match(/[\\d.]+/g) || []).map(Number);
    const light = color => numbers(color).slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = e => { const color = getComputedStyle(e).backgroundColor;
        return e.parentElement && numbers(color)[3] === 0 ? ground(e.parentElement) : color; };
    return [...document.querySelectorAll('lemmse-try *')].filter(e => e.checkVisibility({visibilityProperty: true})
        && [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())).map(e => {
        const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
        return [(a + 0.05) / (b + 0.05), e.textContent]; }).filter(([contrast]) => contrast < 4.5); }"""


@pytest.fixture
def live(visit):
    """Open the page and wait until all that it shows is exact; whatever went wrong by the end fails the test."""
    seen = []

    def open_page(name: str = "try_it", width: int = 1280, scheme: str = "light", **options):
        page, wrong = visit(name, width, scheme, **options)
        seen.append(wrong)
        page.wait_for_function(SETTLED, timeout=PATIENCE)
        return page

    yield open_page
    assert [message for wrong in seen for message in wrong] == [], "errors, or requests that leave the host"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(live, scheme):
    page = live(scheme=scheme)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    page.locator(".try-guide button").nth(2).click()
    page.wait_for_function(SETTLED, timeout=PATIENCE)
    assert page.evaluate(PALE) == []


def test_nothing_moves_for_those_who_asked_for_that(live):
    page = live(reduced_motion="reduce")
    moving = """() => [...document.querySelectorAll('lemmse-try *')].filter(e => {
        const style = getComputedStyle(e);
        return parseFloat(style.transitionDuration) > 0 || style.animationName !== 'none'; }).length"""
    assert page.evaluate(moving) == 0


def test_the_keyboard_reaches_and_moves_everything(live):
    page = live()
    page.locator(".try-guide button").first.focus()
    reached = set()
    for _ in range(60):
        what = page.evaluate("(e => e.getAttribute('aria-label') || e.textContent)(document.activeElement)")
        reached.add(re.split(r"[.\d]", what)[0].strip() or what)
        page.keyboard.press("Tab")
    wanted = {"Noise σ", "Patch P", "Measurement", "Formula", "Trained network", "New noise", "Reset", "Copy Python"}
    assert wanted <= reached
    page.get_by_role("radio", name="Noise", exact=True).focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.querySelector('lemmse-try').state.operator") == "hole"
    page.locator(".try-guide button").nth(4).focus()
    page.keyboard.press("Enter")
    page.wait_for_function(SETTLED, timeout=PATIENCE)
    assert page.evaluate("document.querySelector('lemmse-try').state.operator") == "noise"
    page.locator(".try-grid").nth(1).focus()
    for key in ("ArrowUp", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
    page.wait_for_function(SETTLED, timeout=PATIENCE)
    assert page.locator(".try-sentence").inner_text().startswith("Row 14, column 13:")


def test_a_screen_reader_hears_the_numbers_and_what_each_thing_is(live):
    page = live()
    for region in (".try-summary", ".try-look", ".try-message"):
        assert page.locator(region).get_attribute("role") == "status"
    assert page.locator(".try-sentence").get_attribute("aria-live") == "polite"
    for group in ("Test images, and four of the training images", "Operator A"):
        assert page.get_by_role("group", name=group).count() == 1
    assert page.get_by_role("region", name="The vote for one pixel").count() == 1
    assert page.get_by_role("slider").count() == 2
    assert page.get_by_role("application", name="Formula. Arrow keys move").count() == 1
    assert page.get_by_role("img", name=re.compile(r"^Training image \d+: .* of the weight, says")).count() == 6


def test_the_buttons_copy_a_link_and_the_python(live):
    page = live(permissions=["clipboard-read", "clipboard-write"])
    set_state(page, sigma=0.3, P=7)
    for name, expected in (
        ("Copy Python", page.evaluate("document.querySelector('lemmse-try').python")),
        ("Copy link to this setting", page.url),
    ):
        page.get_by_role("button", name=name).press("Enter")
        page.locator(".try-message", has_text="copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == expected
        page.get_by_role("button", name="New noise").press("Enter") if name == "Copy link to this setting" else None
    page.wait_for_function(SETTLED, timeout=PATIENCE)


def test_every_step_fits_a_phone(live):
    page = live(width=390, has_touch=True, is_mobile=True)
    for step in range(5):
        page.locator(".try-guide button").nth(step).tap()
        page.wait_for_function(SETTLED, timeout=PATIENCE)
        assert page.evaluate("document.scrollingElement.scrollWidth") == 390, step


@pytest.mark.parametrize(("name", "P", "sigma", "image"), SMALL)
def test_chapters_hold_the_smaller_form(live, name, P, sigma, image):
    page = live(name)
    assert "#" not in page.url, "only the full page keeps its state in the address"
    assert "100 training images" in page.locator(".try-summary").inner_text()
    state = page.evaluate("(s => [s.patchSize, s.sigma, s.image])(document.querySelector('lemmse-try').state)")
    assert state == [P, sigma, image]
    found = shown(page)
    formula = LocalEquivariantMMSE(export.page_images(), export.page_physics("noise"), patch_size=P)
    assert float((found["formula"] - formula(found["y"], sigma)).abs().max()) < 1e-5
    page.get_by_role("slider", name="Noise σ").press("End")
    page.wait_for_function(SETTLED, timeout=PATIENCE)
    assert page.locator(".try-picture[data-status=computing]").count() == 0


@pytest.mark.parametrize(("name", "P", "sigma", "image"), SMALL)
def test_without_javascript_chapters_say_where_the_live_form_is(browser, site, name, P, sigma, image):
    context = browser.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(f"{site}{name}.html")
        assert "where the browser runs JavaScript" in page.locator("lemmse-try").inner_text()
        assert page.locator(".bd-article a", has_text="Try it").first.get_attribute("href") == "../try_it.html"
    finally:
        context.close()
