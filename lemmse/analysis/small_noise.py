r"""Small noise: which window a network uses, measured by the patch size whose formula is nearest to it.

**Weights over sigma do not move the minimizer.** A network that is told sigma is trained on

    L(phi) = E_sigma[ w(sigma) R_sigma(phi(., sigma)) ],    R_sigma(f) = E |f(B (A x + sigma e)) - x|^2.

Let `w > 0`. For each sigma, `R_sigma(f) >= R_sigma(LE_sigma)` for every local, equivariant f, with equality for
`f = LE_sigma` alone (risk identity: the difference is `E |f - LE_sigma|^2`). So

    L(phi) - L(LE) = E_sigma[ w(sigma) E |phi(., sigma) - LE_sigma|^2 ],

which is zero if and only if phi is LE at almost every sigma, whatever w is. The weights decide only how a network of
limited capacity, trained for a limited time, divides its error among the noise levels.

Uniform weights give almost all of the loss to large sigma, because R_sigma falls by a factor of a hundred and more as
sigma goes from 1 to 0.02, and so does what is left to learn there. The weight `1 / (expected error at sigma)` gives
each noise level an equal part of the loss, as in Karras et al., arXiv 2206.00364. It is `weighting="inverse_error"` of
`train`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lemmse.analysis.controls import patch_size_control, with_patch_size
from lemmse.analysis.evaluate import FORMULA, Restorer
from lemmse.estimators.lemmse import LocalEquivariantMMSE

if TYPE_CHECKING:
    import pandas as pd


def patch_size_formulas(formula: LocalEquivariantMMSE, patch_sizes: Iterable[int]) -> dict[str, Restorer]:
    """The formula for other patch sizes, by the names of `controls.patch_size_control`.

    Args:
        formula: the LE-MMSE estimator; its own patch size, if among `patch_sizes`, is left out, because it is there as
            `FORMULA`.
        patch_sizes: P of the others, odd.

    Returns:
        A restorer for each other patch size.
    """
    others = [patch_size for patch_size in patch_sizes if patch_size != formula.patch_size]
    return {patch_size_control(patch_size): with_patch_size(formula, patch_size) for patch_size in others}


def nearest_patch_sizes(
    frame: pd.DataFrame, networks: Iterable[str], patch_size: int, patch_sizes: Iterable[int]
) -> pd.DataFrame:
    """The effective window of each network: the P whose formula is nearest to it, at each noise level.

    Args:
        frame: of `evaluate.compare`, with the formula as `FORMULA` and those of `patch_size_formulas`.
        networks: the names of the networks.
        patch_size: P of the networks and of `FORMULA`.
        patch_sizes: the others that were compared; `patch_size` may be among them.

    Returns:
        One row for each split, sigma and network, with the columns nearest (P), to_nearest and to_formula (dB, means
        over images), and a column "P = 3" and so on with the mean PSNR to each formula.

    Raises:
        ValueError: if a network was not compared with one of the formulas.
    """
    import pandas as pd

    sizes = sorted({patch_size, *patch_sizes})
    names = {FORMULA if size == patch_size else patch_size_control(size): size for size in sizes}
    rows = []
    for network in networks:
        part = frame[(frame["one"] == network) & frame["other"].isin(list(names))]
        table = part.groupby(["split", "sigma", "other"], sort=False)["psnr"].mean().unstack("other")
        missing = [name for name in names if name not in table.columns]
        if missing:
            raise ValueError(f"{network} was not compared with {missing[0]!r}")
        table = table.rename(columns=names)[sizes]
        about = pd.DataFrame(
            {"network": network, "nearest": table.idxmax(axis=1), "to_nearest": table.max(axis=1)}
            | {"to_formula": table[patch_size]}
        )
        rows.append(about.join(table.add_prefix("P = ")).reset_index())
    return pd.concat(rows, ignore_index=True)
