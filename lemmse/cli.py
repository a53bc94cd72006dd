"""The command line: `lemmse book`, `run`, `sweep`, `bench`, `data`, `explain` and `restore`.

Bad input ends with one line and exit code 2, a notebook, sweep or book that fails with 1, Ctrl-C with 130.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path

import click

from lemmse.book.parameters import PRESETS, absolute_paths, read_parameters
from lemmse.report import commands as report_commands
from lemmse.sweep import commands


@click.group()
@click.version_option(package_name="lemmse")
def cli() -> None:
    """Analyses of why CNNs solve imaging inverse problems the way they do, as notebooks and as a book."""


@cli.command()
@click.option("--preset", type=click.Choice(PRESETS), default="quick", show_default=True, help="Sizes to run at.")
@click.option("--retrain", is_flag=True, help="Train every network anew, whatever weights are here.")
def book(preset: str, retrain: bool) -> None:
    """Run every notebook that has changed, and build the book."""
    from lemmse.book.build import make_book
    from lemmse.book.notebooks import Project

    make_book(Project.find(), preset, lambda line: click.echo(line, err=True), retrain=retrain)


@cli.command()
@click.argument("notebook")
@click.option("-p", "--parameter", "given", nargs=2, multiple=True, metavar="NAME VALUE", help="Set a parameter.")
@click.option("--preset", type=click.Choice(PRESETS), default="quick", show_default=True, help="Sizes to start from.")
@click.option("--strict", is_flag=True, help="Fail if the claim does, although parameters differ from the preset.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Executed notebook to write.")
def run(notebook: str, given: tuple[tuple[str, str], ...], preset: str, strict: bool, output: Path | None) -> None:
    """Run one NOTEBOOK (a path, a name, or its number) with parameters of your own; paths are of the current folder.

    The claim of a chapter binds its presets. With other parameters, a claim that fails is reported and the run is
    written; --strict makes it an error.
    """
    from lemmse.book.claims import bind_claim, failed_claims, report
    from lemmse.book.notebooks import Project, execute

    project = Project.find()
    source = project.source(notebook)
    known = read_parameters(source)
    values = {name: known[name].parse(value) if name in known else value for name, value in given}
    at_preset = project.preset(preset, source)
    parameters = bind_claim(absolute_paths(values), at_preset, known, strict=strict)
    output = output or project.root / "build" / "runs" / f"{source.stem}.ipynb"
    reused = execute(project, source, parameters, output)
    failed = failed_claims(json.loads(output.read_text(encoding="utf-8")))
    if failed:
        click.echo(report(failed), err=True)
    click.echo(f"{'re-used' if reused else 'wrote'} {output}", err=True)


@cli.command()
@click.option("--family", "families", multiple=True, metavar="NAME", help="Only this one; may be repeated.")
@click.option("--count", type=click.IntRange(min=1), help="Training images a cell [default: by family].")
@click.option("--full", is_flag=True, help="Every cell; default: some twenty, in a few minutes on two cores.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the CPU [default: as torch].")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Table to write [default: build/bench.csv]."
)
def bench(
    families: tuple[str, ...], count: int | None, full: bool, threads: int | None, device: str, output: Path | None
) -> None:
    """Measure the engines against a straightforward baseline, the roofline and float64; print and write a table."""
    import torch

    from lemmse.bench.cells import FAMILIES, cells
    from lemmse.bench.table import run, summary
    from lemmse.book.notebooks import Project

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda' is not there: torch finds no CUDA device, choose 'cpu'")
    if threads:
        torch.set_num_threads(threads)
    output = output or Project.find().root / "build" / "bench.csv"
    cases = cells(families or FAMILIES, full=full, count=count, device=device)
    table, about = run(cases, output, full=full, device=torch.device(device))
    click.echo(summary(table).to_string(index=False))
    for name, value in about.items():
        click.echo(f"{name}: {value}")
    click.echo(f"wrote {output}", err=True)


for command in (commands.sweep, commands.collect, commands.plot, report_commands.explain, report_commands.restore):
    cli.add_command(command)


@cli.group()
def data() -> None:
    """The image data sets."""


@data.command("list")
def list_data() -> None:
    """Print the names that load_images knows."""
    from lemmse.data.sets import DATASETS

    for name, dataset in DATASETS.items():
        click.echo(f"{name:15} {dataset.description}")


@data.command("fetch")
@click.argument("name")
def fetch_data(name: str) -> None:
    """Download the data set NAME, if it is not here, and print where it is."""
    from lemmse.data.sets import fetch

    click.echo(fetch(name))


def main() -> None:
    """Run the command line, every expected error as one line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("papermill").setLevel(logging.WARNING)
    warnings.showwarning = lambda message, *_, **__: click.echo(f"lemmse: {message}", err=True)
    try:
        cli(standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        _end("interrupted: what was complete is kept", 130)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help())
    except click.ClickException as error:
        _end(error.format_message(), 2)
    except ValueError as error:
        _end(error, 2)
    except OSError as error:
        _end(error, 1)
    except Exception as error:
        from lemmse.book.build import BuildFailed
        from lemmse.book.notebooks import NotebookFailed

        if not isinstance(error, (BuildFailed, NotebookFailed)):
            raise
        _end(error, 1)


def _end(message: object, code: int) -> None:
    click.echo(f"lemmse: {' '.join(str(message).split())}", err=True)
    sys.exit(code)
