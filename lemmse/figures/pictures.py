"""Figures made of images: galleries of estimates, and the training patches that an estimate is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lemmse.analysis.evaluate import EQUAL
from lemmse.analysis.metrics import psnr
from lemmse.analysis.sources import Source, heaviest
from lemmse.figures.style import STYLES, new_figure
from lemmse.figures.tables import rounded

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lemmse.estimators.posterior import Posterior


def draw_image(
    axes: Axes, image: Tensor, title: str = "", note: str = "", limits: tuple[float, float] = (0, 1)
) -> None:
    """An image (C, H, W) clipped to `limits`, without ticks, with a title above and a note below.

    Three channels are red, green and blue. Two are the parts of a complex image, whose magnitude is drawn; of any other
    number the mean is drawn.
    """
    image = image.detach().cpu().float()
    if len(image) == 2:
        image = image.norm(dim=0, keepdim=True)
    elif len(image) != 3:
        image = image.mean(0, keepdim=True)
    pixels = image.clamp(*limits).permute(1, 2, 0).squeeze(-1).numpy()
    axes.imshow(pixels, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="nearest")
    axes.set(xticks=[], yticks=[], title=title)
    axes.set_xlabel(note, fontsize=9)


def gallery(
    rows: dict[str, dict[str, Tensor]],
    columns: list[str],
    note: Callable[[dict[str, Tensor], str], str] | None = None,
    cell: float = 1.05,
) -> Figure:
    """A table of images (C, H, W): a labeled row for each entry, a column for each name; a missing one stays blank.

    note: the line under an image, from the row and the column's name; without it there is none.
    """
    height = cell + (0.4 if note else 0.1)
    figure, axes = new_figure(len(rows), len(columns), cell * len(columns) + 0.4, height * len(rows) + 0.2)
    for r, (label, row) in enumerate(rows.items()):
        for c, name in enumerate(columns):
            if name in row:
                draw_image(axes[r][c], row[name], "", note(row, name) if note else "")
            else:
                axes[r][c].axis("off")
            if r == 0:
                axes[r][c].set_title(name, fontsize=10)
        axes[r][0].set_ylabel(label, fontsize=9)
    return figure


def magnified_difference(a: Tensor, b: Tensor) -> Tensor:
    """Ten times the difference of two images around middle gray, as an image: where it is gray, they are equal."""
    return 0.5 + 10 * (a - b)


def note_distance(row: dict[str, Tensor], name: str) -> str:
    """Under a network: its PSNR to the formula; under the formula: its PSNR to the truth."""
    if name in ("measurement", "truth"):
        return ""
    other = "truth" if name == "formula" else "formula"
    return f"{float(psnr(row[name][None], row[other][None])):.1f} dB\nto {other}"


def note_truth(row: dict[str, Tensor], name: str) -> str:
    """Under an estimate: its PSNR to the truth, "exact" from `EQUAL` dB on."""
    if name in ("measurement", "truth"):
        return ""
    found = float(psnr(row[name][None], row["truth"][None]))
    return "exact" if found >= EQUAL else f"{found:.1f} dB"


def patch_lottery(
    noisy: Tensor, sources: Tensor, weights: Tensor, values: Tensor, estimate: float, truth: float
) -> Figure:
    """One noisy patch (C, P, P), the training patches (k, C, P, P) that carry most weight, and the pixel they vote for.

    weights: (k,). values: (k,), the clean center pixels. estimate, truth: gray values. All in one gray scale.
    """
    limits = (min(float(sources.min()), estimate, truth), max(float(sources.max()), estimate, truth))
    shown = [("noisy patch", noisy, "")]
    for i, source in enumerate(sources):
        shown.append((f"{rounded(100 * float(weights[i]), 2)} %", source, f"center {float(values[i]):.2f}"))
    for name, value in (("output", estimate), ("truth", truth)):
        shown.append((name, torch.full_like(noisy, value), f"{value:.2f}"))
    across = -(-len(shown) // 2)
    figure, axes = new_figure(2, across, 1.1 * across, 3.2)
    places = [axis for line in axes for axis in line]
    for axis in places[len(shown) :]:
        axis.axis("off")
    for place, (axis, (title, image, note)) in enumerate(zip(places, shown, strict=False)):
        draw_image(axis, image, title, note, limits)
        if place <= len(sources):
            _frame(axis, 2 * (noisy.shape[-1] // 2 - 0.5,), 1)
    return figure


def votes(
    measurement: Tensor, truth: Tensor, output: Tensor, pixel: tuple[int, int], sources: list[Source], patch_size: int
) -> Figure:
    """One pixel of an image and the training patches that vote for it.

    Args:
        measurement: (C, H, W), what the formula sees.
        truth: (C, H, W).
        output: (C, H, W), of the formula.
        pixel: its row and column, at least half a patch away from the border.
        sources: of `analysis.sources.origins`, heaviest first; the first four are shown.
        patch_size: P.

    Returns:
        Above: the measurement with the noisy patch framed, the noisy patch, and the pixel that the formula returns
        beside the true one. Below: the training images, each with its patch framed and its weight.
    """
    row, column = pixel
    reach = patch_size // 2
    noisy_patch = measurement[:, row - reach : row + reach + 1, column - reach : column + reach + 1]
    figure, axes = new_figure(2, 4, 6.3, 3.6)
    upper, lower = axes
    draw_image(upper[0], measurement, "measurement")
    _frame(upper[0], (column - patch_size / 2, row - patch_size / 2), patch_size)
    draw_image(upper[1], noisy_patch, "noisy patch")
    _frame(upper[1], (reach - 0.5, reach - 0.5), 1)
    for axis, title, image in zip(upper[2:], ("output pixel", "true pixel"), (output, truth), strict=True):
        draw_image(axis, image[:, row, column, None, None], title)
    for axis in lower[len(sources) :]:
        axis.axis("off")
    for axis, source in zip(lower, sources, strict=False):
        draw_image(axis, source.image, f"weight {100 * source.weight:.2g} %")
        _frame(axis, (source.col - patch_size / 2, source.row - patch_size / 2), patch_size)
    upper[0].set_ylabel("test image", fontsize=9)
    lower[0].set_ylabel("training images", fontsize=9)
    return figure


def _frame(axes: Axes, corner: tuple[float, float], side: float) -> None:
    """A square frame that can be told from what is under it, also in gray print: white around a color."""
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    frame = Rectangle(corner, side, side, fill=False, edgecolor=STYLES["UNet"]["color"], linewidth=1.5)
    frame.set_path_effects([withStroke(linewidth=3, foreground="white")])
    axes.add_patch(frame)


def patchwork(rows: dict[str, tuple[Tensor, Posterior]], images: Tensor) -> Figure:
    """For each label: a measurement, its estimate, the hard patchwork of `sources.heaviest`, and N_eff.

    rows: a measurement (C, H, W), and a posterior with sources whose first query it is. images: the training images.
    """
    from matplotlib.colors import LogNorm

    figure, axes = new_figure(len(rows), 5, 6.3, 1.15 * len(rows) + 0.4)
    scale = LogNorm(1, images[:, 0].numel())
    for line, (label, (noisy, posterior)) in zip(axes, rows.items(), strict=True):
        pixels, pieces = heaviest(posterior, images)
        for axis, image in zip(line, (noisy, posterior.mean[0], pixels), strict=False):
            draw_image(axis, image)
        _draw_pieces(line[3], pieces)
        effective = posterior.effective_samples[0].cpu().numpy()
        drawn = line[4].imshow(effective, cmap="viridis", norm=scale, interpolation="nearest")
        line[4].set(xticks=[], yticks=[])
        line[0].set_ylabel(label, fontsize=9)
    titles = ("measurement", "estimate", "heaviest\npatches", "their\npieces", "effective\npatches")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10)
    figure.colorbar(drawn, ax=[line[4] for line in axes], shrink=0.6, label="patches that share the weight")
    return figure


def drawn_from_noise(images: dict[str, Tensor], pieces: dict[str, Tensor], surprisal: dict[str, Tensor]) -> Figure:
    """What several samplers drew, a column for each: the image, the pieces it is made of, and how rare its patches are.

    Args:
        images: (C, H, W) by sampler.
        pieces: (H, W) by sampler, of `sources.heaviest`: one shade for each training image and shift.
        surprisal: (H, W) by sampler, in nats; light is rare. All maps share one scale.
    """
    figure, axes = new_figure(3, len(images), 1.05 * len(images) + 0.9, 3.6)
    values = torch.stack([surprisal[name] for name in images]).double()
    low, high = float(values.min()), float(values.quantile(0.98))
    for column, (name, image) in enumerate(images.items()):
        draw_image(axes[0][column], image, name)
        _draw_pieces(axes[1][column], pieces[name])
        shades = axes[2][column].imshow(
            surprisal[name].cpu().numpy(), cmap="viridis", vmin=low, vmax=high, interpolation="nearest"
        )
        axes[2][column].set(xticks=[], yticks=[])
    for line, label in zip(axes, ("drawn", "pieces", "surprisal"), strict=True):
        line[0].set_ylabel(label, fontsize=9)
    figure.colorbar(shades, ax=axes[2], label="nats", extend="max")
    return figure


def _draw_pieces(axes: Axes, pieces: Tensor) -> None:
    """Numbers (H, W) of pieces as shades of gray: numbers that are near get shades that are not."""
    shades = (pieces.double() * 0.6180339887498949) % 1
    axes.imshow(shades.cpu().numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])


def origins(patches: list[Tensor], sources: list[list[Source]], patch_size: int, shown: int = 4) -> Figure:
    """A row for each noisy patch (C, P, P): the patch, and the training images of its sources with the patch framed."""
    figure, axes = new_figure(len(patches), 1 + shown, 1.2 * (1 + shown), 1.65 * len(patches))
    for line, patch, found in zip(axes, patches, sources, strict=True):
        draw_image(line[0], patch, "noisy patch")
        for axis in line[1 + len(found) :]:
            axis.axis("off")
        for axis, source in zip(line[1:], found, strict=False):
            draw_image(axis, source.image, f"{100 * source.weight:.2g} %", f"center {source.value:.2f}")
            _frame(axis, (source.col - patch_size / 2, source.row - patch_size / 2), patch_size)
    return figure
