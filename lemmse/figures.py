"""The visual language of the book: one colour, marker and line for each thing that is drawn, and the figures
themselves.

Colours are of the Okabe-Ito palette, told apart by the colour-blind; markers and dashes tell them apart in grey print.
Figures have a white ground of their own, so that they read in dark mode too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .comparison import EQUAL
from .metrics import psnr

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .patchwork import Source
    from .posterior import Posterior

STYLES: dict[str, dict[str, str]] = {
    "truth": {"color": "#000000", "marker": "*", "linestyle": "-"},
    "measurement": {"color": "#777777", "marker": "x", "linestyle": ":"},
    "MMSE": {"color": "#E69F00", "marker": "v", "linestyle": "--"},
    "E-MMSE": {"color": "#56B4E9", "marker": "^", "linestyle": "-."},
    "LE-MMSE": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "formula": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "UNet": {"color": "#D55E00", "marker": "s", "linestyle": "-"},
    "ResNet": {"color": "#009E73", "marker": "D", "linestyle": "--"},
    "PatchMLP": {"color": "#CC79A7", "marker": "P", "linestyle": "-."},
}
OTHERS = [
    {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    {"color": "#009E73", "marker": "D", "linestyle": "-."},
    {"color": "#CC79A7", "marker": "P", "linestyle": ":"},
    {"color": "#E69F00", "marker": "v", "linestyle": "-"},
]


def style(name: str, turn: int = 0) -> dict[str, str]:
    """How a thing is drawn, by its name; a thing without a name of its own takes its turn."""
    return STYLES.get(name, OTHERS[turn % len(OTHERS)])


def new_figure(rows: int, cols: int, width: float, height: float, **options: object) -> tuple[Figure, list[list[Axes]]]:
    """A figure of the book, size in inches, with a grid of axes."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(rows, cols, figsize=(width, height), squeeze=False, layout="constrained", **options)
    figure.set_facecolor("white")
    figure.set_dpi(150)
    plt.close(figure)  # it is shown where it is glued, once
    return figure, axes.tolist()


def draw_image(
    axes: Axes, image: Tensor, title: str = "", note: str = "", limits: tuple[float, float] = (0, 1)
) -> None:
    """An image (C, H, W) clipped to `limits`, without ticks, with a title above and a note below."""
    pixels = image.detach().cpu().float().clamp(*limits).permute(1, 2, 0).squeeze(-1)
    axes.imshow(pixels, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="nearest")
    axes.set(xticks=[], yticks=[], title=title)
    axes.set_xlabel(note, fontsize=9)


def gallery(
    rows: dict[str, dict[str, Tensor]],
    columns: list[str],
    note: Callable[[dict[str, Tensor], str], str],
    cell: float = 1.25,
) -> Figure:
    """A table of images (C, H, W): a labelled row for each entry, a column for each name; a missing one stays blank.

    note: the line under an image, from the row and the column's name.
    """
    figure, axes = new_figure(len(rows), len(columns), cell * len(columns) + 0.4, (cell + 0.25) * len(rows) + 0.2)
    for r, (label, row) in enumerate(rows.items()):
        for c, name in enumerate(columns):
            if name in row:
                draw_image(axes[r][c], row[name], "", note(row, name))
            else:
                axes[r][c].axis("off")
            if r == 0:
                axes[r][c].set_title(name)
        axes[r][0].set_ylabel(label, fontsize=9)
    return figure


