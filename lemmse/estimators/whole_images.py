"""Whole images instead of patches: `Q = B`, and one softmax for the image, over training images or their translations.

The features are `B.whiten(z)`, whatever the structure of B. E-MMSE admits the translations g that map the range of B to
itself; there `T_g B B^T T_g^T = B B^T` for a mask and for a circulant B, so that one correlation gives all distances.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from lemmse.engines.contracts import FeatureEngine, TranslationEngine
from lemmse.engines.state import SoftmaxState
from lemmse.estimators.features import CENTER, EngineT, Features, Shape, numbered, raster
from lemmse.physics.preinverse import CirculantPreInverse, DiagonalPreInverse, PreInverse


class ImageFeatures(Features[EngineT]):
    """One softmax for the whole query: its state has one row, and K*H*W channels."""

    def __init__(self, pre_inverse: PreInverse, shape: Shape, competing: int, device: torch.device) -> None:
        channels, height, width = shape
        self.pre_inverse, self.shape = pre_inverse, shape
        self.sides = (height, width)
        self.state_shape = (1, channels * height * width)
        self.competing = torch.tensor([competing], dtype=torch.int64, device=device)
        self.rank = torch.tensor([float(pre_inverse.rank)], dtype=torch.float64, device=device)
        self.log_pdet = torch.tensor([pre_inverse.log_pdet], dtype=torch.float64, device=device)

    def __call__(self, z: Tensor) -> Tensor:
        """`B.whiten(z)`: float64, or z itself where B is the identity."""
        return self.pre_inverse.whiten(z)

    def images(self, values: Tensor) -> Tensor:
        """(Q, 1, K*H*W) -> (Q, K, H, W)."""
        return values.reshape(len(values), *self.shape)

    def maps(self, values: Tensor) -> Tensor:
        """(Q, 1, ...) -> (Q, H, W, ...): the same at each pixel."""
        return values[:, :, None].expand(-1, *self.sides, *values.shape[2:])

    def sources(self, sources: Tensor) -> Tensor:
        """(image, translation g) of the query -> (image, m + g) at every pixel m."""
        height, width = self.sides
        image, row, col = self.maps(sources).unbind(-1)
        at_row, at_col = raster(height, width, sources.device).reshape(height, width, 2).unbind(-1)
        moved = torch.stack([image, (row + at_row[..., None]) % height, (col + at_col[..., None]) % width], -1)
        return torch.where(image[..., None] < 0, -1, moved)


class WholeImageFeatures(ImageFeatures[FeatureEngine]):
    """The training images as they are: MMSE."""

    engines: ClassVar[tuple[str, ...]] = ("direct", "gemm")

    def __init__(self, pre_inverse: PreInverse, shape: Shape, device: torch.device) -> None:
        super().__init__(pre_inverse, shape, 1, device)
        self._untranslated = torch.zeros(1, 2, dtype=torch.int64, device=device)

    def accumulate(
        self,
        engine: FeatureEngine,
        state: SoftmaxState,
        queries: Tensor,
        z: Tensor,
        t: Tensor,
        scale: Tensor,
        first: int,
        exclude: Tensor | None = None,
    ) -> SoftmaxState:
        """As `Features.accumulate`."""
        block = (self(z).flatten(1), t.flatten(1), numbered(self._untranslated, first, len(z))[:, 0])
        rows = queries.flatten(1)[:, None]
        return engine.accumulate(state, rows, [block], scale, center=CENTER, exclude=exclude)


class TranslatedImageFeatures(ImageFeatures[TranslationEngine]):
    """The training images and their translations: E-MMSE.

    Attributes:
        shifts: (H, W) bool, which translations keep the range of B.
        As `Features` says.
    """

    engines: ClassVar[tuple[str, ...]] = ("correlation",)

    def __init__(
        self, pre_inverse: DiagonalPreInverse | CirculantPreInverse, shape: Shape, device: torch.device
    ) -> None:
        self.shifts = pre_inverse.translations.to(device)
        super().__init__(pre_inverse, shape, int(self.shifts.sum()), device)

    def accumulate(
        self,
        engine: TranslationEngine,
        state: SoftmaxState,
        queries: Tensor,
        z: Tensor,
        t: Tensor,
        scale: Tensor,
        first: int,
        exclude: Tensor | None = None,
    ) -> SoftmaxState:
        """As `Features.accumulate`."""
        return engine.accumulate(
            state, queries, self(z), t - CENTER, scale, shifts=self.shifts, first_image=first, exclude=exclude
        )
