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
    if not rivals:
        raise ValueError("a margin needs at least one control")
    rows = []
    for network in networks:
        part = frame[(frame["one"] == network) & frame["other"].isin([formula, *rivals])]
        for (split, sigma), group in part.groupby(["split", "sigma"], sort=False):
            table = group.pivot(index=["image", "group"], columns="other", values="psnr")
            missing = [name for name in (formula, *rivals) if name not in table.columns or table[name].isna().any()]
            if missing:
                raise ValueError(
                    f"{network} was not compared with {missing[0]!r} at sigma = {sigma:g} on {split} images"
                )
            values = torch.tensor(table[[formula, *rivals]].to_numpy().tolist(), dtype=torch.float64, device="cpu")
            means = bootstrap_by_group(values, table.index.get_level_values("group").to_list(), generator, draws)
            drawn = means[:, 0] - means[:, 1:].amax(1)
            nearest = table[rivals].mean().idxmax()
            to_formula, to_control = float(table[formula].mean()), float(table[nearest].mean())
            about = {"split": split, "sigma": sigma, "network": network}
            distances = {"to_formula": to_formula, "control": nearest, "to_control": to_control}
            margin = {"margin": to_formula - to_control, "error": float(drawn.std()), "images": len(table)}
            rows.append({**about, **distances, **margin})
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


def _worst(table: pd.DataFrame) -> pd.Series:
    """The row with the least margin."""
    return table.iloc[int(table["margin"].argmin())]


def _nearer(row: pd.Series) -> str:
    """How the formula and the nearest control compare, as a part of a sentence about a network."""
    apart = f"{abs(row['margin']):.1f} ± {row['error']:.1f} dB"
    if row["margin"] > 0:
        return f"nearer to the formula than to the control '{row['control']}' by only {apart}"
    return f"nearer to the control '{row['control']}' than to the formula by {apart}"
