"""What a pre-inverse makes of images: features whose noise is white, and the positions that compete.

Given x, the patch `v = Pi_k z` is `N(Pi_k B A x, sigma^2 Q_k Q_k^T)` with `Q_k = Pi_k B`. The logit of a training patch
is

    -|Q_k^+ (v - Pi_k B A x)|^2 / (2 sigma^2) - log pdet(Q_k)    if range(Q_k) = range(Q_m), else -infinity.

A class of features writes the quadratic form as a squared distance, once, so that an engine needs no physics. There is
one for each structure of B, in a module of its own:

    pixels        PixelFeatures            B = c diag(mask), or zero padding: pixels; equal mask patterns compete
    whitening     WhitenedFeatures         B B^T circulant: one matrix S^(-1/2) for all positions, which all compete
    positions     PositionFeatures         any matrix B: a metric for each position; equal ranges compete
    whole_images  WholeImageFeatures       MMSE: images instead of patches
                  TranslatedImageFeatures  E-MMSE: their translations
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from lemmse.engines.state import SoftmaxState

CENTER = 0.5  # values are summed about it, so that float32 variances do not cancel

Shape = tuple[int, int, int]  # channels, height, width
EngineT = TypeVar("EngineT")  # which of the `engines.contracts` the features are compared by


class Features(ABC, Generic[EngineT]):
    """How an estimator compares images, and how the sums of an engine become images again.

    A softmax runs over training patches (images) for each of n rows: the pixels of a query, or one for the query as a
    whole. The rows of a state may be more than n.

    Attributes:
        engines: the names of the engines that serve, the fastest first.
        white: whether noise levels change nothing but the scale of distances.
        sides: height and width of the images that an engine compares, padding included.
        competing: (n,) int64, how many positions of each training image compete for each row.
        rank: (n,) float64, the rank of Q_m, for one channel.
        log_pdet: (n,) float64, the logarithm of pdet(Q_m), for one channel, where the logits leave it out.
        state_shape: rows and channels of the state of one query.
        shape: channels K of the targets, height and width of what is returned.
    """

    engines: ClassVar[tuple[str, ...]]
    white: ClassVar[bool] = True
    sides: tuple[int, int]
    competing: Tensor
    rank: Tensor
    log_pdet: Tensor
    state_shape: tuple[int, int]
    shape: Shape

    @abstractmethod
    def __call__(self, z: Tensor) -> Tensor:
        """The features of images z (Q, C, H, W): what is compared, with white noise of deviation sigma."""

    @abstractmethod
    def accumulate(
        self,
        engine: EngineT,
        state: SoftmaxState,
        queries: Tensor,
        z: Tensor,
        t: Tensor,
        scale: Tensor,
        first: int,
        exclude: Tensor | None = None,
    ) -> SoftmaxState:
        """Merge a block of training images into the state.

        Args:
            engine: which computes the distances and the sums.
            state: the sums so far, (Q * S, rows of the state).
            queries: the features of the Q queries.
            z: `B A x` of the training images, (B, C, H, W).
            t: what is averaged, (B, K, H, W): the clean training images, or other targets.
            scale: (Q * S,), `1 / (2 sigma^2)`: one for each query, or several in a row where features are white and
                the engine takes several scales.
            first: the number of the first image of the block.
            exclude: (Q,) int64, the number of the image that is left out of each query, -1 for none.
        """

    def compared(self, z: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """The features of queries z at the noise levels (Q,), and the scale of their distances, `1 / (2 sigma^2)`."""
        return self(z), 1 / (2 * level.square())

    def normalized(self, state: SoftmaxState, z: Tensor, level: Tensor) -> SoftmaxState:
        """The state of queries z with what their logits still lack: nothing, for white noise."""
        return state

    def for_queries(self, sides: tuple[int, int]) -> Features[EngineT]:
        """The same for queries of other sides than the training images; raises ValueError where there is none."""
        height, width = self.sides
        raise ValueError(
            f"y must have the shape that images of {height} x {width} pixels give, got {sides[0]} x {sides[1]}: only "
            "LocalEquivariantMMSE with B = I (Denoising, pre_inverse 'identity') takes other sizes"
        )

    def rows(self, state: SoftmaxState) -> SoftmaxState:
        """The n rows of a state that say something."""
        return state

    @abstractmethod
    def images(self, values: Tensor) -> Tensor:
        """Values (Q, n, channels of the state) as images (Q, K, H, W)."""

    @abstractmethod
    def maps(self, values: Tensor) -> Tensor:
        """What is known of each row, (Q, n, ...), for each pixel: (Q, H, W, ...)."""

    @abstractmethod
    def sources(self, sources: Tensor) -> Tensor:
        """The sources of each row, (Q, n, k, 3), as (image, row, column) for each pixel: (Q, H, W, k, 3)."""


class PatchFeatures(Features[EngineT]):
    """One softmax for each pixel of the query, over training patches: LE-MMSE."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape

    def images(self, values: Tensor) -> Tensor:
        """(Q, H*W, K) -> (Q, K, H, W)."""
        return values.transpose(1, 2).reshape(len(values), *self.shape)

    def maps(self, values: Tensor) -> Tensor:
        """(Q, H*W, ...) -> (Q, H, W, ...)."""
        return values.reshape(len(values), *self.shape[1:], *values.shape[2:])

    def sources(self, sources: Tensor) -> Tensor:
        """(Q, H*W, k, 3) -> (Q, H, W, k, 3)."""
        return self.maps(sources)


def numbered(places: Tensor, first: int, count: int) -> Tensor:
    """(image, row, column) of the places (n, 2) in the images first .. first + count - 1: (count, n, 3)."""
    image = torch.arange(first, first + count, dtype=torch.int64, device=places.device)
    return torch.cat([image[:, None, None].expand(count, len(places), 1), places.expand(count, -1, 2)], -1)


def raster(height: int, width: int, device: torch.device) -> Tensor:
    """(row, column) of the pixels of an image in raster order: (H*W, 2) int64."""
    pixels = torch.arange(height * width, dtype=torch.int64, device=device)
    return torch.stack([pixels // width, pixels % width], -1)
