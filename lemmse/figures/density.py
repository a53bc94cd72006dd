"""Figures of density: how near a network is to the formula where training patches are dense, and where rare."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lemmse.figures.lines import legend_below
from lemmse.figures.pictures import draw_image
from lemmse.figures.style import OTHERS, new_figure, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from lemmse.analysis.surprisal import Query


def error_over_surprisal(frame: pd.DataFrame, by: str, label: str) -> Figure:
    """PSNR in dB against surprisal: a panel for each sigma, a line for each of `by`.

    frame: columns sigma, surprisal, psnr and `by`, one row for each point.
    """
    sigmas = sorted(set(frame["sigma"]))
    figure, axes = new_figure(1, len(sigmas), 2.6 * len(sigmas), 3.9, sharey=True)
    for axis, sigma in zip(axes[0], sigmas, strict=True):
        part = frame[frame["sigma"] == sigma]
        for turn, name in enumerate(dict.fromkeys(frame[by])):
            line = part[part[by] == name]
            axis.plot(line["surprisal"], line["psnr"], label=name, markersize=4, **style(name, turn))
        axis.set(title=f"sigma = {sigma:g}", xlabel="surprisal (nats)")
        axis.set_xscale("symlog", linthresh=10)
        axis.set_xticks([0, 10, *(tick for tick in (100, 1000) if tick < 1.5 * part["surprisal"].max())])
        axis.minorticks_off()
        axis.xaxis.set_major_formatter("{x:g}")
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel(label)
    legend_below(figure)
    return figure


def density_maps(rows: dict[str, tuple[Query, Tensor]], image: int) -> Figure:
    """For each label: measurement, formula, surprisal of each patch, and the network's distance to the formula.

    rows: queries, and the squared errors (Q, H, W) of a network on them. Light is rare, and light is far.
    """
    figure, axes = new_figure(len(rows), 4, 7.0, 1.65 * len(rows) + 0.3)
    for line, (label, (query, error)) in zip(axes, rows.items(), strict=True):
        draw_image(line[0], query.z[image])
        draw_image(line[1], query.posterior.mean[image])
        for axis, values in ((line[2], query.surprisal[image]), (line[3], error[image].sqrt())):
            values = values.cpu()
            ends = torch.quantile(
                values.double(), torch.tensor([0.02, 0.98], dtype=torch.float64, device=values.device)
            ).tolist()
            drawn = axis.imshow(values.numpy(), cmap="viridis", vmin=ends[0], vmax=ends[1], interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            figure.colorbar(drawn, ax=axis, shrink=0.85)
        line[0].set_ylabel(label, fontsize=9)
    for axis, title in zip(axes[0], ("measurement", "formula", "surprisal", "difference"), strict=True):
        axis.set_title(title)
    return figure


def deciles_over_steps(frame: pd.DataFrame, shown: list[int], label: str) -> Figure:
    """Distance to the formula against steps of training, and what is left of its square since the first checkpoint.

    frame: columns steps, decile, error. shown: the deciles drawn.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, axes = new_figure(1, 2, 6.4, 3.6)
    for turn, decile in enumerate(shown):
        line = frame[frame["decile"] == decile].groupby("steps").error.mean()
        name = f"tenth {decile}" + {1: " (densest)", 10: " (rarest)"}.get(decile, "")
        axes[0][0].plot(line.index, -10 * np.log10(line), label=name, markersize=5, **OTHERS[turn % len(OTHERS)])
        axes[0][1].plot(line.index, 100 * line / line.iloc[0], label=name, markersize=5, **OTHERS[turn % len(OTHERS)])
    ticks = sorted(set(frame["steps"]))
    for axis, text in zip(axes[0], (label, "squared error left (%)"), strict=True):
        axis.set(xscale="log", xlabel="steps of training", ylabel=text)
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0][1].set_yscale("log")
    axes[0][1].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[0][1].yaxis.set_major_formatter("{x:g}")
    axes[0][1].yaxis.set_minor_formatter(NullFormatter())
    legend_below(figure)
    return figure
