"""The page "Try it", live in a headless Chromium: its numbers against the library, and its controls."""

from __future__ import annotations

import re
from contextlib import redirect_stdout
from io import StringIO

import pytest

from lemmse import AffineMMSE, LocalEquivariantMMSE
from lemmse.book import export
from tests.book.conftest import HOLE
from tests.book.live_page import PATIENCE, SETTLED, distances, set_state, shown


@pytest.fixture(scope="module")
def page(browser, site):
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    opened = context.new_page()
    wrong = []
    opened.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.goto(f"{site}try_it.html")
    opened.wait_for_function(SETTLED, timeout=PATIENCE)
    yield opened
    context.close()
    assert wrong == []


@pytest.mark.parametrize("operator", ["noise", "hole", "blur"])
def test_page_computes_what_the_library_computes(page, operator):
    physics = export.page_physics(operator, HOLE)
    images = export.page_images()
    truth = export.page_images("test")[1:2]
    network = export.page_network(operator, "smoke") if operator != "hole" else None
    for P in (1, 3, 5, 7, 11):
        formula = LocalEquivariantMMSE(images, physics, patch_size=P)
        affine = AffineMMSE(images, physics, patch_size=P)
        for sigma in (0.02, 0.1, 0.3, 1):
            set_state(page, operator=operator, sigma=sigma, P=P, hidden=HOLE, seed=P)
            found = shown(page)
            y = physics.A(truth) + sigma * export.page_noise(P)
            at = f"{operator}, P {P}, sigma {sigma}"
            assert float((found["y"] - y).abs().max()) < 1e-6, at
            assert float((found["formula"] - formula(found["y"], sigma)).abs().max()) < 1e-5, at
            assert float((found["affine"] - affine(found["y"], sigma)).abs().max()) < 1e-5, at
            if network:
                assert float((found["network"] - network(found["y"], sigma)).detach().abs().max()) < 1e-5, at
            else:
                assert "network" not in found


@pytest.mark.parametrize("operator", ["noise", "hole"])
def test_vote_of_one_pixel_is_the_posterior(page, operator):
    set_state(page, operator=operator, sigma=0.1, P=7, hidden=HOLE, pixel="9,12")
    sentence = page.locator(".try-sentence").inner_text()
    y, physics = shown(page)["y"], export.page_physics(operator, HOLE)
    posterior = LocalEquivariantMMSE(export.page_images(), physics, patch_size=7).posterior(y, 0.1, top_k=6)
    count, output = re.search(r": ([\d.,]+) effective votes.* Output ([\d.]+),", sentence, re.DOTALL).groups()
    effective = float(posterior.effective_samples[0, 9, 12])
    assert float(count.replace(",", "")) == pytest.approx(effective, abs=max(0.06, 0.006 * effective))
    assert float(output) == pytest.approx(float(posterior.mean[0, 0, 9, 12]), abs=6e-4)
    names = [card.get_attribute("aria-label") for card in page.locator(".try-source").all()]
    seen = [int(re.match(r"Training image (\d+):", name)[1]) - 1 for name in names[1:]]
    assert seen[0] == int(posterior.indices[0, 9, 12, 0, 0])


@pytest.mark.parametrize("operator", ["noise", "hole", "blur"])
def test_copied_python_gives_the_numbers_shown(page, operator):
    set_state(page, operator=operator, sigma=0.15, P=3, hidden=HOLE, seed=7)
    code = page.evaluate("document.querySelector('lemmse-try').python")
    out = StringIO()
    with redirect_stdout(out):
        exec(compile(code, "copied", "exec"), {})
    printed = dict(re.findall(r"(\w+ to \w+): ([\d.]+) dB", out.getvalue()))
    names = {"formula": "Formula", "network": "Trained network"}
    numbers = distances(page)
    assert set(printed) == {"formula to truth"} | (
        {"network to truth", "network to formula"} if operator != "hole" else set()
    )
    for what, value in printed.items():
        first, other = what.split(" to ")
        assert float(value) == pytest.approx(numbers[f"{names[first]} to {other}"], abs=0.11)


