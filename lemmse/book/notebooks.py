"""From a notebook source to an executed notebook: presets, keys, papermill, and what to keep when a cell fails.

A notebook is executed again only if its key changes: a hash of its source, its parameters, the code of the library that
it reaches, its data, and the committed results if it reads them. An executed notebook is complete or absent: it is
written aside and renamed.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lemmse.book.dependencies import Library
from lemmse.book.order import in_reading_order
from lemmse.book.parameters import PRESETS, check_parameters, code_of, read_notebook, read_parameters
from lemmse.checks import check_choice
from lemmse.files import writable_folder, write_atomically

LIBRARY = Path(__file__).parents[1]  # the code of the package
EXECUTED_FORMAT = 1  # raise it when executed notebooks hold something else for the same code
WEIGHTS = "LEMMSE_WEIGHTS"  # as in lemmse.networks.weights, which is not imported here: it imports torch
STARTS = 3  # kernels race for sockets when several start at once
_RECORD = """
from IPython.display import display
from lemmse.bench.machine import used
display({"application/json": used()}, raw=True)
"""


class NotebookFailed(Exception):
    """A cell raised: the message names notebook, cell and error, and where the partial notebook is."""

    def __init__(self, notebook: str, reason: str, partial: Path) -> None:
        super().__init__(f"{notebook}: {reason} [the partial notebook is {partial}]")
        self.reason, self.partial = reason, partial


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
        raise ValueError(
            f"{str(start)!r} is in no checkout of lemmse, which this command needs: git clone "
            "https://github.com/lemmse/lemmse, and run it there"
        )

    @property
    def sources(self) -> list[Path]:
        """The notebook sources, in reading order: that of the book's table of contents."""
        return in_reading_order(list((self.root / "notebooks").glob("[0-9]*.py")), self.root / "book" / "_toc.yml")

    def source(self, name: str) -> Path:
        """A notebook by path, by stem, or by the two digits that its stem begins with.

        Raises:
            ValueError: if there is none or several; the known ones are listed.
        """
        if name.endswith((".py", ".ipynb")) and Path(name).is_file():
            return Path(name).resolve()
        matching = [p for p in self.sources if name in (p.stem, p.stem.split("_")[0])]
        if len(matching) != 1:
            known = ", ".join(p.stem for p in self.sources)
            raise ValueError(
                f"{'ambiguous' if matching else 'unknown'} notebook {name!r}: choose one of {known}, or a path"
            )
        return matching[0]

    def preset(self, preset: str, source: Path) -> dict[str, Any]:
        """The parameters of a notebook at a preset, the preset's own name among them if the notebook asks for it."""
        import yaml

        check_choice(preset, PRESETS, "preset")
        path = self.root / "notebooks" / "presets" / f"{preset}.yaml"
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
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
        return self.keys(source, [parameters])[0]

    def keys(self, source: Path, points: list[dict[str, Any]]) -> list[str]:
        """`key` at several parameters, the code read once."""
        common = self._digest_of_code(source)
        common.update(repr((EXECUTED_FORMAT, _data_version(), version("torch"))).encode())
        stamps = functools.cache(_stamps)
        keys = []
        for parameters in points:
            digest = common.copy()
            digest.update(json.dumps(parameters, sort_keys=True).encode())
            for value in filter(_is_path, parameters.values()):
                digest.update(stamps(value))  # the user's images
            keys.append(digest.hexdigest())
        return keys

    def _digest_of_code(self, source: Path) -> Any:
        """A hash object that has seen the notebook, those that it sweeps over, and all that they run and read."""
        library, digest = _library(LIBRARY, _stamps(str(LIBRARY))), hashlib.sha256()
        waiting, seen = [source], set()
        while waiting:
            path = waiting.pop()
            seen.add(path)
            try:
                reached = library.reached_by(code_of(path))
            except SyntaxError:  # it will fail when it runs; until then, anything may matter
                reached = library.everything()
            digest.update(path.read_bytes() + library.digest(reached))
            if reached.uses("book.results"):
                _add_files(digest, self.root / "results", ".csv", ".json")
            if reached.uses("networks.weights"):
                _add_files(digest, self.root / "results" / "weights", ".safetensors")
                digest.update(os.environ.get(WEIGHTS, "").encode())
            if reached.uses("sweep"):
                waiting += [other for other in self._named_notebooks(reached.strings) if other not in seen]
        return digest

    def _named_notebooks(self, strings: set[str]) -> list[Path]:
        """The notebooks that some code names; all of them if it names none, for it may sweep over any."""
        notebooks = sorted((self.root / "notebooks").rglob("*.py"))
        return [path for path in notebooks if {path.stem, path.name} & strings] or notebooks

    def read_from(self, points: list[dict[str, Any]]) -> set[Path]:
        """The folders whose files the keys of these parameters depend on."""
        given = {value for parameters in points for value in parameters.values() if _is_path(value)}
        data = os.environ.get("LEMMSE_DATA")
        ours = {self.root / name for name in ("results", "notebooks")} | {LIBRARY}
        return ours | {Path(value) for value in given} | ({Path(data)} if data else set())


