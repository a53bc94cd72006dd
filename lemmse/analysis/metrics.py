"""How far apart images are: `PSNR(a, b) = -10 log10 mean |a - b|^2` in dB, for a peak of 1."""

from __future__ import annotations

import torch
from torch import Tensor

from lemmse.checks import check_batch

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """PSNR of each image of a against the same image of b, peak 1, values not clipped.

    It is `-10 log10 mean (a - b)^2`, the mean over channels and pixels, computed in float64.

    Args:
        a: (Q, C, H, W), finite, of a floating dtype. Divide 8-bit images by 255 first.
        b: images of the same shape, on the same device.

    Returns:
        (Q,) float64, in dB, infinite where the images are equal.

    Raises:
        ValueError: for other shapes, integer, complex, and non-finite values.

    Example:
        >>> import torch
        >>> psnr(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.1)).round(decimals=3)
        tensor([20.], dtype=torch.float64)
    """
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        names = [type(value).__name__ for value in (a, b)]
        hint = ": make arrays tensors with torch.from_numpy" if "ndarray" in names else ""
        raise ValueError(f"psnr needs two tensors, got {names[0]} and {names[1]}{hint}")
    if a.is_nested or b.is_nested:
        raise ValueError("psnr needs two dense batches, got a nested tensor: call to_padded_tensor()")
    if a.shape != b.shape or a.ndim != 4:
        raise ValueError(f"psnr needs two (Q, C, H, W) batches of one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    if a.device != b.device:
        raise ValueError(f"psnr needs two batches on one device, got {a.device} and {b.device}")
    check_batch(a, "the first batch", _FLOATS)
    check_batch(b, "the second batch", _FLOATS)
    mse = (a.double() - b.double()).square().mean((1, 2, 3))
    return -10 * torch.log10(mse)
