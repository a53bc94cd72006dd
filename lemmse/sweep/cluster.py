"""The runs of a sweep on an existing Dask cluster: each one task, results sent back to the process that sweeps.

The results return, rather than go to a shared folder, so that workers need the package and nothing else, and one
process alone writes the folder: it is locked, resumed and collected as without a cluster, and a run that two workers
did, because one of them was thought dead, is in the table once. A notebook is some megabytes at most.

Dask runs again what a lost worker had (`distributed.scheduler.allowed-failures` times); the process of such a run dies
with its worker. A run goes on to its end on its worker if the sweep is stopped, and is then forgotten.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Generator
from typing import TYPE_CHECKING

from lemmse.sweep.process import Job, Outcome, run_job

if TYPE_CHECKING:
    from distributed import Client

_ANSWER_SECONDS = 3.0
log = logging.getLogger(__name__)


def connect(scheduler: str) -> Client:
    """A client of the scheduler at an address, as in tcp://host:8786.

    Raises:
        ValueError: for no such address, if no scheduler answers there within some seconds, or without `distributed`.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ValueError("--scheduler needs the package 'distributed': pip install 'lemmse[cluster]'") from None
    address = re.fullmatch(r"(?:tcp|tls)://[^/\s]+:(\d{1,5})", scheduler)
    if not address or not 0 < int(address[1]) < 2**16:
        raise ValueError(
            f"the address of a scheduler reads as tcp://host:8786 or tls://host:8786, got {scheduler[:200]!r}"
        )
    try:
        asyncio.run(asyncio.wait_for(_identity(scheduler), _ANSWER_SECONDS))
        client = Client(scheduler, timeout=_ANSWER_SECONDS, set_as_default=False)
    except Exception as error:  # what the libraries of the transports raise
        reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise ValueError(f"no Dask scheduler answers at {scheduler!r} ({reason})") from None
    if not client.scheduler_info()["workers"]:
        log.warning("the scheduler at %s has no worker yet: the runs wait for one", scheduler)
    return client


async def _identity(scheduler: str) -> None:
    """Ask whoever listens at an address who it is. Raises an error unless it is a scheduler of Dask."""
    from distributed import rpc
    from distributed.security import Security

    arguments = Security().get_connection_args("client")
    async with rpc(scheduler, timeout=_ANSWER_SECONDS - 1, connection_args=arguments) as server:
        identity = await server.identity()
    if identity.get("type") != "Scheduler":
        raise ValueError(f"it is a {identity.get('type')}")


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
