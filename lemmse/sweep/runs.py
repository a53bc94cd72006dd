"""The folder of a sweep: which runs it consists of, which are complete, and how a run gets there.

    sweep.json                     the plan: notebook, preset, and key and parameters of every run
    runs/KEY/                      a complete run: run.json, notebook.ipynb
    failed/KEY/                    the last failure of a run: the same, the notebook partial, and kernel.log
    results.csv .parquet .md       the table

A run's key is that of an executed notebook (`Project.key`): source, parameters, library code, data. A run is written
aside and renamed, so that it is there in full or not at all. Only the process that holds the lock writes here: the runs
themselves work in scratch folders of their own.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lemmse.book.notebooks import Project
from lemmse.book.parameters import read_parameters
from lemmse.files import writable_folder, write_atomically
from lemmse.sweep.grid import grid_points

_PLAN = "sweep.json"


@dataclass(frozen=True)
class Plan:
    """The runs of a sweep, in the order of the grid, and the folder that keeps them."""

    folder: Path
    notebook: str
    preset: str
    annotations: dict[str, str]  # types of the parameters
    runs: dict[str, dict[str, Any]]  # key -> parameters

    @classmethod
    def make(
        cls,
        project: Project,
        source: Path,
        points: list[dict[str, Any]],
        folder: Path,
        preset: str = "quick",
        *,
        yes: bool = False,
    ) -> Plan:
        """The plan of a grid, checked by `grid_points`; nothing is written.

        Raises ValueError, too, for a folder whose files the keys depend on: no run would ever be done.
        """
        complete = grid_points(project, source, points, preset, yes=yes)
        for place in project.read_from(complete):
            if folder.resolve().is_relative_to(place.resolve()):
                raise ValueError(
                    f"a sweep cannot write to {str(folder)!r}: its runs depend on what lies in {str(place)!r}"
                )
        annotations = {name: parameter.annotation for name, parameter in read_parameters(source).items()}
        keys = [key[:20] for key in project.keys(source, complete)]
        return cls(folder, source.stem, preset, annotations, dict(zip(keys, complete, strict=True)))

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """The plan that lies in a folder. Raises ValueError if there is none."""
        try:
            return cls(folder, **json.loads((folder / _PLAN).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"{str(folder)!r} is no folder of a sweep ({type(error).__name__}: {error})") from None

    def write(self) -> None:
        """Put the plan into its folder."""
        values = {name: value for name, value in asdict(self).items() if name != "folder"}
        write_atomically(self.folder / _PLAN, lambda to: to.write_text(json.dumps(values, indent=1), encoding="utf-8"))

    @cached_property
    def varied(self) -> list[str]:
        """The parameters that differ between the runs."""
        points = list(self.runs.values())
        return [name for name in self.annotations if any(p[name] != points[0][name] for p in points)]

    def describe(self, key: str) -> str:
        """A run in a few words: the parameters that tell it from the others."""
        parameters = self.runs[key]
        return ", ".join(f"{name}={parameters[name]}" for name in self.varied) or self.notebook

    def complete(self) -> dict[str, dict[str, Any]]:
        """The records of the complete runs, by key."""
        found = {key: _record(self.folder / "runs" / key, "notebook.ipynb") for key in self.runs}
        return {key: record for key, record in found.items() if record is not None}

    def failed(self) -> dict[str, dict[str, Any]]:
        """The records of the last failures."""
        found = {key: _record(self.folder / "failed" / key) for key in self.runs}
        return {key: record for key, record in found.items() if record is not None}

    def store(self, key: str, record: dict[str, Any], files: dict[str, bytes]) -> None:
        """Keep the outcome of a run: written aside, forced to the disk, renamed."""
        good = record["status"] == "complete"
        aside = writable_folder(self.folder / ".running" / f"{key}.{secrets.token_hex(4)}", "folder of the sweep")
        for name, content in {**files, "run.json": json.dumps(record, indent=1).encode()}.items():
            with open(aside / name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        target = self.folder / ("runs" if good else "failed") / key
        target.parent.mkdir(exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        os.rename(aside, target)
        if good:
            shutil.rmtree(self.folder / "failed" / key, ignore_errors=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder, and clear it of what a killed sweep left. Raises ValueError if another sweep holds it."""
        from filelock import FileLock, Timeout

        lock = FileLock(writable_folder(self.folder, "folder of the sweep") / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(
                f"another sweep is running in {str(self.folder)!r}: wait for it, or choose another"
            ) from None
        try:
            shutil.rmtree(self.folder / ".running", ignore_errors=True)
            yield
        finally:
            lock.release()


def _record(run: Path, *needed: str) -> dict[str, Any] | None:
    """What a run's folder says of it, None if there is none, it is broken, or a file that it needs is missing."""
    try:
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
        return record if all((run / name).stat().st_size for name in needed) else None
    except (OSError, ValueError):
        return None
