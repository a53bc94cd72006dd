"""Memorisation: the risk of LE-MMSE on the images that it is built from, against its risk on new ones, over N and P.

Let images be drawn independently from one distribution, R* the least risk there of any local, equivariant map, R(N) the
risk of LE-MMSE on its own N training images, and R'(N) its risk on new images. Then, in the mean over training sets,

    R(N) <= R(N + 1) <= R* <= R'(N).

For the minimum of a mean of N + 1 risks, each over N images, is no less than the mean of the minima, and R* belongs to
a map that need not be the best for any one set. A cell (N, P) is said to memorise where R(N) < R'(N) / 2.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lemmse.analysis.evaluate import EQUAL, FORMULA, decibel, restore_each, restorers, squared_distances
from lemmse.estimators.lemmse import LocalEquivariantMMSE
from lemmse.networks.architectures import Solver

if TYPE_CHECKING:
    import pandas as pd

CELL = ["sigma", "count", "patch_size"]
MEMORISED = 10 * math.log10(2)  # dB, of the gap: the risk on training images is half of that on new ones
_LEAST = 10 ** (-EQUAL / 10)  # a risk below it is rounding


def image_risks(
    formula: LocalEquivariantMMSE,
    evaluated: dict[str, Tensor],
    sigmas: Iterable[float],
    *,
    net: Solver | None = None,
    seed: int,
) -> pd.DataFrame:
    """One row for each split, sigma and image: the cell (N, P) of the formula, B = I.

    Args:
        formula: the LE-MMSE estimator.
        evaluated: clean images (Q, C, H, W) by split.
        sigmas: standard deviations of the noise.
        net: a network that was trained on the images of the formula, or None.
        seed: of the noise, which depends on it and on the images alone, so that cells are compared on the same
            measurements.

    Returns:
        A frame with the columns sigma, split, image, risk (mean squared error per pixel), effective (median over pixels
        of the effective number of samples), and with a network network_risk and network_formula (PSNR in dB, at most
        `EQUAL`).
    """
    import pandas as pd

    solvers = restorers(formula, {} if net is None else {"network": net})
    parts = []
    for restored in restore_each(solvers, formula.physics, evaluated, sigmas, seed=seed, progress=False):
        estimates, x = restored.estimates, restored.truth
        columns = {
            "risk": squared_distances(estimates[FORMULA], x),
            "effective": restored.posteriors[FORMULA].effective_samples.double().flatten(1).median(1).values,
        }
        if net is not None:
            columns["network_risk"] = squared_distances(estimates["network"], x)
            columns["network_formula"] = decibel(squared_distances(estimates["network"], estimates[FORMULA]))
        frame = pd.DataFrame({name: values.cpu() for name, values in columns.items()})
        frame = frame.rename_axis("image").reset_index()
        parts.append(frame.assign(sigma=restored.sigma, split=restored.split))
    return pd.concat(parts, ignore_index=True)


def to_text(frame: pd.DataFrame) -> str:
    """A frame as a text that a notebook can glue, six significant digits."""
    return frame.to_csv(index=False, float_format="%.6g")


def from_sweep(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The frames that the runs of a sweep glued as texts in `column`, one below the other, with count and patch_size.

    Raises ValueError, naming the first, if a run is not complete.
    """
    import pandas as pd

    for run in table[table["status"] != "complete"].itertuples():
        raise ValueError(f"the run at count {run.count}, patch_size {run.patch_size} is {run.status}: {run.failure}")
    texts = zip(table["count"], table["patch_size"], table[column], strict=True)
    frames = [pd.read_csv(io.StringIO(text)).assign(count=int(n), patch_size=int(p)) for n, p, text in texts]
    return pd.concat(frames, ignore_index=True)


def risk_gaps(frame: pd.DataFrame, risk: str = "risk") -> pd.DataFrame:
    """For each sigma, count and patch_size: training and test risk, mean over images, and their gap in dB.

    The gap is `10 log10(test / training)`; beyond `MEMORISED` the cell memorises. error: its standard error, from those
    of the two means. frame: as of `from_sweep`, with the splits "training" and "test".
    """
    import pandas as pd

    groups = frame.dropna(subset=risk).groupby(["split", *CELL])[risk]
    mean, error = groups.mean().clip(lower=_LEAST), groups.sem()
    relative = (error / mean).pow(2)
    gaps = pd.DataFrame({split: mean[split] for split in ("training", "test")})
    gaps["gap"] = 10 * (gaps["test"] / gaps["training"]).map(math.log10)
    gaps["error"] = 10 / math.log(10) * (relative["training"] + relative["test"]).pow(0.5)
    return gaps.reset_index()


def memorised_below(gaps: pd.DataFrame) -> pd.DataFrame:
    """The noise level under which a cell memorises: rows count, columns patch_size.

    Where the gap crosses `MEMORISED`, linear in log sigma between the levels of `gaps`; 0 if it is under it at all of
    them, infinite if it is still over it at the highest.
    """

    def crossing(part: pd.DataFrame) -> float:
        part = part.sort_values("sigma")
        over = part["gap"].to_numpy() > MEMORISED
        if not over.any():
            return 0.0
        last = int(over.nonzero()[0][-1])
        if last == len(part) - 1:
            return math.inf
        (s, g), (t, h) = part[["sigma", "gap"]].to_numpy()[last : last + 2]
        return float(s * (t / s) ** ((g - MEMORISED) / (g - h)))

    return gaps.groupby(["count", "patch_size"])[["sigma", "gap"]].apply(crossing).unstack()


def best_patch_sizes(frame: pd.DataFrame, *, resamples: int, generator: torch.Generator) -> pd.DataFrame:
    """The patch size of least test risk, for each sigma and count, and how sure that is.

    Columns: sigma, count, best, low, high (the 5 % and 95 % quantiles of the best over `resamples` bootstrap draws of
    the test images, every patch size on the same draw), share (of the draws that agree with best).
    """
    import pandas as pd

    rows = []
    test = frame[frame["split"] == "test"]
    for (sigma, count), part in test.groupby(["sigma", "count"]):
        risks = part.pivot(index="image", columns="patch_size", values="risk")
        sizes = torch.from_numpy(risks.columns.to_numpy())
        values = torch.from_numpy(risks.to_numpy())
        best = sizes[values.mean(0).argmin()]
        draws = torch.randint(
            len(values), (resamples, len(values)), generator=generator, dtype=torch.int64, device=generator.device
        )
        found = sizes[values[draws].mean(1).argmin(1)]
        low, high = found.double().quantile(
            torch.tensor([0.05, 0.95], dtype=torch.float64, device=found.device), interpolation="nearest"
        )
        share = (found == best).double().mean()
        measured = {"best": int(best), "low": int(low), "high": int(high), "share": float(share)}
        rows.append({"sigma": sigma, "count": count, **measured})
    return pd.DataFrame(rows)
