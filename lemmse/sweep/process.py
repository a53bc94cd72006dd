"""One run in a process of its own, which works in a scratch folder and cannot outlive whoever started it.

The job goes to the child as a line on its standard input, which then stays open: when that pipe closes, because the
parent ended, however it did, or because it wants the run to end, the child kills what it started and itself. So no run
goes on unseen, and none writes to the folder of the sweep.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lemmse.book.claims import failed_claims, report
from lemmse.book.values import glued_values, left_out

_THREADS = (
    "OMP_NUM_THREADS",  # torch too
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)
_NOTEBOOK, _RECORD, _LOG = "notebook.ipynb", "run.json", "process.log"


@dataclass(frozen=True)
class Job:
    """All that a run needs, in plain data: it may travel to another machine."""

    key: str
    name: str  # of the notebook's file
    source: str  # its text
    parameters: dict[str, Any]
    library: str  # digest of the code that the key stands for
    cwd: str  # where it runs, if that folder is there
    threads: int | None  # of the run; None: as the environment says
    timeout: float | None  # seconds


@dataclass
class Outcome:
    """What became of a run: status, parameters and measures, and the files to keep."""

    record: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)


class Run:
    """A job under way."""

    def __init__(self, job: Job) -> None:
        self.job, self.started = job, time.monotonic()
        self.scratch = Path(tempfile.mkdtemp(prefix="lemmse-"))
        caps = {name: str(job.threads) for name in _THREADS} if job.threads else {}
        with open(self.scratch / _LOG, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lemmse.sweep.process", str(self.scratch)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=os.environ | caps | {"TMPDIR": str(self.scratch)},  # leaves nothing behind
                start_new_session=True,
            )
        assert self.process.stdin is not None  # a pipe, see above
        self._stdin = self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # it ended at once: `outcome` says how
            self._stdin.write(json.dumps(asdict(job)).encode() + b"\n")
            self._stdin.flush()

    @property
    def over(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def stop(self) -> None:
        """End the run now, with all that it started."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:  # its watch is stuck
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def outcome(self) -> Outcome:
        """Wait for the run, and tell what became of it; the scratch folder is gone then."""
        code = self.process.wait()
        try:
            record = json.loads((self.scratch / _RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            said = (self.scratch / _LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
            record = {
                "status": "failed",
                "failure": f"its process ended with {code}: {said[-1] if said else 'no word'}",
            }
        if record["status"] == "failed":
            record["seconds"] = round(time.monotonic() - self.started, 2)
        record |= {"threads": self.job.threads, "parameters": self.job.parameters}
        places = (_NOTEBOOK, "running/*.ipynb", "failed/*.ipynb")  # the last two if it was killed
        found = [path for place in places for path in self.scratch.glob(place)]
        files = {_NOTEBOOK: found[0].read_bytes()} if found else {}
        log = self.scratch / "kernel.log"
        if record["status"] == "failed" and log.exists():
            files[log.name] = log.read_bytes()
        self.stop()
        return Outcome(record, files)


def run_job(job: Job) -> Outcome:
    """Run a job to its end."""
    run = Run(job)
    try:
        return run.outcome()
    finally:
        run.stop()


def main(scratch: Path) -> None:
    """The child: execute the job, leaving the notebook and a record in the scratch folder."""
    job = Job(**json.loads(_read_line()))
    threading.Thread(target=_end_with_parent, args=[scratch], daemon=True).start()
    record = _execute(job, scratch)
    (scratch / _RECORD).write_text(json.dumps(record), encoding="utf-8")


def _read_line() -> bytes:
    """The first line of the standard input: by bytes, for a buffered reader is locked when the interpreter ends."""
    with open(0, "rb", buffering=0, closefd=False) as raw:
        return raw.readline()


def _execute(job: Job, scratch: Path) -> dict[str, Any]:
    from lemmse.bench.machine import children_peak_megabytes, library_version
    from lemmse.book.notebooks import NotebookFailed, library_digest, run_notebook, write_notebook

    if library_digest() != job.library:
        return {"status": "failed", "failure": "this worker's lemmse is another than the one that planned the sweep"}
    source = scratch / job.name
    source.write_text(job.source, encoding="utf-8")
    cwd = Path(job.cwd) if Path(job.cwd).is_dir() else scratch
    late = threading.Event()
    if job.timeout:
        threading.Thread(target=_limit_time, args=[job.timeout, late], daemon=True).start()
    try:
        notebook = run_notebook(source, job.parameters, job.key, scratch, cwd)
    except NotebookFailed as error:
        if error.partial.exists():
            os.replace(error.partial, scratch / _NOTEBOOK)
        limit = f"took longer than the limit of {job.timeout:g} s: " if late.is_set() else ""
        about = {"peak_mb": children_peak_megabytes(), "lemmse": library_version()}
        return {"status": "failed", "failure": limit + error.reason, **about}
    write_notebook(notebook, scratch / _NOTEBOOK)
    about = {name: value for name, value in notebook.metadata["lemmse"].items() if name not in ("key", "parameters")}
    failed = failed_claims(notebook)
    said = {"claim": report(failed) if failed else None, "left_out": left_out(notebook)}
    return {"status": "complete", "failure": None, **about, **said, "values": glued_values(notebook)}


def _end_with_parent(scratch: Path) -> None:
    """Wait for the end of the standard input, then end all at once."""
    os.read(0, 1)
    _kill_children()
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(1)


def _limit_time(seconds: float, late: threading.Event) -> None:
    time.sleep(seconds)
    late.set()
    while True:  # a kernel may just be starting
        _kill_children()
        time.sleep(0.5)


def _kill_children() -> None:
    import psutil

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
