"""What a chapter shows of runs that a laptop cannot repeat: committed tables, marked as such, with their provenance.

A chapter calls these functions where the evidence belongs. As long as nothing is committed they show nothing, neither a
heading nor a placeholder, so that no page speaks of a run that does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemmse.analysis.campaign import (
    control_table,
    last_gains,
    margin_table,
    measured_again,
    read_cells,
    window_table,
)
from lemmse.analysis.evaluate import FORMULA, NETWORK
from lemmse.analysis.floor import chosen_patch_sizes
from lemmse.analysis.margins import sure_from
from lemmse.bench.table import read, speed_table
from lemmse.book.chapter import show_figure, show_table
from lemmse.book.notebooks import Project
from lemmse.data.sets import DATASETS, is_here, load_images
from lemmse.figures.lines import problem_margin_lines
from lemmse.figures.tables import plus_minus

if TYPE_CHECKING:
    import pandas as pd

_TITLES = {"fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10", "lfw": "LFW faces"}


def show_campaign(root: Path | None = None) -> str:
    """Show the margins of the networks of `benchmarks/campaign.py`, if `results/campaign` holds finished cells.

    Args:
        root: the checkout, by default the one around the current folder.

    Returns:
        What the cells say, in sentences for the answer of a chapter; nothing if there are none.

    Raises:
        ValueError: if a table lies there without its record.
    """
    results = _results(root)
    table = margin_table(results)
    if table.empty:
        return ""
    table = _with_problems(table)
    records = [record for cell, _, record in read_cells(results) if cell.kind == "agreement"]
    _heading(
        "Evidence from longer trainings on larger sets",
        "The networks of this table were trained on images that were taken one by one, unlike crops of photographs. "
        f"{_training_lengths(records)} That takes hours, so the table comes with the project; it is not computed when "
        "this book is built.",
    )
    show_figure(
        problem_margin_lines(table[table["split"] == "test"]),
        name="fig-campaign",
        caption="Committed, not computed in this build. Margins of the networks on test images, with their standard "
        "errors: a panel for each problem, a line for each architecture. Above zero, the network is nearer to the "
        "formula than to every control.",
        alt="Margins against sigma: a panel for each problem, in it a line with error bars for each architecture.",
    )
    show_table(
        _margins_as_text(table[table["split"] == "test"]),
        name="tab-campaign",
        caption="Committed, not computed in this build. By how many dB the network is nearer to the formula than to "
        "its nearest control, mean ± standard error over test images, for each noise level σ. N is the number of "
        f"training images. {_provenance(records)}",
    )
    distances = control_table(results)
    show_table(
        _controls_as_text(distances[distances["split"] == "test"]),
        name="tab-campaign-controls",
        caption="Committed, not computed in this build. PSNR in dB from the networks of the table above to the formula "
        "and to each control, means over test images and networks; a column for each noise level. The nearest is bold.",
    )
    _measure_again(results)
    return _campaign_says(table)


def show_windows(root: Path | None = None) -> None:
    """Show the effective windows of the networks of `benchmarks/campaign.py`, if `results/campaign` holds any.

    Args:
        root: the checkout, by default the one around the current folder.

    Raises:
        ValueError: if a table lies there without its record.
    """
    results = _results(root)
    table = window_table(results)
    if table.empty:
        return
    shown = table[(table["split"] == "test") & (table["operator"] == "denoising")]
    records = [record for cell, _, record in read_cells(results) if cell.name in set(shown["cell"])]
    _heading(
        "Effective windows of longer trainings on larger sets",
        f"These networks were trained on images that were taken one by one. {_training_lengths(records)} The table "
        "comes with the project; it is not computed when this book is built.",
    )
    show_table(
        _windows_as_text(shown),
        name="tab-campaign-windows",
        caption="Committed, not computed in this build. For each noise level σ, the patch size whose formula is the "
        "nearest to the network, on test images; in parentheses the PSNR to that formula and, after a comma, to the "
        f"formula of the own patch size P. {_provenance(records)}",
    )


def show_bench(root: Path | None = None) -> None:
    """Show what `lemmse bench` measured on a GPU, if `results/bench_cuda.csv` is there.

    Args:
        root: the checkout, by default the one around the current folder.

    Raises:
        ValueError: if the table cannot be read.
    """
    path = _results(root) / "bench_cuda.csv"
    if not path.exists():
        return
    table, about = read(path)
    _heading("On a GPU", "This table was measured on a GPU and comes with the project.")
    described = "; ".join(f"{key}: {value}" for key, value in about.items())
    show_table(speed_table(table), name="tab-gpu-costs", caption=f"Committed, not measured in this build. {described}.")


def show_floor(root: Path | None = None) -> None:
    """Show the map of `benchmarks/floor_map.py`, if `results/floor.csv` is there: floor and ceiling over N and P.

    Args:
        root: the checkout, by default the one around the current folder.
    """
    import pandas as pd

    path = _results(root) / "floor.csv"
    if not path.exists():
        return
    lines = path.read_text().splitlines()
    about = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
    table = pd.read_csv(path, comment="#")
    keys = ["count", "sigma"]
    chosen = chosen_patch_sizes(table).merge(chosen_patch_sizes(table, "test"), on=keys, suffixes=("", "_best"))
    at = table.merge(chosen, left_on=[*keys, "patch_size"], right_on=[*keys, "chosen"]).sort_values(["sigma", "count"])
    least = table.groupby(keys)["test"].min()
    rows = [
        {
            "σ": f"{row['sigma']:g}",
            "N": int(row["count"]),
            "P (best)": f"{row['chosen']:.0f} ({row['chosen_best']:.0f})",
            **{
                f"{name} × 1000": plus_minus(1e3 * row[risk], 1e3 * row[f"{risk}_error"])
                for risk, name in (("floor", "floor"), ("ceiling", "ceiling"), ("test", "test risk"))
            },
            "lost": f"{100 * (row['test'] / least[row['count'], row['sigma']] - 1):.1f} %",
        }
        for _, row in at.iterrows()
    ]
    _heading(
        "A larger map",
        "This table comes with the project and is not computed when this book is built: more images, more patch sizes "
        f"(P = {', '.join(map(str, sorted(set(table['patch_size']))))}) and more noise levels. Its choice of P is made "
        "from the ceiling alone.",
    )
    show_table(
        pd.DataFrame(rows),
        name="tab-floor-map",
        caption="Committed, not computed in this build. For each N and σ: the patch size P of the least ceiling, in "
        "parentheses that of the least test risk, floor, ceiling and test risk (± standard error) at the chosen one, "
        f"and by how much its test risk is above the least. {'; '.join(about)}.",
    )


def _measure_again(results: Path) -> None:
    """Compute one number of the table anew, from the committed weights, if the images of a cell are on this machine."""
    from IPython.display import Markdown, display

    for cell, frame, record in read_cells(results):
        if cell.kind != "agreement" or cell.data not in DATASETS or not is_here(cell.data):
            continue
        images = load_images(cell.data, count=cell.count, channels=cell.channels)
        test = load_images(cell.data, split="test", count=record["tested"], channels=cell.channels)
        sigma = float(frame["sigma"].max())
        now = measured_again(results, cell, record, images, test, sigma)[FORMULA]
        first = frame[(frame["split"] == "test") & (frame["sigma"] == sigma) & (frame["image"] == 0)]
        then = float(first[(first["one"] == NETWORK) & (first["other"] == FORMULA)]["psnr"].iloc[0])
        display(
            Markdown(
                f"The images of this row are on this machine: {cell.data}, {cell.operator}, {cell.architecture}. "
                f"Computed now from the weights that come with the project, for the first test image at σ = {sigma:g}, "
                f"the network agrees with the formula to {now:.1f} dB; in the committed results it is {then:.1f} dB."
            )
        )
        return


def _results(root: Path | None) -> Path:
    """The folder of committed results."""
    return (root or Project.find().root) / "results"


def _heading(title: str, text: str) -> None:
    """A section of the chapter that stands there only with its table."""
    from IPython.display import Markdown, display

    display(Markdown(f"## {title}\n\n{text}"))


def _with_problems(table: pd.DataFrame) -> pd.DataFrame:
    """The margins with titles of the data, and a column problem: data, operator and, if several, patch size."""
    table = table.replace({"data": _TITLES})
    problem = table["data"] + ", " + table["operator"]
    if table["patch_size"].nunique() > 1:
        problem += ", P = " + table["patch_size"].astype(str)
    return table.assign(problem=problem)


def _margins_as_text(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each cell of the campaign, one column for each noise level."""
    spread = [plus_minus(*pair) for pair in zip(table["margin"], table["error"], strict=True)]
    names = table["problem"] + ", N = " + table["count"].map("{:,}".format) + ", " + table["network"]
    wide = table.assign(network=names, text=spread).pivot(index="network", columns="sigma", values="text")
    wide = wide.loc[list(dict.fromkeys(names))]
    return wide.rename(columns=lambda sigma: f"σ = {sigma:g}").fillna("").reset_index()


