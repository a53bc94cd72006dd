"""How far apart images are: PSNR in dB, for a peak of 1, and how alike they are: the correlation of ranks."""

from __future__ import annotations

import torch
from torch import Tensor

from lemmse.checks import check_batch

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Return the PSNR of each image of a against the same image of b, `-10 log10 mean (a - b)^2`, for a peak of 1.

    The mean is over channels and pixels, computed in float64, and values are not clipped.

    Args:
        a: (Q, C, H, W), finite, of a floating dtype. Divide 8-bit images by 255 first.
        b: images of the same shape, on the same device.

    Returns:
        (Q,) float64, in dB, infinite where the images are equal.

    Raises:
        ValueError: for other shapes, integer, complex, and non-finite values.

    Source: the usual definition, for images in [0, 1].

    Example:
        >>> import torch
        >>> psnr(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.1)).round(decimals=3)
        tensor([20.], dtype=torch.float64)
    """
    _check_pair(a, b, "psnr")
    mse = (a.double() - b.double()).square().mean((1, 2, 3))
    return -10 * torch.log10(mse)


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's rank correlation of each image of a with the same image of b, over channels and pixels.

    It is the correlation `cov(r, s) / (std(r) std(s))` of the ranks r and s of the values, where equal values share
    their mean rank: 1 if one image is an increasing function of the other, 0 for unrelated images.

    Args:
        a: (Q, C, H, W), finite, of a floating dtype.
        b: images of the same shape, on the same device.

    Returns:
        (Q,) float64, from -1 to 1; 0 where an image is constant.

    Raises:
        ValueError: for other shapes, integer, complex, and non-finite values.

    Example:
        >>> x = torch.linspace(0, 1, 16).reshape(1, 1, 4, 4)
        >>> rank_correlation(x, x**3), rank_correlation(x, -x)
        (tensor([1.], dtype=torch.float64), tensor([-1.], dtype=torch.float64))
    """
    _check_pair(a, b, "rank_correlation")
    ranks = [_centered_ranks(images) for images in (a, b)]
    norms = ranks[0].norm(dim=1) * ranks[1].norm(dim=1)
    product = (ranks[0] * ranks[1]).sum(1)
    return torch.where(norms > 0, product / norms.clamp_min(1e-300), 0.0)


def _centered_ranks(images: Tensor) -> Tensor:
    """The ranks of the values of each image about their mean, equal values sharing theirs: (Q, C*H*W) float64."""
    rows = []
    for values in images.flatten(1):
        _, place, times = torch.unique(values, return_inverse=True, return_counts=True)
        last = times.cumsum(0).double()
        rows.append((last - (times.double() - 1) / 2)[place])
    ranks = torch.stack(rows)
    return ranks - ranks.mean(1, keepdim=True)


def _check_pair(a: Tensor, b: Tensor, name: str) -> None:
    """Raise ValueError unless a and b are finite batches (Q, C, H, W) of one shape on one device."""
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        names = [type(value).__name__ for value in (a, b)]
        hint = ": make arrays tensors with torch.from_numpy" if "ndarray" in names else ""
        raise ValueError(f"{name} needs two tensors, got {names[0]} and {names[1]}{hint}")
    if a.is_nested or b.is_nested:
        raise ValueError(f"{name} needs two dense batches, got a nested tensor: call to_padded_tensor()")
    if a.shape != b.shape or a.ndim != 4:
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise ValueError(f"{name} needs two (Q, C, H, W) batches of one shape, got {shapes}")
    if a.device != b.device:
        raise ValueError(f"{name} needs two batches on one device, got {a.device} and {b.device}")
    check_batch(a, "the first batch", _FLOATS)
    check_batch(b, "the second batch", _FLOATS)