def test_numbers_are_psnr_of_the_pictures_and_are_said(page):
    set_state(page, sigma=0.2)
    found, numbers = shown(page), distances(page)

    def decibel(a: str, b: str) -> float:
        return float(-10 * (found[a] - found[b]).square().mean().log10())

    assert numbers["Measurement to truth"] == pytest.approx(decibel("y", "truth"), abs=0.06)
    assert numbers["Formula to truth"] == pytest.approx(decibel("formula", "truth"), abs=0.06)
    assert numbers["Trained network to formula"] == pytest.approx(decibel("network", "formula"), abs=0.06)
    assert numbers["Best affine filter to formula"] == pytest.approx(decibel("affine", "formula"), abs=0.06)
    said = page.locator(".try-summary")
    assert said.get_attribute("role") == "status"
    assert f"Formula to truth {numbers['Formula to truth']:.1f} dB" in said.inner_text()


def test_sliders_move_by_mouse_and_by_keyboard(page):
    set_state(page, sigma=0.2, P=5)
    sigma = page.get_by_role("slider", name="Noise σ")
    sigma.focus()
    page.keyboard.press("ArrowRight")
    assert sigma.get_attribute("aria-valuetext") == "0.25"
    page.wait_for_function(SETTLED, timeout=PATIENCE)
    by_key = distances(page)
    assert "sigma=0.25" in page.url
    box = page.get_by_role("slider", name="Patch P").bounding_box()
    page.mouse.click(box["x"] + box["width"] - 2, box["y"] + box["height"] / 2)
    page.wait_for_function(SETTLED, timeout=PATIENCE)
    assert "P=15" in page.url
    assert distances(page)["Formula to truth"] != by_key["Formula to truth"]


def test_nothing_stale_is_shown_as_current_while_sigma_is_dragged(page):
    set_state(page, sigma=0.02, P=5)
    page.evaluate(
        """() => { const page = document.querySelector('lemmse-try'); window.seen = [];
        new MutationObserver(() => { const figure = page.pictures.formula.figure;
            seen.push([page.state.sigma, figure.dataset.status, page.pictures.formula.note.textContent]);
        }).observe(page, {subtree: true, childList: true, attributes: true}); }"""
    )
    box = page.get_by_role("slider", name="Noise σ").bounding_box()
    page.mouse.move(box["x"] + 4, box["y"] + box["height"] / 2)
    page.mouse.down()
    for step in range(1, 12):
        page.mouse.move(box["x"] + 4 + step * box["width"] / 12, box["y"] + box["height"] / 2)
        page.wait_for_timeout(60)
    page.mouse.up()
    page.wait_for_function(SETTLED, timeout=PATIENCE)
    seen = page.evaluate("seen")
    assert {status for _, status, _ in seen} >= {"computing", "preview", "current"}
    assert all(note == "" for _, status, note in seen if status == "computing")
    final = distances(page)["Formula to truth"]
    set_state(page, sigma=page.evaluate("document.querySelector('lemmse-try').state.sigma"), P=5)
    assert distances(page)["Formula to truth"] == pytest.approx(final, abs=0.051)


def test_page_never_blocks(page):
    set_state(page, sigma=0.2)
    longest = page.evaluate(
        """async () => { let [last, longest] = [performance.now(), 0];
        const page = document.querySelector('lemmse-try'), slider = page.querySelector('input[type=range]');
        const watch = () => { const now = performance.now(); longest = Math.max(longest, now - last); last = now; };
        for (let i = 0; i < 18; i++) {
            slider.value = i; slider.dispatchEvent(new Event('input')); watch();
            await new Promise(resolve => setTimeout(resolve, 20)); watch();
        }
        return longest; }"""
    )
    assert longest < 2000, "computing the formula on the page's own thread would take longer, many times over"


def test_hole_is_painted_by_mouse_and_by_keyboard(page):
    set_state(page, operator="hole", sigma=0.1)
    measurement = page.locator(".try-grid").first
    box = measurement.bounding_box()
    side = box["width"] / 28
    page.mouse.move(box["x"] + 5.5 * side, box["y"] + 5.5 * side)
    page.mouse.down()
    page.mouse.move(box["x"] + 9.5 * side, box["y"] + 5.5 * side, steps=4)
    page.mouse.up()
    state = "document.querySelector('lemmse-try').state"
    assert page.evaluate(f"{state}.hidden.reduce((a, b) => a + b)") == 12
    measurement.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", " "):
        page.keyboard.press(key)
    assert page.evaluate(f"[{state}.row, {state}.col]") == [8, 9]
    assert page.evaluate(f"{state}.hidden.reduce((a, b) => a + b)") == 16
    page.wait_for_function(SETTLED, timeout=PATIENCE)
    assert "hidden=" in page.url
    page.get_by_role("button", name="Clear the hole").click()
    assert page.evaluate(f"{state}.hidden.includes(1)") is False


