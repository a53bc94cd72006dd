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
    """What one pass over the data set says of the clean image, for each pixel of Q queries.

    mean, variance: (Q, C, H, W). log_density: (Q, H, W), natural log of the density of the noisy patch (image, for
    MMSE and E-MMSE), joint over channels, on its subspace where the noise is singular. effective_samples: (Q, H, W),
    `1 / sum w^2`. With top_k = k > 0 also weights: (Q, H, W, k), descending, normalized over all pairs, and indices:
    (Q, H, W, k, 3) int64 = image, row, column of the source pixel (weight 0 and -1 where fewer than k pairs compete);
    else None.
    """

    mean: Tensor
    variance: Tensor
    log_density: Tensor
    effective_samples: Tensor
    weights: Tensor | None
    indices: Tensor | None


@dataclass(frozen=True)
class PartialSum:
    """The sums over one shard of the data set: made by `estimator.partial`, turned into a Posterior by `finish`.

    `merge` is associative up to rounding, so shards can be summed on any device or machine, in any tree.

    Attributes:
        state: the sums, rows and channels as the estimator lays them out.
        count: how many images the shard has.
        sigma: (Q,), the noise levels of the queries, or (Q, 1, H, W), a map for each.
        excluded: (Q,) int64, how many of the images are left out of each query.
        shape: channels, height and width of the training images.
        sides: height and width of the queries.
    """

    state: SoftmaxState
    count: int
    sigma: Tensor
    excluded: Tensor
    shape: tuple[int, int, int]
    sides: tuple[int, int]

    def merge(self, other: PartialSum) -> PartialSum:
        """The sums over the images of this shard followed by those of the other, whose images are numbered on.

        Raises ValueError if the two are not sums for the same queries, noise levels, image size and top_k, on one
        device.
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
