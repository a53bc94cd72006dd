"""Operators of other libraries, such as deepinv: accepted by what they do, without an import of that library.

An object with `A` (and, where it is linear, `A_adjoint`) is asked what it makes of a few images. The operator of this
library that does the same then takes its place, so that estimators know its structure:

    A x = x                                  Denoising
    A x = m * x, the same m for all images   Inpainting(m)
    A x = k * x, circular                    Blur(k)
    linear, alike for each channel           a matrix, for images of at most `LARGEST` pixels
    anything else that keeps height, width   Nonlinear, physics-agnostic only

Its noise has to be Gaussian; `noise_level` reads the sigma of its `noise_model`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lemmse.physics.base import Physics
from lemmse.physics.general import Linear, Nonlinear
from lemmse.physics.noise import check_gaussian_model
from lemmse.physics.operators import Blur, Denoising, Inpainting

LARGEST = 1024  # pixels of an image for which a matrix is made, by one measurement of each
_TOLERANCE = 1e-5  # of the largest value: two measurements in float32 that differ by less are equal
_SUPPORT = 1e-7  # of the largest value of a kernel: less is rounding
_TESTED = 3  # random images
_AT_ONCE = 256


def adopted(physics: Any, images: Tensor) -> Physics:
    """An operator of this library that measures as `physics` does, for images of one size.

    Args:
        physics: a `lemmse.Physics`, which is returned as it is, or an object with a function `A` of images
            (Q, C, H, W), as the physics of deepinv.
        images: (N, C, H, W), whose size, channels, dtype and device count.

    Returns:
        The operator, on the device of the images.

    Raises:
        ValueError: for an object without `A`, one that fails, one whose noise is not Gaussian, and one that neither is
            linear and small nor keeps height and width.

    Example:
        >>> class Halves:
        ...     def A(self, x): return x * (torch.arange(4, dtype=x.dtype, device=x.device) < 2)
        ...     def A_adjoint(self, y): return self.A(y)
        >>> adopted(Halves(), torch.ones(1, 1, 4, 4)).mask.sum().item()
        8.0
    """
    if isinstance(physics, Physics):
        return physics
    if not callable(getattr(physics, "A", None)):
        raise ValueError(
            "physics must be a lemmse.Physics (Denoising, Blur, ...) or an object with a function A, as those of "
            f"deepinv, got {type(physics).__name__}"
        )
    check_gaussian_model(physics)
    measure = _measure(physics)
    with torch.no_grad():
        found = _structure(measure, images, linear=callable(getattr(physics, "A_adjoint", None)))
        if found is None:
            _check_sides(physics, measure(images[:1]), images)
    return (found or Nonlinear(measure)).to(images.device)


def noise_level(sigma: Any) -> Any:
    """The noise level in what a denoiser or a reconstructor of deepinv is called with.

    Args:
        sigma: a number or tensor, or a physics, whose `noise_model.sigma` is meant.

    Returns:
        The number or tensor; one of a single element stands for all images.

    Raises:
        ValueError: for a physics whose noise has no sigma.

    Example:
        >>> noise_level(torch.tensor([0.5])).shape
        torch.Size([])
    """
    if hasattr(sigma, "noise_model"):
        check_gaussian_model(sigma)
        level = getattr(sigma.noise_model, "sigma", None)
        if level is None:
            name = type(sigma.noise_model).__name__
            raise ValueError(f"the noise model of {type(sigma).__name__} is {name}, which has no sigma: pass a number")
        sigma = level
    return sigma.reshape(()) if isinstance(sigma, Tensor) and sigma.numel() == 1 else sigma


def _measure(physics: Any) -> Callable[[Tensor], Tensor]:
    """A of the object, whose failures are one line."""

    def measure(x: Tensor) -> Tensor:
        try:
            y = physics.A(x.clone())  # it may work in place
        except Exception as error:  # whatever the operator of another library raises
            reason = (str(error).strip().splitlines() or [""])[0][:160]
            raise ValueError(
                f"A of {type(physics).__name__} raises {type(error).__name__} for images of shape {tuple(x.shape)}: "
                f"{reason}"
            ) from error
        if not isinstance(y, Tensor) or y.ndim < 1 or len(y) != len(x):
            raise ValueError(f"A of {type(physics).__name__} must return a measurement for each image")
        return y

    return measure


def _structure(measure: Callable[[Tensor], Tensor], images: Tensor, *, linear: bool) -> Physics | None:
    """The operator of this library that measures random images alike, or None if there is none.

    The random images span what `images` span and both signs: an operator that clips or takes an absolute value is not
    taken for one that does nothing.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (_TESTED, *images.shape[1:])
    reach = max(1.0, float(images.abs().max()))
    x = (reach * (2 * torch.rand(shape, generator=generator, dtype=torch.float64, device="cpu") - 1)).to(images)
    x[0].abs_()  # one as images in [0, 1] are
    try:
        y = measure(x)
    except ValueError:  # it does not take every image, so it is none of these, if it takes the images at all
        return None
    if not _same(measure(x[:1]), y[:1]) and bool(y[:1].isfinite().all()):
        raise ValueError("A of the physics measures one image in two ways: it must not draw random numbers")
    if y.shape == x.shape:
        if _same(y, x):
            return Denoising()
        mask = measure(torch.ones_like(x[:1]))[0, 0]
        if bool(((mask == 0) | (mask == 1)).all()) and _same(y, mask * x):
            return Inpainting(mask.cpu())
    if not linear or y.is_complex() or y.ndim < 3 or y.shape[1] != x.shape[1]:
        return None
    if not _same(measure(x[:1] - 2 * x[1:2]), y[:1] - 2 * y[1:2]):
        return None
    if y.shape == x.shape:
        blur = _blur(measure, x)
        if blur is not None and _same(y, blur.A(x)):
            return blur
    if x[0, 0].numel() > LARGEST:
        return None
    matrix = _matrix(measure, x)
    found = Linear(matrix, (x.shape[2], x.shape[3]), tuple(y.shape[2:]))
    return found if _same(y, found.to(x.device).A(x)) else None


