"""Where a network is near the formula, pixel by pixel, against how dense the training patches are there:

    s(v) = -log p_sigma(v) - (r / 2) log(2 pi e sigma^2)        in nats, r = C P^2 the dimension of the patch v,

the surprisal of the noisy patch beyond the entropy of its noise. p_sigma is the density of noisy training patches, so a
noisy copy of a patch that makes up a share q of them has s = -log q on average, as long as no other is near. Within one
sigma, order by s is order by falling density; densities of different sigma, or of different strata, do not compare.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lemmse.analysis.evaluate import FORMULA, Restorer, restore_each
from lemmse.analysis.uncertainty import bootstrap_by_group
from lemmse.checks import check_count
from lemmse.estimators.lemmse import LocalEquivariantMMSE
from lemmse.estimators.posterior import Posterior

if TYPE_CHECKING:
    import pandas as pd


class Query(NamedTuple):
    """Measurements z (Q, C, H, W), their noise level, their posterior, and the surprisal (Q, H, W) of their patches."""

    sigma: float
    z: Tensor
    posterior: Posterior
    surprisal: Tensor


def surprisals(
    formula: LocalEquivariantMMSE, sets: Mapping[str, Tensor], sigmas: Iterable[float], *, seed: int
) -> dict[str, list[Query]]:
    """Measure the images of each set at each noise level, and ask the formula how rare their patches are.

    Args:
        formula: the LE-MMSE estimator.
        sets: clean images (Q, C, H, W) by the name of their set.
        sigmas: standard deviations of the noise.
        seed: of the noise, see `evaluate.restore_each`.

    Returns:
        For each set, one `Query` for each sigma.

    Raises:
        ValueError: if not all patches are of one stratum, as with a mask behind its inverse or with zero padding.
    """
    if formula.noise != "gaussian":
        raise ValueError(f"the surprisal is defined for noise 'gaussian', got a formula for {formula.noise!r}")
    if (formula.features.competing != math.prod(formula.shape[1:])).any():
        raise ValueError("densities compare within a stratum only, and not all patches of this formula are of one")
    queries: dict[str, list[Query]] = {name: [] for name in sets}
    for restored in restore_each({FORMULA: formula}, formula.physics, sets, sigmas, seed=seed):
        posterior, sigma = restored.posteriors[FORMULA], restored.sigma
        surprisal = surprisal_map(formula, posterior, sigma)
        queries[restored.split].append(Query(sigma, formula.pre_inverse(restored.y), posterior, surprisal))
    return queries


def surprisal_map(formula: LocalEquivariantMMSE, posterior: Posterior, sigma: float) -> Tensor:
    """The surprisal s of each patch of the queries of a posterior, NaN outside the largest stratum.

    Args:
        formula: the LE-MMSE estimator.
        posterior: what it says of queries of any size that it answers.
        sigma: their noise level.

    Returns:
        (Q, H, W) float64, in nats.

    Example:
        >>> import lemmse
        >>> images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> formula = LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=3, padding="zeros")
        >>> s = surprisal_map(formula, formula.posterior(images[:1], 0.1), 0.1)
        >>> s.shape, int(s.isnan().sum())  # the patches at the border hold fewer pixels
        (torch.Size([1, 8, 8]), 28)
    """
    features, sides = formula.features, (posterior.mean.shape[2], posterior.mean.shape[3])
    if sides != features.shape[1:]:
        features = features.for_queries(sides)
    of_noise = features.rank / 2 * math.log(2 * math.pi * math.e * sigma**2) + features.log_pdet
    entropy = features.maps((formula.z_channels * of_noise)[None])
    largest = features.maps((features.competing == features.competing.max())[None])
    return torch.where(largest, -posterior.log_density.double() - entropy, torch.nan)


@torch.no_grad()
def pixel_errors(
    nets: Mapping[str, Restorer],
    queries: Iterable[Query],
    *,
    rivals: Mapping[str, Restorer] | None = None,
    groups: Sequence[object] | None = None,
) -> pd.DataFrame:
    """How far each network is from the formula, and from rivals of the formula, pixel by pixel.

    Args:
        nets: networks by name.
        queries: measurements of one set of images, see `surprisals`.
        rivals: other restorers by name, for instance the affine filter.
        groups: what each image was cut from; without it each image is a group of its own.

    Returns:
        One row for each sigma, network, image and pixel, in raster order, with the columns sigma, network, image,
        group, surprisal (nats), variance (of the posterior, mean over channels), error (squared difference between
        network and formula, mean over channels) and, under the name of each rival, that between network and rival.
    """
    import pandas as pd

    frames = []
    for sigma, z, posterior, surprisal in queries:
        image = np.arange(len(z)).repeat(z.shape[2] * z.shape[3])
        group = np.asarray(groups if groups is not None else range(len(z)))[image]
        known = {"surprisal": surprisal, "variance": posterior.variance.mean(1)}
        compared = {"error": posterior.mean} | {name: rival(z, sigma) for name, rival in (rivals or {}).items()}
        for name, net in nets.items():
            estimate = net(z, sigma)
            errors = {column: (estimate - other).square().mean(1) for column, other in compared.items()}
            columns = {column: values.double().flatten().cpu().numpy() for column, values in (known | errors).items()}
            frames.append(pd.DataFrame({"sigma": sigma, "network": name, "image": image, "group": group, **columns}))
    return pd.concat(frames, ignore_index=True)


def tenth_of(frame: pd.DataFrame, by: list[str]) -> pd.Series:
    """The tenth of the pixels that each row belongs to by its surprisal, within its group of `by`: 1 dense, 10 rare."""
    place = frame.groupby(by, sort=False)["surprisal"].rank(method="first", pct=True)
    return np.ceil(10 * place - 1e-9).astype(int).rename("decile")


def deciles(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Means of error and surprisal over each tenth of the pixels, by surprisal, within each group of `by`.

    frame: of `pixel_errors`. Columns: those of by, decile (1 the densest, 10 the rarest), error, surprisal.
    """
    means = frame.groupby([*by, tenth_of(frame, by)], sort=False)[["error", "surprisal"]].mean()
    return means.sort_index().reset_index()