def psnr_lines(
    frame: pd.DataFrame,
    value: str,
    by: str,
    panels: str,
    *,
    label: str,
    bar: Iterable[tuple[float, float]] = (),
) -> Figure:
    """`value` in dB against sigma: a panel for each of `panels`, a line for each of `by`, mean and spread over images.

    bar: points (sigma, dB) of a threshold that is drawn as a step.
    """
    names, bar = list(dict.fromkeys(frame[panels])), list(bar)
    figure, axes = new_figure(1, len(names), 3.6 * len(names), 3.2, sharey=True)
    for axis, name in zip(axes[0], names, strict=True):
        part = frame[frame[panels] == name]
        lines = list(dict.fromkeys(part[by]))
        for turn, line in enumerate(lines):
            groups = part[part[by] == line].groupby("sigma")[value]
            aside = 1 + 0.03 * (turn - (len(lines) - 1) / 2)  # so that the bars do not hide each other
            mean = groups.mean()
            axis.errorbar(
                mean.index * aside, mean, groups.std(ddof=0), label=line, markersize=5, capsize=2, **style(line, turn)
            )
        if bar:
            axis.step(*zip(*bar, strict=True), where="post", color="#444444", linewidth=1, label="claimed")
        ticks = sorted(set(part["sigma"]))
        axis.set(xscale="log", xticks=ticks, xlabel="noise level sigma (image range 0 to 1)", title=name)
        axis.set_xticklabels([f"{s:g}" for s in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel(label)
    axes[0][-1].legend(fontsize=8)
    return figure


def patch_lottery(
    noisy: Tensor, sources: Tensor, weights: Tensor, values: Tensor, estimate: float, truth: float
) -> Figure:
    """One noisy patch (C, P, P), the training patches (k, C, P, P) that carry most weight, and the pixel they vote for.

    weights: (k,). values: (k,), the clean centre pixels. estimate, truth: grey values. All in one grey scale.
    """
    limits = (float(sources.min()), float(sources.max()))
    shown = [("noisy patch", noisy, "")]
    for i, source in enumerate(sources):
        shown.append((f"{100 * float(weights[i]):.0f} %", source, f"centre {float(values[i]):.2f}"))
    for name, value in (("output", estimate), ("truth", truth)):
        shown.append((name, torch.full_like(noisy, value), f"{value:.2f}"))
    figure, axes = new_figure(1, len(shown), 1.1 * len(shown), 1.75)
    for place, (axis, (title, image, note)) in enumerate(zip(axes[0], shown, strict=True)):
        draw_image(axis, image, title, note, limits)
        if place <= len(sources):
            axis.add_patch(_frame(noisy.shape[-1] // 2 - 0.5))
    return figure


def _frame(corner: float) -> object:
    from matplotlib.patches import Rectangle

    return Rectangle((corner, corner), 1, 1, fill=False, edgecolor=STYLES["UNet"]["color"], linewidth=1.5)


def note_distance(row: dict[str, Tensor], name: str) -> str:
    """Under a network: its PSNR to the formula; under the formula: its PSNR to the truth."""
    if name in ("measurement", "truth"):
        return ""
    other = "truth" if name == "formula" else "formula"
    return f"{float(psnr(row[name][None], row[other][None])):.1f} dB to {other}"


def cost_lines(panels: list[tuple[pd.DataFrame, str, str]], y: str, label: str) -> Figure:
    """`y` against the column and axis label of each panel, both logarithmic: a line for each engine, and the roofline.

    A frame has the columns engine, y, what it is drawn against, and roofline, in the unit of y.
    """
    figure, axes = new_figure(1, len(panels), 3.8 * len(panels), 3.2, sharey=True)
    for axis, (frame, x, xlabel) in zip(axes[0], panels, strict=True):
        for turn, (name, part) in enumerate(frame.groupby("engine", sort=False)):
            line = part.groupby(x)[y].median()
            axis.plot(line.index, line, label=name, markersize=5, **style(name, turn))
        roof = frame.groupby(x)["roofline"].median()
        axis.plot(roof.index, roof, color="#444444", linewidth=1, linestyle=(0, (1, 1)), label="roofline")
        ticks = sorted(set(frame[x]))
        axis.set(xscale="log", yscale="log", xticks=ticks, xlabel=xlabel)
        axis.set_xticklabels([f"{tick:g}" for tick in ticks])
        axis.xaxis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel(label)
    axes[0][-1].legend(fontsize=8)
    return figure


def note_truth(row: dict[str, Tensor], name: str) -> str:
    """Under an estimate: its PSNR to the truth, "exact" from `EQUAL` dB on."""
    if name in ("measurement", "truth"):
        return ""
    found = float(psnr(row[name][None], row["truth"][None]))
    return "exact" if found >= EQUAL else f"{found:.1f} dB"


def agreement(tables: dict[str, pd.DataFrame]) -> Figure:
    """PSNR in dB between all pairs of estimates: a panel for each square table; dark is close."""
    figure, axes = new_figure(1, len(tables), 3.7 * len(tables), 3.4)
    low, high = min(t.min(axis=None) for t in tables.values()), max(t.max(axis=None) for t in tables.values())
    for axis, (title, table) in zip(axes[0], tables.items(), strict=True):
        axis.imshow(table, cmap="Greys", vmin=low - 0.3 * (high - low), vmax=high)
        for row, values in enumerate(table.to_numpy()):
            for col, value in enumerate(values):
                if row != col:
                    colour = "white" if value > (low + high) / 2 else "black"
                    axis.text(col, row, f"{value:.1f}", ha="center", va="center", color=colour, fontsize=9)
        names = list(table.index)
        axis.set(xticks=range(len(names)), yticks=range(len(names)), yticklabels=names, title=title)
        axis.set_xticklabels(names, rotation=30, ha="right")
    return figure


def risk_floor(frame: pd.DataFrame) -> Figure:
    """Training against its floor: the risk against steps, and the gap to the floor against the distance to LE-MMSE.

    frame: columns network, steps, and those of `risk.Split`, in squared error per pixel; drawn times 1000.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, axes = new_figure(1, 2, 7.2, 3.3)
    left, right = axes[0]
    for turn, (name, part) in enumerate(frame.groupby("network", sort=False)):
        look = style(str(name), turn) | {"label": name, "markersize": 5}
        left.plot(part["steps"], 1e3 * part["risk"], **look)
        gap = part["risk"] - part["floor"]
        look["linestyle"] = "none"
        right.errorbar(1e3 * part["distance"], 1e3 * gap, 1e3 * part["error"], capsize=2, **look)
    left.axhline(1e3 * frame["floor"].mean(), label="LE-MMSE: the floor", **{**STYLES["LE-MMSE"], "marker": ""})
    ends = [1e3 * frame["distance"].min() / 1.3, 1e3 * frame["distance"].max() * 1.3]
    right.plot(ends, ends, color="#444444", linewidth=1, label="equal")
    left.set(xscale="log", xlabel="steps of training", ylabel="risk (squared error x 1000)")
    left.set_xticks(sorted(set(frame["steps"])), [str(s) for s in sorted(set(frame["steps"]))])
    left.minorticks_off()
    right.set(
        xscale="log", yscale="log", xlabel="distance to LE-MMSE (squared, x 1000)", ylabel="risk - floor (x 1000)"
    )
    for scale in (right.xaxis, right.yaxis):
        scale.set_major_locator(LogLocator(subs=(1, 2, 5)))
        scale.set_major_formatter("{x:g}")
        scale.set_minor_formatter(NullFormatter())
    for axis in axes[0]:
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    return figure


def patchwork(rows: dict[str, tuple[Tensor, Tensor, Posterior]], pairs: int) -> Figure:
    """For each label: a measurement, the estimate, which training image weighs most, and the effective samples.

    rows: images (C, H, W), and a posterior whose first query they are of, with sources. pairs: that compete.
    """
    from matplotlib.colors import LogNorm

    figure, axes = new_figure(len(rows), 4, 7.0, 1.65 * len(rows) + 0.3)
    for line, (label, (noisy, estimate, posterior)) in zip(axes, rows.items(), strict=True):
        draw_image(line[0], noisy)
        draw_image(line[1], estimate)
        shade = (posterior.indices[0, ..., 0, 0] * 0.6180339887) % 1  # numbers that are near get shades that are not
        line[2].imshow(shade.cpu(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        scale = LogNorm(1, pairs)
        effective = posterior.effective_samples[0].cpu()
        drawn = line[3].imshow(effective, cmap="viridis", norm=scale, interpolation="nearest")
        for axis in line[2:]:
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(label, fontsize=9)
    for axis, title in zip(axes[0], ("measurement", "estimate", "source", "effective samples"), strict=True):
        axis.set_title(title)
    figure.colorbar(drawn, ax=[line[3] for line in axes], shrink=0.6)
    return figure


def origins(patches: list[Tensor], sources: list[list[Source]], patch_size: int, shown: int = 4) -> Figure:
    """A row for each noisy patch (C, P, P): the patch, and the training images of its sources with the patch framed."""
    from matplotlib.patches import Rectangle

    figure, axes = new_figure(len(patches), 1 + shown, 1.45 * (1 + shown), 1.75 * len(patches))
    for line, patch, found in zip(axes, patches, sources, strict=True):
        draw_image(line[0], patch, "noisy patch")
        for axis in line[1 + len(found) :]:
            axis.axis("off")
        for axis, source in zip(line[1:], found, strict=False):
            draw_image(axis, source.image, f"{100 * source.weight:.0f} %", f"centre {source.value:.2f}")
            corner = (source.col - patch_size / 2, source.row - patch_size / 2)
            frame = {"fill": False, "edgecolor": STYLES["UNet"]["color"], "linewidth": 1.5}
            axis.add_patch(Rectangle(corner, patch_size, patch_size, **frame))
    return figure


def quartile_lines(frame: pd.DataFrame, value: str, by: str, label: str) -> Figure:
    """`value` with quartiles `low` and `high`, means over images, against sigma, on log axes: a line for each `by`."""
    figure, axes = new_figure(1, 1, 5.2, 3.2)
    axis = axes[0][0]
    for turn, (name, part) in enumerate(frame.groupby(by, sort=False)):
        mean = part.groupby("sigma")[[value, "low", "high"]].mean()
        look = style(str(name), turn)
        axis.plot(mean.index, mean[value], label=name, markersize=5, **look)
        axis.fill_between(mean.index, mean["low"], mean["high"], color=look["color"], alpha=0.15, linewidth=0)
    ticks = sorted(set(frame["sigma"]))
    axis.set(xscale="log", yscale="log", xlabel="noise level sigma (image range 0 to 1)", ylabel=label)
    axis.set_xticks(ticks, [f"{s:g}" for s in ticks])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return figure
