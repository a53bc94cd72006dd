"""The evidence at the scale of the paper: networks against the formula and its controls, cell by cell.

    python benchmarks/campaign.py --out results --budget-minutes 480 --threads 2

computes one cell (data set, operator, patch size, architecture) after the other, the most telling first. It can be
interrupted at any time, and goes on where it was: trained rounds, and images that a formula restored, are kept in the
cache folder. A finished cell is never computed again. Two commands may run beside each other with `--only`, for
instance `--only fashion` and `--only cifar`. `--preset smoke` tries all of it in a minute; `--preset paper` is for a
GPU. See `lemmse.analysis.campaign` for what is written.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import pandas as pd
import torch

from lemmse import LocalEquivariantMMSE, load_images
from lemmse.analysis import campaign
from lemmse.analysis.campaign import FLAT, Cell, Schedule
from lemmse.analysis.controls import AFFINE, controls
from lemmse.analysis.evaluate import FORMULA, NETWORK, Restorer, compare
from lemmse.analysis.second_moments import affine_beside
from lemmse.analysis.small_noise import patch_size_formulas
from lemmse.files import write_atomically
from lemmse.networks.weights import save_weights
from lemmse.physics.gallery import make_operator

LICENSES = {
    "fashion_mnist": "Fashion-MNIST: MIT license, (c) 2017 Zalando SE.",
    "cifar10": "CIFAR-10 (a subset): no formal license; please cite Krizhevsky 2009.",
    "lfw": "Labeled Faces in the Wild at 32 x 32: no formal license; the photographs stay with their owners.",
    "photos": "Photographs in the wheels of scikit-image, scikit-learn, matplotlib and PyWavelets: the Data box "
    "of the book gives the license of each.",
}
WINDOWS = (1, 3, 5, 7, 9)  # patch sizes whose formula a network is compared with in cells of small noise
OTHERS = 2_000  # images of another set, for the control of that name


@dataclass(frozen=True)
class Preset:
    """How large a campaign is.

    Attributes:
        cells: in the order of their computation.
        schedule: of the training.
        tested: training images, and as many test images, of the evaluation.
        sigmas: noise levels of the evaluation.
        few: images of the control "formula of few images".
        image_size: pixels a side, or None for that of the set.
    """

    cells: list[Cell]
    schedule: Schedule
    tested: int
    sigmas: list[float]
    few: int = 100
    image_size: int | None = None


def agreement_cells(size: str) -> list[Cell]:
    """Cells of networks against the formula and all controls, the most telling first."""
    fashion = Cell("agreement", "fashion_mnist", 10_000, 1, "denoising", 5, "PatchMLP", size, "inverse_error")
    cifar = replace(fashion, data="cifar10", count=8_000, channels=3)
    faces = replace(fashion, data="lfw", count=4_500, channels=3)
    deeper = ["ResNet", "UNet"]
    first = [fashion, *(replace(fashion, architecture=name) for name in deeper), cifar, faces]
    operators = [replace(fashion, operator=name) for name in ("centre inpainting", "Gaussian blur")]
    architectures = [replace(cell, architecture=name) for cell in (cifar, faces) for name in deeper]
    wider = [replace(fashion, patch_size=size) for size in (9, 11)]
    more = [replace(fashion, operator="random inpainting"), *wider]
    more += [replace(cell, architecture=name) for cell in operators for name in deeper]
    return [*first, *operators, *small_noise_cells(), *architectures, *more]


def small_noise_cells() -> list[Cell]:
    """Cells that vary one thing at a time: weighting, capacity, number of images, patch size; all record the steps."""
    base = Cell("small noise", "fashion_mnist", 10_000, 1, "denoising", 5, "PatchMLP", "small", "inverse_error")
    uniform = replace(base, weighting="uniform")
    capacity = [replace(base, size=size) for size in ("tiny", "medium")]
    images = [replace(base, count=count) for count in (500, 2_000)]
    windows = [replace(base, patch_size=patch_size) for patch_size in (3, 7)]
    return [base, uniform, *capacity, *images, *windows]


SMALL = Cell("agreement", "photos", 12, 1, "denoising", 3, "PatchMLP")
PRESETS = {
    "cpu": Preset(
        cells=agreement_cells("small"),
        schedule=Schedule(first_steps=8_000, most_rounds=3, lr=1e-2),
        tested=8,
        sigmas=[0.02, 0.05, 0.1, 0.2, 0.4, 0.8],
    ),
    "paper": Preset(
        cells=agreement_cells("paper"),
        schedule=Schedule(first_steps=20_000, most_rounds=5, batch_size=128, sigma_min=0.0),
        tested=100,
        sigmas=[0.01, 0.02, 0.05, *(s / 10 for s in range(1, 11))],
    ),
    "smoke": Preset(
        cells=[SMALL, replace(SMALL, operator="Gaussian blur"), replace(SMALL, kind="small noise")],
        schedule=Schedule(first_steps=2, most_rounds=2, batch_size=2),
        tested=3,
        sigmas=[0.1, 0.5],
        few=4,
        image_size=12,
    ),
}


@click.command()
@click.option("--preset", type=click.Choice(list(PRESETS)), default="cpu", show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("results"), show_default=True)
@click.option("--budget-minutes", type=click.FloatRange(min=0), help="Start nothing new after so many minutes.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads to use.  [default: all cores]")
@click.option("--only", default="", help="Compute only the cells whose name holds this text.")
@click.option("--list", "list_cells", is_flag=True, help="Print the cells and whether they are finished, and stop.")
@click.option("--mixed", is_flag=True, help="Train in bfloat16: for CPUs that have instructions for it.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def main(
    preset: str,
    out: Path,
    budget_minutes: float | None,
    threads: int | None,
    only: str,
    list_cells: bool,
    mixed: bool,
    seed: int,
) -> None:
    """Compute the cells that are missing, one after the other."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    chosen = PRESETS[preset]
    if mixed:
        chosen = replace(chosen, schedule=replace(chosen.schedule, mixed=True))
    cells = [cell for cell in chosen.cells if only in cell.name]
    if list_cells:
        for cell in cells:
            click.echo(f"{'finished' if campaign.is_finished(out, cell) else 'missing ':8}  {cell.name}")
        return
    if threads is not None:
        torch.set_num_threads(threads)
    budget = Budget(budget_minutes)
    for number, cell in enumerate(cells, 1):
        if campaign.is_finished(out, cell):
            continue
        if budget.is_spent:
            break
        click.echo(f"cell {number} of {len(cells)}: {cell.name}")
        compute(cell, chosen, out, seed, budget)
        write_summary(out)
    finished = sum(campaign.is_finished(out, cell) for cell in cells)
    click.echo(f"{finished} of {len(cells)} cells are finished{'; the budget is spent' if budget.is_spent else ''}")


