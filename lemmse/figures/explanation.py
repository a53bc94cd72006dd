"""Figures of one network that is held against the formula on one picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lemmse.analysis.evaluate import FORMULA, NETWORK, TRUTH
from lemmse.figures.lines import legend_below, sigma_axis
from lemmse.figures.pictures import draw_image
from lemmse.figures.style import STYLES, control_styles, new_figure, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def nearest_lines(distances: pd.DataFrame, margins: pd.DataFrame) -> Figure:
    """How near the network is to the formula and to each control, and by how much the formula is ahead.

    Args:
        distances: from the network, columns sigma, other and psnr.
        margins: columns sigma, margin and error.
    """
    names = [name for name in dict.fromkeys(distances["other"]) if name != FORMULA]
    figure, ((left, right),) = new_figure(1, 2, 6.8, 4.3)
    for name, look in control_styles(names).items():
        line = distances[distances["other"] == name].sort_values("sigma")
        width = 3.0 if name == FORMULA else 1.2
        left.plot(line["sigma"], line["psnr"], label=name, markersize=5, linewidth=width, **look)
    look = {**STYLES[FORMULA], "markersize": 5, "capsize": 3}
    right.axhline(0, color="#444444", linewidth=1)
    right.errorbar(margins["sigma"], margins["margin"], margins["error"], **look)
    for axis, label in ((left, "PSNR to the network (dB)"), (right, "margin over the nearest control (dB)")):
        sigma_axis(axis, margins["sigma"])
        axis.set_ylabel(label)
    legend_below(figure)
    return figure


def difference_maps(images: Mapping[str, Tensor], difference: Tensor, surprisal: Tensor) -> Figure:
    """Measurement, network and formula, and below the truth, their difference and how rare the patches are.

    Args:
        images: "measurement", "network", "formula" and perhaps "truth", (C, H, W) each.
        difference: of network and formula, (H, W).
        surprisal: (H, W) in nats; NaN is left blank.
    """
    height, width = difference.shape
    cell = 2.3
    figure, axes = new_figure(2, 3, 3 * cell, 2 * cell * min(1.6, height / width) + 1.0)
    for axis, name in zip(axes[0], ("measurement", NETWORK, FORMULA), strict=True):
        draw_image(axis, images[name], name)
    if TRUTH in images:
        draw_image(axes[1][0], images[TRUTH], TRUTH)
    else:
        axes[1][0].axis("off")
    _map(axes[1][1], difference, "|network - formula|")
    _map(axes[1][2], surprisal, "surprisal (nats)")
    for axis in axes[1]:
        axis.set_anchor("N")  # the scales below the maps must not shift them against the picture beside them
    return figure


def _map(axis: Axes, values: Tensor, title: str) -> None:
    """A map with its scale; the shades leave out the last two hundredths on both sides."""
    known = values[~values.isnan()].double()
    ends = known.quantile(torch.tensor([0.02, 0.98], dtype=torch.float64, device=known.device)).tolist()
    drawn = axis.imshow(values.cpu().numpy(), cmap="viridis", vmin=ends[0], vmax=ends[1], interpolation="nearest")
    axis.set(xticks=[], yticks=[], title=title)
    axis.figure.colorbar(drawn, ax=axis, location="bottom", shrink=0.9, pad=0.03)


def patch_size_lines(table: pd.DataFrame, patch_size: int) -> Figure:
    """How near the network is to the formula of each patch size: a line for each sigma, the nearest with a ring.

    Args:
        table: columns sigma, patch_size and psnr.
        patch_size: P of the formula, marked by a dotted line.
    """
    figure, ((axis,),) = new_figure(1, 1, 5.2, 3.4)
    for turn, (sigma, part) in enumerate(table.groupby("sigma")):
        look = style("", turn)
        axis.plot(part["patch_size"], part["psnr"], label=f"sigma = {sigma:g}", markersize=4, **look)
        best = part.loc[part["psnr"].idxmax()]
        axis.plot(best["patch_size"], best["psnr"], "o", markersize=11, fillstyle="none", color=look["color"])
    axis.axvline(patch_size, color="#444444", linewidth=1, linestyle=":")
    axis.set(xlabel="patch size P of the formula (pixels)", ylabel="PSNR to the network (dB)")
    axis.set_xticks(sorted(set(table["patch_size"])))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return figure
