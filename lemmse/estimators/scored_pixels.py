"""Patches whose noise is independent from pixel to pixel but not white: compared by the score of each pixel.

The logit of a pair is a box-sum of log likelihoods (see `scores`), over the pixels of the window that lie inside the
image. Positions compete as for white noise: all of them, or with zero padding those of one border pattern.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from lemmse.engines.plain.box import box_sum
from lemmse.engines.state import SoftmaxState
from lemmse.estimators.features import Shape
from lemmse.estimators.pixels import PixelFeatures
from lemmse.estimators.scores import QueryTerms, Score
from lemmse.physics.preinverse import DiagonalPreInverse


class ScoredPixelFeatures(PixelFeatures):
    """The terms of the log likelihood of each pixel, for B = I.

    Attributes:
        score: the law of the noise.
        As `PixelFeatures` says; rank and log_pdet are 0, for the logits hold the whole density.
    """

    engines: ClassVar[tuple[str, ...]] = ("numba", "torch")
    white: ClassVar[bool] = False
    form: ClassVar[dict[str, bool]] = {"bilinear": True}

    def __init__(
        self,
        pre_inverse: DiagonalPreInverse,
        shape: Shape,
        patch_size: int,
        padding: str,
        device: torch.device,
        score: Score,
        query_sides: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(pre_inverse, shape, patch_size, padding, device, query_sides)
        self.score = score
        self.rank = self.log_pdet = torch.zeros_like(self.rank)

    def for_queries(self, sides: tuple[int, int]) -> ScoredPixelFeatures:
        """As `PixelFeatures.for_queries`."""
        super().for_queries(sides)
        return ScoredPixelFeatures(*self._given, self.score, query_sides=sides)

    def compared(self, z: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """As `Features.compared`: the terms of the queries, with zero padding 0 in the frame."""
        query = self.score.query(z, level)
        return self.framed(query.terms), query.scale

    def _compared_pixels(self, queries: Tensor, z: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """As `PixelFeatures._compared_pixels`: the terms of queries and keys, in float64."""
        return queries, self.framed(self.score.keys(z))

    def normalized(self, state: SoftmaxState, z: Tensor, level: Tensor) -> SoftmaxState:
        """As `Features.normalized`: adds the sum of n(y) over the window to the logits."""
        query: QueryTerms = self.score.query(z, level)
        window = box_sum(box_sum(self.framed(query.normalizer), self.patch_size, -2), self.patch_size, -1).flatten(1)
        return replace(state, max=state.max + window, top_logits=state.top_logits + window[..., None])

    def rows(self, state: SoftmaxState) -> SoftmaxState:
        """As `PixelFeatures.rows`; raises ValueError for a pixel whose patch has probability 0 from every pair."""
        state = super().rows(state)
        impossible = torch.isneginf(state.max) | (state.s0 == 0)
        if bool(impossible.any()):
            query, pixel = impossible.nonzero()[0].tolist()
            row, column = divmod(pixel, self.shape[2])
            raise ValueError(
                f"the patch around row {row}, column {column} of query {query} has probability 0 from every training "
                f"patch ({int(impossible.sum())} such pixels): a mean of 0 excludes what was measured; a positive "
                "background allows it"
            )
        return state
