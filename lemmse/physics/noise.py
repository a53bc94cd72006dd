"""The noise of a measurement: `e ~ N(0, sigma^2 I)`, white, and complex where the measurements are; or other laws.

gaussian    y = A x + sigma e              the level is sigma, a number for each image or a map
poisson     y ~ Poisson(rate (A x + b))    the rate; b is the background
gamma       y = A x g, g ~ Gamma(L, L)     the number of looks L: g has the mean 1 and the variance 1 / L
bernoulli   y ~ Bernoulli(A x)             none
"""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor

from lemmse.checks import check_choice, check_generator, check_sigma, check_sigma_map, shown

NOISES = ("gaussian", "poisson", "gamma", "bernoulli")


def check_noise(noise: str, background: float) -> tuple[str, float]:
    """Return the name of a noise and its background; raises ValueError for others, and where there is no background."""
    check_choice(noise, NOISES, "noise")
    if isinstance(background, bool) or not isinstance(background, Real) or not 0 <= background < math.inf:
        raise ValueError(f"background must be a finite number of at least 0, got {shown(background)}")
    if background and noise != "poisson":
        raise ValueError(f"background is for noise 'poisson' only, got {shown(background)} with {noise!r}")
    return noise, float(background)


def draw(
    clean: Tensor, level: float | Tensor, noise: str, background: float, generator: torch.Generator | None = None
) -> Tensor:
    """Measurements of noiseless ones, real (Q, C, H, W), under a law that is not Gaussian.

    Args:
        clean: A x; at least -background for "poisson", positive for "gamma", in [0, 1] for "bernoulli".
        level: the rate, or the number of looks: a number or (Q,), positive.
        noise: "poisson", "gamma" or "bernoulli".
        background: b, for "poisson".
        generator: the source of the noise, on any device; without one, torch's own.

    Raises:
        ValueError: for a level that is not positive, and for means that the law does not have.

    Example:
        >>> counts = draw(torch.ones(1, 1, 2, 2), 50.0, "poisson", 0.1, torch.Generator().manual_seed(0))
        >>> bool((counts == counts.round()).all())
        True
    """
    if clean.is_complex():
        raise ValueError(f"noise {noise!r} needs real measurements, got {clean.dtype}")
    name = {"poisson": "rate", "gamma": "looks", "bernoulli": "level"}[noise]
    levels = check_sigma(level, len(clean), clean, name).reshape(-1, *[1] * (clean.ndim - 1))
    check_generator(generator)
    device = clean.device if generator is None else generator.device
    means = (clean + background if noise == "poisson" else clean).to(device)
    low, high = (float(end) for end in means.aminmax())
    if low < 0 or (noise == "gamma" and low <= 0) or (noise == "bernoulli" and high > 1):
        raise ValueError(f"noise {noise!r} has no mean as it is here: the means span {low:.4g} to {high:.4g}")
    levels = levels.to(device)
    if noise == "poisson":
        drawn = torch.poisson(levels * means, generator=generator)
    elif noise == "bernoulli":
        drawn = torch.bernoulli(means, generator=generator)
    else:
        drawn = means * torch._standard_gamma(levels.expand_as(means).contiguous(), generator=generator) / levels
    return drawn.to(clean.device)


def add_noise(clean: Tensor, sigma: float | Tensor, generator: torch.Generator | None = None) -> Tensor:
    """`clean + e`, with noise of standard deviation sigma on every number of `clean`, both complex parts included.

    Args:
        clean: (Q, ...), real or complex.
        sigma: a number, (Q,), or for images (Q, C, H, W) a map (Q, 1, H, W), positive.
        generator: the source of the noise, on any device; without one, torch's own.

    Raises:
        ValueError: for a sigma that is not positive and finite, and for a generator that is none.
    """
    if isinstance(sigma, Tensor) and sigma.ndim == 4 and clean.ndim == 4 and not clean.is_complex():
        levels = check_sigma_map(sigma, clean)
    else:
        levels = check_sigma(sigma, len(clean), clean).reshape(-1, *[1] * (clean.ndim - 1))
    generator = check_generator(generator)
    device = clean.device if generator is None else generator.device
    shape = (2, *clean.shape) if clean.is_complex() else clean.shape
    noise = torch.randn(shape, generator=generator, dtype=clean.real.dtype, device=device).to(clean.device)
    if clean.is_complex():
        noise = torch.complex(noise[0], noise[1])
    return clean + levels * noise


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
