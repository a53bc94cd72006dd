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

from lemmse.checks import shown
from lemmse.engines.contracts import BoxEngine
from lemmse.engines.plain.box import box_sum
from lemmse.engines.state import SoftmaxState
from lemmse.estimators.features import CENTER, PatchFeatures, Shape
from lemmse.patches import extract_patches
from lemmse.physics.preinverse import DiagonalPreInverse, IdentityPreInverse


class PixelFeatures(PatchFeatures[BoxEngine]):
    """The seen pixels, divided by c.

    Queries may be of another size than the training images where B is the identity: their patches are those of their
    own torus, or of their own frame of zeros.

    Attributes:
        frame: how many pixels zero padding adds on each side, as `torch.nn.functional.pad` takes them.
        mask: which pixels of the framed training image are seen, float64.
        strata: the stratum of each pixel of the framed training image, int64; -1 in the frame.
        query_mask: as mask, of the framed query.
        query_strata: as strata, of the framed query: the same label is the same pattern.
        As `Features` says.
    """

    engines: ClassVar[tuple[str, ...]] = ("numba", "triton", "torch")
    form: ClassVar[dict[str, bool]] = {}  # how an engine compares pixels, where not by squared differences

    def __init__(
        self,
        pre_inverse: DiagonalPreInverse,
        shape: Shape,
        patch_size: int,
        padding: str,
        device: torch.device,
        query_sides: tuple[int, int] | None = None,
    ) -> None:
        query_sides = query_sides or shape[1:]
        super().__init__((shape[0], *query_sides))
        self._given = (pre_inverse, shape, patch_size, padding, device)
        self.scale = pre_inverse.scale
        mask = pre_inverse.mask.to(device)
        reach = [min(patch_size // 2, side - 1) if padding == "zeros" else 0 for side in mask.shape]
        self.frame = (0, reach[1], 0, reach[0])
        query_mask = mask if query_sides == shape[1:] else mask.new_ones(query_sides)
        self.mask = self.framed(mask)
        self.query_mask = self.mask if query_mask is mask else self.framed(query_mask)
        self.sides = (self.mask.shape[0], self.mask.shape[1])
        self.patch_size = min(patch_size, max(self.sides) | 1)  # odd, and no pixel is in a window twice
        strata, query_strata = same_patterns(self.mask, self.query_mask, self.patch_size)
        inside, query_inside = (self.framed(torch.ones_like(m)) > 0 for m in (mask, query_mask))
        self.strata = torch.where(inside, strata, -1)
        self.query_strata = torch.where(query_inside, query_strata, -1)
        self._pixels = query_inside.flatten().nonzero()[:, 0]
        self.state_shape = (query_inside.numel(), shape[0])
        competitors = torch.bincount(self.strata[inside], minlength=int(query_strata.max()) + 1)
        self.competing = competitors[self.query_strata[query_inside]]
        self.rank = box_sum(box_sum(self.query_mask, self.patch_size, 0), self.patch_size, 1)[query_inside]
        self.log_pdet = self.rank * math.log(self.scale)

    def for_queries(self, sides: tuple[int, int]) -> PixelFeatures:
        """As `Features.for_queries`, where B is the identity and no side is smaller than the patch."""
        pre_inverse, shape, patch_size, *_ = self._given
        if not isinstance(pre_inverse, IdentityPreInverse):
            super().for_queries(sides)
        least = min(*sides, *shape[1:])
        if patch_size > least:
            odd = least - (least + 1) % 2
            raise ValueError(
                f"y must be of the shape of the images, {shape[1]} x {shape[2]} pixels, or patch_size at most {odd} to "
                f"answer {sides[0]} x {sides[1]} pixels, got patch_size {shown(patch_size)}"
            )
        return PixelFeatures(*self._given, query_sides=sides)

    def framed(self, images: Tensor) -> Tensor:
        """Images (..., H, W) with the frame of zero padding, for padding "circular" as they are."""
        return torch.nn.functional.pad(images, self.frame)

    def __call__(self, z: Tensor) -> Tensor:
        """`mask z / c` of queries: (Q, C, H, W) -> (Q, C, H, W), with zero padding the framed image."""
        return self.framed(z / self.scale) * self.query_mask

    def accumulate(
        self,
        engine: BoxEngine,
        state: SoftmaxState,
        queries: Tensor,
        z: Tensor,
        t: Tensor,
        scale: Tensor,
        first: int,
        exclude: Tensor | None = None,
    ) -> SoftmaxState:
        """As `Features.accumulate`."""
        queries, keys = self._compared_pixels(queries, z, t.dtype)
        return engine.accumulate(
            state,
            queries,
            keys,
            self.framed(t - CENTER),
            scale,
            patch_size=self.patch_size,
            query_strata=self.query_strata,
            key_strata=self.strata,
            first_image=first,
            exclude=exclude,
            **self.form,
        )

    def _compared_pixels(self, queries: Tensor, z: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Queries and keys as an engine takes them, the keys from training images z; dtype is that of the targets."""
        return queries.to(dtype), (self.framed(z / self.scale) * self.mask).to(dtype)

    def rows(self, state: SoftmaxState) -> SoftmaxState:
        """The rows of the pixels that are not in the frame."""
        return state.at(self._pixels)


def same_patterns(mask: Tensor, query_mask: Tensor, patch_size: int) -> tuple[Tensor, Tensor]:
    """Labels of the positions of two masks by the pattern in their window: equal label, equal pattern.

    A mask that is a product of rows and columns, as zero padding makes it, is labeled axis by axis, which takes no
    memory for its windows.
    """
    if bool(mask.all()) and bool(query_mask.all()):
        return mask.new_zeros(mask.shape, dtype=torch.int64), mask.new_zeros(query_mask.shape, dtype=torch.int64)
    axes = [(m.amax(1), m.amax(0)) for m in (mask, query_mask)]
    if all(torch.equal(m, torch.outer(*axis)) for m, axis in zip((mask, query_mask), axes, strict=True)):
        rows, columns = (_labels([axis[i][:, None] for axis in axes], patch_size) for i in range(2))
        count = 1 + max(int(labels.max()) for labels in columns)
        found = [
            torch.where((r > 0)[:, None] & (c > 0), r[:, None] * count + c, 0)
            for r, c in zip((r[:, 0] for r in rows), (c[:, 0] for c in columns), strict=True)
        ]
        return found[0], found[1]
    labels = _labels([mask] if mask is query_mask else [mask, query_mask], patch_size)
    return labels[0], labels[-1]


def _labels(masks: list[Tensor], patch_size: int) -> list[Tensor]:
    """A number for each pattern in the windows of some masks, 0 for the empty one where there is an empty one."""
    patterns = torch.cat([extract_patches(m[None, None], patch_size)[0, 0] for m in masks])
    labels = torch.unique(patterns, dim=0, return_inverse=True)[1] + bool(patterns.any(1).all())
    parts = labels.split([m.numel() for m in masks])
    return [part.reshape(m.shape) for part, m in zip(parts, masks, strict=True)]
