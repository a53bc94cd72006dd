"""What the sources of an estimate say: of which training patches it is made, how many, and in pieces of which size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lemmse.analysis.metrics import psnr
from lemmse.estimators.posterior import Posterior

if TYPE_CHECKING:
    import pandas as pd


class Source(NamedTuple):
    """A training image (C, H, W), the center (row, col) of the patch in it, its weight, and the value of its center."""

    image: Tensor
    row: int
    col: int
    weight: float
    value: float


def patchwork_table(posterior: Posterior, truth: Tensor, images: Tensor) -> pd.DataFrame:
    """One row for each image of the posterior; `images` are the training images.

    effective, low, high: median and quartiles over pixels of the effective number of samples. heaviest: mean weight of
    the heaviest source. sources: number of training images among the heaviest. own: share of pixels whose heaviest
    source has exactly their value: the pixel itself, or its copy in an overlapping crop. together: share of pairs of
    neighboring pixels whose heaviest sources are neighbors, in the same direction, in one training image. psnr: to
    the truth, dB. Raises ValueError if top_k was 0.
    """
    import pandas as pd

    weights, indices = _weights_and_indices(posterior)
    best = indices[..., 0, :]
    count, height, width = best.shape[:3]
    quartiles = (
        posterior.effective_samples.double()
        .flatten(1)
        .quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64, device=best.device), dim=1)
    )
    image, row, col = best.unbind(-1)
    own = (images[image, :, row, col].movedim(-1, 1) == truth).all(1)
    sides = torch.tensor([height, width], dtype=torch.int64, device=best.device)
    together = torch.zeros(count, dtype=torch.float32, device=best.device)
    for axis in (1, 2):
        step = torch.tensor([axis == 1, axis == 2], dtype=torch.int64, device=best.device)
        there = best.roll(-1, axis)
        same = (there[..., 0] == best[..., 0]) & (there[..., 1:] == (best[..., 1:] + step) % sides).all(-1)
        together += same.float().mean((1, 2)) / 2
    return pd.DataFrame(
        {
            "effective": quartiles[1].tolist(),
            "low": quartiles[0].tolist(),
            "high": quartiles[2].tolist(),
            "heaviest": weights[..., 0].mean((1, 2)).tolist(),
            "sources": [len(b[..., 0].unique()) for b in best],
            "own": own.float().mean((1, 2)).tolist(),
            "together": together.tolist(),
            "psnr": psnr(posterior.mean, truth).tolist(),
        }
    )


def heaviest(posterior: Posterior, images: Tensor, number: int = 0) -> tuple[Tensor, Tensor]:
    """The patchwork in its hard form, for image `number` of the posterior; `images` are the training images.

    Returns the clean center pixels (C, H, W) of the heaviest patches, and pieces (H, W): a number for each training
    image and shift, so that pixels of one number are a piece that was cut from one place.
    """
    _, indices = _weights_and_indices(posterior)
    image, row, col = indices[number, ..., 0, :].unbind(-1)
    height, width = image.shape
    down = torch.arange(height, dtype=torch.int64, device=image.device)[:, None]
    right = torch.arange(width, dtype=torch.int64, device=image.device)
    pieces = (image * height + (row - down) % height) * width + (col - right) % width
    return images[image, :, row, col].movedim(-1, 0), pieces


def origins(
    images: Tensor, posterior: Posterior, number: int, pixels: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], list[Source]]:
    """For each pixel of image `number` of the posterior: its sources among the training images, heaviest first."""
    weights, indices = _weights_and_indices(posterior)
    found = {}
    for row, col in pixels:
        chosen = zip(weights[number, row, col], indices[number, row, col].tolist(), strict=True)
        found[row, col] = [
            Source(images[i], r, c, float(weight), float(images[i, :, r, c].mean()))
            for weight, (i, r, c) in chosen
            if i >= 0
        ]
    return found


def _weights_and_indices(posterior: Posterior) -> tuple[Tensor, Tensor]:
    """The sources of a posterior, heaviest first; raises ValueError if it was asked for none."""
    if posterior.weights is None or posterior.indices is None:
        raise ValueError("the patchwork needs sources: ask for a posterior with top_k of at least 1")
    return posterior.weights, posterior.indices
