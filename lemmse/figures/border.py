"""Figures of the border: which positions compete where images are padded with zeros, and how far the border is felt."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lemmse.figures.lines import legend_below
from lemmse.figures.style import new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lemmse.estimators.lemmse import LocalEquivariantMMSE
    from lemmse.estimators.pixels import PixelFeatures

_FLOOR = 1e-7  # what the rounding of float32 and zero are drawn as


def strata(formula: LocalEquivariantMMSE) -> Figure:
    """The strata of an LE-MMSE with zero padding, one shade for each, and how many positions compete for each pixel."""
    from matplotlib.colors import LogNorm

    features = cast("PixelFeatures", formula.features)  # zero padding is for the identity only
    labels = features.query_strata[features.query_strata >= 0].reshape(features.shape[1:])  # without the frame
    competing = features.maps(features.competing[None])[0].cpu()
    figure, axes = new_figure(1, 2, 6.2, 2.9)
    shades = (labels.double() * 0.6180339887498949) % 1  # labels that are near get shades that are not
    axes[0][0].imshow(shades.cpu().numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    drawn = axes[0][1].imshow(
        competing.numpy(), cmap="viridis", norm=LogNorm(1, int(competing.max()) + 1), interpolation="nearest"
    )
    figure.colorbar(drawn, ax=axes[0][1], label="competing positions")
    for axis, title in zip(axes[0], ("strata", "who competes"), strict=True):
        axis.set(xticks=[], yticks=[], title=title)
    return figure


def border_reach(changes: dict[tuple[str, str], list[float]], patch_size: int) -> Figure:
    """How much the output of a constant image differs from its middle, over the distance from the border.

    Args:
        changes: the change at distance 0, 1, .. by name and padding; a panel for each padding.
        patch_size: P: beyond P // 2 no window leaves the image.
    """
    paddings = list(dict.fromkeys(padding for _, padding in changes))
    figure, axes = new_figure(1, len(paddings), 3.1 * len(paddings), 3.4, sharey=True)
    for axis, padding in zip(axes[0], paddings, strict=True):
        for turn, (name, values) in enumerate((n, v) for (n, p), v in changes.items() if p == padding):
            axis.plot([max(value, _FLOOR) for value in values], label=name, markersize=5, **style(name, turn))
        axis.axvline(patch_size // 2 - 0.5, color="#444444", linewidth=1, linestyle=":")
        axis.set(yscale="log", title=f"padding: {padding}", xlabel="distance from the border (pixels)")
        axis.set_xticks(range(0, max(len(values) for values in changes.values()), 2))
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("change (image range 0 to 1)")
    legend_below(figure)
    return figure
