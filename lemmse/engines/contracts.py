"""What an engine is: a module with a function `accumulate` of one of these four types.

Every one merges a block of training images into a `SoftmaxState` and returns the new state. The logit of a pair
is `-scale * D`, with `scale = 1 / (2 sigma^2)` of each query and D a squared distance of features; the values are the
clean pixels. The module of the plain engine states what the arguments mean. Engines that the registry says to take
several scales may be given S of them for each query, one for each of S noise levels, and the state has a query's row S
times: D is computed once for all.

A `BoxEngine` may also serve noise that is not Gaussian: then D is a sum over the window of a bilinear form of a pixel,
`q[0] + sum_f q[1 + f] a[f]`, whose terms an estimator chooses. A pair whose D is at least `IMPOSSIBLE` has weight 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from torch import Tensor

from lemmse.engines.state import SoftmaxState

IMPOSSIBLE = 5e7  # the least D of a pair of probability 0, for bilinear forms; that of others is far below

Block = tuple[Tensor, Tensor, Tensor]  # keys (K, F), values (K, C) and sources (K, 3) int64


class BoxEngine(Protocol):
    """D is a sum over the window of squared differences of pixels, or of a bilinear form of them: see `plain.box`."""

    def accumulate(
        self,
        state: SoftmaxState,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        scale: Tensor,
        *,
        patch_size: int,
        query_strata: Tensor,
        key_strata: Tensor,
        first_image: int,
        exclude: Tensor | None = None,
        bilinear: bool = False,
    ) -> SoftmaxState:
        """Merge all pairs of query positions and key positions of one stratum."""


class FeatureEngine(Protocol):
    """D is the squared distance of two feature vectors: see `plain.gemm`."""

    def accumulate(
        self,
        state: SoftmaxState,
        queries: Tensor,
        blocks: Iterable[Block],
        scale: Tensor,
        *,
        center: float,
        exclude: Tensor | None = None,
    ) -> SoftmaxState:
        """Merge all pairs of query rows and keys."""


class PositionEngine(Protocol):
    """D is measured in a metric that depends on the position of the key: see `plain.position`."""

    def accumulate(
        self,
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
        """Merge all pairs of query rows and key positions of one stratum."""


class TranslationEngine(Protocol):
    """D is the squared distance of two whole images after a translation: see `plain.correlation`."""

    def accumulate(
        self,
        state: SoftmaxState,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        scale: Tensor,
        *,
        shifts: Tensor,
        first_image: int,
        exclude: Tensor | None = None,
    ) -> SoftmaxState:
        """Merge all pairs of a query and a translation of a training image."""
