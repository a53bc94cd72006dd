"""The runs of a sweep on an existing Dask cluster: each one task, results sent back to the process that sweeps.

The results return, rather than go to a shared folder, so that workers need the package and nothing else, and one
process alone writes the folder: it is locked, resumed and collected as without a cluster, and a run that two workers
did, because one of them was thought dead, is in the table once. A notebook is some megabytes at most.

Dask runs again what a lost worker had (`distributed.scheduler.allowed-failures` times); the process of such a run dies
with its worker. A run goes on to its end on its worker if the sweep is stopped, and is then forgotten.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Generator
from typing import TYPE_CHECKING

from lemmse.sweep.process import Job, Outcome, run_job

if TYPE_CHECKING:
    from distributed import Client


def connect(scheduler: str) -> Client:
    """A client of the scheduler at an address, as in tcp://host:8786.

    Raises ValueError for no such address, if nobody answers there, or without `distributed` here.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ValueError("--scheduler needs the package 'distributed': pip install 'lemmse[cluster]'") from None
    if not re.fullmatch(r"\w+://.+:\d+", scheduler):
        raise ValueError(f"the address of a scheduler reads as tcp://host:8786, got {scheduler!r}")
    try:
        return Client(scheduler, timeout=5, set_as_default=False)
    except OSError as error:
        raise ValueError(f"no Dask scheduler answers at {scheduler!r} ({error})") from None


def run_on_cluster(jobs: list[Job], client: Client) -> Generator[tuple[str, Outcome], None, None]:
    """Run jobs on the workers of a cluster; keys and outcomes as they come in.

    Raises ConnectionError if the scheduler is lost.
    """
    from distributed import CancelledError, as_completed

    here = secrets.token_hex(4)  # what failed before must run again
    futures = {client.submit(run_job, job, key=f"lemmse-{job.key}-{here}", pure=False): job for job in jobs}
    try:
        for future in as_completed(futures, loop=client.loop):
            job, error = futures[future], future.exception()
            yield job.key, _lost(job, error) if error else future.result()
            future.release()
    except CancelledError as error:
        raise ConnectionError(f"the Dask scheduler is lost, what was complete is kept ({error})") from None
    finally:
        client.cancel(list(futures))


def _lost(job: Job, error: BaseException) -> Outcome:
    """The outcome of a run whose task failed: its worker died too often, or could not start it."""
    what = f"no worker could run it ({type(error).__name__}: {' '.join(str(error).split())})"
    return Outcome({"status": "failed", "failure": what, "threads": job.threads, "parameters": job.parameters})
