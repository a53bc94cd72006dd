"""Circular patches: the window around a pixel, the patches it cuts, and the positions that see the same mask.

`Pi_k` extracts the P x P patch of an image centered at pixel k, on the torus. Along an axis of length L the window is

    offsets = -(P//2) .. P//2            if P < L
    offsets = -(L//2) .. L - 1 - L//2    if P >= L   (the whole axis, each pixel once)

because a pixel that a large patch repeats is one observation.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad


def window_offsets(patch_size: int, length: int) -> range:
    """Offsets of the distinct pixels that a window of `patch_size` sees on a circular axis of `length`."""
    if patch_size < length:
        return range(-(patch_size // 2), patch_size // 2 + 1)
    return range(-(length // 2), length - length // 2)


def window_indices(patch_size: int, height: int, width: int) -> Tensor:
    """Flat pixel indices (H*W, p), on the CPU, of the window around every position; p = min(P, H) * min(P, W)."""
    rows = _axis(range(height))[:, None] + _axis(window_offsets(patch_size, height))
    cols = _axis(range(width))[:, None] + _axis(window_offsets(patch_size, width))
    flat = (rows % height)[:, None, :, None] * width + (cols % width)[None, :, None, :]
    return flat.reshape(height * width, -1)


def _axis(numbers: range) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int64, device="cpu")


def extract_patches(images: Tensor, patch_size: int) -> Tensor:
    """`Pi_k x` for every position k: (N, C, H, W) -> (N, C, H*W, p), p = min(P, H) * min(P, W)."""
    rows, cols = (window_offsets(patch_size, length) for length in images.shape[-2:])
    periodic = pad(images, (-cols[0], cols[-1], -rows[0], rows[-1]), mode="circular")
    return periodic.unfold(2, len(rows), 1).unfold(3, len(cols), 1).flatten(4).flatten(2, 3)


def mask_strata(mask: Tensor, patch_size: int) -> Tensor:
    """Label the positions by the mask pattern in their window: (H, W) -> (H, W) int64, equal label = same pattern."""
    patterns = extract_patches((mask[None, None] != 0).double(), patch_size)[0, 0]
    return torch.unique(patterns, dim=0, return_inverse=True)[1].reshape(mask.shape)
