"""What an estimator knows: the sums over its data set, which merge with those over others, and what they say."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from lemmse.engines.state import SoftmaxState


def log_density(logsumexp: Tensor, *, pairs: Tensor, rank: Tensor, log_pdet: Tensor, sigma: Tensor) -> Tensor:
    """`log p(v) = log sum exp(l_j) - log(N K) - log pdet - (r / 2) log(2 pi sigma^2)`, the density of a noisy patch.

    It is the natural logarithm of a density on range(Q), joint over channels. All arguments broadcast.

    Args:
        logsumexp: `log sum exp(l_j)` of the logits `l_j = -|Q^+ (v - a_j)|^2 / (2 sigma^2)`.
        pairs: N K, how many training patches compete.
        rank: r, the rank of Q over all channels.
        log_pdet: log pdet(Q) over all channels; 0 where the logits hold it.
        sigma: the noise level.
    """
    return logsumexp - log_pdet - pairs.double().log() - rank / 2 * (2 * math.pi * sigma.square()).log()


@dataclass(frozen=True)
class Posterior:
    """A posterior is what one pass over the data set says of the clean image, for each pixel of Q queries.

    With the weights w_j of the training patches and the clean values u_j at their centers, the mean is `sum_j w_j u_j`
    and the variance is `sum_j w_j u_j^2 - (sum_j w_j u_j)^2`. The `posterior` of an estimator returns it.

    Attributes:
        mean: (Q, C, H, W).
        variance: (Q, C, H, W), not negative.
        log_density: (Q, H, W), natural log of the density of the noisy patch (image, for MMSE and E-MMSE), joint over
            channels, on its subspace where the noise is singular.
        effective_samples: (Q, H, W), `1 / sum w^2`, at least 1.
        weights: (Q, H, W, k), descending, normalized over all pairs, with top_k = k > 0; else None.
        indices: (Q, H, W, k, 3) int64, image, row, column of the source pixel, with top_k = k > 0; else None. Weight 0
            and index -1 stand where fewer than k pairs compete.

    Source: arXiv 2601.10334 for the mean; the page on the theory, "What else the weights say".

    Example:
        >>> import torch, lemmse
        >>> images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> estimator = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=3)
        >>> posterior = estimator.posterior(images[3:4], 0.01, top_k=2)
        >>> posterior.mean.shape, posterior.log_density.shape, posterior.weights.shape
        (torch.Size([1, 1, 8, 8]), torch.Size([1, 8, 8]), torch.Size([1, 8, 8, 2]))
        >>> posterior.indices[0, 5, 6, 0].tolist()  # a pixel of training image 3 comes from itself
        [3, 5, 6]
    """

    mean: Tensor
    variance: Tensor
    log_density: Tensor
    effective_samples: Tensor
    weights: Tensor | None
    indices: Tensor | None


@dataclass(frozen=True)
class PartialSum:
    """A partial sum holds the sums over one shard of the data set, `(max l, sum e, sum e u, sum e u^2, sum e^2)`.

    `estimator.partial` makes it, and `estimator.finish` turns it into a `Posterior`. `merge` is associative up to
    rounding, so shards can be summed on any device or machine, in any tree.

    Attributes:
        state: the sums, rows and channels as the estimator lays them out.
        count: how many images the shard has.
        sigma: (Q,), the noise levels of the queries, or (Q, 1, H, W), a map for each.
        excluded: (Q,) int64, how many of the images are left out of each query.
        shape: channels, height and width of the training images.
        sides: height and width of the queries.

    Raises:
        ValueError: in `merge`, for the sums of other queries, noise levels, image sizes or top_k.

    Source: the online softmax of `lemmse.engines.state`.

    Example:
        >>> import torch, lemmse
        >>> images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> shards = [lemmse.LocalEquivariantMMSE(x, lemmse.Denoising(), patch_size=3) for x in images.split(10)]
        >>> first, second = (estimator.partial(images[:1], 0.1) for estimator in shards)
        >>> posterior = shards[0].finish(first.merge(second))
        >>> whole = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=3)
        >>> bool((posterior.mean - whole(images[:1], 0.1)).abs().max() < 1e-5)
        True
    """

    state: SoftmaxState
    count: int
    sigma: Tensor
    excluded: Tensor
    shape: tuple[int, int, int]
    sides: tuple[int, int]

    def merge(self, other: PartialSum) -> PartialSum:
        """Add the sums over the images of another shard to those of this one; the images of the other are numbered on.

        Args:
            other: the sums for the same queries.

        Returns:
            The sums over the images of both.

        Raises:
            ValueError: if the two are not sums for the same queries, noise levels, image size and top_k, on one device.
        """
        if not isinstance(other, PartialSum):
            raise ValueError(f"merge takes another PartialSum, got {type(other).__name__}")
        if self.sigma.device != other.sigma.device:
            raise ValueError(
                f"partial sums merge on one device, got sums on {self.sigma.device} and {other.sigma.device}: move one "
                "by `to`"
            )
        ours, theirs = ([tuple(f.shape) for f in vars(part.state).values()] for part in (self, other))
        sizes = (self.shape, self.sides) == (other.shape, other.sides)
        if ours != theirs or not sizes or not torch.equal(self.sigma, other.sigma):
            raise ValueError(
                "partial sums merge if they are of the same queries, noise levels and top_k: got sums of shape "
                f"{ours[3]} and {theirs[3]}, top_k {self.state.top_k} and {other.state.top_k}, sigma from "
                f"{float(self.sigma.flatten()[0]):g} and {float(other.sigma.flatten()[0]):g} on"
            )
        sources = other.state.top_sources.clone()
        sources[..., 0] += torch.where(sources[..., 0] < 0, 0, self.count)
        state = self.state.merge(replace(other.state, top_sources=sources))
        count, excluded = self.count + other.count, self.excluded + other.excluded
        return replace(self, state=state, count=count, excluded=excluded)

    @staticmethod
    def stack(parts: list[PartialSum]) -> PartialSum:
        """The sums for several queries, over shards of equally many images, as one, along Q."""
        return replace(
            parts[0],
            state=SoftmaxState.stack([part.state for part in parts]),
            sigma=torch.cat([part.sigma for part in parts]),
            excluded=torch.cat([part.excluded for part in parts]),
        )

    def to(self, device: torch.device) -> PartialSum:
        """The same sums on another device."""
        state = SoftmaxState(*(getattr(self.state, field.name).to(device) for field in fields(self.state)))
        return replace(self, state=state, sigma=self.sigma.to(device), excluded=self.excluded.to(device))
