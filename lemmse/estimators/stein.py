"""The squared error of a denoised image without the truth, by Stein's identity.

For denoising, the divergence of the estimator is the sum of its posterior variances over sigma^2, so that

    |x_hat - x|^2  ~  |x_hat - y|^2 - n C sigma^2 + 2 sum_m Var_m

has the right mean over the noise, for any fixed image x, like the training images or not.
"""

from __future__ import annotations

from torch import Tensor

from lemmse.checks import check_batch, check_sigma
from lemmse.estimators.posterior import Posterior


def stein_error(y: Tensor, posterior: Posterior, sigma: float | Tensor) -> Tensor:
    """Estimate the squared error of `posterior.mean` without the truth, `mean (x_hat - y)^2 - sigma^2 + 2 mean Var`.

    The estimate is unbiased, for denoising, `y = x + e`, only. The means are over pixels and channels. It is never
    clamped, so that it may be negative.

    Args:
        y: the measurements, (Q, C, H, W).
        posterior: what an estimator says of y: of LE-MMSE, E-MMSE or MMSE, behind the identity.
        sigma: the standard deviation of the noise, in units of the image range, positive: a number or (Q,).

    Returns:
        (Q,) float64, in squared units of the image range.

    Raises:
        ValueError: if y and the posterior are not of one shape, and for a bad sigma.

    Source: C. Stein, Estimation of the mean of a multivariate normal distribution, 1981.

    Example:
        >>> import torch, lemmse
        >>> x = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> estimator = lemmse.LocalEquivariantMMSE(x, lemmse.Denoising(), patch_size=3)
        >>> y = estimator.physics.measure(x, 0.1, generator=torch.Generator().manual_seed(1))
        >>> posterior = estimator.posterior(y, 0.1)
        >>> error = (posterior.mean - x).square().mean()
        >>> bool((lemmse.stein_error(y, posterior, 0.1).mean() - error).abs() < 2e-3)
        True
    """
    if not isinstance(posterior, Posterior):
        raise ValueError(f"posterior must be what an estimator's `posterior` returns, got {type(posterior).__name__}")
    check_batch(y, "y")
    if y.shape != posterior.mean.shape:
        raise ValueError(
            f"y and the posterior must be of one shape, got {tuple(y.shape)} and {tuple(posterior.mean.shape)}"
        )
    noise = check_sigma(sigma, len(y), y).double().square()
    residual = (posterior.mean - y).double().square().mean((1, 2, 3))
    return residual - noise + 2 * posterior.variance.double().mean((1, 2, 3))