def _check_sides(physics: Any, y: Tensor, images: Tensor) -> None:
    """Raise ValueError unless the measurement of an operator without a known structure has the size of the image."""
    if y.ndim != 4 or y.shape[2:] != images.shape[2:]:
        raise ValueError(
            f"A of {type(physics).__name__} returns measurements of shape {tuple(y.shape)} for images of shape "
            f"{tuple(images[:1].shape)}: it must keep height and width, or be linear, treat all channels alike, return "
            f"(Q, C, ...) with the same C, and measure at most {LARGEST:,} pixels"
        )


def _blur(measure: Callable[[Tensor], Tensor], x: Tensor) -> Blur | None:
    """The circular convolution whose kernel is the response to one bright pixel, no larger than it has to be; None if
    that pixel is not seen.
    """
    center = [side // 2 for side in x.shape[2:]]
    impulse = torch.zeros_like(x[:1])
    impulse[..., center[0], center[1]] = 1
    kernel = measure(impulse)[0, 0].cpu()
    if not bool(kernel.any()):
        return None
    seen = (kernel.abs() > _SUPPORT * kernel.abs().max()).nonzero()
    for axis, middle in enumerate(center):
        reach = int((seen[:, axis] - middle).abs().max()) if len(seen) else 0
        if 2 * reach < kernel.shape[axis]:
            kernel = kernel.narrow(axis, middle - reach, 2 * reach + 1)
    return Blur(kernel).to(x.device)


def _matrix(measure: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The matrix (M, H*W) of a linear map that treats channels alike: the responses to all pixels."""
    pixels = x[0, 0].numel()
    columns = []
    for part in torch.eye(pixels, dtype=x.dtype, device=x.device).split(_AT_ONCE):
        image = part.reshape(len(part), 1, *x.shape[2:]).expand(-1, x.shape[1], -1, -1)
        columns.append(measure(image)[:, 0].flatten(1))
    return torch.cat(columns).T.cpu()


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two measurements are equal up to the rounding of float32."""
    return a.shape == b.shape and bool((a - b).abs().max() <= _TOLERANCE * max(1.0, float(b.abs().max())))
