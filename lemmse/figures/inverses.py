"""Figures of pre-inverses: their noise, who competes with whom behind them, and what they gain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lemmse.analysis.metrics import psnr
from lemmse.figures.lines import legend_below
from lemmse.figures.style import new_figure, style
from lemmse.figures.tables import rounded
from lemmse.physics.spectra import RANGE_RTOL

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def covariances(panels: dict[str, Tensor], columns: int = 3) -> Figure:
    """Patch noise covariances S (p, p), each divided by its largest entry, from black -1 to white 1.

    Below: the standard deviation at the first pixel, and largest over smallest eigenvalue on the range of S.
    """
    lines = -(-len(panels) // columns)
    figure, axes = new_figure(lines, columns, 2.3 * columns, 2.6 * lines)
    flat = [axis for line in axes for axis in line]
    for axis in flat[len(panels) :]:
        axis.axis("off")
    for axis, (label, covariance) in zip(flat, panels.items(), strict=False):
        values = torch.linalg.eigvalsh(covariance)
        kept = values[values > RANGE_RTOL * values[-1]]
        scaled = (covariance / covariance.abs().max()).cpu().numpy()
        drawn = axis.imshow(scaled, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
        deviation, ratio = float(covariance[0, 0]) ** 0.5, float(kept[-1] / kept[0])
        note = f"{rounded(deviation, 2)} sigma; ratio {rounded(ratio, 2)}"
        axis.set(xticks=[], yticks=[], title=label)
        axis.set_xlabel(note, fontsize=8)
    figure.colorbar(drawn, ax=flat, shrink=0.6, ticks=[-1, 0, 1], label="noise covariance / largest")
    return figure


def competitors(rows: dict[str, tuple[Tensor, Tensor, Tensor]]) -> Figure:
    """For each label: a mask, its strata and how many positions compete with each: (H, W) tensors, a row each."""
    from matplotlib.colors import LogNorm

    most = max(competing.numel() for _, _, competing in rows.values())
    figure, axes = new_figure(len(rows), 3, 6.8, 2.1 * len(rows) + 0.3)
    for line, (label, (mask, strata, competing)) in zip(axes, rows.items(), strict=True):
        shade = (strata.double() * 0.6180339887) % 1  # numbers that are near get shades that are not
        line[0].imshow(mask.cpu().numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        line[1].imshow(shade.cpu().numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        drawn = line[2].imshow(competing.cpu().numpy(), cmap="viridis", norm=LogNorm(1, most), interpolation="nearest")
        for axis in line:
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(label, fontsize=9)
    for axis, title in zip(axes[0], ("mask (white: seen)", "strata", "competing positions"), strict=True):
        axis.set_title(title)
    figure.colorbar(drawn, ax=[line[2] for line in axes], shrink=0.7)
    return figure


def input_lines(
    frame: pd.DataFrame, rows: str, columns: str, *, inputs: list[str], label: str, level: float | None = None
) -> Figure:
    """Means and standard errors against sigma: a panel for each of `rows` and `columns`, a look for each input.

    frame: columns sigma, input, mean, error, and those named by rows and columns. inputs: in the order of their looks.
    level: drawn as a gray line.
    """
    across, down, present = (list(dict.fromkeys(frame[name])) for name in (columns, rows, "input"))
    looks = {name: style(name, turn) for turn, name in enumerate(inputs) if name in present}
    size = (2.1 * len(across) + 0.6, 1.9 * len(down) + 0.8)
    figure, axes = new_figure(len(down), len(across), *size, sharex=True, sharey="row")
    ticks = sorted(set(frame["sigma"]))
    for line, row in zip(axes, down, strict=True):
        for axis, column in zip(line, across, strict=True):
            part = frame[(frame[rows] == row) & (frame[columns] == column)]
            for turn, (name, values) in enumerate(part.groupby("input", sort=False)):
                aside = 1.04 ** (turn - 0.5)  # so that the bars do not hide each other
                look = looks[name] | {"markersize": 4, "capsize": 2, "label": name}
                axis.errorbar(values["sigma"] * aside, values["mean"], values["error"], **look)
            if level is not None:
                axis.axhline(level, color="#777777", linewidth=0.8, zorder=0)
            axis.set(xscale="log", title=f"{row}\n{column}")
            axis.title.set_fontsize(9)
            axis.set_xticks(ticks, [f"{s:g}" for s in ticks])
            axis.minorticks_off()
            axis.grid(alpha=0.3)
        line[0].set_ylabel(label)
    for axis in axes[-1]:
        axis.set_xlabel("sigma (image range 0 to 1)")
    legend_below(figure)
    return figure


def note_input(row: dict[str, Tensor], name: str) -> str:
    """Under an image of `pre_inverses.side_by_side`: PSNR of a formula to the truth, of a network to its formula."""
    if not name.endswith(("formula", "network")):
        return ""
    other = "truth" if name.endswith("formula") else name.replace("network", "formula")
    return f"{float(psnr(row[name][None], row[other][None])):.1f} dB"
