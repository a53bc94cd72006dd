"""The interactive figures of the built book, in a headless Chromium: their numbers, controls, and pictures."""

from __future__ import annotations

import json

import pytest

LINES, MAPS = "notebooks/01_theory_predicts_network", "notebooks/05_data_and_patch_size"
SPREAD = "notebooks/07_three_degrees"
LINE_CHARTS = [
    (LINES, "fig-controls"),
    (LINES, "fig-margins"),
    (SPREAD, "fig-memory"),
    (SPREAD, "fig-resemblance"),
    ("notebooks/08_architectures", "fig-pairs"),
]
CHARTS = [*LINE_CHARTS, (MAPS, "fig-gaps"), (MAPS, "fig-effective-map")]


def opened(visit, name: str, figure: str, width: int = 1280, **options):
    """The chart of a figure on its page, the figure, and its data."""
    page, wrong = visit(name, width, **options)
    found = page.locator(f"#{figure}")
    chart = found.locator(".chart")
    chart.locator("td").first.wait_for()
    data = json.loads(page.locator(f"script[data-figure={figure}]").inner_text())
    assert wrong == []
    return page, found, chart, data


def table(chart) -> list[list[str]]:
    """The cells of the table of a chart, row by row, its names included."""
    return [row.locator("th, td").all_inner_texts() for row in chart.locator("tbody tr").all()]


def number(text: str) -> float:
    """What a cell says, without its error."""
    return float(text.partition(" ± ")[0].replace("−", "-").replace(",", ""))


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize(("name", "figure"), CHARTS)
def test_a_chart_stands_in_place_of_the_picture(visit, name, figure, width):
    page, found, chart, data = opened(visit, name, figure, width)
    assert not found.locator("img").is_visible()
    assert chart.locator(".chart-panel svg").count() == len(data["panels"])
    assert chart.get_attribute("aria-label") == found.locator("img").get_attribute("alt")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    page.emulate_media(media="print")
    assert found.locator("img").is_visible()
    assert not chart.is_visible()


@pytest.mark.parametrize(("name", "figure"), CHARTS)
def test_without_javascript_the_picture_stands_there(browser, site, name, figure):
    context = browser.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(f"{site}{name}.html")
        assert page.locator(f"#{figure} img").is_visible()
        assert page.locator(".chart").count() == 0
    finally:
        context.close()


@pytest.mark.parametrize(("name", "figure"), LINE_CHARTS)
def test_the_table_says_what_the_lines_show_at_each_noise_level(visit, name, figure):
    _, _, chart, data = opened(visit, name, figure)
    slider = chart.get_by_role("slider", name="sigma")
    slider.press("Home")
    for x, sigma in enumerate(data["x"]["values"]):
        assert slider.get_attribute("aria-valuetext") == f"{sigma:g}"
        assert chart.get_by_role("status").inner_text().startswith(f"At sigma = {sigma:g}")
        assert chart.locator(".chart-chosen").count() == len(data["panels"])
        for line, *cells in table(chart):
            for panel, cell in enumerate(cells):
                (point,) = [
                    p
                    for p in data["points"]
                    if (p["panel"], p["x"], data["lines"][p["line"]]["name"]) == (panel, x, line)
                ]
                assert number(cell) == pytest.approx(point["value"], abs=0.051)
                assert (" ± " in cell) == (point["error"] is not None)
        slider.press("ArrowRight")


@pytest.mark.parametrize("figure", ["fig-gaps", "fig-effective-map"])
def test_the_table_says_what_the_maps_show_at_each_cell(visit, figure):
    _, _, chart, data = opened(visit, MAPS, figure)
    columns, rows = (chart.get_by_role("slider", name=name) for name in ("N", "P"))
    for column, row in ((0, 0), (len(data["columns"]["values"]) - 1, len(data["rows"]["values"]) - 1)):
        for slider, i in ((columns, column), (rows, row)):
            slider.press("Home")
            for _ in range(i):
                slider.press("ArrowRight")
        n, p = data["columns"]["values"][column], data["rows"]["values"][row]
        assert chart.get_by_role("status").inner_text() == f"At N = {n}, P = {p}"
        assert chart.locator(".chart-chosen").count() == len(data["panels"])
        for panel, (name, *cells) in enumerate(table(chart)):
            assert name == data["panels"][panel]
            (cell,) = [c for c in data["cells"] if (c["panel"], c["column"], c["row"]) == (panel, column, row)]
            for text, value in zip(cells, cell["values"], strict=True):
                assert number(text) == pytest.approx(value, rel=0.01, abs=0.051)


def test_pointing_chooses(visit):
    page, _, chart, data = opened(visit, MAPS, "fig-gaps")
    chart.scroll_into_view_if_needed()
    box = chart.locator(".chart-frame rect").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    first = data["cells"][0]
    n, p = data["columns"]["values"][first["column"]], data["rows"]["values"][first["row"]]
    chart.get_by_text(f"At N = {n}, P = {p}").wait_for()
    assert chart.locator(".chart-chosen").count() == len(data["panels"]), "the same cell is framed at every noise level"


def test_a_touch_chooses_on_a_phone(visit):
    page, _, chart, data = opened(visit, LINES, "fig-controls", 390, has_touch=True, is_mobile=True)
    for x in (0, len(data["x"]["values"]) - 1):
        rule = chart.locator(".chart-rule line").nth(x)
        chart.locator("svg").first.scroll_into_view_if_needed()
        box = rule.bounding_box()
        page.touchscreen.tap(box["x"] + 1, box["y"] + box["height"] / 2)
        chart.get_by_text(f"At sigma = {data['x']['values'][x]:g}:").wait_for()
