"""From a pre-inverse to what an engine compares: features whose noise is white, and the positions that compete.

Given x, the patch `v = Pi_k z` is `N(Pi_k B A x, sigma^2 Q_k Q_k^T)`, `Q_k = Pi_k B`. Each family writes the quadratic
form `|Q_k^+ (v - Pi_k B A x)|^2` as a squared distance of features, once, in float64; engines then see no physics.

    BoxFamily       B = c diag(mask), or zero padding: pixels, summed over the window; equal mask patterns compete
    WhitenedFamily  B B^T circulant: one matrix S = Pi_k B B^T Pi_k^T, features S^(-1/2) v; all positions compete
    PositionFamily  any matrix B: a metric for each position; equal ranges of Q_k compete
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lemmse.engines.plain import gemm
from lemmse.engines.registry import ENGINES
from lemmse.engines.state import SoftmaxState
from lemmse.patches import extract_patches, mask_strata, window_indices
from lemmse.physics.operators import kept_values
from lemmse.physics.preinverse import CirculantPreInverse, DensePreInverse, DiagonalPreInverse

CENTRE = 0.5  # values are summed about it, so that float32 variances do not cancel
RANGE_RTOL = 1e-12  # of eigenvalues of Q Q^T; its small ones are the best measured directions
_FEATURES = 1 << 21  # of training images at once


class BoxFamily:
    """`B = c diag(mask)`: `|Q_k^+ (v - a)|^2 = sum_j mask[k + j] (v_j - a_j)^2 / c^2` over the distinct pixels j.

    Zero padding is the same family on a larger torus: the image, and around it a frame of pixels that nobody sees, wide
    enough that no window reaches across it.
    """

    engines = ("numba", "triton", "torch")

    def __init__(self, pre_inverse: DiagonalPreInverse, patch_size: int, padding: str, device: torch.device) -> None:
        mask = pre_inverse.mask.to(device)
        self.frame = patch_size // 2 if padding == "zeros" else 0
        self.patch_size, self.scale = patch_size, pre_inverse.scale
        self.mask = self._framed(mask)
        self.sides = tuple(self.mask.shape)
        strata = mask_strata(self.mask, patch_size)
        inside = self._framed(torch.ones_like(mask)) > 0
        self.strata = torch.where(inside, strata, -1)
        self.state_rows, self.rows = inside.numel(), inside.flatten().nonzero()[:, 0]
        labels = self.strata.flatten()[self.rows]
        self.competing = torch.bincount(labels)[labels]
        self.rank = extract_patches(self.mask[None, None], patch_size)[0, 0].sum(-1)[self.rows]
        self.log_pdet = self.rank * math.log(self.scale)

    def _framed(self, images: Tensor) -> Tensor:
        return torch.nn.functional.pad(images, (0, self.frame, 0, self.frame))

    def features(self, z: Tensor) -> Tensor:
        """Seen pixels: (Q, C, H, W) -> (Q, C, H + frame, W + frame)."""
        return self._framed(z / self.scale) * self.mask

    def accumulate(
        self, state: SoftmaxState, queries: Tensor, z: Tensor, x: Tensor, scale: Tensor, first: int, engine: str
    ) -> SoftmaxState:
        """Merge the training images x, `B A x = z`, both (B, C, H, W), into the state."""
        return (
            ENGINES[engine]
            .load()
            .accumulate(
                state,
                queries.to(x.dtype),
                self.features(z).to(x.dtype),
                self._framed(x - CENTRE),
                scale,
                patch_size=self.patch_size,
                query_strata=self.strata,
                key_strata=self.strata,
                first_image=first,
            )
        )


class WhitenedFamily:
    """`B B^T` circulant: `S[j, j'] = r[j - j']` with r the inverse transform of its spectrum; features `S^(-1/2) v`."""

    engines = ("mixed", "gemm")

    def __init__(self, pre_inverse: CirculantPreInverse, patch_size: int, device: torch.device) -> None:
        height, width = pre_inverse.spectrum.shape
        values, vectors = torch.linalg.eigh(patch_covariance(pre_inverse.spectrum, patch_size))
        values = values.clamp_min(0)
        kept = kept_values(values, RANGE_RTOL, "eigenvalue of the patch noise covariance")
        self.whitening = (vectors[:, kept] / values[kept].sqrt()).to(device)
        self.patch_size = patch_size
        self.state_rows, self.rows = height * width, torch.arange(height * width, device=device)
        self.competing = torch.full_like(self.rows, height * width)
        self.rank = torch.full_like(self.rows, int(kept.sum())).double()
        self.log_pdet = torch.full_like(self.rank, float(values[kept].log().sum()) / 2)
        self.places = torch.stack([self.rows // width, self.rows % width], -1)

    def features(self, z: Tensor) -> Tensor:
        """Whitened patches: (Q, C, H, W) -> (Q, H*W, C*r) float64."""
        white = extract_patches(z.double(), self.patch_size) @ self.whitening
        return white.transpose(1, 2).flatten(2)

    def accumulate(
        self, state: SoftmaxState, queries: Tensor, z: Tensor, x: Tensor, scale: Tensor, first: int, engine: str
    ) -> SoftmaxState:
        """Merge the training images x, `B A x = z`, both (B, C, H, W), into the state."""

        def block(i: int) -> gemm.Block:
            """A few training images, so that what is made of them stays in the cache."""
            keys = self.features(z[i : i + share]).flatten(0, 1)
            values = x[i : i + share].flatten(2).transpose(1, 2).flatten(0, 1)
            return keys, values, numbered(self.places, first + i, len(z[i : i + share])).flatten(0, 1)

        share = max(1, _FEATURES // (len(self.rows) * queries.shape[-1]))
        blocks = map(block, range(0, len(z), share))
        return ENGINES[engine].load().accumulate(state, queries, blocks, scale, centre=CENTRE)


class PositionFamily:
    """Any matrix B: features `Q_k^+ v`, `Q_k = Pi_k B`; positions compete where the ranges of Q_k are the same."""

    engines = ("position",)

    def __init__(
        self, pre_inverse: DensePreInverse, patch_size: int, shape: tuple[int, int], device: torch.device
    ) -> None:
        height, width = shape
        q = pre_inverse.matrix.cpu()[window_indices(patch_size, height, width)]
        left, values, _ = torch.linalg.svd(q, full_matrices=False)
        kept = kept_values(values, RANGE_RTOL**0.5, "singular value of a patch of B")
        left = left * kept[:, None]
        inverse = torch.where(kept, 1 / values.where(kept, torch.ones_like(values)), 0.0)
        self.inverse = (left * inverse[:, None]).transpose(1, 2).to(device)
        self.key_log_pdet = values.where(kept, torch.ones_like(values)).log().sum(1).to(device)
        self.log_pdet = torch.zeros_like(self.key_log_pdet)  # it differs between keys, so it is in the logits
        self.rank = kept.sum(1).double().to(device)
        self.strata = [group.to(device) for group in group_ranges(left @ left.transpose(1, 2))]
        self.patch_size = patch_size
        self.state_rows, self.rows = height * width, torch.arange(height * width, device=device)
        self.competing = torch.zeros_like(self.rows)
        for group in self.strata:
            self.competing[group] = len(group)
        self.places = torch.stack([self.rows // width, self.rows % width], -1)

    def features(self, z: Tensor) -> Tensor:
        """Patches: (Q, C, H, W) -> (Q, C, H*W, p) float64; the metric depends on the key position."""
        return extract_patches(z.double(), self.patch_size)

    def accumulate(
        self, state: SoftmaxState, queries: Tensor, z: Tensor, x: Tensor, scale: Tensor, first: int, engine: str
    ) -> SoftmaxState:
        """Merge the training images x, `B A x = z`, both (B, C, H, W), into the state."""
        patches = self.features(z)
        sources = numbered(self.places, first, len(z))
        values = (x - CENTRE).flatten(2).transpose(1, 2)
        channels = z.shape[1]
        for group in self.strata:
            inverse = self.inverse[group]
            state = gemm.accumulate_positions(
                state,
                torch.einsum("krp,qcmp->qmkcr", inverse, queries[:, :, group]).flatten(3),
                torch.einsum("krp,bckp->bkcr", inverse, patches[:, :, group]).flatten(2),
                values[:, group],
                scale,
                log_pdet=channels * self.key_log_pdet[group],
                sources=sources[:, group],
                positions=group,
            )
        return state


class ImageFamily:
    """Whole images, `Q = B`: features `B^+ z`, for MMSE; their translations by correlation, for E-MMSE.

    E-MMSE admits the translations g for which `T_g` maps the range of B to itself; at those `T_g B B^T T_g^T = B B^T`
    in the diagonal and circulant families.
    """

    def __init__(
        self, pre_inverse: DiagonalPreInverse | CirculantPreInverse | DensePreInverse, device: torch.device
    ) -> None:
        self.pre_inverse = pre_inverse
        if isinstance(pre_inverse, DiagonalPreInverse):
            self.mask = pre_inverse.mask.to(device)
            self.rank = float(self.mask.sum())
            self.log_pdet = self.rank * math.log(pre_inverse.scale)
            corr = torch.fft.irfft2(torch.fft.rfft2(self.mask).abs().square(), s=tuple(self.mask.shape))
            self.shifts = corr.round() == self.mask.sum()
        elif isinstance(pre_inverse, CirculantPreInverse):
            spectrum = pre_inverse.spectrum
            kept = kept_values(spectrum, RANGE_RTOL, "eigenvalue of B B^T")
            self.whitening = torch.where(kept, spectrum.where(kept, torch.ones_like(spectrum)).rsqrt(), 0.0).to(device)
            self.rank = float(kept.sum())
            self.log_pdet = float(spectrum[kept].log().sum()) / 2
            self.shifts = torch.ones_like(spectrum, dtype=torch.bool, device=device)
        else:
            left, values, _ = torch.linalg.svd(pre_inverse.matrix, full_matrices=False)
            kept = kept_values(values, RANGE_RTOL**0.5, "singular value of B")
            self.inverse = (left[:, kept] / values[kept]).to(device)
            self.rank = float(kept.sum())
            self.log_pdet = float(values[kept].log().sum())

    def features(self, z: Tensor) -> Tensor:
        """Images (Q, C, H, W), or (Q, C, rank) for a matrix, with white noise: float64, or z itself if that will do."""
        if isinstance(self.pre_inverse, DiagonalPreInverse):
            untouched = self.pre_inverse.scale == 1 and self.rank == self.mask.numel()
            return z if untouched else z.double() / self.pre_inverse.scale * self.mask
        if isinstance(self.pre_inverse, CirculantPreInverse):
            return torch.fft.ifft2(torch.fft.fft2(z.double()) * self.whitening).real
        return z.double().flatten(2) @ self.inverse

    def accumulate_whole(
        self, state: SoftmaxState, queries: Tensor, z: Tensor, x: Tensor, scale: Tensor, first: int, engine: str
    ) -> SoftmaxState:
        """Merge whole training images x, `B A x = z`, into the state of rows (Q, 1) and C*H*W channels."""
        places = torch.zeros(1, 2, dtype=torch.int64, device=z.device)
        block = (self.features(z).flatten(1), x.flatten(1), numbered(places, first, len(z))[:, 0])
        return ENGINES[engine].load().accumulate(state, queries.flatten(1)[:, None], [block], scale, centre=CENTRE)

    def accumulate_translated(
        self, state: SoftmaxState, queries: Tensor, z: Tensor, x: Tensor, scale: Tensor, first: int, engine: str
    ) -> SoftmaxState:
        """Merge all admitted translations of the training images into the state of rows (Q, 1) and C*H*W channels."""
        return (
            ENGINES[engine]
            .load()
            .accumulate(state, queries, self.features(z), x - CENTRE, scale, shifts=self.shifts, first_image=first)
        )


def patch_covariance(spectrum: Tensor, patch_size: int) -> Tensor:
    """`S = Pi_k B B^T Pi_k^T` (p, p), for any k, of a circulant `B B^T` with `spectrum` (H, W)."""
    height, width = spectrum.shape
    r = torch.fft.ifft2(spectrum.double().cpu()).real
    window = window_indices(patch_size, height, width)[0]
    rows, cols = window // width, window % width
    s = r[(rows[:, None] - rows) % height, (cols[:, None] - cols) % width]
    return (s + s.T) / 2


def group_ranges(projectors: Tensor) -> list[Tensor]:
    """Group the positions whose projectors (n, p, p) onto range(Q_k) are equal: a list of index tensors."""
    left = torch.arange(len(projectors))
    groups = []
    while len(left):
        same = (projectors[left] - projectors[left[0]]).abs().amax((1, 2)) < 1e-6
        groups.append(left[same])
        left = left[~same]
    return groups


def numbered(places: Tensor, first: int, count: int) -> Tensor:
    """(image, row, column) of the places (n, 2) in images first .. first + count - 1: (count, n, 3)."""
    image = torch.arange(first, first + count, device=places.device)
    return torch.cat([image[:, None, None].expand(count, len(places), 1), places.expand(count, -1, 2)], -1)
