"""The noise of a measurement, `e ~ N(0, sigma^2 I)`: white, real, and complex where the measurements are."""

from __future__ import annotations

import torch
from torch import Tensor

from lemmse.checks import check_generator, check_sigma


def add_noise(clean: Tensor, sigma: float | Tensor, generator: torch.Generator | None = None) -> Tensor:
    """`clean + e`, with noise of standard deviation sigma on every number of `clean`, both complex parts included.

    Args:
        clean: (Q, ...), real or complex.
        sigma: a number or (Q,), positive.
        generator: the source of the noise, on any device; without one, torch's own.

    Raises:
        ValueError: for a sigma that is not positive and finite, and for a generator that is none.
    """
    sigma = check_sigma(sigma, len(clean), clean)
    generator = check_generator(generator)
    device = clean.device if generator is None else generator.device
    shape = (2, *clean.shape) if clean.is_complex() else clean.shape
    noise = torch.randn(shape, generator=generator, dtype=clean.real.dtype, device=device).to(clean.device)
    if clean.is_complex():
        noise = torch.complex(noise[0], noise[1])
    return clean + sigma.reshape(-1, *[1] * (clean.ndim - 1)) * noise


def check_gaussian_model(physics: object) -> None:
    """Raise ValueError for an operator with a `noise_model` that is not Gaussian by its name; one without noise may be.

    physics: an operator of this or another library.
    """
    model = getattr(physics, "noise_model", None)
    name = type(model).__name__
    known = ("gaussian" in name.lower() and "poisson" not in name.lower()) or name == "ZeroNoise"
    if model is not None and not known:
        raise ValueError(
            f"the noise model of {type(physics).__name__} is {name}, but the formulas hold for white Gaussian noise "
            "only"
        )
