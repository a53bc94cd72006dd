"""A sweep, run: what is missing is executed, here or on a cluster, stored as it comes in, and collected in a table."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemmse.bench.cores import cores
from lemmse.book.notebooks import Project, library_digest
from lemmse.checks import check_count, check_positive
from lemmse.sweep.cluster import connect, run_on_cluster
from lemmse.sweep.process import Job, Outcome, Run
from lemmse.sweep.runs import Plan
from lemmse.sweep.table import collect

if TYPE_CHECKING:
    import pandas as pd

_POLL = 0.05  # seconds


def sweep(
    project: Project,
    source: Path,
    points: list[dict[str, Any]],
    folder: Path,
    *,
    preset: str = "quick",
    jobs: int = 1,
    threads: int | None = None,
    timeout: float | None = None,
    scheduler: str | None = None,
    progress: bool = True,
    yes: bool = False,
) -> pd.DataFrame:
    """Run the notebook `source` at every point that `folder` does not hold yet; the table of `collect`, all runs.

    points: what varies, as from `read_grid`, over the preset and the defaults. jobs: runs at once, each in a process of
    its own. threads: of each run, default all cores / jobs. timeout: seconds a run. scheduler: the address of a Dask
    cluster that runs them instead; `jobs` is then its workers' affair, and `threads` by default their environment's.
    A run that fails does not stop the others, and is tried again the next time. Raises ValueError for bad input, before
    anything runs, and if another sweep is running in the folder.
    """
    check_count(jobs, "jobs")
    if threads is not None:
        check_count(threads, "threads")
    if timeout is not None:
        check_positive(timeout, "timeout")
    plan = Plan.make(project, source, points, folder, preset, yes=yes)
    if threads is None and scheduler is None:
        threads = max(1, cores() // jobs)
    with ExitStack() as stack:
        client = stack.enter_context(connect(scheduler)) if scheduler is not None else None
        stack.enter_context(plan.lock())
        plan.write()
        text, library, root = source.read_text(encoding="utf-8-sig"), library_digest(), str(project.root)
        done = plan.complete()
        todo = [
            Job(key, source.name, text, parameters, library, root, threads, timeout)
            for key, parameters in plan.runs.items()
            if key not in done
        ]
        outcomes = stack.enter_context(closing(run_on_cluster(todo, client) if client else run_here(todo, jobs)))
        _store(plan, outcomes, len(done), progress)
        return collect(folder)


def run_here(jobs: list[Job], at_once: int) -> Generator[tuple[str, Outcome], None, None]:
    """Run jobs on this machine, some at once; keys and outcomes as they come in. None outlives the iteration."""
    waiting = list(reversed(jobs))
    running: list[Run] = []
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(Run(waiting.pop()))
            over = [run for run in running if run.over]
            if not over:
                time.sleep(_POLL)
            for run in over:
                running.remove(run)
                yield run.job.key, run.outcome()
    finally:
        for run in running:
            run.stop()


def _store(plan: Plan, outcomes: Iterator[tuple[str, Outcome]], done: int, progress: bool) -> None:
    """Keep every outcome as it comes in, with a bar of runs done, failed, and the time left."""
    from tqdm import tqdm

    failed = 0
    with tqdm(
        total=len(plan.runs), initial=done, desc=plan.notebook, unit="run", disable=not progress, file=sys.stderr
    ) as bar:
        bar.set_postfix(failed=0)
        for key, outcome in outcomes:
            plan.store(key, outcome.record, outcome.files)
            if outcome.record["status"] == "failed":
                failed += 1
                bar.write(f"failed: {plan.describe(key)}: {outcome.record['failure']}", file=sys.stderr)
            if claim := outcome.record.get("claim"):
                bar.write(f"{plan.describe(key)}: {claim}", file=sys.stderr)
            bar.set_postfix(failed=failed, refresh=False)
            bar.update()
