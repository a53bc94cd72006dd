"""Checks of user input, each of which raises one `ValueError` that names the value and what is allowed.

torch is imported where tensors are checked, so that what only checks names and numbers starts quickly.
"""

from __future__ import annotations

import math
import reprlib
import warnings
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SIGMAS = (1e-12, 1e12)  # noise levels: between them the squared distances over sigma^2 stay in the range of float32
LARGEST = 1e9  # value in images and measurements: squared distances and padding keep apart, in float32 too
_RANGE_SLACK = 1e-3  # resampling and decoding overshoot by rounding, not by more
_SHOWN = 60  # characters of a value that a message repeats
_warned: set[str] = set()


def warn_once(key: str, message: str) -> None:
    """Warn about `message` the first time that `key` is seen in this process."""
    if key not in _warned:
        _warned.add(key)
        warnings.warn(message, UserWarning, stacklevel=3)


def shown(value: object) -> str:
    """A value as a message repeats it: on one line, at most some 60 characters, an array by its type and shape."""
    try:
        if hasattr(value, "shape") and hasattr(value, "dtype"):
            return f"{type(value).__name__} of shape {tuple(value.shape)}"
        text = " ".join(reprlib.repr(value).split())
    except Exception:  # an integer of thousands of digits, or an object that cannot be shown
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def as_float(value: Real) -> float:
    """A real number as a float; infinite if it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def check_choice(value: str, known: Iterable[str], what: str) -> str:
    """Return `value` if it is one of `known`, else raise and list the known ones."""
    known = list(known)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"unknown {what} {shown(value)}: choose one of {', '.join(map(repr, known))}")
    return value


def check_patch_size(patch_size: int) -> int:
    """Return `patch_size` if it is a positive odd integer."""
    if isinstance(patch_size, bool) or not isinstance(patch_size, Integral):
        raise ValueError(f"patch_size must be an odd positive integer, got {shown(patch_size)}")
    if patch_size < 1 or patch_size % 2 == 0:
        raise ValueError(f"patch_size must be odd and positive, got {shown(patch_size)}")
    return int(patch_size)


def check_patch_sizes(patch_sizes: Iterable[int]) -> list[int]:
    """Return `patch_sizes` as a list if all of them are positive odd integers."""
    if not isinstance(patch_sizes, Iterable):
        raise ValueError(f"patch_sizes must be a list of odd numbers, got {shown(patch_sizes)}")
    return [check_patch_size(patch_size) for patch_size in patch_sizes]


def check_finite(value: float, what: str, kind: str = "a finite number") -> float:
    """Return `value` as a float if it is finite; `kind` says in the message what it must be."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(as_float(value)):
        raise ValueError(f"{what} must be {kind}, got {shown(value)}")
    return float(value)


def check_positive(value: float, what: str) -> float:
    """Return `value` as a float if it is finite and positive."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < as_float(value) < math.inf:
        raise ValueError(f"{what} must be a finite positive number, got {shown(value)}")
    return float(value)


def check_positive_numbers(values: Sequence[float] | Tensor, name: str, minimum: int = 1) -> list[float]:
    """Return `values` as floats if they are a list, or an array, of at least `minimum` finite and positive numbers."""
    numbers = values.tolist() if hasattr(values, "tolist") else values
    if not isinstance(numbers, Sequence) or isinstance(numbers, (str, bytes)) or len(numbers) < minimum:
        many = "numbers" if minimum == 0 else "at least one number"
        raise ValueError(f"{name} must be a list of {many}, got {shown(values)}")
    return [check_positive(value, f"each of {name}") for value in numbers]


def check_count(value: int, what: str, minimum: int = 1, maximum: int | None = None) -> int:
    """Return `value` if it is an integer of at least `minimum`, and of at most `maximum` if there is one."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise ValueError(f"{what} must be an integer of at least {minimum}, got {shown(value)}")
    if maximum is not None and value > maximum:
        raise ValueError(f"{what} must be at most {maximum}, got {shown(value)}")
    return int(value)


def check_generator(generator: torch.Generator | None, *, optional: bool = True) -> torch.Generator | None:
    """Return `generator` if it is a torch.Generator, or None where it is optional."""
    import torch

    if not isinstance(generator, torch.Generator) and not (optional and generator is None):
        allowed = "a torch.Generator or None" if optional else "a torch.Generator"
        raise ValueError(f"generator must be {allowed}, got {shown(generator)}")
    return generator


def check_tensor(value: Tensor, name: str) -> Tensor:
    """Return `value` if it is a dense tensor that holds values."""
    import torch

    if not isinstance(value, torch.Tensor):
        numpy = type(value).__module__.partition(".")[0] == "numpy"
        hint = ": make it one with torch.from_numpy" if numpy else ""
        raise ValueError(f"{name} must be a torch tensor, got {type(value).__name__}{hint}")
    if value.layout != torch.strided or value.is_nested:
        kind = "nested" if value.is_nested else str(value.layout)
        raise ValueError(f"{name} must be a dense tensor, got a {kind} one: call to_dense() or to_padded_tensor()")
    if value.is_meta:
        raise ValueError(f"{name} must hold values, but it is on the meta device, which has none")
    return value


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


