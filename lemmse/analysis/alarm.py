"""An alarm without the truth: is this image like the training images?

On images of the training law the error that the posterior expects, `mean Var`, is the error that occurs. Stein's
estimate of the error that occurs is right for every image. The difference of the two,

    gap = |x_hat - y|^2 / (n C) - sigma^2 + mean Var,

is 0 on average at home, and large where the formula is wrong without knowing it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lemmse.estimators.posterior import Posterior
from lemmse.estimators.stein import stein_error

if TYPE_CHECKING:
    from collections.abc import Sequence


def error_gap(y: Tensor, posterior: Posterior, sigma: float | Tensor) -> Tensor:
    """Stein's estimate of the squared error minus the one that the posterior expects, (Q,) float64.

    Args:
        y: the measurements, (Q, C, H, W), of denoising.
        posterior: what an estimator without targets says of them.
        sigma: the noise level, a number or (Q,).

    Raises:
        ValueError: as `stein_error` does.

    Example:
        >>> import torch, lemmse
        >>> x = torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(0)) / 4
        >>> estimator = lemmse.LocalEquivariantMMSE(x, lemmse.Denoising(), patch_size=3)
        >>> gaps = [error_gap(y, estimator.posterior(y, 0.05), 0.05).mean() for y in (x[:9] + 0.05, x[:9] + 0.7)]
        >>> bool(gaps[1] > 10 * gaps[0].abs())
        True
    """
    return stein_error(y, posterior, sigma) - posterior.variance.double().mean((1, 2, 3))


def roc(home: Sequence[float] | Tensor, elsewhere: Sequence[float] | Tensor) -> tuple[Tensor, Tensor]:
    """The receiver operating characteristic of an alarm that is raised above a threshold, over all thresholds.

    Args:
        home: values of the alarm on images that should raise none.
        elsewhere: values on images that should.

    Returns:
        The share of false alarms and the share of true ones, from (0, 0) to (1, 1).

    Raises:
        ValueError: without a value on either side, and for values that are no numbers.
    """
    quiet, loud = (torch.as_tensor(values, dtype=torch.float64, device="cpu").flatten() for values in (home, elsewhere))
    if not (len(quiet) and len(loud)) or not bool(torch.isfinite(torch.cat([quiet, loud])).all()):
        raise ValueError(f"roc needs finite values at home and elsewhere, got {len(quiet)} and {len(loud)}")
    thresholds = torch.cat([quiet, loud]).unique().flip(0)
    shares = [(values >= thresholds[:, None]).double().mean(1) for values in (quiet, loud)]
    false, true = (torch.cat([share.new_zeros(1), share]) for share in shares)
    return false, true


def area_under_roc(home: Sequence[float] | Tensor, elsewhere: Sequence[float] | Tensor) -> float:
    """The probability that the alarm is higher elsewhere than at home, ties counted half: 0.5 says nothing.

    Arguments as for `roc`.

    Example:
        >>> area_under_roc([0.0, 1.0], [1.0, 2.0])
        0.875
    """
    false, true = roc(home, elsewhere)
    return float(torch.trapezoid(true, false))
