"""The data of the interactive figures: the numbers of the frames, in places that the figures name."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest

from lemmse.analysis.evaluate import FORMULA
from lemmse.figures import STYLES, control_chart, map_chart, margin_chart, spread_chart


def distances() -> pd.DataFrame:
    """PSNR that tells its place: 100 for the split, 10 for the other, 1 for the network, and the noise level."""
    rows = [
        {"split": split, "one": one, "other": other, "sigma": sigma, "psnr": 100 * s + 10 * o + n + sigma}
        for s, split in enumerate(("training", "test"), 1)
        for n, one in enumerate(("UNet", "ResNet", "affine filter"))
        for o, other in enumerate((FORMULA, "affine filter"))
        for sigma in (0.4, 0.1)
        if one != other
    ]
    return pd.DataFrame(rows)


def test_lines_are_means_over_the_networks_in_order_of_sigma():
    chart = control_chart(distances(), ["UNet", "ResNet"], ["affine filter"])
    assert chart["panels"] == ["training images", "test images"]
    assert chart["x"]["values"] == [0.1, 0.4]
    assert [line["name"] for line in chart["lines"]] == ["affine filter", FORMULA]
    assert chart["lines"][1]["color"] == STYLES[FORMULA]["color"]
    assert chart["lines"][1]["width"] > chart["lines"][0]["width"]
    assert len(chart["points"]) == 8
    for point in chart["points"]:
        other = {0: 10, 1: 0}[point["line"]]
        assert point["value"] == pytest.approx(100 * (point["panel"] + 1) + other + 0.5 + (0.1, 0.4)[point["x"]])
        assert point["error"] is None


def test_margins_carry_their_errors():
    table = pd.DataFrame(
        {"split": "test", "network": ["UNet", "UNet 2"], "sigma": 0.1, "margin": [1, -2], "error": 0.5}
    )
    chart = margin_chart(table)
    assert chart["y"]["level"] == 0
    assert [(point["value"], point["error"]) for point in chart["points"]] == [(1, 0.5), (-2, 0.5)]
    assert [line["hollow"] for line in chart["lines"]] == [False, True]


def test_spreads_are_standard_deviations_and_what_is_not_finite_is_left_out():
    rows = {"split": "test", "kind": ["seed", "seed", "truth"], "sigma": 0.1, "psnr": [30.0, 34.0, math.inf]}
    chart = spread_chart(pd.DataFrame(rows), "psnr", "kind", label="PSNR (dB)")
    assert [(p["line"], p["value"], p["error"]) for p in chart["points"]] == [(0, 32.0, 2.0)]
    assert [line["name"] for line in chart["lines"]] == ["seed", "truth"]


def test_maps_hold_each_cell_once_with_its_details():
    rows = [
        {"sigma": sigma, "count": count, "patch_size": size, "gap": sigma * count + size, "error": 1 / size}
        for sigma in (0.5, 0.1)
        for count in (20, 10)
        for size in (3, 5, 7)
    ]
    frame = pd.DataFrame(rows)
    chart = map_chart(frame, "gap", "gap (dB)", darkest=9, border=6, details={"error": "standard error (dB)"})
    assert chart["columns"]["values"] == [10, 20]
    assert chart["rows"]["values"] == [3, 5, 7]
    assert chart["labels"] == ["gap (dB)", "standard error (dB)"]
    assert chart["shade"] == {"log": False, "low": frame.gap.min(), "high": 9.0}
    found = {(c["panel"], c["column"], c["row"]): c["values"] for c in chart["cells"]}
    assert len(found) == 12
    for (panel, column, row), (gap, error) in found.items():
        sigma, count, size = (0.1, 0.5)[panel], (10, 20)[column], (3, 5, 7)[row]
        assert gap == pytest.approx(sigma * count + size)
        assert error == pytest.approx(1 / size)


def test_a_chart_is_json_even_where_a_number_is_not_finite():
    frame = pd.DataFrame({"sigma": [0.1], "count": [10], "patch_size": [3], "gap": [1.0], "error": [math.inf]})
    chart = map_chart(frame, "gap", "gap (dB)", details={"error": "standard error (dB)"})
    assert json.loads(json.dumps(chart, allow_nan=False)) == chart
    assert chart["cells"][0]["values"] == [1.0, None]
