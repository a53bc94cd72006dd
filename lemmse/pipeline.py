"""From a notebook source to an executed notebook: presets, keys, papermill, and what to keep when a cell fails.

A notebook is executed again only if its key changes: a hash of its source, its parameters, the library code, the
benchmarks, and the committed results. An executed notebook is complete or absent: it is written aside and renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cache import writable_folder, write_atomically
from .checks import check_choice
from .parameters import PRESETS, check_parameters, read_notebook, read_parameters


class NotebookFailed(Exception):
    """A cell raised: the message names notebook, cell and error, and where the partial notebook is."""


@dataclass(frozen=True)
class Project:
    """A checkout: the folders that the pipeline reads and writes, under one root."""

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Project:
        """The project that holds the folder `start` (default: the current one). Raises ValueError if there is none."""
        start = (start or Path.cwd()).resolve()
        for folder in (start, *start.parents):
            if (folder / "_config.yml").exists() and (folder / "notebooks").is_dir():
                return cls(folder)
        raise ValueError(f"{str(start)!r} is in no checkout of lemmse (no folder above has _config.yml and notebooks/)")

    @property
    def sources(self) -> list[Path]:
        """The notebook sources, in reading order."""
        return sorted((self.root / "notebooks").glob("[0-9]*.py"))

    def source(self, name: str) -> Path:
        """A notebook by path, stem, or the beginning of its stem. Raises ValueError, listing the known ones."""
        if name.endswith((".py", ".ipynb")) and Path(name).is_file():
            return Path(name).resolve()
        found = [p for p in self.sources if p.stem == name] or [p for p in self.sources if p.stem.startswith(name)]
        if len(found) != 1:
            known = ", ".join(p.stem for p in self.sources)
            raise ValueError(
                f"{'ambiguous' if found else 'unknown'} notebook {name!r}: choose one of {known}, or a path"
            )
        return found[0]

    def preset(self, preset: str, source: Path) -> dict[str, Any]:
        """The parameters of a notebook at a preset, the preset's own name among them if the notebook asks for it."""
        import yaml

        check_choice(preset, PRESETS, "preset")
        path = self.root / "notebooks" / "presets" / f"{preset}.yaml"
        try:
            values = yaml.safe_load(path.read_text()) or {}
        except (OSError, yaml.YAMLError) as error:
            raise ValueError(f"cannot read the preset {str(path)!r}: {error}") from None
        if not isinstance(values, dict) or not all(isinstance(v, dict) for v in values.values()):
            raise ValueError(f"{str(path)!r} must map notebooks to {{parameter: value}}")
        stems = [p.stem for p in self.sources]
        for name in values:
            check_choice(name, stems, f"notebook in {path.name}")
        chosen = values.get(source.stem, {})
        return {"preset": preset, **chosen} if "preset" in read_parameters(source) else chosen

    def executed(self, preset: str, source: Path) -> Path:
        """Where the executed notebook of a preset is kept."""
        return self.root / "build" / "executed" / preset / f"{source.stem}.ipynb"

    def key(self, source: Path, parameters: dict[str, Any]) -> str:
        """The hash that an executed notebook is re-used by."""
        import torch

        given = (parameters, os.environ.get("LEMMSE_DATA"), torch.__version__)
        digest = hashlib.sha256(source.read_bytes() + json.dumps(given, sort_keys=True).encode())
        for folder in (Path(__file__).parent, self.root / "results", self.root / "benchmarks"):
            for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix in (".py", ".csv", ".json")):
                digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
        for value in parameters.values():
            for path in _files(value):  # the user's images
                digest.update(f"{path}\0{path.stat().st_size}\0{path.stat().st_mtime_ns}\0".encode())
        return digest.hexdigest()


def _files(value: Any) -> list[Path]:
    """The files that a parameter names, if it is a path."""
    if not isinstance(value, str) or not Path(value).is_absolute():
        return []
    path = Path(value)
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path] * path.is_file()