def _campaign_says(table: pd.DataFrame) -> str:
    """What the margins of the cells say on test images, for an answer."""
    test = table[table["split"] == "test"]
    images = _spoken(test["data"] + " (N = " + test["count"].map("{:,}".format) + ")")
    most, starts = test["sigma"].max(), []
    for operator, part in test.groupby("operator", sort=False):
        start = sure_from(part)
        if start is None:
            starts.append(f"{operator}, at no noise level")
            continue
        inside = part[part["sigma"] >= start]
        least = inside.loc[inside["margin"].idxmin()]
        margin = plus_minus(least["margin"], least["error"])
        starts.append(f"{operator}, $\\sigma = {start:g}$ (by {margin} dB or more)")
    count = len(test[["problem", "network"]].drop_duplicates())
    sentences = [
        f"There are {count} networks that were trained for longer on pictures of "
        f"{images} ([table](#tab-campaign)). From these noise levels on they are nearer to the formula than to every "
        f"control, on test images: {'; '.join(starts)}."
    ]
    worst = test.loc[test["margin"].idxmin()]
    if worst["margin"] < 0:
        gap = plus_minus(-worst["margin"], worst["error"])
        sentences.append(
            f"With less noise they are not: at $\\sigma = {worst['sigma']:g}$ one of them is {gap} dB nearer to a "
            f"control ({worst['control']})."
        )
    to_others = test[(test["sigma"] == most) & test["to_other_images"].notna()]
    if not to_others.empty:
        apart = (to_others["to_formula"] - to_others["to_other_images"]).abs().max()
        sentences.append(
            f"At $\\sigma = {most:g}$ the formula of as many other images of the same set is as near, to {apart:.1f} "
            f"dB, to the {len(to_others)} of these networks for which it was computed."
        )
    return " ".join(sentences)


