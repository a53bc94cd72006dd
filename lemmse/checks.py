"""Checks of user input, each of which raises one `ValueError` that names the value and what is allowed.

torch is imported where tensors are checked, so that what only checks names and numbers starts quickly.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from numbers import Integral, Real
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LARGEST = 1e9  # value in images and measurements: squared distances and padding keep apart, in float32 too
_RANGE_SLACK = 1e-3  # resampling and decoding overshoot by rounding, not by more
_warned: set[str] = set()


def warn_once(key: str, message: str) -> None:
    """Warn about `message` the first time that `key` is seen in this process."""
    if key not in _warned:
        _warned.add(key)
        warnings.warn(message, UserWarning, stacklevel=3)


def check_choice(value: str, known: Iterable[str], what: str) -> str:
    """Return `value` if it is one of `known`, else raise and list the known ones."""
    known = list(known)
    if value not in known:
        raise ValueError(f"unknown {what} {value!r}: choose one of {', '.join(map(repr, known))}")
    return value


def check_patch_size(patch_size: int) -> int:
    """Return `patch_size` if it is a positive odd integer."""
    if isinstance(patch_size, bool) or not isinstance(patch_size, Integral):
        raise ValueError(f"patch_size must be an odd positive integer, got {patch_size!r}")
    if patch_size < 1 or patch_size % 2 == 0:
        raise ValueError(f"patch_size must be odd and positive, got {patch_size}")
    return int(patch_size)


def check_positive(value: float, what: str) -> float:
    """Return `value` as a float if it is finite and positive."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value <= 0:
        raise ValueError(f"{what} must be a finite positive number, got {value!r}")
    return float(value)


def check_count(value: int, what: str, minimum: int = 1) -> int:
    """Return `value` if it is an integer of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise ValueError(f"{what} must be an integer of at least {minimum}, got {value!r}")
    return int(value)


def check_generator(generator: torch.Generator | None) -> torch.Generator | None:
    """Return `generator` if it is a torch.Generator or None."""
    import torch

    if generator is not None and not isinstance(generator, torch.Generator):
        raise ValueError(f"generator must be a torch.Generator or None, got {type(generator).__name__}")
    return generator


def check_images(images: Tensor, name: str = "images") -> Tensor:
    """Return `images` if they are a finite, non-empty float (N, C, H, W) tensor; warn if they leave [0, 1]."""
    check_batch(images, name)
    low, high = (float(bound) for bound in images.detach().aminmax())
    if low < -_RANGE_SLACK or high > 1 + _RANGE_SLACK:
        warnings.warn(
            f"{name} span [{low:.4g}, {high:.4g}], outside [0, 1]: the theory holds, but sigma and PSNR assume [0, 1]",
            UserWarning,
            stacklevel=3,
        )
    return images


def check_batch(batch: Tensor, name: str, dtypes: tuple[torch.dtype, ...] | None = None) -> Tensor:
    """Return `batch` if it is a finite, non-empty 4-D tensor of one of `dtypes`, default float32 and float64."""
    import torch

    dtypes = dtypes or (torch.float32, torch.float64)
    if not isinstance(batch, torch.Tensor):
        raise ValueError(f"{name} must be a torch tensor, got {type(batch).__name__}")
    if batch.dtype not in dtypes:
        raise ValueError(f"{name} must be of dtype {' or '.join(map(str, dtypes))}, got {batch.dtype}")
    if batch.ndim != 4:
        raise ValueError(f"{name} must be 4-D, (N, C, H, W), got shape {tuple(batch.shape)}")
    if batch.numel() == 0:
        raise ValueError(f"{name} must not be empty, got shape {tuple(batch.shape)}")
    if not bool(torch.isfinite(batch.sum())) and not bool(torch.isfinite(batch).all()):  # a sum needs no second array
        raise ValueError(f"{name} must be finite, but hold NaN or infinity")
    return batch


def check_size(values: Tensor, name: str) -> Tensor:
    """Return `values` if they are finite and no larger than `LARGEST`, in one pass over them."""
    low, high = (float(bound) for bound in values.detach().aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"{name} must be finite, but hold NaN or infinity")
    if max(-low, high) > LARGEST:
        raise ValueError(f"{name} must be at most {LARGEST:g} in size, got values from {low:.4g} to {high:.4g}")
    return values


def check_sigma(sigma: float | Tensor, count: int, like: Tensor) -> Tensor:
    """Return sigma as a (count,) tensor with the real dtype and the device of `like`.

    sigma is a number, a 0-d tensor or a (count,) tensor, finite and positive: the noise standard deviation.
    """
    import torch

    if isinstance(sigma, bool) or not isinstance(sigma, (Real, torch.Tensor)):
        raise ValueError(f"sigma must be a number or a ({count},) tensor, got {sigma!r}")
    dtype = like.real.dtype if like.is_complex() else like.dtype
    values = sigma if isinstance(sigma, torch.Tensor) else torch.tensor(float(sigma), dtype=torch.float64)
    if values.is_complex() or values.dtype == torch.bool:
        raise ValueError(f"sigma must be real, got dtype {values.dtype}")
    if values.ndim > 1 or (values.ndim == 1 and len(values) != count):
        raise ValueError(f"sigma must be a number or of shape ({count},), one per image, got {tuple(values.shape)}")
    values = values.to(device=like.device, dtype=dtype)
    bad = ~(torch.isfinite(values) & (values > 0))
    if bool(bad.any()):
        raise ValueError(f"sigma must be finite and positive, got {values[bad].flatten()[0].item()}")
    return values.expand(count)
