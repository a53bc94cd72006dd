"""Where a network is near the formula, pixel by pixel, against how dense the training patches are there:

    s(v) = -log p_sigma(v) - (r / 2) log(2 pi e sigma^2)        in nats, r = C P^2 the dimension of the patch v,

the surprisal of the noisy patch beyond the entropy of its noise. p_sigma is the density of noisy training patches, so a
noisy copy of a patch that makes up a share q of them has s = -log q on average, as long as no other is near. Within one
sigma, order by s is order by falling density; densities of different sigma, or of different strata, do not compare.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lemmse.analysis.evaluate import FORMULA, Restorer, restore_each
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
    features, pixels = formula.features, math.prod(formula.shape[1:])
    if (features.competing != pixels).any():
        raise ValueError("densities compare within a stratum only, and not all patches of this formula are of one")
    rank, log_pdet = formula.z_channels * float(features.rank[0]), formula.z_channels * float(features.log_pdet[0])
    queries: dict[str, list[Query]] = {name: [] for name in sets}
    for restored in restore_each({FORMULA: formula}, formula.physics, sets, sigmas, seed=seed):
        posterior, sigma = restored.posteriors[FORMULA], restored.sigma
        entropy = rank / 2 * math.log(2 * math.pi * math.e * sigma**2) + log_pdet
        surprisal = -posterior.log_density.double() - entropy
        queries[restored.split].append(Query(sigma, formula.pre_inverse(restored.y), posterior, surprisal))
    return queries


@torch.no_grad()
def pixel_errors(nets: Mapping[str, Restorer], queries: Iterable[Query]) -> pd.DataFrame:
    """One row for each sigma, network, image and pixel of the queries, pixels in raster order.

    Columns: sigma, network, image, error (squared difference between network and formula, mean over channels),
    surprisal (nats), variance (of the posterior, mean over channels).
    """
    import pandas as pd

    frames = []
    for sigma, z, posterior, surprisal in queries:
        image = torch.arange(len(z), dtype=torch.int64, device="cpu").repeat_interleave(z.shape[2] * z.shape[3])
        known = {"surprisal": surprisal, "variance": posterior.variance.mean(1)}
        for name, net in nets.items():
            columns = {"error": (net(z, sigma) - posterior.mean).square().mean(1), **known}
            flat = {column: values.double().flatten().cpu().numpy() for column, values in columns.items()}
            frames.append(pd.DataFrame({"sigma": sigma, "network": name, "image": image.numpy(), **flat}))
    return pd.concat(frames, ignore_index=True)


def deciles(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Means of error and surprisal over each tenth of the pixels, by surprisal, within each group of `by`.

    frame: of `pixel_errors`. Columns: those of by, decile (1 the densest, 10 the rarest), error, surprisal.
    """
    place = frame.groupby(by, sort=False).surprisal.rank(method="first", pct=True)
    tenth = np.ceil(10 * place - 1e-9).astype(int).rename("decile")
    return frame.groupby([*by, tenth], sort=False)[["error", "surprisal"]].mean().sort_index().reset_index()


def rank_correlation(
    frame: pd.DataFrame, against: str, *, seed: int, draws: int = 2000, level: float = 0.95
) -> tuple[float, float, float]:
    """Spearman's correlation of error and the column `against` over the pixels of an image: mean, low, high.

    The mean is over images and networks; low and high are the ends of its bootstrap interval: images and networks are
    both drawn anew, since pixels of one image, and images restored by one network, are not independent. frame: of
    `pixel_errors`, of one sigma. An image on which either column is constant has no order, and is left out.
    """
    check_count(draws, "draws")
    ranks = frame.groupby(["network", "image"])[["error", against]].rank()
    groups = ranks.groupby([frame.network, frame.image])
    table = groups.apply(lambda part: part.corr().iloc[0, 1]).unstack("network").dropna().to_numpy()
    if table.size == 0:
        raise ValueError(f"no image has an order of error and {against}")
    rng = np.random.default_rng(seed)
    images, nets = (rng.integers(n, size=(draws, n)) for n in table.shape)
    means = table[images[:, :, None], nets[:, None, :]].mean((1, 2))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(table.mean()), float(low), float(high)
