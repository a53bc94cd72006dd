"""Figures over data set size N and patch size P: maps, a number in each cell, and what they say along one axis."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lemmse.figures.lines import legend_below
from lemmse.figures.style import OTHERS, new_figure, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COUNT, PATCH = "training images N", "patch size P (pixels)"
SPLITS = {"training": OTHERS[0], "test": OTHERS[1]}


def cell_maps(
    frame: pd.DataFrame,
    value: str,
    label: str,
    *,
    log: bool = False,
    darkest: float | None = None,
    border: float | None = None,
) -> Figure:
    """`value` over N and P, a panel for each sigma, as a shade and as a number.

    frame: columns sigma, count, patch_size and `value`. log: whether the shade is logarithmic. darkest: the value from
    which on shades are the same, default the highest. border: a level; numbers above it are bold.
    """
    from matplotlib.colors import LogNorm, Normalize

    sigmas = sorted(set(frame["sigma"]))
    columns = min(2, len(sigmas))
    rows = -(-len(sigmas) // columns)
    figure, grid = new_figure(rows, columns, 2.5 * columns + 0.8, 2.4 * rows, sharex=True, sharey=True)
    low, high = frame[value].min(), frame[value].max() if darkest is None else darkest
    norm = LogNorm(low, high) if log else Normalize(low, high)
    panels = [axis for line in grid for axis in line]
    for axis, sigma in zip(panels, sigmas, strict=False):
        table = frame[frame["sigma"] == sigma].pivot(index="patch_size", columns="count", values=value)
        drawn = axis.imshow(table, cmap="Greys", norm=norm, origin="lower", aspect="auto")
        for row, values in enumerate(table.to_numpy()):
            for col, number in enumerate(values):
                color = "white" if norm(number) > 0.5 else "black"
                weight = "bold" if border is not None and number > border else "normal"
                axis.text(col, row, short(number), ha="center", va="center", color=color, fontsize=9, weight=weight)
        axis.set_xticks(range(len(table.columns)), table.columns)
        axis.set_yticks(range(len(table.index)), table.index)
        axis.set_title(f"sigma = {sigma:g}")
    for axis in panels[len(sigmas) :]:
        axis.axis("off")
    for axis in grid[-1]:
        axis.set_xlabel(COUNT)
    for line in grid:
        line[0].set_ylabel(PATCH)
    figure.colorbar(drawn, ax=panels, label=label, shrink=0.7, extend="neither" if darkest is None else "max")
    return figure


def short(number: float) -> str:
    """Three characters or so: 0.4, 12, 3k."""
    if number >= 999.5:
        return f"{number / 1000:.0f}k"
    return f"{number:z.1f}" if abs(number) < 9.95 else f"{number:.0f}"


def _plain_log(axis: Axes) -> None:
    """A logarithmic axis with plain numbers, for what is drawn already."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axis.get_ylim()
    steps = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 7) if low > 0 and high < 10 * low else (1, 3)
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=steps, numticks=20))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())


def _over_counts(axis: Axes, counts: Iterable[int]) -> None:
    ticks = sorted(set(counts))
    axis.set(xscale="log", xlabel=COUNT)
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.xaxis.minorticks_off()
    axis.grid(alpha=0.3)


def risks_over_count(frame: pd.DataFrame, patch_sizes: Iterable[int]) -> Figure:
    """Training and test risk of LE-MMSE against N, a panel for each P: the least risk of all such maps is between.

    frame: as of `memorization.image_risks`, at one sigma; means over images, drawn times 1000.
    """
    patch_sizes = list(patch_sizes)
    figure, grid = new_figure(1, len(patch_sizes), 2.0 * len(patch_sizes) + 0.4, 3.0, sharey=True)
    for axis, patch_size in zip(grid[0], patch_sizes, strict=True):
        part = frame[frame["patch_size"] == patch_size]
        for split, look in SPLITS.items():
            risk = 1e3 * part[part["split"] == split].groupby("count")["risk"].mean()
            axis.plot(risk.index, risk, label=f"{split} images", markersize=5, **look)
        _over_counts(axis, part["count"])
        _plain_log(axis)
        axis.set_title(f"P = {patch_size}")
    grid[0][0].set_ylabel("risk (squared error x 1000)")
    legend_below(figure)
    return figure


def patch_size_choice(frame: pd.DataFrame, best: pd.DataFrame, sigma: float) -> Figure:
    """Left: test risk against P at one sigma, a line for each N. Right: the best P against N, a line for each sigma.

    frame: as of `memorization.image_risks`. best: as of `memorization.best_patch_sizes`; its low and high are the bars.
    """
    figure, ((left, right),) = new_figure(1, 2, 6.2, 4.0)
    test = frame[(frame["split"] == "test") & (frame["sigma"] == sigma)]
    for turn, (count, part) in enumerate(test.groupby("count")):
        groups = 1e3 * part.groupby("patch_size")["risk"].agg(["mean", "sem"])
        look = style("", turn) | {"label": f"N = {count}", "markersize": 5, "capsize": 2}
        left.errorbar(groups.index, groups["mean"], groups["sem"], **look)
    _plain_log(left)
    left.set(xlabel=PATCH, ylabel="test risk (squared error x 1000)", title=f"sigma = {sigma:g}")
    sizes = sorted(set(frame["patch_size"]))
    left.set_xticks(sizes, sizes)
    for turn, (level, part) in enumerate(best.groupby("sigma")):
        aside = 1.06 ** (turn - (best["sigma"].nunique() - 1) / 2)  # so that the bars do not hide each other
        bars = [part["best"] - part["low"], part["high"] - part["best"]]
        look = style("", turn) | {"label": f"sigma = {level:g}", "markersize": 5, "capsize": 2}
        right.errorbar(part["count"] * aside, part["best"], bars, **look)
    _over_counts(right, best["count"])
    right.set_ylabel("best patch size on test images (pixels)")
    right.set_yticks(sizes, sizes)
    left.grid(alpha=0.3)
    for axis in (left, right):
        axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)
    return figure
