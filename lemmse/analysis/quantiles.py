"""The posterior distribution of every pixel: its distribution function, median, quantiles and intervals.

The mean of the indicator `1[u <= q]` under the weights of the posterior is the distribution function,

    F(q) = sum_j w_j 1[u_j <= q],

so one pass with the target `Indicators(thresholds)` gives it at all thresholds. The median minimizes the absolute
error, the quantile at the level a the pinball loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lemmse.checks import check_batch, shown


class Indicators:
    """The target `1[x <= q_t]` of images x, for each channel c and threshold t: a function for `targets`.

    Args:
        thresholds: q_1 < .. < q_T, numbers; the last is no less than any pixel, so that all of the distribution is
            below it.

    Raises:
        ValueError: if the thresholds are not finite and ascending.

    Example:
        >>> import torch, lemmse
        >>> x = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> target = Indicators([0.25, 0.5, 0.75, 1.0])
        >>> estimator = lemmse.LocalEquivariantMMSE(x, lemmse.Denoising(), patch_size=3, targets=target)
        >>> F = target.distribution(estimator(x[:1], 0.2))
        >>> F.shape, bool((F.diff(dim=2) >= 0).all())
        (torch.Size([1, 1, 4, 8, 8]), True)
        >>> bool((target.quantile(F, 0.05) <= target.quantile(F, 0.95)).all())
        True
    """

    def __init__(self, thresholds: Sequence[float] | Tensor) -> None:
        self.thresholds = torch.as_tensor(thresholds, dtype=torch.float64, device="cpu")
        ascending = self.thresholds.ndim == 1 and len(self.thresholds) and bool((self.thresholds.diff() > 0).all())
        if not ascending or not bool(torch.isfinite(self.thresholds).all()):
            raise ValueError(f"thresholds must be finite ascending numbers, at least one, got {shown(thresholds)}")

    def __call__(self, images: Tensor) -> Tensor:
        """The indicators of images (B, C, H, W): (B, C*T, H, W), the thresholds of a channel side by side."""
        edges = self.thresholds.to(images.device, images.dtype)
        return (images[:, :, None] <= edges[:, None, None]).to(images.dtype).flatten(1, 2)

    def distribution(self, means: Tensor) -> Tensor:
        """The means of these indicators, (Q, C*T, H, W), as the distribution function F, (Q, C, T, H, W).

        Raises:
            ValueError: if the means are of other thresholds.
        """
        check_batch(means, "means")
        count = len(self.thresholds)
        if means.shape[1] % count:
            raise ValueError(f"means must be of {count} thresholds for each channel, got {means.shape[1]} channels")
        return means.unflatten(1, (-1, count))

    def quantile(self, distribution: Tensor, level: float) -> Tensor:
        """The quantile `inf {q : F(q) >= level}` of every pixel, linear between two thresholds.

        It is off by less than the distance of the two thresholds around it. Below the first threshold there is no
        line to go along: a quantile there is the first threshold.

        Args:
            distribution: F, (Q, C, T, H, W).
            level: between 0 and 1, 0.5 for the median.

        Returns:
            (Q, C, H, W).

        Raises:
            ValueError: for another level, for another number of thresholds, and where F does not reach the level.
        """
        if isinstance(level, bool) or not isinstance(level, (int, float)) or not 0 < level < 1:
            raise ValueError(f"level must be a number between 0 and 1, got {shown(level)}")
        if distribution.ndim != 5 or distribution.shape[2] != len(self.thresholds):
            raise ValueError(
                f"distribution must be (Q, C, {len(self.thresholds)}, H, W), got shape {tuple(distribution.shape)}"
            )
        above = distribution >= level
        if not bool(above[:, :, -1].all()):
            raise ValueError(
                f"the last threshold, {float(self.thresholds[-1]):g}, must be no less than the quantile at {level:g}"
            )
        after = above.to(torch.uint8).argmax(2, keepdim=True)  # the first threshold with F >= level
        before = (after - 1).clamp_min(0)
        low, high = (distribution.gather(2, at) for at in (before, after))
        left, right = (self.thresholds.to(distribution)[at] for at in (before, after))
        share = (level - low) / torch.where(high > low, high - low, 1)
        return torch.where(after > 0, left + share * (right - left), right)[:, :, 0]
