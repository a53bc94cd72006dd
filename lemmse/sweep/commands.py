"""The commands `lemmse sweep`, `lemmse collect` and `lemmse plot`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lemmse.book.parameters import PRESETS

if TYPE_CHECKING:
    from lemmse.sweep.runs import Plan

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("notebook")
@click.argument("grid", type=FILE)
@click.option("--preset", type=click.Choice(PRESETS), help="Sizes under the grid [default: the grid's, else quick].")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Runs at once.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of a run [default: cores / jobs].")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Limit of a run.")
@click.option("--scheduler", metavar="ADDRESS", help="Run on the Dask cluster at this address instead.")
@click.option("--dry-run", is_flag=True, help="List the runs, what is done, and how long the rest may take.")
@click.option("--yes", is_flag=True, help="Allow more than 10,000 runs.")
@click.option("-o", "--folder", type=FOLDER, help="Where runs and table go [default: build/sweeps/NOTEBOOK-GRID].")
def sweep(
    notebook: str,
    grid: Path,
    preset: str | None,
    jobs: int,
    threads: int | None,
    timeout: float | None,
    scheduler: str | None,
    dry_run: bool,
    yes: bool,
    folder: Path | None,
) -> None:
    """Run NOTEBOOK at every point of GRID (YAML: preset, fixed, product, points); what is complete is not run again."""
    from lemmse.book.notebooks import Project
    from lemmse.sweep.execute import sweep as run_sweep
    from lemmse.sweep.grid import read_grid
    from lemmse.sweep.runs import Plan

    project = Project.find()
    source = project.source(notebook)
    named, points = read_grid(grid, yes=yes)
    preset = preset or named or "quick"
    folder = folder or project.root / "build" / "sweeps" / f"{source.stem}-{grid.stem}"
    if dry_run:
        _list(Plan.make(project, source, points, folder, preset, yes=yes), jobs)
        return
    table = run_sweep(
        project,
        source,
        points,
        folder,
        preset=preset,
        jobs=jobs,
        threads=threads,
        timeout=timeout,
        scheduler=scheduler,
        yes=yes,
    )
    failed = int((table["status"] != "complete").sum())
    click.echo(f"{len(table) - failed} runs complete, {failed} failed; wrote {folder / 'results.csv'}", err=True)
    if failed:
        sys.exit(1)


def _list(plan: Plan, jobs: int) -> None:
    done, failed = plan.complete(), plan.failed()
    for key in plan.runs:
        state = "done" if key in done else "failed, to run again" if key in failed else "to run"
        click.echo(f"{state:21}{plan.describe(key)}")
    rest = len(plan.runs) - len(done)
    click.echo(f"{len(done)} of {len(plan.runs)} runs done, {rest} to run", nl=False)
    if rest and done:
        mean = sum(record["seconds"] for record in done.values()) / len(done)
        click.echo(f": about {mean * rest / jobs:.0f} s, {jobs} at once at {mean:.0f} s a run", nl=False)
    elif rest:
        click.echo("; how long that takes is known after the first", nl=False)
    click.echo()


@click.command()
@click.argument("folder", type=FOLDER)
def collect(folder: Path) -> None:
    """Rebuild the tables (results.csv, .parquet, .md) of the sweep in FOLDER from its runs; print the last."""
    from lemmse.sweep.table import collect as collect_runs

    collect_runs(folder)
    click.echo((folder / "results.md").read_text(encoding="utf-8"), nl=False)


@click.command()
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--x", required=True, metavar="NAME", help="What is varied: a parameter.")
@click.option("--y", required=True, metavar="NAME", help="What came out: any column of numbers.")
@click.option("--by", metavar="NAME", help="A line for each value of this one.")
@click.option("--log", type=click.Choice(["x", "y", "xy"]), help="Logarithmic axes.")
@click.option("-o", "--output", type=FILE, help="Picture to write, .png, .svg or .pdf [default: Y_X.png here].")
def plot(table: Path, x: str, y: str, by: str | None, log: str | None, output: Path | None) -> None:
    """Draw one column of TABLE (a sweep's folder, .csv or .parquet) against another, mean and spread over the rest."""
    from lemmse.figures import save_figure, sweep_lines
    from lemmse.sweep.table import read_table

    output = output or Path(f"{y}_{x}.png")
    save_figure(sweep_lines(read_table(table), x, y, by, log=log or ""), output)
    click.echo(f"wrote {output}", err=True)
