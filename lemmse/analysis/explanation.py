"""What a comparison of one network with the formula says: margins, the best patch size, the split of the error, words.

Every network, formula and control restored the same measurement. With `S(f, g)` the squared differences of f and g,
summed over the pixels and channels of all images, and n how many these are,

    d(f, g) = -10 log10 (S(f, g) / n)                      the PSNR between f and g, in dB
    margin  = d(network, formula) - max over rivals r of d(network, r).

Standard errors come from resampling: images where there are at least five, else the squares of a grid on the images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from lemmse.analysis.evaluate import EQUAL, FORMULA, NETWORK
from lemmse.analysis.margins import SURE
from lemmse.analysis.uncertainty import bootstrap_by_group

if TYPE_CHECKING:
    import pandas as pd

GIVEN = "given"  # the name of the set that consists of the images that were given
_LARGEST_SQUARE = 16  # pixels
_SQUARES = 4  # along the shorter side, at least
_ENOUGH_IMAGES = 5


class Squares:
    """Squared differences of two batches (Q, C, H, W), summed over the squares of a grid, and how they are resampled.

    Args:
        like: a batch of the shape that is compared.
        generator: source of the resampling, on the CPU.

    Example:
        >>> x = torch.zeros(1, 1, 8, 8)
        >>> squares = Squares(x, torch.Generator().manual_seed(0))
        >>> squares.psnr(squares.sums(x, x + 0.1)).round(decimals=3).item()
        20.0
    """

    def __init__(self, like: Tensor, generator: torch.Generator) -> None:
        side = min(_LARGEST_SQUARE, max(1, min(like.shape[2:]) // _SQUARES))
        self._side = side
        self._seed = int(torch.randint(2**31, (), generator=generator, dtype=torch.int64, device="cpu"))
        counts = self._pooled(torch.ones_like(like[:, :1], dtype=torch.float64)) * like.shape[1]
        self.counts = counts.flatten()
        images = torch.arange(len(like), dtype=torch.int64, device="cpu").repeat_interleave(counts[0].numel()).tolist()
        self.groups = images if len(like) >= _ENOUGH_IMAGES else list(range(len(images)))

    def sums(self, a: Tensor, b: Tensor) -> Tensor:
        """Squared differences summed over channels and the pixels of each square, (squares of all images,) float64."""
        return self._pooled((a.double() - b.double()).square().sum(1, keepdim=True)).flatten()

    def psnr(self, sums: Tensor) -> Tensor:
        """The PSNR over all squares of sums (squares, ...): (...), in dB, at most `EQUAL`."""
        return (-10 * (sums.sum(0) / self.counts.sum()).log10()).clamp_max(EQUAL)

    def draws(self, sums: Tensor) -> Tensor:
        """Means per pixel and channel over resampled squares of sums (squares, K): (draws, K); always the same."""
        table = torch.cat([self.counts[:, None], sums], 1)
        means = bootstrap_by_group(table, self.groups, torch.Generator().manual_seed(self._seed))
        return means[:, 1:] / means[:, :1]

    def _pooled(self, values: Tensor) -> Tensor:
        """Sums over squares; those at the lower and right edge may be cut."""
        pooled = avg_pool2d(values, self._side, ceil_mode=True, count_include_pad=False, divisor_override=1)
        return pooled.cpu()


def distance_rows(estimates: Mapping[str, Tensor], sigma: float, squares: Squares) -> list[dict[str, object]]:
    """How far the network is from everything else.

    Args:
        estimates: images (Q, C, H, W) by name, those of `NETWORK` among them, and the truth where it is known.
        sigma: the noise level.
        squares: of the images.

    Returns:
        One row for each other name, with the columns split, sigma, one (`NETWORK`), other and psnr (dB), as the
        figures take them.
    """
    network = estimates[NETWORK]
    about = {"split": GIVEN, "sigma": sigma, "one": NETWORK}
    return [
        {**about, "other": name, "psnr": float(squares.psnr(squares.sums(network, other)))}
        for name, other in estimates.items()
        if name != NETWORK
    ]


def margin_row(
    estimates: Mapping[str, Tensor], rivals: Iterable[str], sigma: float, squares: Squares
) -> dict[str, object]:
    """How much nearer the network is to the formula than to any rival, as `margins.margins` says it.

    Args:
        estimates: images (Q, C, H, W) by name, those of `NETWORK` and `FORMULA` among them.
        rivals: the names of the controls that count.
        sigma: the noise level.
        squares: of the images.

    Returns:
        The columns split, sigma, network, to_formula (dB), control (the nearest), to_control (dB), margin (dB) and
        error (its standard error, dB).
    """
    names = [FORMULA, *rivals]
    sums = torch.stack([squares.sums(estimates[NETWORK], estimates[name]) for name in names], 1)
    psnr = squares.psnr(sums)
    drawn = (-10 * squares.draws(sums).log10()).clamp_max(EQUAL)
    nearest = int(psnr[1:].argmax()) + 1
    error = float((drawn[:, 0] - drawn[:, 1:].amax(1)).std())
    return {
        "split": GIVEN,
        "sigma": sigma,
        "network": NETWORK,
        "to_formula": float(psnr[0]),
        "control": names[nearest],
        "to_control": float(psnr[nearest]),
        "margin": float(psnr[0] - psnr[nearest]),
        "error": error,
    }


def risk_row(estimates: Mapping[str, Tensor], truth: Tensor, sigma: float, squares: Squares) -> dict[str, float]:
    """The error of the network, split at the formula: `|f - x|^2 = |f - LE|^2 + |LE - x|^2 + rest`.

    On the training distribution the rest is zero on average, for every local and equivariant f; on one image it is not.

    Args:
        estimates: images (Q, C, H, W) by name, those of `NETWORK` and `FORMULA` among them.
        truth: the clean images.
        sigma: the noise level.
        squares: of the images.

    Returns:
        The columns sigma, risk, distance, floor and rest, means per pixel and channel; error, the standard error of the
        rest; explained, `1 - distance / risk`.
    """
    f, le = estimates[NETWORK], estimates[FORMULA]
    sums = torch.stack([squares.sums(a, b) for a, b in ((f, truth), (f, le), (le, truth))], 1)
    risk, distance, floor = (sums.sum(0) / squares.counts.sum()).tolist()
    drawn = squares.draws(sums)
    return {
        "sigma": sigma,
        "risk": risk,
        "distance": distance,
        "floor": floor,
        "rest": risk - distance - floor,
        "error": float((drawn[:, 0] - drawn[:, 1] - drawn[:, 2]).std()),
        "explained": 1 - distance / max(risk, 1e-300),
    }


def best_patch_sizes(table: pd.DataFrame) -> pd.DataFrame:
    """The patch size whose formula is nearest to the network at each noise level.

    Args:
        table: columns sigma, patch_size and psnr.

    Returns:
        The row of the largest psnr for each sigma.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"sigma": [0.1, 0.1], "patch_size": [3, 5], "psnr": [30.0, 33.0]})
        >>> best_patch_sizes(table).patch_size.tolist()
        [5]
    """
    return table.loc[table.groupby("sigma")["psnr"].idxmax()].sort_values("sigma").reset_index(drop=True)


def verdict(margins: pd.DataFrame, patch_size: int) -> str:
    """Whether the theory explains the network, in one sentence that names every noise level.

    Args:
        margins: rows of `margin_row`.
        patch_size: P of the formula.

    Returns:
        "At sigma 0.2 to 0.8, yes: ...; at sigma 0.05, no: ...". A margin counts if it is above `SURE` standard errors.

    Example:
        >>> import pandas as pd
        >>> row = {"sigma": 0.2, "margin": 3.0, "error": 0.5, "control": "affine filter"}
        >>> print(verdict(pd.DataFrame([row]), 5))
        At sigma 0.2, yes: the formula with P = 5 is nearer to the network than every control, by 3.0 ± 0.5 dB.
    """
    ordered = margins.sort_values("sigma")
    spread = SURE * ordered["error"]
    kinds = (ordered["margin"] > spread).astype(int) - (ordered["margin"] < -spread).astype(int)
    parts = []
    for kind in (1, -1, 0):
        chosen = ordered[kinds == kind]
        if len(chosen):
            levels = _levels(chosen["sigma"].tolist(), ordered["sigma"].tolist())
            parts.append(f"at sigma {levels}, {_finding(kind, chosen, patch_size)}")
    text = "; ".join(parts) + "."
    return text[0].upper() + text[1:]


def _finding(kind: int, rows: pd.DataFrame, patch_size: int) -> str:
    """What is found at the noise levels of one verdict."""
    margin, error = (rows.iloc[int(rows["margin"].abs().argmin())][name] for name in ("margin", "error"))
    least = f"{abs(margin):.1f} ± {error:.1f} dB" + (" or more" if len(rows) > 1 else "")
    names = list(dict.fromkeys(rows["control"]))
    controls = " or ".join(f"'{name}'" for name in names)
    if kind > 0:
        return f"yes: the formula with P = {patch_size} is nearer to the network than every control, by {least}"
    if kind < 0:
        return f"no: the control {controls} is nearer to the network than the formula with P = {patch_size}, by {least}"
    return f"undecided: the formula with P = {patch_size} and the control {controls} are equally near to the network"


def _levels(chosen: list[float], every: list[float]) -> str:
    """Noise levels in words, neighbors among all of them as a range: "0.05, 0.2 to 0.8"."""
    runs: list[list[float]] = []
    for level in chosen:
        if runs and every.index(level) == every.index(runs[-1][-1]) + 1:
            runs[-1].append(level)
        else:
            runs.append([level])
    return ", ".join(f"{run[0]:g} to {run[-1]:g}" if len(run) > 1 else f"{run[0]:g}" for run in runs)
