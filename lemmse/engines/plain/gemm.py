"""Whitened features: the Mahalanobis distance of two patches is a Euclidean one, and a matrix product gives them all.

    |q - a|^2 = |q - c|^2 + |a - c|^2 - 2 <q - c, a - c>

for features centered at c. The expansion cancels, so the product is taken in float64: in float32 it would lose the
small distances that decide at small sigma. Differentiable in q.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from lemmse.engines.contracts import Block
from lemmse.engines.state import SoftmaxState

_BLOCK = 1 << 22  # pairs held at once


def accumulate(
    state: SoftmaxState,
    queries: Tensor,
    blocks: Iterable[Block],
    scale: Tensor,
    *,
    center: float,
    exclude: Tensor | None = None,
) -> SoftmaxState:
    """Merge all pairs (query row, key) into the state.

    queries: (Q, n, F). blocks: of keys (K, F), values (K, C) and sources (K, 3) int64. scale: (Q,), the logit is
    `-scale * |q - a|^2`. center: is subtracted from the values. exclude: (Q,) int64, the image, first column of the
    sources, that is left out of each query, -1 for none; None for none at all. All sums are taken in float64.
    """
    queries, scale = queries.double(), scale.double()
    count = max(1, _BLOCK // (queries.shape[0] * queries.shape[1]))
    for keys, values, sources in blocks:
        keys, u = keys.double(), values.double() - center
        mean = keys.mean(0)
        q = queries - mean
        norms = q.square().sum(-1, keepdim=True)
        for part in torch.arange(len(keys), dtype=torch.int64, device=keys.device).split(count):
            a = keys[part] - mean
            d = (norms + a.square().sum(-1) - 2 * q @ a.T).clamp_min(0)
            logits = without(-scale[:, None, None] * d, sources[part], exclude)
            state = state.merge(block_state(logits, u[part], sources[part], state.top_k))
    return state


def without(logits: Tensor, sources: Tensor, exclude: Tensor | None) -> Tensor:
    """The logits (Q, n, K) of keys with sources (K, 3), -inf where the image is the one left out of the query."""
    if exclude is None:
        return logits
    return logits.masked_fill((exclude[:, None] == sources[:, 0])[:, None], -torch.inf)


def block_state(logits: Tensor, values: Tensor, sources: Tensor, top_k: int) -> SoftmaxState:
    """The state of float64 logits (Q, n, K) of keys with values (K, C) and sources (K, 3)."""
    return SoftmaxState.of_block(
        logits,
        dim=-1,
        moments=lambda e: (e @ values.double(), e @ values.double().square()),
        sources=lambda j: sources[j],
        top_k=top_k,
    )
