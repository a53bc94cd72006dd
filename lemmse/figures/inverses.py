"""Figures of pre-inverses: their noise, who competes with whom behind them, and what they gain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lemmse.analysis.metrics import psnr
from lemmse.figures.style import new_figure, style
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
        note = f"{float(covariance[0, 0]) ** 0.5:.2g} sigma; ratio {float(kept[-1] / kept[0]):.2g}"
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
    frame: pd.DataFrame,
    value: str,
    rows: str,
    columns: str,
    *,
    inputs: list[str],
    label: str,
    level: float | None = None,
) -> Figure:
    """`value` against sigma, mean and standard error: a panel for each of `rows`, `columns`; a look for each input.

    frame: columns sigma, input, solver ("LE-MMSE", or a network: dashed, open markers). level: drawn as a grey line.
    """
    from matplotlib.lines import Line2D

    across, down, present = (list(dict.fromkeys(frame[name])) for name in (columns, rows, "input"))
    looks = {name: style(name, turn) | {"linestyle": "-"} for turn, name in enumerate(inputs) if name in present}
    size = (2.6 * len(across) + 1.6, 2.3 * len(down) + 0.4)
    figure, axes = new_figure(len(down), len(across), *size, sharex=True, sharey="row")
    ticks = sorted(set(frame["sigma"]))
    for line, row in zip(axes, down, strict=True):
        for axis, column in zip(line, across, strict=True):
            part = frame[(frame[rows] == row) & (frame[columns] == column)]
            for (name, solver), values in part.groupby(["input", "solver"], sort=False):
                over_images = values.groupby("sigma")[value]
                mean, error = over_images.mean(), over_images.sem()
                learned = {} if solver == "LE-MMSE" else {"linestyle": "--", "markerfacecolor": "white"}
                look = looks[name] | learned | {"markersize": 5, "linewidth": 1.2, "elinewidth": 0.8}
                axis.errorbar(mean.index, mean, error, **look)
            if level is not None:
                axis.axhline(level, color="#777777", linewidth=0.8, zorder=0)
            axis.set(xscale="log", title=f"{row}\n{column}")
            axis.set_xticks(ticks, [f"{s:g}" for s in ticks])
            axis.minorticks_off()
            axis.grid(alpha=0.3)
        line[0].set_ylabel(label)
    for axis in axes[-1]:
        axis.set_xlabel("noise level sigma")
    entries = [Line2D([], [], label=name, **look) for name, look in looks.items()]
    grey: dict[str, Any] = {"color": "#444444", "marker": "o"}
    entries.append(Line2D([], [], label="formula", **grey))
    entries.append(Line2D([], [], label="network", linestyle="--", markerfacecolor="white", **grey))
    figure.legend(handles=entries, loc="outside right upper", fontsize=8)
    return figure


def note_input(row: dict[str, Tensor], name: str) -> str:
    """Under an image of `inputs.side_by_side`: PSNR of a formula to the truth, of a network to its own formula."""
    if name.endswith(("input", "truth")):
        return ""
    other = "truth" if name.endswith("formula") else name.replace("network", "formula")
    return f"{float(psnr(row[name][None], row[other][None])):.1f} dB"
