"""What second moments alone say of a pre-inverse: the best affine map from a patch of `z = B y` to its centre pixel.

With C the covariance of the patches `Pi_k B A x` over images and positions, c their covariance with the clean centre
pixel, v its variance, and `sigma^2 S` that of the noise, for a B B^T that is circulant:

    risk = v - c^T (C + sigma^2 S)^-1 c

LE-MMSE, the best of all maps, has no larger risk on the training distribution.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lemmse.checks import check_images, check_patch_size, check_positive
from lemmse.estimators.lemmse import LocalEquivariantMMSE
from lemmse.estimators.whitening import patch_covariance
from lemmse.patches import extract_patches
from lemmse.physics.preinverse import CirculantPreInverse, DiagonalPreInverse, PreInverse
from lemmse.physics.spectra import RANGE_RTOL

if TYPE_CHECKING:
    import pandas as pd


class PatchMoments(NamedTuple):
    """signal: C (p, p). noise: S (p, p). cross: c (p,), mean over channels. variance: v. All float64."""

    signal: Tensor
    noise: Tensor
    cross: Tensor
    variance: float

    def affine_risk(self, sigma: float) -> float:
        """`v - c^T (C + sigma^2 S)^-1 c`, squared error per pixel; raises ValueError if sigma is not positive."""
        total = self.signal + check_positive(sigma, "sigma") ** 2 * self.noise
        return self.variance - float(self.cross @ torch.linalg.pinv(total, hermitian=True) @ self.cross)

    def directions(self, sigma: float) -> int:
        """How many directions of the patch have more signal than noise: eigenvalues of C against S above sigma^2."""
        values, vectors = torch.linalg.eigh(self.noise)
        kept = values > RANGE_RTOL * values[-1]
        white = vectors[:, kept] / values[kept].sqrt()
        return int((torch.linalg.eigvalsh(white.T @ self.signal @ white) > check_positive(sigma, "sigma") ** 2).sum())


def noise_covariance(B: PreInverse, patch_size: int) -> Tensor:
    """`S = Pi_k B B^T Pi_k^T` (p, p); raises ValueError if it depends on the position k."""
    check_patch_size(patch_size)
    if isinstance(B, CirculantPreInverse):
        return patch_covariance(B.spectrum, patch_size)
    if isinstance(B, DiagonalPreInverse) and bool((B.mask == 1).all()):
        return patch_covariance(B.scale**2 * B.mask, patch_size)
    raise ValueError("the noise of this pre-inverse depends on the position: it has no one patch covariance")


def patch_moments(images: Tensor, B: PreInverse, patch_size: int) -> PatchMoments:
    """The moments of the images (N, C, H, W), channels pooled; raises ValueError as `noise_covariance` does."""
    x = check_images(images).double()
    noise = noise_covariance(B, patch_size).to(x.device)
    centred = x - x.mean()
    total, cross, count = torch.zeros_like(noise), torch.zeros(len(noise), dtype=x.dtype, device=x.device), 0
    mean = B.signal(x).mean()
    for part, clean in zip(x.split(100), centred.split(100), strict=True):
        patches = extract_patches(B.signal(part) - mean, patch_size).flatten(0, 2)
        total += patches.T @ patches
        cross += patches.T @ clean.flatten()
        count += len(patches)
    return PatchMoments(total / count, noise, cross / count, float(centred.square().mean()))


def affine_table(images: Tensor, formulas: dict[str, LocalEquivariantMMSE], sigmas: Iterable[float]) -> pd.DataFrame:
    """PSNR in dB of the best affine map, and directions above the noise, as text: formulas down, sigmas across."""
    import pandas as pd

    levels, rows = list(sigmas), {}
    for label, formula in formulas.items():
        moments = patch_moments(images, formula.pre_inverse, formula.patch_size)
        cells = {f"{s:g}": f"{-10 * math.log10(moments.affine_risk(s)):.1f} ({moments.directions(s)})" for s in levels}
        rows[" ".join(label.split())] = cells
    return pd.DataFrame(rows).T
