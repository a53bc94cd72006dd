"""The estimator that is not told the noise level: what a network without sigma as input tends to.

Where sigma is drawn from levels `sigma_s` with probabilities `pi_s`, the minimizer of the squared error is

    x_hat(v) = sum_s pi_s p_s(v) x_hat_s(v) / sum_s pi_s p_s(v),

p_s the density of the noisy patch v at sigma_s, normalizer included, and x_hat_s the estimator that knows sigma_s. All
levels share the distances of v to the training patches: see `MixtureEstimator.posterior_at_levels`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lemmse.checks import check_positive_numbers
from lemmse.estimators.mixture import MixtureEstimator


class BlindMMSE(nn.Module):
    """BlindMMSE has to guess the noise level, `x_hat(y) = sum_s w_s x_hat_s(y)`, `w_s ~ pi_s p_s(y)`.

    `blind(y)` gives the estimates (Q, C, H, W) for measurements y. Here p_s is the density of the noisy patch at the
    level sigma_s, and x_hat_s the estimator that knows this level.

    Args:
        estimator: LE-MMSE (which guesses it from each patch), E-MMSE or MMSE (from the whole image).
        sigmas: the noise levels sigma_s that occur, positive, in units of the image range.
        weights: their probabilities pi_s up to a factor, positive, one for each level; equal ones without.

    Raises:
        ValueError: for what is none of these estimators, and for sigmas or weights that are not positive or differ in
            number.

    Source: the head of this module; the posterior mean where the noise level is drawn as well.

    Example:
        >>> import torch, lemmse
        >>> x = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> estimator = lemmse.LocalEquivariantMMSE(x, lemmse.Denoising(), patch_size=5)
        >>> blind = lemmse.BlindMMSE(estimator, [0.05, 0.2])
        >>> blind.level_probabilities(x[:1] + 0.01).shape
        torch.Size([1, 2, 8, 8])
    """

    def __init__(
        self, estimator: MixtureEstimator, sigmas: Sequence[float], weights: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        if not isinstance(estimator, MixtureEstimator):
            raise ValueError(f"estimator must be LE-MMSE, E-MMSE or MMSE, got {type(estimator).__name__}")
        self.estimator = estimator
        self.sigmas = check_positive_numbers(sigmas, "sigmas")
        self.weights = [1.0] * len(self.sigmas) if weights is None else check_positive_numbers(weights, "weights")
        if len(self.weights) != len(self.sigmas):
            raise ValueError(f"weights must be one for each sigma, got {len(self.weights)} and {len(self.sigmas)}")

    def forward(self, y: Tensor) -> Tensor:
        """The estimate `x_hat(y)` of measurements y (Q, C, H, W): (Q, C, H, W)."""
        means, probabilities = self._levels(y)
        return (probabilities[:, :, None] * means).sum(1).to(means.dtype)

    def level_probabilities(self, y: Tensor) -> Tensor:
        """The posterior probability of each noise level at each pixel: (Q, number of levels, H, W)."""
        return self._levels(y)[1]

    def _levels(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Means (Q, S, C, H, W) and probabilities (Q, S, H, W) of the S levels."""
        posterior = self.estimator.posterior_at_levels(y, self.sigmas)
        means, log_density = (
            values.unflatten(0, (-1, len(self.sigmas))) for values in (posterior.mean, posterior.log_density)
        )
        prior = log_density.new_tensor(self.weights).log()[:, None, None]
        return means, torch.softmax(log_density + prior, 1)
