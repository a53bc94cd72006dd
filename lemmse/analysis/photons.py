"""Solvers for photon counts `y ~ Poisson(rate (A x + b))`: networks, and formulas that take the noise for Gaussian.

All are maps (y, rate) -> images, as `evaluate.restore` takes them; `Counting` makes the measurements. What is known of
Gaussian noise can be used for counts in two ways:

    as it is            z = y / rate - b has the mean x and the variance (x + b) / rate; take the mean variance for all
    after a transform   t = 2 sqrt(y + 3/8) has nearly the variance 1 where counts are not few (Anscombe, 1948)

The second is the practice: denoise t, and undo the transform without bias (Makitalo and Foi, 2011).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lemmse.analysis.evaluate import Restorer
from lemmse.estimators.lemmse import LocalEquivariantMMSE
from lemmse.physics.base import Physics
from lemmse.physics.general import Nonlinear
from lemmse.physics.operators import Denoising

LEAST_TRANSFORMED = 2 * math.sqrt(3 / 8)  # the transform of no photon


@dataclass(frozen=True)
class Counting:
    """An operator whose measurements are counts.

    Attributes:
        physics: A.
        background: b, the mean count of the background per unit rate.
    """

    physics: Physics
    background: float

    def measure(self, x: Tensor, rate: float | Tensor, generator: torch.Generator | None = None) -> Tensor:
        """`y ~ Poisson(rate (A x + b))` of images x (Q, C, H, W)."""
        return self.physics.measure(x, rate, generator=generator, noise="poisson", background=self.background)


@dataclass(frozen=True)
class OfCounts:
    """A network that was trained by `train(..., noise="poisson")`, as a map of counts: it sees `z = y / rate - b`.

    Attributes:
        network: `(z, sigma)` to images, with `sigma = 1 / sqrt(rate)`.
        background: b.
    """

    network: Callable[[Tensor, float], Tensor]
    background: float

    def __call__(self, y: Tensor, rate: float) -> Tensor:
        """Counts (Q, C, H, W) to images."""
        return self.network(y / rate - self.background, rate**-0.5)


@dataclass(frozen=True)
class AsGaussian:
    """A solver for Gaussian noise, given counts as if their noise were that: of the mean variance.

    Attributes:
        solver: `(z, sigma)` to images.
        background: b.
        mean: of the images, so that the mean variance is `(mean + b) / rate`.
    """

    solver: Restorer
    background: float
    mean: float

    def __call__(self, y: Tensor, rate: float) -> Tensor:
        """Counts (Q, C, H, W) to images."""
        return self.solver(y / rate - self.background, math.sqrt((self.mean + self.background) / rate))


@dataclass(frozen=True)
class AfterAnscombe:
    """LE-MMSE for Gaussian noise of variance 1, on the transform of the counts.

    Attributes:
        images: the training images.
        patch_size: P.
        background: b.
        back: whether the transform is denoised and then undone, which is the practice; else the weights that it gives
            are used for the clean values, which needs no inverse.
    """

    images: Tensor
    patch_size: int
    background: float
    back: bool = True

    def __call__(self, y: Tensor, rate: float) -> Tensor:
        """Counts (Q, C, H, W) to images."""

        def transformed_mean(x: Tensor) -> Tensor:
            return anscombe(rate * (x + self.background))

        if not self.back:
            physics = Nonlinear(transformed_mean)
            return LocalEquivariantMMSE(self.images, physics, patch_size=self.patch_size)(anscombe(y), 1.0)
        unit = float(anscombe(torch.tensor(rate * (1 + self.background), dtype=torch.float64, device="cpu")))
        images = transformed_mean(self.images) / unit  # in [0, 1]
        formula = LocalEquivariantMMSE(images, Denoising(), patch_size=self.patch_size)
        return inverse_anscombe(unit * formula(anscombe(y) / unit, 1 / unit)) / rate - self.background


def anscombe(counts: Tensor) -> Tensor:
    """`2 sqrt(counts + 3/8)`, whose variance is nearly 1 for counts that are not few.

    Example:
        >>> counts = torch.poisson(torch.full((10000,), 20.0), generator=torch.Generator().manual_seed(0))
        >>> bool((anscombe(counts).var() - 1).abs() < 0.05)
        True
    """
    return 2 * (counts + 3 / 8).sqrt()


def inverse_anscombe(transformed: Tensor) -> Tensor:
    """The mean count whose transform has this mean, in closed form, to a few per cent where counts are few.

        D^2 / 4 + sqrt(3/2) / (4 D) - 11 / (8 D^2) + 5 sqrt(3/2) / (8 D^3) - 1/8

    Source: M. Makitalo, A. Foi, A closed-form approximation of the exact unbiased inverse of the Anscombe
    variance-stabilizing transformation, IEEE Transactions on Image Processing 20, 2011.

    Example:
        >>> bool((inverse_anscombe(anscombe(torch.tensor(50.0))) - 50.25).abs() < 0.02)
        True
    """
    d = transformed.clamp_min(LEAST_TRANSFORMED)
    root = math.sqrt(3 / 2)
    return (d.square() / 4 + root / (4 * d) - 11 / (8 * d.square()) + 5 * root / (8 * d**3) - 1 / 8).clamp_min(0)
