"""Noise that is independent from pixel to pixel, given A x: what replaces the squared difference of a pixel.

If y is the measurement of one pixel and a the value of A x there, the logit of a pair is a sum over the window,

    sum_p log p(y_p | a_{k+p}) = sum_p [ -scale d(y_p, a_{k+p}) + n(y_p) ],    d = q_0(y) + sum_f q_f(y) a_f(a),

because each of these laws is an exponential family: d is bilinear in terms q_f of the query and terms a_f of the key,
so that a box-sum of it costs what one of squared differences costs. d is a deviance, at least 0, and is computed in
float64 about typical values, so that nothing cancels:

    noise             scale            d(y, a)                                      n(y)
    Poisson(rate m)   rate             u log(u / m) - u + m, u = y / rate           y log y - y - log y!
    N(a, sigma_p^2)   1 / (2 s^2)      (y - a)^2 s^2 / sigma_p^2, s = min sigma_p   -log(2 pi sigma_p^2) / 2
    Gamma, L looks    L                y / a - 1 - log(y / a)                       L log L - L - log(y Gamma(L))
    Bernoulli(a)      1                -y log a - (1 - y) log(1 - a)                0

with m = a + b, b the background, and sigma_p a map of standard deviations.
A pair of probability 0 (a positive count where the mean is 0) gets a d that no other pair reaches.

Source: McCullagh and Nelder, Generalized Linear Models, 1989, for the deviances.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from lemmse.checks import shown
from lemmse.engines.contracts import IMPOSSIBLE

_FORBIDDEN = 2 * IMPOSSIBLE  # d of one pixel where a pair has probability 0
_TYPICAL = 0.5  # value of an image about which the terms are taken
_LARGEST_LOG = 80.0  # of a mean that is not 0, relative to a typical one


class QueryTerms(NamedTuple):
    """What a query brings to each pair.

    Attributes:
        terms: q_0, q_1, .. of each pixel, (Q, 1 + F, H, W) float64; the last is positive.
        scale: (Q,) float64.
        normalizer: n(y), summed over channels, (Q, H, W) float64.
    """

    terms: Tensor
    scale: Tensor
    normalizer: Tensor


class Score(ABC):
    """The log likelihood of one pixel as a bilinear form.

    Attributes:
        level: what the noise level is called, for messages.
    """

    level: ClassVar[str]

    @abstractmethod
    def query(self, y: Tensor, level: Tensor) -> QueryTerms:
        """The terms of measurements y (Q, C, H, W) at noise levels (Q,) or (Q, 1, H, W); raises ValueError for
        measurements that the law excludes.
        """

    @abstractmethod
    def keys(self, a: Tensor) -> Tensor:
        """The terms a_1, .. of noiseless measurements a (B, C, h, w): (B, F, h, w) float64; raises ValueError where
        the law has no such mean.
        """


@dataclass(frozen=True)
class PoissonScore(Score):
    """`y ~ Poisson(rate (a + background))`, counts of photons.

    The terms are those about the mean `m_0 = background + 1/2`: with `u = y / rate` and `m = a + background`,

        d = [u log(u / m_0) - u + m_0] + (m - m_0) - u log(m / m_0).

    Attributes:
        background: b >= 0, the mean count that does not come from the image, per unit rate.
    """

    background: float
    level: ClassVar[str] = "rate"

    def query(self, y: Tensor, level: Tensor) -> QueryTerms:
        """As `Score.query`; counts may be fractional, and then y! is Gamma(y + 1)."""
        if bool((y < 0).any()):
            raise ValueError(f"y must hold counts of at least 0, got {shown(float(y.detach().min()))}")
        y, rate = y.double(), level.reshape(-1, 1, 1, 1)
        u = y / rate
        unit = u.detach().amax((1, 2, 3), keepdim=True).clamp_min(1.0)  # d stays far below that of an impossible pair
        typical = self.background + _TYPICAL
        positive = torch.where(u > 0, u, 1.0)
        constant = torch.where(u > 0, positive * (positive / typical).log(), 0.0) - u + typical
        forbidden = (y > 0).to(u) * _FORBIDDEN
        ones = torch.ones_like(u)
        terms = torch.cat([constant.sum(1, keepdim=True) / unit, u / unit, forbidden, ones / unit], 1)
        normalizer = torch.where(y > 0, torch.xlogy(y, torch.where(y > 0, y, 1.0)), 0.0) - y - torch.lgamma(y + 1)
        return QueryTerms(terms, (rate * unit).flatten(), normalizer.sum(1))

    def keys(self, a: Tensor) -> Tensor:
        """As `Score.keys`: `-log(m / m_0)`, whether m is 0, and `m - m_0`."""
        mean = a.double() + self.background
        if bool((mean < 0).any()):
            raise ValueError(
                f"noise 'poisson' needs A x + background of at least 0, got {shown(float(mean.detach().min()))}"
            )
        change = a.double() - _TYPICAL
        zero = mean == 0
        ratio = torch.where(zero, 0.0, change / (self.background + _TYPICAL))
        log = torch.log1p(ratio).clamp_min(-_LARGEST_LOG)
        return torch.cat([-log, zero.to(mean), change], 1)


@dataclass(frozen=True)
class GaussianMapScore(Score):
    """`y ~ N(a, sigma_p^2)` with a standard deviation that varies over the image and that the network is given.

    All positions compete: the map is drawn independently of the image, from a law that translations do not change.
    """

    level: ClassVar[str] = "sigma"

    def query(self, y: Tensor, level: Tensor) -> QueryTerms:
        """As `Score.query`, with maps sigma (Q, 1, H, W)."""
        sigma = level.double()
        least = sigma.amin((1, 2, 3), keepdim=True)
        weight = (least / sigma).square().expand_as(y)
        value = y.double() - _TYPICAL
        constant = (weight * value.square()).sum(1, keepdim=True)
        normalizer = -y.shape[1] * (2 * math.pi * sigma.square()).log()[:, 0] / 2
        return QueryTerms(torch.cat([constant, -2 * weight * value, weight], 1), _half_inverse(least), normalizer)

    def keys(self, a: Tensor) -> Tensor:
        """As `Score.keys`: the value and its square."""
        value = a.double() - _TYPICAL
        return torch.cat([value, value.square()], 1)


def _half_inverse(sigma: Tensor) -> Tensor:
    return 1 / (2 * sigma.flatten().square())


@dataclass(frozen=True)
class GammaScore(Score):
    """`y ~ Gamma(L, mean a)`, the speckle of L looks: `y = a g` with g of mean 1 and variance 1 / L."""

    level: ClassVar[str] = "looks"

    def query(self, y: Tensor, level: Tensor) -> QueryTerms:
        """As `Score.query`; intensities must be positive."""
        if bool((y <= 0).any()):
            raise ValueError(f"y must hold positive intensities, got {shown(float(y.detach().min()))}")
        y, looks = y.double(), level.reshape(-1, 1, 1, 1)
        unit = y.detach().amax((1, 2, 3), keepdim=True).clamp_min(1.0)
        constant = (-1 - y.log()).sum(1, keepdim=True)
        terms = torch.cat([constant / unit, y / unit, torch.ones_like(y) / unit], 1)
        normalizer = looks * looks.log() - looks - torch.lgamma(looks) - y.log()
        return QueryTerms(terms, (looks * unit).flatten(), normalizer.sum(1))

    def keys(self, a: Tensor) -> Tensor:
        """As `Score.keys`: `1 / a` and `log a`."""
        mean = a.double()
        if bool((mean <= 0).any()):
            raise ValueError(f"noise 'gamma' needs A x above 0, got {shown(float(mean.detach().min()))}")
        return torch.cat([1 / mean, mean.log()], 1)


@dataclass(frozen=True)
class BernoulliScore(Score):
    """`y ~ Bernoulli(a)`: detectors that say 1 with the probability a, else 0; the level is not used."""

    level: ClassVar[str] = "level"

    def query(self, y: Tensor, level: Tensor) -> QueryTerms:
        """As `Score.query`; y must be 0 or 1."""
        if bool(((y != 0) & (y != 1)).any()):
            wrong = y[(y != 0) & (y != 1)][0]
            raise ValueError(f"y must hold only 0 and 1, got {shown(float(wrong))}")
        y = y.double()
        terms = torch.cat([torch.zeros_like(y[:, :1]), y, 1 - y, torch.ones_like(y[:, :1])], 1)
        ones = torch.ones_like(level.double())
        return QueryTerms(terms, ones, torch.zeros_like(y[:, 0]))

    def keys(self, a: Tensor) -> Tensor:
        """As `Score.keys`: `-log a` and `-log (1 - a)`."""
        chance = a.double()
        if bool(((chance < 0) | (chance > 1)).any()):
            raise ValueError(f"noise 'bernoulli' needs A x in [0, 1], got {shown(float(chance.detach().min()))}")
        surprisals = [-torch.where(p > 0, p, 1.0).log() + (p == 0) * _FORBIDDEN for p in (chance, 1 - chance)]
        return torch.cat([*surprisals, torch.zeros_like(chance[:, :1])], 1)


def score_of(noise: str, background: float) -> Score | None:
    """The score of a noise by its name; None for Gaussian noise of one level, whose pixels are squared differences."""
    match noise:
        case "poisson":
            return PoissonScore(background)
        case "gamma":
            return GammaScore()
        case "bernoulli":
            return BernoulliScore()
    return None
