"""`B = c diag(mask)`, the identity among them, and zero padding: patches are compared pixel by pixel.

The distance of the patch v at the query position m to the training patch a at the position k is a sum over the window,

    |Q_k^+ (v - a)|^2 = sum_j mask[k + j] (v_j - a_j)^2 / c^2    over the distinct pixels j,

and k competes for m if and only if both windows see the same pattern of the mask: positions with one pattern are a
stratum. Zero padding is the same on a larger torus: the image, and around it a frame of pixels that nobody sees, wide
enough that no window reaches across it. Then the pattern of a window tells where the border is.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from lemmse.engines.contracts import BoxEngine
from lemmse.engines.state import SoftmaxState
from lemmse.estimators.features import CENTRE, PatchFeatures, Shape
from lemmse.patches import extract_patches, mask_strata
from lemmse.physics.preinverse import DiagonalPreInverse


class PixelFeatures(PatchFeatures[BoxEngine]):
    """The seen pixels, divided by c.

    Attributes:
        frame: how many pixels zero padding adds on each side, as `torch.nn.functional.pad` takes them.
        mask: which pixels of the framed image are seen, (H, W) of it, float64.
        strata: the stratum of each pixel of the framed image, int64; -1 in the frame.
        As `Features` says.
    """

    engines: ClassVar[tuple[str, ...]] = ("numba", "triton", "torch")

    def __init__(
        self, pre_inverse: DiagonalPreInverse, shape: Shape, patch_size: int, padding: str, device: torch.device
    ) -> None:
        super().__init__(shape)
        self.scale = pre_inverse.scale
        mask = pre_inverse.mask.to(device)
        reach = [min(patch_size // 2, side - 1) if padding == "zeros" else 0 for side in mask.shape]
        self.frame = (0, reach[1], 0, reach[0])
        self.mask = self.framed(mask)
        self.patch_size = min(patch_size, max(self.mask.shape) | 1)  # odd, and no pixel is in a window twice
        self.sides = (self.mask.shape[0], self.mask.shape[1])
        inside = self.framed(torch.ones_like(mask)) > 0
        self.strata = torch.where(inside, mask_strata(self.mask, patch_size), -1)
        self._inside = inside.flatten().nonzero()[:, 0]
        self.state_shape = (inside.numel(), shape[0])
        strata = self.strata.flatten()[self._inside]
        self.competing = torch.bincount(strata)[strata]
        self.rank = extract_patches(self.mask[None, None], patch_size)[0, 0].sum(-1)[self._inside]
        self.log_pdet = self.rank * math.log(self.scale)

    def framed(self, images: Tensor) -> Tensor:
        """Images (..., H, W) with the frame of zero padding, for padding "circular" as they are."""
        return torch.nn.functional.pad(images, self.frame)

    def __call__(self, z: Tensor) -> Tensor:
        """`mask z / c`: (Q, C, H, W) -> (Q, C, H, W), with zero padding the framed image."""
        return self.framed(z / self.scale) * self.mask

    def accumulate(
        self, engine: BoxEngine, state: SoftmaxState, queries: Tensor, z: Tensor, x: Tensor, scale: Tensor, first: int
    ) -> SoftmaxState:
        """As `Features.accumulate`."""
        return engine.accumulate(
            state,
            queries.to(x.dtype),
            self(z).to(x.dtype),
            self.framed(x - CENTRE),
            scale,
            patch_size=self.patch_size,
            query_strata=self.strata,
            key_strata=self.strata,
            first_image=first,
        )

    def rows(self, state: SoftmaxState) -> SoftmaxState:
        """The rows of the pixels that are not in the frame."""
        return state.at(self._inside)