def check_batch(
    batch: Tensor, name: str, dtypes: tuple[torch.dtype, ...] | None = None, dims: tuple[int, ...] = (4,)
) -> Tensor:
    """Return `batch` if it is a finite, non-empty tensor of one of `dtypes`, default float32 and float64.

    It must have 4 dimensions, or one of `dims`.
    """
    import torch

    dtypes = dtypes or (torch.float32, torch.float64)
    check_tensor(batch, name)
    if batch.dtype not in dtypes:
        raise ValueError(f"{name} must be of dtype {' or '.join(map(str, dtypes))}, got {batch.dtype}")
    if batch.ndim not in dims:
        kinds = " or ".join({3: "3-D, (Q, C, M)", 4: "4-D, (N, C, H, W)"}[d] for d in dims)
        raise ValueError(f"{name} must be {kinds}, got shape {tuple(batch.shape)}")
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


def check_measurements(y: Tensor, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return y if it holds measurements as an estimator takes them.

    Args:
        y: what was given.
        shape: of a measurement. One that is an image (C, H, W) may also be of another height and width.
        dtype: of `A x`.
        device: where the training images are.

    Raises:
        ValueError: for another shape, dtype or device, and for values that cannot be computed with.
    """
    import torch

    check_tensor(y, "y")
    if y.dtype != dtype:
        raise ValueError(f"y must be {dtype}, as measured from the images, got {y.dtype}")
    if y.device != device:
        raise ValueError(f"y must be on {device}, where the images are, got {y.device}")
    image = y.ndim == 4 == len(shape) + 1 and y.shape[1] == shape[0]
    if y.numel() == 0 or not (image or tuple(y.shape[1:]) == shape):
        raise ValueError(f"y must be of shape (Q, {', '.join(map(str, shape))}), Q >= 1, got {tuple(y.shape)}")
    check_size(torch.view_as_real(y) if y.is_complex() else y, "y")
    return y


def check_sigma(sigma: float | Tensor, count: int, like: Tensor, name: str = "sigma") -> Tensor:
    """Return sigma as a (count,) tensor with the real dtype and the device of `like`.

    sigma is a number, a 0-d tensor or a (count,) tensor, finite and positive: the noise standard deviation, or another
    noise level by its `name`.
    """
    import torch

    if isinstance(sigma, bool) or not isinstance(sigma, (Real, torch.Tensor)):
        raise ValueError(f"{name} must be a number or a ({count},) tensor, got {shown(sigma)}")
    if not isinstance(sigma, torch.Tensor):
        sigma = torch.tensor(as_float(sigma), dtype=torch.float64, device="cpu")
    values = check_tensor(sigma, name)
    if values.is_complex() or values.dtype == torch.bool:
        raise ValueError(f"{name} must be real, got dtype {values.dtype}")
    if values.ndim > 1 or (values.ndim == 1 and len(values) != count):
        raise ValueError(f"{name} must be a number or of shape ({count},), one per image, got {tuple(values.shape)}")
    values = values.to(device=like.device, dtype=like.real.dtype if like.is_complex() else like.dtype)
    bad = ~(torch.isfinite(values) & (values > 0))
    if bool(bad.any()):
        raise ValueError(f"{name} must be finite and positive, got {values[bad].flatten()[0].item()}")
    return values.expand(count)


def check_exclude(exclude: Tensor, count: int) -> Tensor:
    """Return `exclude` if it is a (count,) int64 tensor of numbers of images, -1 for none."""
    import torch

    check_tensor(exclude, "exclude")
    if exclude.dtype != torch.int64 or tuple(exclude.shape) != (count,):
        raise ValueError(
            f"exclude must be an int64 tensor of shape ({count},), the image left out of each query, got "
            f"{exclude.dtype} of shape {tuple(exclude.shape)}"
        )
    if bool((exclude < -1).any()):
        raise ValueError(f"exclude must hold numbers of images, or -1 for none, got {int(exclude.min())}")
    return exclude


def check_sigma_map(sigma: Tensor, like: Tensor) -> Tensor:
    """Return a map (Q, 1, H, W) of standard deviations in the dtype and on the device of images `like` (Q, C, H, W)."""
    import torch

    shape = (len(like), 1, *like.shape[2:])
    check_tensor(sigma, "sigma")
    if sigma.is_complex() or sigma.dtype == torch.bool:
        raise ValueError(f"sigma must be real, got dtype {sigma.dtype}")
    if tuple(sigma.shape) != shape:
        raise ValueError(f"sigma must be a number, one per image or a map of shape {shape}, got {tuple(sigma.shape)}")
    values = sigma.to(device=like.device, dtype=like.dtype)
    bad = ~(torch.isfinite(values) & (values > 0))
    if bool(bad.any()):
        raise ValueError(f"sigma must be finite and positive, got {values[bad].flatten()[0].item()}")
    return values


def check_sigma_range(sigma: Tensor, name: str = "sigma") -> Tensor:
    """Return the noise levels if they lie within `SIGMAS`."""
    least, most = SIGMAS
    wrong = (sigma < 0.99 * least) | (sigma > 1.01 * most)  # float32 rounds the limits
    if bool(wrong.any()):
        raise ValueError(f"{name} must be between {least:g} and {most:g}, got {sigma[wrong][0].item():g}")
    return sigma
