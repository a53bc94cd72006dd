r"""Small noise: which window a network uses there, and what its agreement with the formula depends on.

The effective window is measured by the patch size whose formula is nearest to the network.

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

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lemmse.analysis.controls import patch_size_control, with_patch_size
from lemmse.analysis.evaluate import FORMULA, NETWORK, Restorer, pair_distances, restore_each
from lemmse.analysis.uncertainty import means_by_group
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


def agreement_and_voters(
    network: Restorer,
    formula: LocalEquivariantMMSE,
    sets: Mapping[str, Tensor],
    sigmas: Iterable[float],
    *,
    groups: Mapping[str, Sequence[object]],
    seed: int,
) -> pd.DataFrame:
    """How near a network is to the formula, and how many training patches the formula averages there.

    Where few patches vote for a pixel, the formula looks its answer up; where many do, it is a smooth function of the
    measurement. The effective number of patches is `1 / sum_{i,k} w_{i,k}^2`.

    Args:
        network: (y, sigma) to images.
        formula: the LE-MMSE estimator; its operator measures the images.
        sets: clean images (Q, C, H, W) by the name of their set.
        sigmas: noise levels.
        groups: for each set, what its images were cut from.
        seed: of the noise.

    Returns:
        One row for each set, sigma and image, with the columns split, sigma, image, group, psnr (dB, between network
        and formula) and voters (the geometric mean over pixels of the effective number of patches).
    """
    import pandas as pd

    solvers: dict[str, Restorer] = {NETWORK: network, FORMULA: formula}
    frames = []
    for restored in restore_each(solvers, formula.physics, sets, sigmas, seed=seed, progress=False):
        about = {"split": restored.split, "sigma": restored.sigma}
        distances = pair_distances(restored.estimates, about, groups[restored.split])
        voters = restored.posteriors[FORMULA].effective_samples.double().log().mean((1, 2)).exp()
        rows = distances[distances["one"] == NETWORK].assign(voters=voters.tolist())
        frames.append(rows.drop(columns=["one", "other", "mse"]))
    return pd.concat(frames, ignore_index=True)


def gains(
    frame: pd.DataFrame, base: str, bands: Mapping[str, tuple[float, float]], *, generator: torch.Generator
) -> pd.DataFrame:
    """What each change of the base gains in agreement with its own formula, image by image.

    Args:
        frame: of `agreement_and_voters` for each training, with a column change that names it.
        base: the change that the others are compared with.
        bands: names of bands of noise levels, with the lowest and the highest sigma of each.
        generator: source of the resampling, on the CPU.

    Returns:
        One row for each other change and band, with the columns change, band, mean (dB, positive where the network is
        nearer to the formula than in the base) and error (its standard error).

    Raises:
        ValueError: if a change was not asked about the same images and noise levels as the base.
    """
    import pandas as pd

    key = ["split", "sigma", "image", "group"]
    table = frame.pivot(index=key, columns="change", values="psnr")
    if table.isna().any(axis=None):
        raise ValueError("every change must be asked about the images and noise levels of the base")
    paired = table.sub(table[base], axis=0).drop(columns=base)
    parts = []
    for band, (low, high) in bands.items():
        levels = paired.index.get_level_values("sigma")
        inside = paired[(levels >= low) & (levels <= high)].groupby(["split", "image", "group"]).mean()
        rows = inside.melt(var_name="change", value_name="gain", ignore_index=False).reset_index()
        parts.append(means_by_group(rows, "gain", ["change"], generator=generator).assign(band=band))
    order = list(dict.fromkeys(frame["change"]))
    found = pd.concat(parts, ignore_index=True)
    return found.sort_values("change", key=lambda names: names.map(order.index), kind="stable", ignore_index=True)


def correlation_within_levels(
    frame: pd.DataFrame, *, generator: torch.Generator, draws: int = 10_000
) -> tuple[float, float]:
    """Spearman's correlation of agreement and voters among trainings at one noise level, and what chance would give.

    Agreement and voters both grow with the noise, so their correlation over all noise levels says little. Here the
    noise level is held fixed, and the correlation is averaged over noise levels. Chance is the share of random orders
    of the trainings, the same at each noise level, that give as large a mean.

    Args:
        frame: of `agreement_and_voters` for each training, with a column change that names it.
        generator: source of the random orders, on the CPU.
        draws: how many random orders.

    Returns:
        The correlation, from -1 to 1, and the share, which is at least 1 / (draws + 1).

    Raises:
        ValueError: for less than three trainings, and if one was not asked at every noise level.
    """
    means = frame.groupby(["sigma", "change"])[["psnr", "voters"]].mean().unstack("change")
    if means.isna().any(axis=None):
        raise ValueError("every change must be asked at the same noise levels")
    ranks = []
    for column in ("psnr", "voters"):
        order = torch.tensor(means[column].rank(axis=1).to_numpy(), dtype=torch.float64, device="cpu")
        centered = order - order.mean(1, keepdim=True)
        ranks.append(centered / centered.norm(dim=1, keepdim=True).clamp_min(1e-12))
    agreement, voters = ranks  # (noise levels, trainings)
    count = agreement.shape[1]
    if count < 3:
        raise ValueError(f"a correlation needs at least three trainings, got {count}")
    found = float((agreement * voters).sum(1).mean())
    orders = torch.rand(draws, count, generator=generator, dtype=torch.float64, device="cpu").argsort(1)
    by_chance = (agreement[:, None] * voters[:, orders]).sum(2).mean(0)
    return found, (1 + int((by_chance >= found - 1e-12).sum())) / (draws + 1)