class Budget:
    """The time that is left: nothing new starts when it is spent."""

    def __init__(self, minutes: float | None) -> None:
        self._end = float("inf") if minutes is None else time.monotonic() + 60 * minutes

    @property
    def is_spent(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self._end


def compute(cell: Cell, preset: Preset, out: Path, seed: int, budget: Budget) -> None:
    """Train the network of a cell until it is flat, then evaluate it; leaves a record if the budget ends it earlier."""
    started = time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    everything = load(cell.data, "train", preset.image_size, cell.channels, device)
    if len(everything) < cell.count:
        raise click.ClickException(f"{cell.data} has {len(everything)} training images, cell {cell.name} needs more")
    images, rest = everything[: cell.count], everything[cell.count : 2 * cell.count]
    test = load(cell.data, "test", preset.image_size, cell.channels, device)
    sets = {"training": images[: preset.tested], "test": test[: preset.tested]}
    physics = make_operator(cell.operator, *images.shape[2:], torch.Generator().manual_seed(seed)).to(device)
    formula = LocalEquivariantMMSE(images, physics, patch_size=cell.patch_size)
    problem = f"{cell.data} {cell.count} {cell.channels} {preset.image_size} {cell.operator} {cell.patch_size} {seed}"
    reference = campaign.remembered({FORMULA: formula}, problem)[FORMULA]

    record: dict[str, Any] = {"status": "training", **provenance(preset, seed, device), "path": []}
    for steps, net in campaign.train_in_rounds(cell, images, physics, preset.schedule, seed):
        level = campaign.agreement(net, reference, physics, sets, preset.sigmas, seed)
        record["path"].append({"steps": steps, "agreement": {f"{s:g}": round(v, 3) for s, v in level.items()}})
        gain = campaign.last_gain(record["path"])
        record |= {"steps": steps, "gained_in_last_third": gain, "hours": hours(started)}
        campaign.write_record(out, cell, record)
        click.echo(f"  {steps:,} steps: " + ", ".join(f"{v:.1f} dB at sigma {s:g}" for s, v in level.items()))
        if gain is not None and gain < FLAT:
            break
        if budget.is_spent:
            return

    others = rivals(cell, preset, formula, rest if len(rest) == cell.count else None)
    solvers = {NETWORK: net, FORMULA: reference, **campaign.remembered(others, problem)}
    frame = compare(solvers, physics, sets, preset.sigmas, seed=seed)
    save_weights(net, out / "weights" / f"{cell.name}.safetensors")
    record |= {"status": "finished", "hours": hours(started), "license": LICENSES[cell.data]}
    campaign.write_record(out, cell, record)
    campaign.write_table(out, cell, campaign.cell_rows(frame))


def rivals(
    cell: Cell, preset: Preset, formula: LocalEquivariantMMSE, other_images: torch.Tensor | None
) -> dict[str, Restorer]:
    """What a cell is compared with besides the formula: all controls, or other patch sizes and the affine filter."""
    if cell.kind == "small noise":
        return {AFFINE: affine_beside(formula), **patch_size_formulas(formula, WINDOWS)}
    another = "photos" if cell.data != "photos" else None
    size = formula.shape[1]
    sets = {} if another is None else {another: load(another, "train", size, cell.channels, formula.device)[:OTHERS]}
    return controls(formula, few=preset.few, other_images=other_images, another_set=sets)


def load(data: str, split: str, size: int | None, channels: int, device: torch.device) -> torch.Tensor:
    """All images of a set; "lfw" is the archive of faces in `LEMMSE_DATA`."""
    source = str(Path(os.environ.get("LEMMSE_DATA", "."), "lfw-32", "lfw-32.zip")) if data == "lfw" else data
    return load_images(source, split=split, size=size, channels=channels).to(device)


def hours(started: float) -> float:
    """Since a reading of the monotonic clock; a resumed cell counts the time since it was resumed."""
    return round((time.monotonic() - started) / 3600, 3)


def provenance(preset: Preset, seed: int, device: torch.device) -> dict[str, Any]:
    """What makes a cell: command, commit, device, date, seed, versions and settings."""
    root = Path(__file__).parent
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, check=False
    )
    machine = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {platform.machine()}"
    return {
        "command": " ".join(["python", "benchmarks/campaign.py", *sys.argv[1:]]),
        "commit": commit.stdout.strip() or "unknown",
        "device": f"{machine}, {torch.get_num_threads()} threads",
        "date": datetime.date.today().isoformat(),
        "seed": seed,
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}",
        "schedule": asdict(preset.schedule),
        "tested": preset.tested,
    }