def tenths(
    frame: pd.DataFrame, rivals: Iterable[str] = (), *, generator: torch.Generator, draws: int = 1000
) -> pd.DataFrame:
    """Agreement of networks and formula in each tenth of the pixels, with standard errors.

    Args:
        frame: of `pixel_errors`, of one sigma and one set of images.
        rivals: the names of the rivals that the networks were compared with.
        generator: source of the resampling, on the CPU.
        draws: how often images are resampled, by groups.

    Returns:
        One row for each tenth, with the columns decile (1 the densest), surprisal (mean), psnr (between networks and
        formula, dB), drop (psnr of the densest tenth less this one, dB), drop_error (its standard error) and, with
        rivals, rival (the nearest), margin (psnr less that to the nearest rival, dB) and margin_error.
    """
    import pandas as pd

    names = list(rivals)
    sums = frame.assign(pixels=1.0, decile=tenth_of(frame, ["sigma"]))
    columns = ["pixels", "error", *names]
    table = sums.groupby(["image", "group", "decile"])[columns].sum().unstack("decile", fill_value=0.0)
    values = torch.tensor(table.to_numpy().copy(), dtype=torch.float64, device="cpu").reshape(
        len(table), len(columns), -1
    )
    groups = table.index.get_level_values("group").to_list()
    psnr, drawn = (
        -10 * (means[:, 1:] / means[:, :1]).log10()  # (draws, formula and rivals, tenths)
        for means in (values.mean(0, keepdim=True), bootstrap_by_group(values, groups, generator, draws))
    )
    present = table.columns.get_level_values("decile").unique()
    found = {
        "decile": present.to_numpy(),
        "surprisal": sums.groupby("decile")["surprisal"].mean().reindex(present).to_numpy(),
        "psnr": psnr[0, 0].tolist(),
        "drop": (psnr[0, 0, 0] - psnr[0, 0]).tolist(),
        "drop_error": _spread(drawn[:, 0, :1] - drawn[:, 0]).tolist(),
    }
    if names:
        nearest = psnr[0, 1:].max(0)
        found |= {
            "rival": [names[index] for index in nearest.indices.tolist()],
            "margin": (psnr[0, 0] - nearest.values).tolist(),
            "margin_error": _spread(drawn[:, 0] - drawn[:, 1:].amax(1)).tolist(),
        }
    return pd.DataFrame(found)


def _spread(drawn: Tensor) -> Tensor:
    """Standard deviation over draws (draws, tenths); a draw without pixels in a tenth, NaN there, is left out."""
    return (drawn - drawn.nanmean(0)).square().nanmean(0).sqrt()


def rank_correlation(
    frame: pd.DataFrame, against: str, *, generator: torch.Generator, draws: int = 1000, level: float = 0.95
) -> tuple[float, float, float]:
    """Spearman's correlation of error and the column `against` over the pixels of an image, with its interval.

    Args:
        frame: of `pixel_errors`, of one sigma. An image on which either column is constant has no order, and is left
            out.
        against: the name of a column.
        generator: source of the resampling, on the CPU.
        draws: how often images, by groups, and networks are drawn anew: pixels of one image, and images restored by one
            network, are not independent.
        level: of the interval.

    Returns:
        The mean over images and networks, and the low and high end of its bootstrap interval.

    Raises:
        ValueError: if no image has an order.
    """
    check_count(draws, "draws")
    ranks = frame.groupby(["network", "image"])[["error", against]].rank()
    parts = ranks.groupby([frame.network, frame.image, frame.group])
    table = parts.apply(lambda part: part.corr().iloc[0, 1]).unstack("network").dropna()
    if table.size == 0:
        raise ValueError(f"no image has an order of error and {against}")
    values = torch.tensor(table.to_numpy().copy(), dtype=torch.float64, device="cpu")  # (images, networks)
    over_images = bootstrap_by_group(values, table.index.get_level_values("group").to_list(), generator, draws)
    nets = torch.randint(values.shape[1], over_images.shape, generator=generator, dtype=torch.int64, device="cpu")
    means = over_images.gather(1, nets).mean(1)
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64, device="cpu")
    low, high = means.quantile(ends).tolist()
    return float(values.mean()), low, high
