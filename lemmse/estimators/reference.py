"""The three formulas written out in float64, as one reads them in the paper, for a network that sees y itself (B = I).

Each is a softmax of three lines: squared distances, weights, weighted clean values. Every pair is held in memory and
every patch is compared in full, so this is for small images and a few pixels. The estimators compute the same, faster,
and for other pre-inverses. Source: arXiv 2601.10334.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from lemmse.checks import check_batch, check_patch_size, check_sigma, check_sigma_range
from lemmse.patches import extract_patches
from lemmse.physics.base import Physics
from lemmse.physics.operators import Denoising


def le_mmse(
    images: Tensor,
    y: Tensor,
    sigma: float | Tensor,
    patch_size: int,
    *,
    physics: Physics | None = None,
    pixels: Iterable[tuple[int, int]] | None = None,
) -> Tensor:
    """LE-MMSE: `x_hat[m] = sum_{i,k} x_i[k] w_{i,k}`, `w_{i,k} ~ exp(-|Pi_m y - Pi_k A x_i|^2 / (2 sigma^2))`.

    Args:
        images: the data set, (N, C, h, w).
        y: measurements, (Q, C', H, W), of any size; a size other than h x w needs P <= min(h, w, H, W).
        sigma: noise level, a number or (Q,).
        patch_size: P, odd.
        physics: the forward operator A whose measurements are images; without one, the identity.
        pixels: (row, column) of the output pixels m; without, all of them.

    Returns:
        (Q, C, H, W) float64; for `pixels`, (Q, C, number of pixels).

    Raises:
        ValueError: for bad input, and for a pixel outside y.

    Example:
        >>> import torch
        >>> images = torch.rand(5, 1, 6, 6, generator=torch.Generator().manual_seed(0))
        >>> bool((le_mmse(images, images, 1e-3, patch_size=3) - images).abs().max() < 1e-6)
        True
    """
    keys, sigma = _measured(images, y, sigma, physics)
    _check_patch_fits(patch_size, keys, y)
    height, width = y.shape[-2:]
    positions = _positions(pixels, height, width)
    clean = images.double().movedim(1, -1).flatten(0, -2)  # x_i[k], one row for each pair (i, k)
    training_patches = extract_patches(keys, patch_size).movedim(1, 2).flatten(2).flatten(0, 1)  # Pi_k A x_i
    query_patches = extract_patches(y.double(), patch_size).movedim(1, 2).flatten(2)  # Pi_m y
    estimate = y.new_empty(len(y), len(positions), images.shape[1], dtype=torch.float64)
    for q, patches in enumerate(query_patches):
        for j, m in enumerate(positions):
            distances = (patches[m] - training_patches).square().sum(-1)
            weights = torch.softmax(-distances / (2 * sigma[q] ** 2), dim=0)
            estimate[q, j] = weights @ clean
    estimate = estimate.transpose(1, 2)
    return estimate if pixels is not None else estimate.unflatten(-1, (height, width))


def e_mmse(images: Tensor, y: Tensor, sigma: float | Tensor, *, physics: Physics | None = None) -> Tensor:
    """E-MMSE: `x_hat = sum_{i,g} T_g^-1 x_i w_{i,g}`, `w_{i,g} ~ exp(-|T_g y - A x_i|^2 / (2 sigma^2))`.

    Arguments as for `le_mmse`, with y of the size of the images. Returns (Q, C, H, W) float64.

    Example:
        >>> import torch
        >>> images = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        >>> covering = le_mmse(images, images, 0.2, patch_size=5)
        >>> bool((e_mmse(images, images, 0.2) - covering).abs().max() < 1e-9)
        True
    """
    keys, sigma = _measured(images, y, sigma, physics)
    _check_same_size(keys, y)
    height, width = y.shape[-2:]
    shifts = [(row, col) for row in range(height) for col in range(width)]
    moved_back = torch.cat([images.double().roll((-row, -col), (-2, -1)) for row, col in shifts])  # T_g^-1 x_i
    estimates = []
    for query, s in zip(y.double(), sigma, strict=True):
        moved = torch.stack([query.roll(g, (-2, -1)) for g in shifts])  # T_g y
        distances = (moved[:, None] - keys).square().sum((-3, -2, -1)).flatten()
        weights = torch.softmax(-distances / (2 * s**2), dim=0)
        estimates.append(torch.tensordot(weights, moved_back, dims=1))
    return torch.stack(estimates)


def mmse(images: Tensor, y: Tensor, sigma: float | Tensor, *, physics: Physics | None = None) -> Tensor:
    """MMSE: `x_hat = sum_i x_i w_i`, `w_i ~ exp(-|y - A x_i|^2 / (2 sigma^2))`.

    Arguments as for `le_mmse`, with y of the size of the images. Returns (Q, C, H, W) float64.

    Example:
        >>> import torch
        >>> images = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        >>> bool((mmse(images, images + 0.05, 1e-2) - images).abs().max() < 1e-6)
        True
    """
    keys, sigma = _measured(images, y, sigma, physics)
    _check_same_size(keys, y)
    distances = (y.double()[:, None] - keys).square().sum((-3, -2, -1))
    weights = torch.softmax(-distances / (2 * sigma[:, None] ** 2), dim=1)
    return torch.tensordot(weights, images.double(), dims=1)


def _measured(images: Tensor, y: Tensor, sigma: float | Tensor, physics: Physics | None) -> tuple[Tensor, Tensor]:
    """`A x_i` of all images, and sigma as (Q,), both float64."""
    check_batch(images, "images")
    check_batch(y, "y")
    keys = (physics or Denoising()).A(images.double())
    if keys.shape[1] != y.shape[1] or keys.is_complex():
        raise ValueError(f"y must be real, of {keys.shape[1]} channels as A x, got shape {tuple(y.shape)}, {y.dtype}")
    return keys, check_sigma_range(check_sigma(sigma, len(y), y.double()))


def _positions(pixels: Iterable[tuple[int, int]] | None, height: int, width: int) -> list[int]:
    """The pixels as numbers in raster order."""
    if pixels is None:
        return list(range(height * width))
    positions = []
    for row, col in pixels:
        if not (0 <= row < height and 0 <= col < width):
            raise ValueError(f"pixel ({row}, {col}) is outside the image of {height} x {width}")
        positions.append(row * width + col)
    return positions


def _check_patch_fits(patch_size: int, keys: Tensor, y: Tensor) -> None:
    check_patch_size(patch_size)
    if y.shape[-2:] != keys.shape[-2:] and patch_size > min(*y.shape[-2:], *keys.shape[-2:]):
        raise ValueError(
            f"patch_size must be at most the sides of images and measurements where these differ in size, "
            f"{tuple(keys.shape[-2:])} and {tuple(y.shape[-2:])}, got {patch_size}"
        )


def _check_same_size(keys: Tensor, y: Tensor) -> None:
    if keys.shape[-2:] != y.shape[-2:]:
        raise ValueError(f"y must be of the size of A x, {tuple(keys.shape[-2:])}, got {tuple(y.shape[-2:])}")
