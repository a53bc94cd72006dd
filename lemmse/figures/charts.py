"""Interactive forms of figures: what a reader of the book moves in place of a still picture.

A chart is plain data. The modules in `book/_static/charts` draw it with Observable Plot where the browser runs
JavaScript; the figure of the same name in `lines` or `maps` stands there otherwise, and on paper. Names, colors,
markers and dashes are those of the figure, so that both read alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lemmse.analysis.evaluate import FORMULA
from lemmse.figures.maps import COUNT, PATCH, short
from lemmse.figures.style import control_styles, style

if TYPE_CHECKING:
    import pandas as pd

Chart = dict[str, Any]  # what `show_figure` takes; JSON


def control_chart(frame: pd.DataFrame, networks: Iterable[str], controls: Iterable[str]) -> Chart:
    """`control_lines`, to move: the reader chooses a noise level and reads the distance of each line there.

    Args:
        frame: of `evaluate.compare`.
        networks: their names; the lines are means over the networks and over the images.
        controls: their names.
    """
    rows = frame[frame["one"].isin(list(networks))]
    looks = control_styles(controls)
    looks[FORMULA] = looks[FORMULA] | {"linewidth": 3.0}
    return _line_chart(rows, "psnr", "other", looks, "PSNR to the networks (dB)")


def margin_chart(table: pd.DataFrame) -> Chart:
    """`margin_lines`, to move: the reader chooses a noise level and reads each margin and its standard error there.

    Args:
        table: of `margins.margins`.
    """
    looks = {name: style(name, turn) for turn, name in enumerate(dict.fromkeys(table["network"]))}
    label = "margin over the nearest control (dB)"
    return _line_chart(table, "margin", "network", looks, label, error="error", level=0)


def spread_chart(frame: pd.DataFrame, value: str, by: str, *, label: str) -> Chart:
    """`psnr_lines` with a panel for each split, to move: the reader reads each mean and standard deviation.

    Args:
        frame: columns split, sigma, `by` and `value`.
        value: the column that is drawn.
        by: what the lines are told apart by.
        label: of the value, with its unit.
    """
    groups = frame.groupby(["split", by, "sigma"], sort=False)[value]
    table = groups.mean().to_frame(value).assign(error=groups.std(ddof=0)).reset_index()
    looks = {name: style(name, turn) for turn, name in enumerate(dict.fromkeys(frame[by]))}
    return _line_chart(table, value, by, looks, label, error="error")


def map_chart(
    frame: pd.DataFrame,
    value: str,
    label: str,
    *,
    log: bool = False,
    darkest: float | None = None,
    border: float | None = None,
    details: Mapping[str, str] | None = None,
) -> Chart:
    """`cell_maps`, to move: the reader chooses a cell (N, P) and reads its values at every noise level.

    Args:
        frame: columns sigma, count, patch_size, `value`, and those of the details.
        value: the column that is drawn.
        label: of the value, with its unit.
        log: whether the shade is logarithmic.
        darkest: the value from which on shades are the same, default the highest.
        border: a level; numbers above it are bold.
        details: more columns to read at a cell, with their labels.
    """
    sigmas, counts, sizes = (sorted(set(frame[name])) for name in ("sigma", "count", "patch_size"))
    columns = {value: label, **(details or {})}
    cells = [
        {
            "panel": sigmas.index(row["sigma"]),
            "column": counts.index(row["count"]),
            "row": sizes.index(row["patch_size"]),
            "text": short(row[value]),
            "values": [_finite(row[name]) for name in columns],
        }
        for row in frame.to_dict("records")
    ]
    return {
        "kind": "maps",
        "panels": [f"sigma = {sigma:g}" for sigma in sigmas],
        "columns": {"label": COUNT, "name": "N", "values": [int(n) for n in counts]},
        "rows": {"label": PATCH, "name": "P", "values": [int(p) for p in sizes]},
        "labels": list(columns.values()),
        "shade": {"log": log, "low": float(frame[value].min()), "high": float(darkest or frame[value].max())},
        "border": border,
        "cells": cells,
    }


def _line_chart(
    frame: pd.DataFrame,
    value: str,
    by: str,
    looks: Mapping[str, Mapping[str, Any]],
    label: str,
    *,
    error: str | None = None,
    level: float | None = None,
) -> Chart:
    """Means of `value` against sigma: a panel for each split, a line for each of `looks`, by the column `by`."""
    sigmas, splits, names = sorted(set(frame["sigma"])), list(dict.fromkeys(frame["split"])), list(looks)
    means = frame.groupby(["split", by, "sigma"])[[value, *([error] if error else [])]].mean()
    points = [
        {
            "panel": splits.index(split),
            "line": names.index(name),
            "x": sigmas.index(sigma),
            "value": float(row[value]),
            "error": _finite(row[error]) if error else None,
        }
        for (split, name, sigma), row in means.iterrows()
        if name in looks and math.isfinite(row[value])
    ]
    lines = [
        {
            "name": name,
            "color": look["color"],
            "dash": look["linestyle"],
            "marker": look["marker"],
            "hollow": look.get("fillstyle", "full") != "full",
            "width": look.get("linewidth", 1.5),
        }
        for name, look in looks.items()
    ]
    return {
        "kind": "lines",
        "panels": [f"{split} images" for split in splits],
        "x": {"label": "sigma (image range 0 to 1)", "name": "sigma", "values": [float(sigma) for sigma in sigmas]},
        "y": {"label": label, "level": level},
        "lines": lines,
        "points": points,
    }


def _finite(number: float) -> float | None:
    """A number as JSON has it, which knows no infinity."""
    return float(number) if math.isfinite(number) else None