def _controls_as_text(table: pd.DataFrame) -> pd.DataFrame:
    """One row for the formula and for each control of each problem, one column for each noise level."""
    entries = table[["other", "sigma", "psnr"]].assign(images=_with_problems(table)["problem"])
    nearest = entries.groupby(["images", "sigma"])["psnr"].transform("max")
    bold = entries["psnr"] == nearest
    text = entries["psnr"].map("{:.1f}".format)
    entries["text"] = text.where(~bold, "**" + text + "**")
    wide = entries.pivot(index=["images", "other"], columns="sigma", values="text")
    order = entries[["images", "other"]].drop_duplicates()
    wide = wide.loc[list(order.itertuples(index=False, name=None))]
    found = wide.rename(columns=lambda sigma: f"{sigma:g}").fillna("").reset_index()
    found["images"] = found["images"].where(~found["images"].duplicated(), "")
    return found.rename(columns={"other": "to"})


def _windows_as_text(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each network, one column for each noise level."""
    images = table["data"].replace(_TITLES) + ", N = " + table["count"].map("{:,}".format)
    network = table["network"] + ", P = " + table["patch_size"].astype(str) + ", " + table["size"]
    network += ", " + table["weighting"].str.replace("_", " ") + " weights, " + table["steps"].map("{:,} steps".format)
    text = [f"{row.nearest} ({row.to_nearest:.1f}, {row.to_formula:.1f})" for row in table.itertuples(index=False)]
    keys = ["images", "network"]
    entries = table[["sigma"]].assign(images=images, network=network, text=text).drop_duplicates([*keys, "sigma"])
    wide = entries.pivot(index=keys, columns="sigma", values="text")
    return wide.rename(columns=lambda sigma: f"σ = {sigma:g}").fillna("").reset_index()


def _training_lengths(records: list[dict[str, Any]]) -> str:
    """How long the networks were trained, and whether their agreement still grew at the end, in two sentences."""
    steps = sorted({int(record["steps"]) for record in records})
    length = f"{steps[0]:,} steps" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,} steps"
    most = max(float(record["gained_in_last_third"]) for record in records)
    at_a_level = max(gain for record in records for gain in last_gains(record["path"]).values())
    return (
        f"Their trainings took {length}. The last third of them moved the agreement with the formula by at most "
        f"{most:.1f} dB in the mean over the noise levels, and by at most {at_a_level:.1f} dB at one of them."
    )


def _provenance(records: list[dict[str, Any]]) -> str:
    """What made the committed cells, in a sentence or two."""
    hours = sum(float(record["hours"]) for record in records)
    seeds = _listed(record["seed"] for record in records)
    parts = [
        f"Made by `{_listed(re.sub(' --only [^ ]+', '', record['command']) for record in records)}` at commit "
        f"{_listed(record['commit'] for record in records)}, on {_listed(record['device'] for record in records)}, "
        f"{_listed(record['date'] for record in records)}, in {hours:.1f} hours, seed {seeds}.",
        *dict.fromkeys(record["license"] for record in records),
    ]
    return " ".join(parts)


def _spoken(values: Iterable[object]) -> str:
    """The different values as a person says them: "a, b and c"."""
    *first, last = dict.fromkeys(map(str, values))
    return f"{', '.join(first)} and {last}" if first else last


def _listed(values: Iterable[object]) -> str:
    """The different values, in the order of their first appearance."""
    return ", ".join(dict.fromkeys(map(str, values)))