def execute(project: Project, source: Path, parameters: dict[str, Any], output: Path, *, progress: bool = True) -> bool:
    """Execute a notebook into `output`, unless it is there with the same key; returns whether it was re-used.

    Raises ValueError for parameters that the notebook does not take, and `NotebookFailed` if a cell raises; `output` is
    then what it was, and the partial notebook lies in build/failed/.
    """
    check_parameters(source, parameters)
    if output.suffix != ".ipynb" or output.resolve() == source.resolve():
        raise ValueError(f"the executed notebook must be another .ipynb file than its source, got {str(output)!r}")
    key = project.key(source, parameters)
    if executed_key(output) == key:
        return True
    writable_folder(output.parent, "folder of executed notebooks")
    started = time.monotonic()
    notebook = _run(project, source, parameters, progress)
    notebook.metadata.pop("papermill", None)  # paths and times, noise in a diff
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
    notebook.metadata["lemmse"] = {
        "key": key,
        "parameters": parameters,
        "seconds": round(time.monotonic() - started, 1),
    }
    _write(notebook, output)
    return False


def executed_key(path: Path) -> str | None:
    """The key of an executed notebook, None if there is none or it can't be read."""
    try:
        return json.loads(path.read_text())["metadata"]["lemmse"]["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _run(project: Project, source: Path, parameters: dict[str, Any], progress: bool) -> Any:
    """Execute by papermill in this interpreter's environment, in the folder of the notebooks."""
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from . import kernel

    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # the kernel of this environment, not another
    os.environ.pop("JUPYTER_PATH", None)
    os.environ[kernel.LOG] = str(project.root / "build" / "kernel.log")
    failed = project.root / "build" / "failed" / f"{source.stem}.ipynb"
    aside = project.root / "build" / "running" / f"{source.stem}.{os.getpid()}.ipynb"
    writable_folder(aside.parent, "folder of running notebooks")
    writable_folder(failed.parent, "folder of failed notebooks")
    _write(read_notebook(source), aside)
    try:
        papermill.execute_notebook(
            aside,
            aside,
            parameters=parameters,
            kernel_name="python3",
            cwd=project.root,
            config=_kernel_config(),
            progress_bar={"desc": source.stem} if progress else False,
            stderr_file=sys.stderr if progress else None,
        )
        notebook = nbformat.read(aside, as_version=4)
        aside.unlink()
        failed.unlink(missing_ok=True)
        return notebook
    except PapermillExecutionError as error:
        what = f"{_failed_cell(aside)} raised {error.ename}: {error.evalue}"
    except (DeadKernelError, RuntimeError) as error:
        what = f"the kernel died, often for lack of memory ({error}; its log is build/kernel.log)"
    finally:
        if aside.exists():
            os.replace(aside, failed)
    raise NotebookFailed(f"{source.stem}: {' '.join(what.split())} [the partial notebook is {failed}]")


def _failed_cell(path: Path) -> str:
    """Which code cell of the source raised, by its number and first line of code."""
    import nbformat

    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    cells = [c for c in cells if "injected-parameters" not in c.metadata.get("tags", [])]
    for number, cell in enumerate(cells, 1):
        if any(output.output_type == "error" for output in cell.outputs):
            code = [line for line in cell.source.splitlines() if line.strip() and not line.lstrip().startswith("#")]
            return f"code cell {number} ({code[0] if code else ''!r})"
    return "a cell"


def _kernel_config() -> Any:
    """Kernels over Unix sockets where there are any: TCP ports are raced for, and open to other users."""
    from traitlets.config import Config

    transport = {"KernelManager": {"transport": "ipc"}} if os.name == "posix" else {}
    return Config({"NotebookClient": {"kernel_manager_class": "lemmse.kernel.LoggedKernelManager"}, **transport})


def _write(notebook: Any, path: Path) -> None:
    import nbformat

    write_atomically(path, lambda temporary: nbformat.write(notebook, temporary))