@functools.lru_cache(maxsize=1)
def _library(folder: Path, stamps: bytes) -> Library:
    """The library as it is now: read again when the stamps of its files change."""
    return Library(folder)


def library_digest() -> str:
    """The hash of the code of the library."""
    digest = hashlib.sha256()
    _add_files(digest, LIBRARY, ".py")
    return digest.hexdigest()


def _data_version() -> list[str]:
    """What the named data sets are: wheels, and files under `LEMMSE_DATA` with size and time; downloads are checksummed
    by the library."""
    wheels = [f"{name} {version(name)}" for name in ("scikit-image", "scikit-learn", "pillow")]
    root = os.environ.get("LEMMSE_DATA")
    files = [(path, path.stat()) for path in sorted(Path(root).glob("*/*"))] if root else []
    return wheels + [f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in files]


def _add_files(digest: Any, folder: Path, *suffixes: str) -> None:
    """Hash the files of a folder that have one of the suffixes, with their names."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix in suffixes):
        digest.update(os.fsencode(path.relative_to(folder)) + b"\0" + path.read_bytes())


def _is_path(value: Any) -> bool:
    """Whether a parameter names a file or a folder; relative ones are made absolute before."""
    return isinstance(value, str) and os.path.isabs(value) and os.path.exists(value)  # Path.exists may raise


def _stamps(path: str) -> bytes:
    """Name, size and time of a file, or of all files in a folder."""
    files = sorted(p for p in (Path(path), *Path(path).rglob("*")) if p.is_file())
    return b"".join(os.fsencode(p) + f"\0{p.stat().st_size}\0{p.stat().st_mtime_ns}\0".encode() for p in files)


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
    write_notebook(run_notebook(source, parameters, key, project.root / "build", project.root, progress), output)
    return False


def executed_key(path: Path) -> str | None:
    """The key of an executed notebook, None if there is none or it can't be read."""
    try:
        return read_record(path)["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_record(path: Path) -> dict[str, Any]:
    """What an executed notebook says of its run: key, parameters, seconds, device."""
    return json.loads(path.read_text(encoding="utf-8"))["metadata"]["lemmse"]


def run_notebook(
    source: Path, parameters: dict[str, Any], key: str, build: Path, cwd: Path, progress: bool = False
) -> Any:
    """The notebook, executed by papermill in this interpreter's environment and the folder `cwd`.

    build: holds what is temporary (running/), the partial notebook of a failure (failed/), and kernel.log. How it went
    is in metadata.lemmse. A kernel that does not start is started again. Raises `NotebookFailed`.
    """
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from lemmse.book import kernel

    log = build / "kernel.log"
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # the kernel of this environment, not another
    os.environ.pop("JUPYTER_PATH", None)
    os.environ[kernel.LOG] = str(log)
    failed = build / "failed" / f"{source.stem}.ipynb"
    aside = build / "running" / f"{source.stem}.{os.getpid()}.ipynb"
    writable_folder(aside.parent, "folder of running notebooks")
    writable_folder(failed.parent, "folder of failed notebooks")
    notebook = read_notebook(source)
    notebook.cells.append(nbformat.v4.new_code_cell(_RECORD, id="record-of-the-run"))
    started = time.monotonic()
    try:
        for start in range(1, STARTS + 1):
            write_notebook(notebook, aside)
            try:
                papermill.execute_notebook(
                    aside,
                    aside,
                    parameters=parameters,
                    kernel_name="python3",
                    cwd=cwd,
                    config=_kernel_config(),
                    progress_bar={"desc": source.stem} if progress else False,
                    stderr_file=sys.stderr if progress else None,
                )
            except DeadKernelError:
                raise
            except RuntimeError:  # what jupyter_client raises if no kernel answers
                if start == STARTS or _last_started(aside):
                    raise
            else:
                break
        notebook = nbformat.read(aside, as_version=4)
        aside.unlink()
        failed.unlink(missing_ok=True)
    except PapermillExecutionError as error:
        what = f"{_where_it_raised(aside)} raised {error.ename}: {error.evalue}"
    except (DeadKernelError, RuntimeError) as error:
        name = log.relative_to(cwd) if log.is_relative_to(cwd) else log.name
        where = _last_started(aside) or "the start"
        what = f"the kernel died in {where}, often for lack of memory ({error}; its log is {name})"
    else:
        (record,) = (output.data["application/json"] for output in notebook.cells.pop().outputs if "data" in output)
        notebook.metadata.pop("papermill", None)  # paths and times, noise in a diff
        for cell in notebook.cells:
            cell.metadata.pop("papermill", None)
        seconds = round(time.monotonic() - started, 2)
        notebook.metadata["lemmse"] = {"key": key, "parameters": parameters, "seconds": seconds, **record}
        return notebook
    finally:
        if aside.exists():
            os.replace(aside, failed)
    raise NotebookFailed(source.stem, " ".join(what.split()), failed)


def _last_started(path: Path) -> str:
    """The code cell of the source that was started last, by its number and first line of code; "" if none was."""
    number, cell = _last_cell(path)
    if cell is None:
        return ""
    code = [x for x in cell.source.splitlines() if x.strip() and not x.lstrip().startswith("#")]
    return f"code cell {number} ({code[0] if code else ''!r})"


def _where_it_raised(path: Path) -> str:
    """The statement that raised, with its cell and line."""
    number, cell = _last_cell(path)
    traceback = "\n".join(line for output in cell.outputs for line in output.get("traceback", []))
    place = re.search(r"In\s?\[\d+\], line (\d+)", re.sub(r"\x1b\[[\d;]*m", "", traceback))
    if place is None:
        return _last_started(path)
    line = int(place[1])
    return f"code cell {number}, line {line} ({_statement_at(cell.source, line)!r})"


def _statement_at(source: str, line: int) -> str:
    """The innermost statement on a line, without its own body, on one line of at most 100 characters."""
    lines = source.splitlines()
    try:
        statements = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)]
    except SyntaxError:
        statements = []
    around = [node for node in statements if node.lineno <= line <= (node.end_lineno or node.lineno)]
    first, last = line, line
    if around:
        innermost = max(around, key=lambda node: node.lineno)
        body = getattr(innermost, "body", None)
        first, last = innermost.lineno, body[0].lineno - 1 if body else innermost.end_lineno or line
    text = " ".join(" ".join(lines[first - 1 : max(first, last)]).split())
    return text if len(text) <= 100 else text[:97] + "..."


def _last_cell(path: Path) -> tuple[int, Any]:
    """The number and the node of the code cell of the source that was started last; (0, None) if none was."""
    import nbformat

    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    cells = [c for c in cells if "injected-parameters" not in c.metadata.get("tags", [])]
    started = [i for i, cell in enumerate(cells) if cell.metadata.get("papermill", {}).get("start_time")]
    return (started[-1] + 1, cells[started[-1]]) if started else (0, None)


def _kernel_config() -> Any:
    """Kernels over Unix sockets where there are any: TCP ports are raced for, and open to other users."""
    from traitlets.config import Config

    short = len(tempfile.gettempdir()) < 85  # the path of a socket has some hundred characters at most
    transport = {"KernelManager": {"transport": "ipc"}} if os.name == "posix" and short else {}
    return Config({"NotebookClient": {"kernel_manager_class": "lemmse.book.kernel.LoggedKernelManager"}, **transport})


def write_notebook(notebook: Any, path: Path) -> None:
    """Write a notebook in one step."""
    import nbformat

    write_atomically(path, lambda temporary: nbformat.write(notebook, temporary))
