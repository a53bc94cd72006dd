"""B any matrix: every position k has a metric of its own, `|Q_k^+ (v - a)|^2` with `Q_k = Pi_k B`.

The position k competes for m if and only if range(Q_k) = range(Q_m), that is if the projectors onto both are equal. The
ranges are decided once, from B, and never from the values of a patch.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from lemmse.engines.contracts import PositionEngine
from lemmse.engines.state import SoftmaxState
from lemmse.estimators.features import CENTER, PatchFeatures, Shape, numbered, raster
from lemmse.patches import extract_patches, window_indices
from lemmse.physics.preinverse import DensePreInverse
from lemmse.physics.spectra import RANGE_RTOL, kept_values

_SAME_RANGE = 1e-6  # largest difference of the projectors onto two ranges that are the same


def group_ranges(projectors: Tensor) -> list[Tensor]:
    """Group the positions whose projectors (n, p, p) onto range(Q_k) are equal: a list of index tensors."""
    left = torch.arange(len(projectors), dtype=torch.int64, device=projectors.device)
    groups = []
    while len(left):
        same = (projectors[left] - projectors[left[0]]).abs().amax((1, 2)) < _SAME_RANGE
        groups.append(left[same])
        left = left[~same]
    return groups


class PositionFeatures(PatchFeatures[PositionEngine]):
    """The patches themselves; `accumulate` looks at them through the metric of each key position.

    Attributes:
        inverse: (n, rank, p) float64, `Q_k^+` up to a rotation, for each position; rows beyond its rank are zero.
        key_log_pdet: (n,) float64, log pdet(Q_k). It differs between keys, so it is in the logits.
        strata: for each stratum, its positions.
        As `Features` says.
    """

    engines: ClassVar[tuple[str, ...]] = ("position",)

    def __init__(self, pre_inverse: DensePreInverse, shape: Shape, patch_size: int, device: torch.device) -> None:
        super().__init__(shape)
        self.patch_size = patch_size
        channels, height, width = shape
        q = pre_inverse.matrix.cpu()[window_indices(patch_size, height, width)]
        left, values, _ = torch.linalg.svd(q, full_matrices=False)
        kept = kept_values(values, RANGE_RTOL**0.5, "singular value of a patch of B")
        nonzero = values.where(kept, torch.ones_like(values))
        left = left * kept[:, None]
        self.inverse = (left * torch.where(kept, 1 / nonzero, 0.0)[:, None]).transpose(1, 2).to(device)
        self.key_log_pdet = nonzero.log().sum(1).to(device)
        self.log_pdet = torch.zeros_like(self.key_log_pdet)
        self.rank = kept.sum(1).double().to(device)
        self.strata = [positions.to(device) for positions in group_ranges(left @ left.transpose(1, 2))]
        self.competing = torch.zeros(height * width, dtype=torch.int64, device=device)
        for positions in self.strata:
            self.competing[positions] = len(positions)
        self.sides = (height, width)
        self.state_shape = (height * width, channels)
        self._places = raster(height, width, device)

    def __call__(self, z: Tensor) -> Tensor:
        """The patches: (Q, C, H, W) -> (Q, C, H*W, p) float64."""
        return extract_patches(z.double(), self.patch_size)

    def accumulate(
        self,
        engine: PositionEngine,
        state: SoftmaxState,
        queries: Tensor,
        z: Tensor,
        t: Tensor,
        scale: Tensor,
        first: int,
        exclude: Tensor | None = None,
    ) -> SoftmaxState:
        """As `Features.accumulate`, one stratum after the other."""
        keys = self(z)
        sources = numbered(self._places, first, len(z))
        values = (t - CENTER).flatten(2).transpose(1, 2)
        channels = z.shape[1]
        for positions in self.strata:
            inverse = self.inverse[positions]
            state = engine.accumulate(
                state,
                torch.einsum("krp,qcmp->qmkcr", inverse, queries[:, :, positions]).flatten(3),
                torch.einsum("krp,bckp->bkcr", inverse, keys[:, :, positions]).flatten(2),
                values[:, positions],
                scale,
                log_pdet=channels * self.key_log_pdet[positions],
                sources=sources[:, positions],
                positions=positions,
                exclude=exclude,
            )
        return state
