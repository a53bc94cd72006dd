"""The table of the paper's scale: PSNR between trained networks and the formula, on Fashion-MNIST, on a GPU.

    python benchmarks/paper_table.py --budget-minutes 60

trains cell by cell (operator, patch size, architecture), the most telling first, and after each writes
results/network_vs_formula.csv with its provenance beside it. A cell that the file holds is not computed again; a
training that was interrupted goes on where it was. `--preset smoke` tries all of it in a minute on a CPU.
"""

from __future__ import annotations

import datetime
import json
import logging
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pandas as pd
import torch

from lemmse import load_images
from lemmse.analysis.evaluate import EQUAL, compare, experiment
from lemmse.files import write_atomically
from lemmse.physics.gallery import make_operator

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "data": "fashion_mnist",
        "count": 10_000,
        "image_size": None,
        "tested": 100,
        "sigmas": [0.01, *(s / 10 for s in range(1, 11))],
        "training": {"size": "paper", "steps": 60_000, "batch_size": 128, "lr": 1e-3, "sigma_min": 0.0},
    },
    "smoke": {
        "data": "photos",
        "count": 10,
        "image_size": 12,
        "tested": 3,
        "sigmas": [0.1, 0.5],
        "training": {"size": "small", "steps": 2, "batch_size": 2, "lr": 1e-3, "sigma_min": 0.0},
    },
}
CELLS = [
    (operator, patch_size, architecture)
    for patch_size in (5, 11)
    for operator in ("denoising", "centre inpainting", "Gaussian blur")
    for architecture in ("ResNet", "UNet", "PatchMLP")
]
KEY = ["operator", "patch_size", "network"]


@click.command()
@click.option("--preset", type=click.Choice(list(PRESETS)), default="paper", show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("results"), show_default=True)
@click.option("--budget-minutes", type=click.FloatRange(min=0), help="Start no cell after so many minutes.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def main(preset: str, out: Path, budget_minutes: float | None, seed: int) -> None:
    """Compute the cells of the table that are missing."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    started, chosen = time.monotonic(), PRESETS[preset]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    about = provenance(preset, seed, device)
    table, done = read_table(out, about)
    images = load(chosen, "train", chosen["count"], device)
    splits = {"training": images[: chosen["tested"]], "test": load(chosen, "test", chosen["tested"], device)}
    for number, cell in enumerate(CELLS, 1):
        if cell in done:
            continue
        if budget_minutes is not None and time.monotonic() - started > 60 * budget_minutes:
            click.echo(f"the budget is spent: {len(done)} of {len(CELLS)} cells are in the table")
            break
        click.echo(f"cell {number} of {len(CELLS)}: {cell[0]}, P = {cell[1]}, {cell[2]}")
        table = pd.concat([table, compute(cell, images, splits, chosen, seed)], ignore_index=True)
        done.add(cell)
        out.mkdir(parents=True, exist_ok=True)
        for suffix, text in (("json", json.dumps(about, indent=1) + "\n"), ("csv", table.to_csv(index=False))):
            write_atomically(out / f"network_vs_formula.{suffix}", lambda to, text=text: to.write_text(text))


def load(chosen: dict[str, Any], split: str, count: int, device: torch.device) -> torch.Tensor:
    """Grey images of the preset."""
    images = load_images(chosen["data"], split=split, count=count, size=chosen["image_size"], channels=1)
    return images.to(device)


def compute(
    cell: tuple[str, int, str], images: torch.Tensor, splits: dict[str, torch.Tensor], chosen: dict[str, Any], seed: int
) -> pd.DataFrame:
    """Train one network and compare: one row for each split and sigma, mean and std over images in dB."""
    operator, patch_size, architecture = cell
    physics = make_operator(operator, *images.shape[2:], torch.Generator().manual_seed(seed)).to(images.device)
    formula, nets = experiment(images, physics, [architecture], patch_size=patch_size, seed=seed, **chosen["training"])
    rows = []
    for split, x in splits.items():
        generator = torch.Generator(images.device).manual_seed(seed + 1)
        frame = compare(nets, formula, x, chosen["sigmas"], generator=generator)
        for sigma, values in frame.groupby("sigma").network_formula:
            capped = values.clip(upper=EQUAL)
            distances = {
                "psnr_mean": round(capped.mean(), 3),
                "psnr_std": round(capped.std(ddof=0), 3),
                "images": len(values),
            }
            rows.append({**dict(zip(KEY, cell, strict=True)), "split": split, "sigma": sigma, **distances})
    return pd.DataFrame(rows)


def read_table(out: Path, about: dict[str, Any]) -> tuple[pd.DataFrame, set[tuple[str, int, str]]]:
    """The table so far and its cells; raises ClickException if it is of another run."""
    path = out / "network_vs_formula.csv"
    if not path.exists():
        return pd.DataFrame(), set()
    before = json.loads(path.with_suffix(".json").read_text())
    for name in ("preset", "seed", "device", "settings"):
        if before.get(name) != about[name]:
            raise click.UsageError(f"{path} is of another {name} ({before.get(name)}): choose another --out")
    table = pd.read_csv(path)
    return table, set(table[KEY].itertuples(index=False, name=None))


def provenance(preset: str, seed: int, device: torch.device) -> dict[str, Any]:
    """What made the table: command, commit, device, date, seed, versions and settings."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "command": " ".join(["python", "benchmarks/paper_table.py", *sys.argv[1:]]),
        "commit": commit.stdout.strip() or "unknown",
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {platform.machine()}",
        "date": datetime.date.today().isoformat(),
        "seed": seed,
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}",
        "preset": preset,
        "settings": PRESETS[preset],
    }


if __name__ == "__main__":
    main()