def test_a_drawing_by_touch_on_a_phone(browser, site):
    context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    try:
        phone = context.new_page()
        phone.goto(f"{site}try_it.html")
        phone.wait_for_function(SETTLED, timeout=PATIENCE)
        phone.get_by_role("radio", name="Draw").tap()
        phone.get_by_role("radio", name="black").tap()
        truth = phone.locator(".try-picture:has(b:text-is('Truth')) .try-grid")
        truth.scroll_into_view_if_needed()
        truth.tap(position={"x": 40, "y": 40})
        pixels = phone.evaluate("[...document.querySelector('lemmse-try').state.pixels].filter(v => v === 0).length")
        assert pixels == 4
        phone.wait_for_function(SETTLED, timeout=PATIENCE)
        assert "image=drawing" in phone.url
        formula = phone.locator(".try-picture:has(b:text-is('Formula')) .try-grid")
        formula.tap(position={"x": 10, "y": 10})
        phone.wait_for_function(SETTLED, timeout=PATIENCE)
        assert re.match(r"Row [1-3], column [1-3]:", phone.locator(".try-sentence").inner_text())
        assert phone.evaluate("document.scrollingElement.scrollWidth") == 390
    finally:
        context.close()


def test_a_picture_of_the_readers_own(page, tmp_path):
    from PIL import Image

    picture = tmp_path / "own.png"
    Image.linear_gradient("L").resize((280, 560)).save(picture)
    set_state(page)
    page.locator("input[type=file]").set_input_files(picture)
    page.wait_for_function("document.querySelector('lemmse-try').state.image === 'picture'")
    page.wait_for_function(SETTLED, timeout=PATIENCE)
    truth = shown(page)["truth"][0, 0]
    assert float(truth[0].mean()) == pytest.approx(0.26, abs=0.02)
    assert float(truth[-1].mean()) == pytest.approx(0.74, abs=0.02)
    bad = tmp_path / "bad.png"
    bad.write_text("no picture", encoding="utf-8")
    page.locator("input[type=file]").set_input_files(bad)
    page.locator(".try-message", has_text="not an image that the browser can read").wait_for()


def test_reset_and_a_link(page):
    set_state(page, sigma=0.7, P=9, image="training-2")
    linked = page.url
    page.get_by_role("button", name="Reset").click()
    page.wait_for_function(SETTLED, timeout=PATIENCE)
    assert "#" not in page.url
    assert page.evaluate("document.querySelector('lemmse-try').state.sigma") == 0.2
    page.goto(linked)
    page.reload()
    page.wait_for_function(SETTLED, timeout=PATIENCE)
    state = page.evaluate("(s => [s.sigma, s.patchSize, s.image])(document.querySelector('lemmse-try').state)")
    assert state == [0.7, 9, "training-2"]


def test_every_control_has_a_name(page):
    set_state(page)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('lemmse-try :is(button, input, [role=application], [role=img])')].filter(
        e => !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.[0]?.textContent.trim()))
        .map(e => e.outerHTML.slice(0, 80))"""
    )
    assert nameless == []


def test_without_javascript_a_still_picture_and_a_sentence_stand_there(browser, site):
    context = browser.new_context(java_script_enabled=False)
    try:
        still = context.new_page()
        still.goto(f"{site}try_it.html")
        assert still.locator("lemmse-try img").is_visible()
        assert "needs JavaScript" in still.locator("lemmse-try").inner_text()
    finally:
        context.close()


def test_a_smaller_form_computes_the_same_and_leads_to_the_page(browser, site):
    context = browser.new_context(viewport={"width": 390, "height": 800})
    try:
        small = context.new_page()
        small.goto(f"{site}index.html")
        small.wait_for_function(SETTLED, timeout=PATIENCE)
        assert "#" not in small.url, "only the full page keeps its state in the address"
        found = shown(small)
        formula = LocalEquivariantMMSE(export.page_images(), export.page_physics("noise"), patch_size=5)
        assert float((found["formula"] - formula(found["y"], 0.2)).abs().max()) < 1e-5
        small.get_by_role("slider", name="Noise σ").first.press("Home")
        small.get_by_role("link", name="Open this in Try it").first.click()
        small.wait_for_function(SETTLED, timeout=PATIENCE)
        assert small.evaluate("document.querySelector('lemmse-try').state.sigma") == 0.02
    finally:
        context.close()
