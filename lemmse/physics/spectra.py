"""Filters and pseudo-inverses: what a circulant operator and a matrix need, in float64, with one rule for the rank.

A singular value counts as zero if it is at most `rtol` times the largest one. A value within a factor 3 of that cut
gives a warning, because then the rank is ambiguous.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

RTOL = 1e-6  # of the singular values of A, in its pseudo-inverse
RANGE_RTOL = 1e-12  # of the eigenvalues of B B^T and its patches; the small ones are the best measured directions


def as_complex(x: Tensor) -> Tensor:
    """Images (Q, 2, H, W), real and imaginary part, as complex ones (Q, 1, H, W); ValueError for other channels."""
    if x.ndim != 4 or x.shape[1] != 2:
        raise ValueError(f"complex images must be (Q, 2, H, W), real and imaginary part, got shape {tuple(x.shape)}")
    return torch.complex(x[:, :1], x[:, 1:])


def as_parts(x: Tensor) -> Tensor:
    """Complex images (Q, 1, H, W) as (Q, 2, H, W), real and imaginary part."""
    return torch.cat([x.real, x.imag], 1)


def filter_images(x: Tensor, spectrum: Tensor, *, complex_images: bool = False) -> Tensor:
    """`F^-1 [spectrum * F x]` of real images (Q, C, H, W), computed in float64, in the dtype and on the device of x.

    complex_images: whether the images are complex, (Q, 2, H, W), which the filter may mix.
    """
    if complex_images:
        return as_parts(torch.fft.ifft2(torch.fft.fft2(as_complex(x.double())) * spectrum.to(x.device))).to(x.dtype)
    return torch.fft.ifft2(torch.fft.fft2(x.double()) * spectrum.to(x.device)).real.to(x.dtype)


def invert_spectrum(t: Tensor, rtol: float) -> Tensor:
    """`1 / t` where sqrt(t), a singular value, exceeds rtol of the largest, else 0."""
    kept = kept_values(t.clamp_min(0).sqrt(), rtol, "singular value")
    return torch.where(kept, 1 / t.where(kept, torch.ones_like(t)), torch.zeros_like(t))


def invert_matrix(matrix: Tensor, rtol: float) -> Tensor:
    """The pseudo-inverse of a matrix by its singular values, those above rtol of the largest."""
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    kept = kept_values(values, rtol, "singular value")
    return (right[kept].T / values[kept]) @ left[:, kept].T


def kept_values(values: Tensor, rtol: float, what: str) -> Tensor:
    """Which of the values, not negative, exceed rtol of the largest; warns, naming `what`, if the rank is ambiguous."""
    largest = values.max() if values.numel() else values.new_zeros(())
    cut = rtol * largest
    close = (values > cut / 3) & (values < cut * 3)
    if bool(close.any()):
        value = float(values[close][0])
        warnings.warn(
            f"ambiguous rank: {what} {value:.3g} is within 3 x of the cut {float(cut):.3g}, {rtol:g} of the largest",
            UserWarning,
            stacklevel=2,
        )
    return values > cut
