"""What second moments alone say of a pre-inverse: its noise in a patch, and the best affine map behind it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch import Tensor

from lemmse.estimators.affine import AffineMMSE, noise_strata
from lemmse.estimators.lemmse import LocalEquivariantMMSE
from lemmse.physics.preinverse import PreInverse

if TYPE_CHECKING:
    import pandas as pd


def affine_beside(formula: LocalEquivariantMMSE) -> AffineMMSE:
    """The best affine map of the patches that the formula sees: same images, operator, patch size, B and padding."""
    options = {"patch_size": formula.patch_size, "padding": formula.padding, **formula.pre_inverse_options}
    return AffineMMSE(formula.images, formula.physics, **options)


def noise_covariance(B: PreInverse, patch_size: int, height: int, width: int) -> Tensor:
    """`S = Pi_k B B^T Pi_k^T` (p, p) float64 of images of H x W; raises ValueError if it depends on the position k."""
    strata = noise_strata(B, patch_size, height, width)
    if len(strata) > 1:
        raise ValueError("the noise of this pre-inverse depends on the position: it has no one patch covariance")
    return strata[0].noise


def affine_table(formulas: dict[str, LocalEquivariantMMSE], sigmas: Iterable[float]) -> pd.DataFrame:
    """What the best affine map behind each input reaches on the training distribution, as text.

    Args:
        formulas: LE-MMSE estimators by label; the map has their images, operator, patch size and pre-inverse.
        sigmas: standard deviations of the noise.

    Returns:
        One row for each label, in the column input, and one column for each sigma: the PSNR to the truth in dB, and in
        brackets the number of directions of a patch with more signal than noise.
    """
    import pandas as pd

    levels, rows = list(sigmas), []
    for label, formula in formulas.items():
        affine = affine_beside(formula)
        cells = {f"{s:g}": f"{-10 * math.log10(affine.risk(s)):.1f} ({affine.directions(s):.0f})" for s in levels}
        rows.append({"input": " ".join(label.split()), **cells})
    return pd.DataFrame(rows)
