"""Memorization: the risk of LE-MMSE on the images that it is built from, against its risk on new ones, over N and P.

Let images be drawn independently from one distribution, R* the least risk there of any local, equivariant map, R(N) the
risk of LE-MMSE on its own N training images, and R'(N) its risk on new images. Then, in the mean over training sets,

    R(N) <= R(N + 1) <= R* <= R'(N).

For the minimum of a mean of N + 1 risks, each over N images, is no less than the mean of the minima, and R* belongs to
a map that need not be the best for any one set.

On real images R'(N) / R(N) can also differ from one because the new images are harder. The affine filter shows by how
much: its C P^2 + 1 numbers cannot hold an image. With A and A' its risks on the same images, the gap is

    10 log10 (R'(N) / R(N)) - 10 log10 (A' / A)        in dB,

and a cell (N, P) is said to memorize where it is above 3 dB: training images are restored twice as well as their
difficulty explains.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lemmse.analysis.controls import AFFINE
from lemmse.analysis.evaluate import EQUAL, FORMULA, images_in_memory, restore_each, squared_distances
from lemmse.analysis.uncertainty import bootstrap_by_group
from lemmse.estimators.affine import AffineMMSE
from lemmse.estimators.lemmse import LocalEquivariantMMSE

if TYPE_CHECKING:
    import pandas as pd

CELL = ["sigma", "count", "patch_size"]
MEMORIZED = 10 * math.log10(
    2
)  # dB, of the gap: training images are restored twice as well as their difficulty explains
_LEAST = 10 ** (-EQUAL / 10)  # a risk below it is rounding


def image_risks(
    formula: LocalEquivariantMMSE,
    affine: AffineMMSE,
    evaluated: Mapping[str, Tensor],
    sigmas: Iterable[float],
    *,
    groups: Mapping[str, Sequence[object]],
    seed: int,
) -> pd.DataFrame:
    """The risks of one cell (N, P), image by image.

    Args:
        formula: the LE-MMSE estimator of the cell.
        affine: the affine filter of the same patch size.
        evaluated: clean images (Q, C, H, W) by split.
        sigmas: standard deviations of the noise.
        groups: for each split, what each image was cut from, see `lemmse.data.groups.image_groups`.
        seed: of the noise, which depends on it and on the images alone, so that cells are compared on the same
            measurements.

    Returns:
        One row for each split, sigma and image, with the columns sigma, count (N), patch_size, split, image, group,
        risk (mean squared error per pixel of the formula), affine_risk (that of the affine filter) and effective (the
        median over pixels of the effective number of patches).

    Raises:
        ValueError: if the images of the formula are not in memory.
    """
    import pandas as pd

    cell = {"count": len(images_in_memory(formula)), "patch_size": formula.patch_size}
    solvers = {FORMULA: formula, AFFINE: affine}
    parts = []
    for restored in restore_each(solvers, formula.physics, evaluated, sigmas, seed=seed, progress=False):
        effective = restored.posteriors[FORMULA].effective_samples.double().flatten(1).median(1).values
        columns = {
            "risk": squared_distances(restored.estimates[FORMULA], restored.truth).cpu(),
            "affine_risk": squared_distances(restored.estimates[AFFINE], restored.truth).cpu(),
            "effective": effective.cpu(),
        }
        about = {"sigma": restored.sigma, **cell, "split": restored.split, "group": list(groups[restored.split])}
        parts.append(pd.DataFrame({"image": range(len(effective)), **columns}).assign(**about))
    return pd.concat(parts, ignore_index=True)


def risk_gaps(frame: pd.DataFrame, *, generator: torch.Generator, draws: int = 1000) -> pd.DataFrame:
    """The gap of each cell between training and new images, beyond what their difficulty explains.

    Args:
        frame: as of `image_risks`, with the splits "training" and "test".
        generator: source of the resampling, on the CPU.
        draws: how often images are resampled, by groups.

    Returns:
        One row for each sigma, count and patch_size, with the columns training and test (mean risks), difficulty (the
        gap of the affine filter, dB), gap (that of the formula less the difficulty, dB) and error (its standard error).
    """
    import pandas as pd

    rows = []
    for key, cell in frame.groupby(CELL):
        means, drawn = {}, {}
        for split, images in cell.groupby("split"):
            risks = torch.tensor(
                images[["risk", "affine_risk"]].to_numpy().copy(), dtype=torch.float64, device="cpu"
            ).clamp_min(_LEAST)
            means[split] = risks.mean(0)
            drawn[split] = bootstrap_by_group(risks, images.group.to_list(), generator, draws)
        apart = 10 * (means["test"] / means["training"]).log10()  # of the formula, of the affine filter
        resampled = 10 * (drawn["test"] / drawn["training"]).log10()
        numbers = {
            "training": float(means["training"][0]),
            "test": float(means["test"][0]),
            "difficulty": float(apart[1]),
            "gap": float(apart[0] - apart[1]),
            "error": float((resampled[:, 0] - resampled[:, 1]).std()),
        }
        rows.append(dict(zip(CELL, key, strict=True)) | numbers)
    return pd.DataFrame(rows)


def memorized_below(gaps: pd.DataFrame) -> pd.DataFrame:
    """The noise level under which a cell memorizes: rows count, columns patch_size.

    Where the gap crosses `MEMORIZED`, linear in log sigma between the levels of `gaps`; 0 if it is under it at all of
    them, infinite if it is still over it at the highest.
    """

    def crossing(part: pd.DataFrame) -> float:
        part = part.sort_values("sigma")
        over = part["gap"].to_numpy() > MEMORIZED
        if not over.any():
            return 0.0
        last = int(over.nonzero()[0][-1])
        if last == len(part) - 1:
            return math.inf
        (s, g), (t, h) = part[["sigma", "gap"]].to_numpy()[last : last + 2]
        return float(s * (t / s) ** ((g - MEMORIZED) / (g - h)))

    return gaps.groupby(["count", "patch_size"])[["sigma", "gap"]].apply(crossing).unstack()


def best_patch_sizes(frame: pd.DataFrame, *, generator: torch.Generator, draws: int = 1000) -> pd.DataFrame:
    """The patch size of least test risk, for each sigma and count, and how sure that is.

    Args:
        frame: as of `image_risks`.
        generator: source of the resampling, on the CPU.
        draws: how often the test images are resampled, by groups; every patch size is judged on the same draw.

    Returns:
        One row for each sigma and count, with the columns sigma, count, best, low and high (the 5 % and 95 % quantiles
        of the best over the draws).
    """
    import pandas as pd

    rows = []
    test = frame[frame["split"] == "test"]
    ends = torch.tensor([0.05, 0.95], dtype=torch.float64, device="cpu")
    for (sigma, count), part in test.groupby(["sigma", "count"]):
        table = part.pivot(index=["image", "group"], columns="patch_size", values="risk")
        sizes, risks = (
            torch.tensor(list(table.columns), dtype=torch.float64, device="cpu"),
            torch.tensor(table.to_numpy().copy(), dtype=torch.float64, device="cpu"),
        )
        best = sizes[risks.mean(0).argmin()]
        means = bootstrap_by_group(risks, table.index.get_level_values("group").to_list(), generator, draws)
        low, high = sizes[means.argmin(1)].quantile(ends, interpolation="nearest")
        rows.append({"sigma": sigma, "count": count, "best": int(best), "low": int(low), "high": int(high)})
    return pd.DataFrame(rows)
