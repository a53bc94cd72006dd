"""The online softmax: sums over a stream of (logit, value) pairs that never all exist at once.

For each row (one output pixel of one query) with logits `l_j` and values `u_j` the state keeps, about a fixed center c,

    max = max l_j,    s0 = sum e_j,    s00 = sum e_j^2,    s1 = sum e_j (u_j - c),    s2 = sum e_j (u_j - c)^2,

with `e_j = exp(l_j - max)`, in float64, and the k largest logits. An engine that would have to wait for the largest
logit may put another one near it in its place: nothing but the scale of the sums depends on it. `merge` is associative
and commutative up to rounding, so parts of the data set can be summed anywhere and in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Moments = Callable[[Tensor], tuple[Tensor, Tensor]]
Sources = Callable[[Tensor], Tensor]


@dataclass
class SoftmaxState:
    """Sums over the pairs seen so far, for rows (Q, n) and values with C channels.

    max, s0, s00: (Q, n) float64. s1, s2: (Q, n, C) float64. top_logits: (Q, n, k) and top_sources: (Q, n, k, 3) int64
    (image, row, column), descending, k as requested; empty places have logit -inf and source -1.
    """

    max: Tensor
    s0: Tensor
    s00: Tensor
    s1: Tensor
    s2: Tensor
    top_logits: Tensor
    top_sources: Tensor

    @classmethod
    def empty(cls, rows: tuple[int, int], channels: int, top_k: int, device: torch.device) -> SoftmaxState:
        """The state of an empty stream."""
        zeros = torch.zeros(rows, dtype=torch.float64, device=device)
        return cls(
            max=torch.full_like(zeros, -torch.inf),
            s0=zeros,
            s00=zeros,
            s1=zeros[..., None].repeat(1, 1, channels),
            s2=zeros[..., None].repeat(1, 1, channels),
            top_logits=torch.full((*rows, top_k), -torch.inf, dtype=torch.float64, device=device),
            top_sources=torch.full((*rows, top_k, 3), -1, dtype=torch.int64, device=device),
        )

    @property
    def top_k(self) -> int:
        """How many of the largest logits are kept."""
        return self.top_logits.shape[-1]

    @classmethod
    def of_block(cls, logits: Tensor, dim: int, moments: Moments, sources: Sources, top_k: int) -> SoftmaxState:
        """The state of one block of pairs.

        logits: (Q, n, K) with the K pairs along `dim`; -inf for pairs that do not compete. moments: maps e, shaped as
        logits, to `sum e (u - c)` and `sum e (u - c)^2`, each (Q, n, C). sources: maps pair numbers (Q, n, k) to (Q,
        n, k, 3).
        """
        largest = logits.detach().amax(dim)
        e = torch.exp(logits - _finite(largest).unsqueeze(dim))
        s1, s2 = moments(e)
        found, index = logits.detach().movedim(dim, -1).topk(min(top_k, logits.shape[dim]), dim=-1)
        missing = top_k - found.shape[-1]
        located = sources(index) if top_k else index.new_zeros(*index.shape, 3)
        located = torch.where(torch.isinf(found)[..., None], -1, located)
        return cls(
            max=largest.double(),
            s0=e.sum(dim).double(),
            s00=e.square().sum(dim).double(),
            s1=s1.double(),
            s2=s2.double(),
            top_logits=torch.nn.functional.pad(found.double(), (0, missing), value=-torch.inf),
            top_sources=torch.nn.functional.pad(located, (0, 0, 0, missing), value=-1),
        )

    def merge(self, other: SoftmaxState) -> SoftmaxState:
        """The state of both streams together."""
        largest = torch.maximum(self.max, other.max)
        a = torch.exp(self.max - _finite(largest))
        b = torch.exp(other.max - _finite(largest))
        logits, sources = self.top_logits, self.top_sources
        if self.top_k:
            order = torch.cat([logits, other.top_logits], -1).topk(self.top_k, dim=-1)
            logits = order.values
            both = torch.cat([sources, other.top_sources], -2)
            sources = both.gather(-2, order.indices[..., None].expand(*order.indices.shape, 3))
        return SoftmaxState(
            max=largest,
            s0=self.s0 * a + other.s0 * b,
            s00=self.s00 * a.square() + other.s00 * b.square(),
            s1=self.s1 * a[..., None] + other.s1 * b[..., None],
            s2=self.s2 * a[..., None] + other.s2 * b[..., None],
            top_logits=logits,
            top_sources=sources,
        )

    @staticmethod
    def stack(states: list[SoftmaxState]) -> SoftmaxState:
        """The states of several queries as one, along Q."""
        return SoftmaxState(*map(torch.cat, zip(*(state._fields() for state in states), strict=True)))

    def query(self, n: int, levels: int = 1) -> SoftmaxState:
        """The rows (levels, n) of one query, of which each has as many as there are levels."""
        return SoftmaxState(*(value[n * levels : (n + 1) * levels] for value in self._fields()))

    def at(self, positions: Tensor) -> SoftmaxState:
        """The rows (Q, len(positions)) of this state."""
        return SoftmaxState(*(value[:, positions] for value in self._fields()))

    def put(self, positions: Tensor, rows: SoftmaxState) -> SoftmaxState:
        """This state with other `rows` (Q, len(positions)) at the positions."""
        pairs = zip(self._fields(), rows._fields(), strict=True)
        return SoftmaxState(*(whole.index_copy(1, positions, new) for whole, new in pairs))

    def merge_at(self, positions: Tensor, other: SoftmaxState) -> SoftmaxState:
        """`merge` where `other` has the rows (Q, len(positions)) of `self` only."""
        return self.put(positions, self.at(positions).merge(other))

    def _fields(self) -> tuple[Tensor, ...]:
        return (self.max, self.s0, self.s00, self.s1, self.s2, self.top_logits, self.top_sources)

    @property
    def logsumexp(self) -> Tensor:
        """`log sum exp(l_j)`, (Q, n)."""
        return self.max + self.s0.log()

    def mean(self, center: float | Tensor) -> Tensor:
        """`sum w u`, (Q, n, C), for the center (C,) or broadcastable that the values were taken about."""
        return center + self.s1 / self.s0[..., None]

    @property
    def variance(self) -> Tensor:
        """`sum w u^2 - (sum w u)^2`, (Q, n, C), not negative."""
        s0 = self.s0[..., None]
        return (self.s2 / s0 - (self.s1 / s0).square()).clamp_min(0)

    @property
    def effective_samples(self) -> Tensor:
        """`1 / sum w^2`, (Q, n)."""
        return self.s0.square() / self.s00

    @property
    def top_weights(self) -> Tensor:
        """The k largest weights, normalized over all pairs, descending, (Q, n, k)."""
        return torch.exp(self.top_logits - self.max[..., None]) / self.s0[..., None]


def _finite(largest: Tensor) -> Tensor:
    """-inf (nothing competes yet) becomes 0, so that exp(-inf - 0) = 0."""
    return torch.where(torch.isinf(largest), torch.zeros_like(largest), largest)
