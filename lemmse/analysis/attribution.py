"""Who taught it that: the share of each training image in an estimate, and what removing images would change, exactly.

With Z_i the sum of the unnormalized weights of the patches of image i, Z the sum over all images, and x_hat^(i) the
weighted mean over image i alone, the share of image i and the estimate are

    r_i = Z_i / Z,    x_hat = sum_i r_i x_hat^(i),

and without the images of a set S the estimate is

    x_hat^{-S} = sum_{i not in S} r_i x_hat^(i) / sum_{i not in S} r_i.

For one image this is `x_hat - x_hat^{-i} = r_i / (1 - r_i) (x_hat^(i) - x_hat)`. Here the others are summed instead of
subtracted, so that nothing is lost where r_i is near 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from lemmse.checks import check_count
from lemmse.estimators.features import CENTER
from lemmse.estimators.lemmse import LocalEquivariantMMSE
from lemmse.estimators.targets import targets_of

_NUMBERS = 1 << 28  # log shares and means that are held: 2 GB in float64


@dataclass(frozen=True)
class Attribution:
    """The part of each training image in the estimates of Q measurements.

    Attributes:
        log_shares: (Q, N, H, W) float64, log r_i for every pixel of the estimate; minus infinity for none.
        means: (Q, N, K, H, W) float64, x_hat^(i).
    """

    log_shares: Tensor
    means: Tensor

    @property
    def shares(self) -> Tensor:
        """r_i, (Q, N, H, W); they sum to one over the images."""
        return self.log_shares.exp()

    @property
    def image_shares(self) -> Tensor:
        """The mean of r_i over the pixels, (Q, N): the part of each image in the estimate as a whole."""
        return self.shares.mean((2, 3))

    @property
    def effective_images(self) -> Tensor:
        """`1 / sum_i r_i^2` for every pixel, (Q, H, W): from 1, where one image decides, to N."""
        return 1 / self.shares.square().sum(1)

    def without(self, images: Iterable[int]) -> Tensor:
        """The estimate of a data set without these images, (Q, K, H, W) float64, as if it had been built anew.

        Args:
            images: their numbers.

        Raises:
            ValueError: for a number that is none, and if no image is left.
        """
        count = self.log_shares.shape[1]
        kept = torch.ones(count, dtype=torch.bool, device=self.log_shares.device)
        for image in images:
            kept[check_count(image, "each of images", minimum=0, maximum=count - 1)] = False
        if not bool(kept.any()):
            raise ValueError(f"images must leave at least one of the {count}")
        weights = torch.softmax(self.log_shares[:, kept], 1)
        return (weights[:, :, None] * self.means[:, kept]).sum(1)

    def change(self, images: Iterable[int]) -> Tensor:
        """What removing these images changes, `x_hat^{-S} - x_hat`, (Q, K, H, W) float64; raises as `without` does."""
        return self.without(images) - self.without([])


def attribute(estimator: LocalEquivariantMMSE, y: Tensor, sigma: float | Tensor) -> Attribution:
    """The share and the mean of each training image, in as many comparisons of patches as one pass.

    Args:
        estimator: LE-MMSE, its images a tensor.
        y: measurements, (Q, ...), as `estimator.posterior` takes them.
        sigma: noise level, a number or (Q,).

    Returns:
        Shares and means of all N images. They take 8 Q N (1 + K) H W bytes.

    Raises:
        ValueError: for another estimator, for images in a stream, and where the shares would take more than 2 GB.

    Example:
        >>> import torch, lemmse
        >>> x = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> estimator = lemmse.LocalEquivariantMMSE(x, lemmse.Denoising(), patch_size=5)
        >>> attribution = attribute(estimator, x[3:4], 0.05)
        >>> int(attribution.image_shares.argmax())
        3
    """
    if not isinstance(estimator, LocalEquivariantMMSE) or not isinstance(estimator.images, Tensor):
        raise ValueError(f"estimator must be LE-MMSE over a tensor of images, got {estimator!r}")
    channels = estimator.target_shape[0]
    count = len(estimator.images)
    numbers = len(y) * count * (1 + channels) * y.shape[-2] * y.shape[-1]
    if numbers > _NUMBERS:
        raise ValueError(
            f"the shares of {count} images in {len(y)} measurements take {8 * numbers >> 20} MiB, and at most "
            f"{8 * _NUMBERS >> 20} MiB are taken: pass fewer measurements at a time"
        )
    logits, means = [], []
    targets = targets_of(estimator.images, estimator.targets)
    for image, target in zip(estimator.images.split(1), targets.split(1), strict=True):
        alone = estimator.rebuilt(image, target)
        partial = alone.partial(y, sigma)
        features = (
            alone.features if partial.sides == alone.features.shape[1:] else alone.features.for_queries(partial.sides)
        )
        state = features.rows(partial.state)
        logits.append(features.maps(state.logsumexp))
        means.append(features.images(state.mean(CENTER)))
    return Attribution(torch.log_softmax(torch.stack(logits, 1), 1), torch.stack(means, 1))