def write_summary(out: Path) -> None:
    """Write `network_vs_formula.csv`, a row for each finished cell, split and sigma, with its provenance beside it."""
    rows, sources = [], []
    for cell, frame, record in campaign.read_cells(out):
        if cell.kind != "agreement":
            continue
        about = {"data": cell.data, "operator": cell.operator, "patch_size": cell.patch_size}
        pairs = frame[(frame["one"] == NETWORK) & (frame["other"] == FORMULA)]
        groups = pairs.groupby(["split", "sigma"], sort=False)["psnr"]
        table = groups.agg(psnr_mean="mean", psnr_std=lambda v: v.std(ddof=0), images="size").round(3).reset_index()
        rows.append(table.assign(**about, network=cell.architecture))
        sources.append({name: record[name] for name in ("command", "commit", "device", "date", "seed", "versions")})
    if not rows:
        return
    columns = ["data", "operator", "patch_size", "network", "split", "sigma", "psnr_mean", "psnr_std", "images"]
    text = pd.concat(rows)[columns].to_csv(index=False)
    about_all = {name: ", ".join(sorted({str(source[name]) for source in sources})) for name in sources[0]}
    for suffix, content in (("json", json.dumps(about_all, indent=1) + "\n"), ("csv", text)):
        path = out / f"network_vs_formula.{suffix}"
        write_atomically(path, lambda temporary, content=content: temporary.write_text(content, encoding="utf-8"))


if __name__ == "__main__":
    main()
