"""`B B^T` circulant, as for blur and sub-sampled Fourier: one matrix whitens the patches of every position.

The noise of a patch has the covariance `sigma^2 S` with `S = Pi_k B B^T Pi_k^T`, the same for all k, whose entries are

    S[j, j'] = r[j - j'],    r the inverse Fourier transform of the spectrum of B B^T.

The features are `S^(-1/2) v` on the range of S, up to a rotation. All positions compete.

For complex images, given by real and imaginary part, S is Hermitian, and so is its root; the features are the real and
the imaginary part of `S^(-1/2) v`, and the noise of each has the deviation sigma.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from lemmse.engines.contracts import Block, FeatureEngine
from lemmse.engines.state import SoftmaxState
from lemmse.estimators.features import CENTER, PatchFeatures, Shape, numbered, raster
from lemmse.patches import extract_patches, window_indices
from lemmse.physics.preinverse import CirculantPreInverse
from lemmse.physics.spectra import RANGE_RTOL, kept_values

_FEATURES = 1 << 21  # of training images at once


def patch_covariance(spectrum: Tensor, patch_size: int, *, complex_images: bool = False) -> Tensor:
    """`S = Pi_k B B^T Pi_k^T` (p, p), for any k, of a circulant `B B^T` with `spectrum` (H, W); float64, on the CPU.

    complex_images: whether B B^H acts on complex images: then S is Hermitian, complex128.
    """
    height, width = spectrum.shape
    r = torch.fft.ifft2(spectrum.double().cpu())
    r = r if complex_images else r.real
    window = window_indices(patch_size, height, width)[0]
    rows, cols = window // width, window % width
    s = r[(rows[:, None] - rows) % height, (cols[:, None] - cols) % width]
    return (s + s.mH) / 2


class WhitenedFeatures(PatchFeatures[FeatureEngine]):
    """The whitened patches `S^(-1/2) v`.

    Attributes:
        whitening: (p, rank) float64, complex128 for complex images: the eigenvectors of S, divided by the roots of
            their eigenvalues.
        As `Features` says.
    """

    engines: ClassVar[tuple[str, ...]] = ("mixed", "gemm")

    def __init__(self, pre_inverse: CirculantPreInverse, shape: Shape, patch_size: int, device: torch.device) -> None:
        super().__init__(shape)
        self.patch_size = patch_size
        channels, height, width = shape
        self.complex_images = pre_inverse.complex_images
        covariance = patch_covariance(pre_inverse.spectrum, patch_size, complex_images=self.complex_images)
        eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
        eigenvalues = eigenvalues.clamp_min(0)
        kept = kept_values(eigenvalues, RANGE_RTOL, "eigenvalue of the patch noise covariance")
        if bool(kept.any()):
            self.whitening = (eigenvectors[:, kept] / eigenvalues[kept].sqrt()).to(device)
        else:  # nothing is seen: one feature that is always 0
            self.whitening = torch.zeros_like(eigenvectors[:, :1], device=device)
        pixels = height * width
        self.sides = (height, width)
        self.state_shape = (pixels, channels)
        self.competing = torch.full((pixels,), pixels, dtype=torch.int64, device=device)
        self.rank = torch.full((pixels,), float(kept.sum()), dtype=torch.float64, device=device)
        self.log_pdet = torch.full_like(self.rank, float(eigenvalues[kept].log().sum()) / 2)
        self._places = raster(height, width, device)

    def __call__(self, z: Tensor) -> Tensor:
        """`S^(-1/2) v` of every patch v: (Q, C, H, W) -> (Q, H*W, C*rank) float64."""
        patches = extract_patches(z.double(), self.patch_size)
        if self.complex_images:
            white = torch.view_as_real(torch.complex(patches[:, 0], patches[:, 1]) @ self.whitening.conj())
            return white.flatten(2)
        white = patches @ self.whitening
        return white.transpose(1, 2).flatten(2)

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
        """As `Features.accumulate`, a few training images at a time, so that their features stay in the cache."""
        share = max(1, _FEATURES // (len(self._places) * queries.shape[-1]))

        def block(start: int) -> Block:
            signals, targets = z[start : start + share], t[start : start + share]
            keys = self(signals).flatten(0, 1)
            values = targets.flatten(2).transpose(1, 2).flatten(0, 1)
            return keys, values, numbered(self._places, first + start, len(targets)).flatten(0, 1)

        blocks = map(block, range(0, len(z), share))
        return engine.accumulate(state, queries, blocks, scale, center=CENTER, exclude=exclude)
