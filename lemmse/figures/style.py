"""The visual language: one color, marker and line for each thing that is drawn.

Colors are of the Okabe-Ito palette, told apart by the color-blind; markers and dashes tell them apart in gray print.
Figures have a white ground of their own, so that they read in dark mode too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES: dict[str, dict[str, Any]] = {
    "truth": {"color": "#000000", "marker": "*", "linestyle": "-"},
    "measurement": {"color": "#777777", "marker": "x", "linestyle": ":"},
    "MMSE": {"color": "#E69F00", "marker": "v", "linestyle": "--"},
    "E-MMSE": {"color": "#56B4E9", "marker": "^", "linestyle": "-."},
    "L-MMSE": {"color": "#5E3C99", "marker": "<", "linestyle": ":"},
    "LE-MMSE": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "formula": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "affine filter": {"color": "#7F3B08", "marker": "h", "linestyle": "--"},
    "UNet": {"color": "#D55E00", "marker": "s", "linestyle": "-"},
    "ResNet": {"color": "#009E73", "marker": "D", "linestyle": "--"},
    "PatchMLP": {"color": "#CC79A7", "marker": "P", "linestyle": "-."},
}

REPEATS: list[dict[str, Any]] = [  # of the second training of an architecture, and those after it
    {"color": "#8C510A", "fillstyle": "left"},
    {"color": "#762A83", "fillstyle": "right"},
    {"color": "#4D4D4D", "fillstyle": "none"},
    {"color": "#01665E", "fillstyle": "bottom"},
]
OTHERS: list[dict[str, Any]] = [
    {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    {"color": "#009E73", "marker": "D", "linestyle": "-."},
    {"color": "#CC79A7", "marker": "P", "linestyle": ":"},
    {"color": "#E69F00", "marker": "v", "linestyle": "-"},
    {"color": "#56B4E9", "marker": "^", "linestyle": "--"},
    {"color": "#000000", "marker": "X", "linestyle": "-."},
]


def style(name: str, turn: int = 0) -> dict[str, Any]:
    """How a thing is drawn, by its name; a thing without a name of its own takes its turn.

    A repeated training, as "PatchMLP 2", has the marker and the line of the first, another color, and another part of
    its markers filled.
    """
    first, _, number = name.rpartition(" ")
    if first in STYLES and number.isdigit():
        return STYLES[first] | REPEATS[int(number) % len(REPEATS)]
    return STYLES.get(name, OTHERS[turn % len(OTHERS)])


def control_styles(controls: Iterable[str]) -> dict[str, dict[str, Any]]:
    """How the formula and the controls beside it are drawn, by name: no two in one color, the formula last.

    Args:
        controls: their names; those without a look of their own take turns, without the color of the formula.
    """
    names = list(controls)
    unnamed = [name for name in names if name not in STYLES]
    turns = {name: 1 + number % (len(OTHERS) - 1) for number, name in enumerate(unnamed)}
    return {name: style(name, turns.get(name, 0)) for name in [*names, "formula"]}


def new_figure(rows: int, cols: int, width: float, height: float, **options: Any) -> tuple[Figure, list[list[Axes]]]:
    """A figure of the book, size in inches, with a grid of axes."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(rows, cols, figsize=(width, height), squeeze=False, layout="constrained", **options)
    figure.set_facecolor("white")
    figure.set_dpi(150)
    plt.close(figure)  # it is shown where a cell asks for it, once
    return figure, axes.tolist()
