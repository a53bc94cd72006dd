"""The committed tables of runs that a laptop cannot repeat, with their provenance; never mixed with live ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lemmse.book.notebooks import Project


def committed_table(name: str, root: Path | None = None) -> Any:
    """`results/NAME.csv`, mean PSNR over sigma, with its provenance as caption; or a sentence that there is none.

    root: the checkout, default the one around the current folder. Raises ValueError if the table lies there without its
    provenance.
    """
    from IPython.display import Markdown

    folder = (root or Project.find().root) / "results"
    if not (folder / f"{name}.csv").exists():
        return Markdown(
            "No run at the paper's scale is committed yet, so this chapter rests on the live results above. "
            "`python benchmarks/campaign.py` makes that table."
        )
    import pandas as pd

    try:
        about = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"results/{name}.csv has no readable provenance {name}.json: {error}") from None
    said = ", ".join(f"{key}: {value}" for key, value in about.items())
    rows = ["data", "operator", "patch_size", "network", "split"]
    table = pd.read_csv(folder / f"{name}.csv").pivot_table("psnr_mean", rows, "sigma", sort=False)
    return table.style.format(precision=1).set_caption(f"Committed, not live: PSNR to the formula in dB. {said}")


def committed_bench(root: Path | None = None) -> Any:
    """`results/bench_cuda.csv`, what `lemmse bench` measured on a GPU, or a sentence that nobody has."""
    from IPython.display import Markdown

    from lemmse.bench.table import read, summary

    path = (root or Project.find().root) / "results" / "bench_cuda.csv"
    if not path.exists():
        return Markdown(
            "No GPU has been measured: no table is committed. "
            "`lemmse bench --full --device cuda -o results/bench_cuda.csv` makes it on a machine that has one."
        )
    table, about = read(path)
    said = "; ".join(f"{key}: {value}" for key, value in about.items())
    return summary(table).style.hide(axis="index").set_caption(f"Committed, not live. {said}")
