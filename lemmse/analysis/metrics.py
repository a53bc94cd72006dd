"""How far apart images are: `PSNR(a, b) = -10 log10 mean |a - b|^2` in dB, for a peak of 1."""

from __future__ import annotations

import torch
from torch import Tensor


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """PSNR of each image of a against the same of b, peak 1, values not clipped: (Q,) dB, infinite where equal.

    a, b: (Q, C, H, W), of one shape. Computed in float64. Raises ValueError for other shapes.
    """
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        raise ValueError(f"psnr needs two tensors, got {type(a).__name__} and {type(b).__name__}")
    if a.shape != b.shape or a.ndim != 4:
        raise ValueError(f"psnr needs two (Q, C, H, W) batches of one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    mse = (a.double() - b.double()).square().mean((1, 2, 3))
    return -10 * torch.log10(mse)
