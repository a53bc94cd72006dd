"""What a network sees in training: the law of the noise level, and from a clean image to z.

    gaussian    z = B (A x + sigma e)              e ~ N(0, I)
    poisson     z = y / rate - background          y ~ Poisson(rate (A x + background)),  rate = 1 / sigma^2

Both have `E z = B A x`, and a variance that is proportional to sigma^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor

from lemmse.checks import check_choice, check_positive, check_positive_numbers
from lemmse.physics.base import Physics
from lemmse.physics.noise import check_noise
from lemmse.physics.preinverse import PreInverse

LAWS = ("gaussian", "poisson")  # of the noise that networks can be trained on


@dataclass(frozen=True)
class NoiseLevels:
    """The law of sigma in training: uniform on (low, high], or on the listed values."""

    low: float
    high: float
    listed: tuple[float, ...] = ()

    @classmethod
    def make(cls, sigma_min: float, sigma_max: float, sigmas: Sequence[float] | None) -> NoiseLevels:
        """The law for the arguments of `train`. Raises ValueError if they are no noise levels."""
        check_positive(sigma_max, "sigma_max")
        if isinstance(sigma_min, bool) or not isinstance(sigma_min, Real) or not 0 <= sigma_min < sigma_max:
            raise ValueError(f"sigma_min must be in [0, {sigma_max:g}), got {sigma_min!r}")
        if sigmas is None:
            return cls(float(sigma_min), float(sigma_max))
        values = tuple(check_positive_numbers(sigmas, "sigmas"))
        return cls(min(values), max(values), values)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Noise levels (count,) on the device of the generator."""
        if self.listed:
            values = torch.tensor(self.listed, dtype=torch.float32, device=generator.device)
            index = torch.randint(
                len(values), (count,), generator=generator, dtype=torch.int64, device=generator.device
            )
            return values[index]
        u = torch.rand(count, generator=generator, dtype=torch.float32, device=generator.device)
        return self.low + (self.high - self.low) * (1 - u)  # in (low, high], never 0

    def grid(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Levels whose mean stands for the mean over the law: the listed ones, or midpoints of 1000 equal intervals."""
        if self.listed:
            return torch.tensor(self.listed, dtype=dtype, device=device)
        u = (torch.arange(1000, dtype=dtype, device=device) + 0.5) / 1000
        return self.low + (self.high - self.low) * u

    @property
    def typical(self) -> float:
        """Root mean square of sigma."""
        levels = self.grid(torch.device("cpu"), torch.float64)
        return float(levels.square().mean().sqrt())


@dataclass(frozen=True)
class Measurement:
    """From clean images x to what the network sees, z."""

    physics: Physics
    B: PreInverse
    noise: str
    background: float
    noise_variance: float  # of z for a known x and sigma = 1, the mean over pixels

    @classmethod
    def make(
        cls, physics: Physics, B: PreInverse, noise: str, background: float, pre_inverse: str, signal: Tensor
    ) -> Measurement:
        """The measurement for the arguments of `train`, `signal` being B A x of all images.

        Raises:
            ValueError: for an unknown noise, a background where there is none, and for counts that would be negative.
        """
        check_choice(noise, LAWS, "noise")
        noise, background = check_noise(noise, background)
        if noise == "gaussian":
            return cls(physics, B, noise, 0.0, B.noise_variance)
        if pre_inverse != "identity":
            raise ValueError(f"noise 'poisson' needs pre_inverse 'identity', got {pre_inverse!r}")
        if float(signal.min()) + background < 0:
            raise ValueError(
                f"noise 'poisson' needs A x + background of at least 0, got {float(signal.min()) + background:g}"
            )
        return cls(physics, B, noise, float(background), float(signal.double().mean()) + background)

    def measure(self, x: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
        """`B (A x + sigma e)`, or `y / rate - background` for `y ~ Poisson(rate (A x + background))`."""
        if self.noise == "gaussian":
            return self.B(self.physics.measure(x, sigma, generator=generator))
        rate = sigma.square().reciprocal()[:, None, None, None]
        mean_counts = rate * (self.physics.A(x) + self.background)
        counts = torch.poisson(mean_counts.to(generator.device), generator=generator).to(x.device)
        return counts / rate - self.background

    def example(self, images: Tensor) -> Tensor:
        """What two of the images become at sigma = 0.5: tells channels apart."""
        sigma = images.new_full((len(images[:2]),), 0.5)
        return self.measure(images[:2], sigma, torch.Generator(images.device).manual_seed(0))
