"""A metric of its own for every key position: the plain path for a pre-inverse that is any matrix.

The logit of the pair (query row, key position k) is `-scale * |q_k - a_k|^2 - log_pdet_k`, where `q_k = Q_k^+ v` is the
query seen through the metric of the position k. In float64, by sums of squared differences. Differentiable.
"""

from __future__ import annotations

from torch import Tensor

from lemmse.engines.plain.gemm import block_state, without
from lemmse.engines.state import SoftmaxState


def accumulate(
    state: SoftmaxState,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    scale: Tensor,
    *,
    log_pdet: Tensor,
    sources: Tensor,
    positions: Tensor,
    exclude: Tensor | None = None,
) -> SoftmaxState:
    """Merge all pairs (query row, key position) of one stratum into the rows `positions` (n,) of the state.

    queries: (Q, n, k, F), each row seen through the metric of each key position. keys: (B, k, F). values: (B, k, C),
    about their center. log_pdet: (k,), subtracted from the logits. sources: (B, k, 3). exclude: (Q,), the number of
    the image that is left out of each query, -1 for none.
    """
    queries, keys, scale = queries.double(), keys.double(), scale.double()
    for j in range(keys.shape[1]):
        d = (queries[:, :, j, None] - keys[:, j]).square().sum(-1)
        logits = without(-scale[:, None, None] * d - log_pdet[j], sources[:, j], exclude)
        state = state.merge_at(positions, block_state(logits, values[:, j], sources[:, j], state.top_k))
    return state
