"""Margins: how much nearer a network is to the formula than to any control, and from which noise level on.

At one noise level, with `d(f, g)` the mean over images of the PSNR between f and g,

    margin = d(network, formula) - max over the controls c of d(network, c).

Its standard error comes from resampling the images, by groups where several were cut from one photograph. The nearest
control is chosen anew in each draw, so that the choice is part of the error.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lemmse.analysis.evaluate import FORMULA
from lemmse.analysis.uncertainty import bootstrap_by_group

if TYPE_CHECKING:
    import pandas as pd

SURE = 2.0  # standard errors by which a margin has to be positive


def margins(
    frame: pd.DataFrame,
    networks: Iterable[str],
    controls: Iterable[str],
    *,
    formula: str = FORMULA,
    generator: torch.Generator,
    draws: int = 1000,
) -> pd.DataFrame:
    """The margin of each network at each noise level, on each set of images.

    Args:
        frame: of `evaluate.compare`, with rows from the networks to the formula and to every control.
        networks: the names of the networks.
        controls: the names of the controls.
        formula: the name of the formula.
        generator: source of the resampling, on the CPU.
        draws: how often images are resampled.

    Returns:
        One row for each split, sigma and network, with the columns split, sigma, network, to_formula (dB), control (the
        nearest), to_control (dB), margin (dB), error (its standard error, dB) and images (how many).

    Raises:
        ValueError: without a control, and if a row from a network to one of them is missing.
    """
    import pandas as pd

    rivals = list(controls)
    rows = []
    for network in networks:
        for (split, sigma), group in frame[frame["one"] == network].groupby(["split", "sigma"], sort=False):
            table = _distances(group, network, rivals, formula)
            values = torch.tensor(table.to_numpy().tolist(), dtype=torch.float64, device="cpu")
            means = bootstrap_by_group(values, table.index.get_level_values("group").to_list(), generator, draws)
            drawn = means[:, 0] - means[:, 1:].amax(1)
            nearest = table[rivals].mean().idxmax()
            to_formula, to_control = float(table[formula].mean()), float(table[nearest].mean())
            about = {"split": split, "sigma": sigma, "network": network}
            distances = {"to_formula": to_formula, "control": nearest, "to_control": to_control}
            margin = {"margin": to_formula - to_control, "error": float(drawn.std()), "images": len(table)}
            rows.append({**about, **distances, **margin})
    return pd.DataFrame(rows)


def mean_margins(
    frame: pd.DataFrame,
    networks: Iterable[str],
    controls: Iterable[str],
    *,
    formula: str = FORMULA,
    generator: torch.Generator,
    draws: int = 1000,
) -> pd.DataFrame:
    """The mean over the noise levels of the margins that `margins` gives for each of them.

    Noise levels share their images, so that their errors do not average out. Here all levels share the draws.

    Args:
        frame: of `evaluate.compare`, with the noise levels that count.
        networks: the names of the networks.
        controls: the names of the controls.
        formula: the name of the formula.
        generator: source of the resampling, on the CPU.
        draws: how often images are resampled.

    Returns:
        One row for each split and network, with the columns split, network, margin (dB) and error (its standard error).

    Raises:
        ValueError: without a control, and if a row from a network to one of them is missing.
    """
    import pandas as pd

    rivals, rows = list(controls), []
    for split, part in frame.groupby("split", sort=False):
        for network in networks:
            mean, drawn = _margins_over_levels(part, [network], rivals, formula, generator, draws)
            rows.append(
                {"split": split, "network": network, "margin": float(mean[0]), "error": float(drawn[:, 0].std())}
            )
    return pd.DataFrame(rows)


def margin_gains(
    frame: pd.DataFrame,
    before: str,
    after: str,
    controls: Iterable[str],
    *,
    formula: str = FORMULA,
    generator: torch.Generator,
    draws: int = 1000,
) -> pd.DataFrame:
    """By how much the margin of one network exceeds that of another, in the mean over the noise levels.

    Args:
        frame: of `evaluate.compare`, with the noise levels that count.
        before: the name of a network.
        after: the name of another one, for instance of one that was trained longer. Both are resampled together.
        controls: the names of the controls.
        formula: the name of the formula.
        generator: source of the resampling, on the CPU.
        draws: how often images are resampled.

    Returns:
        One row for each split, with the columns split, before, after (margins, dB), gain (dB) and error (the standard
        error of the gain, dB).

    Raises:
        ValueError: without a control, and if a row from a network to one of them is missing.
    """
    import pandas as pd

    rivals, rows = list(controls), []
    for split, part in frame.groupby("split", sort=False):
        mean, drawn = _margins_over_levels(part, [before, after], rivals, formula, generator, draws)
        gain = {"gain": float(mean[1] - mean[0]), "error": float((drawn[:, 1] - drawn[:, 0]).std())}
        rows.append({"split": split, "before": float(mean[0]), "after": float(mean[1]), **gain})
    return pd.DataFrame(rows)


def sure_from(table: pd.DataFrame, least: float = 0.0) -> float | None:
    """The least sigma from which on every margin is above `least` by `SURE` standard errors.

    Args:
        table: of `margins`.
        least: dB.

    Returns:
        That sigma, or None if the margins at the largest sigma are not.
    """
    holds = (table["margin"] - SURE * table["error"] > least).groupby(table["sigma"]).all().sort_index(ascending=False)
    above = holds[holds.cummin()]
    return float(above.index[-1]) if len(above) else None


def margin_sentence(table: pd.DataFrame) -> str:
    """What the margins say, in one or two sentences that name the range of sigma and what happens below it.

    Args:
        table: of `margins`.

    Returns:
        English text in Markdown; values are means over the networks and sets of images in the table.
    """
    start, sigmas = sure_from(table), sorted(set(table["sigma"]))
    if start is None:
        worst = _worst(table[table["sigma"] == sigmas[-1]])
        return (
            "The networks are not nearer to the formula than to every control at any noise level that was tested: "
            f"at $\\sigma = {sigmas[-1]:g}$ {worst['network']} is {_nearer(worst)}."
        )
    inside, below = table[table["sigma"] >= start], table[table["sigma"] < start]
    low, high = _worst(inside), inside.iloc[int(inside["margin"].argmax())]
    span = f"for $\\sigma$ from {start:g} to {sigmas[-1]:g}" if start < sigmas[-1] else f"at $\\sigma = {start:g}$"
    sentence = (
        f"The networks are nearer to the formula than to any control by {low['margin']:.1f} ± {low['error']:.1f} dB to "
        f"{high['margin']:.1f} ± {high['error']:.1f} dB {span}."
    )
    if below.empty:
        return sentence
    worst = _worst(below)
    level = f"$\\sigma = {worst['sigma']:g}$"
    return f"{sentence} Below that they are not: at {level} {worst['network']} is {_nearer(worst)}."


def _distances(frame: pd.DataFrame, network: str, controls: list[str], formula: str) -> pd.DataFrame:
    """PSNR from a network to the formula (first column) and to each control, one row for each image of one set.

    Raises:
        ValueError: without a control, and if a row is missing.
    """
    if not controls:
        raise ValueError("a margin needs at least one control")
    names = [formula, *controls]
    part = frame[(frame["one"] == network) & frame["other"].isin(names)]
    table = part.pivot(index=["image", "group"], columns="other", values="psnr")
    missing = [name for name in names if name not in table.columns or table[name].isna().any()]
    if missing:
        split, sigma = frame["split"].iloc[0], frame["sigma"].iloc[0]
        raise ValueError(f"{network} was not compared with {missing[0]!r} at sigma = {sigma:g} on {split} images")
    return table[names]


def _margins_over_levels(
    frame: pd.DataFrame,
    networks: list[str],
    controls: list[str],
    formula: str,
    generator: torch.Generator,
    draws: int,
) -> tuple[Tensor, Tensor]:
    """Margins of the networks on one set in the mean over its noise levels: (networks,), and (draws, networks)."""
    levels = [level for _, level in frame.groupby("sigma", sort=False)]
    tables = [[_distances(level, network, controls, formula) for network in networks] for level in levels]
    numbers = [[table.to_numpy().tolist() for table in row] for row in tables]
    images = torch.tensor(numbers, dtype=torch.float64, device="cpu").movedim(2, 0)  # (images, levels, networks, ...)
    drawn = bootstrap_by_group(images, tables[0][0].index.get_level_values("group").to_list(), generator, draws)
    found = torch.cat([images.mean(0, keepdim=True), drawn])
    of_each = (found[..., 0] - found[..., 1:].amax(-1)).mean(1)
    return of_each[0], of_each[1:]


def _worst(table: pd.DataFrame) -> pd.Series:
    """The row with the least margin."""
    return table.iloc[int(table["margin"].argmin())]


def _nearer(row: pd.Series) -> str:
    """How the formula and the nearest control compare, as a part of a sentence about a network."""
    apart = f"{abs(row['margin']):.1f} ± {row['error']:.1f} dB"
    if row["margin"] > 0:
        return f"nearer to the formula than to the control '{row['control']}' by only {apart}"
    return f"nearer to the control '{row['control']}' than to the formula by {apart}"
