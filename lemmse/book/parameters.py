"""The parameters cell of a notebook: names, types and defaults, and the check of given values against them.

The cell tagged `parameters` holds typed assignments of literals, one a line: `sigma: float = 0.1  # noise level`. A
float takes an int; nothing else is converted, because papermill would pass on a mistyped value without a word.
"""

from __future__ import annotations

import ast
import functools
import logging
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
_SURROGATES = re.compile("[\ud800-\udfff]")
PRESETS = ("smoke", "quick", "paper")
SCALARS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (float, int), "str": (str,), "bool": (bool,)}


@dataclass(frozen=True)
class Parameter:
    """A line of the parameters cell: its annotation ("int", "list[float]", ...) and its default."""

    annotation: str
    default: Any

    def accepts(self, value: Any) -> bool:
        """Whether a value is of this type."""
        if self.annotation.startswith("list["):
            item = Parameter(self.annotation[5:-1], None)
            return isinstance(value, list) and bool(value) and all(item.accepts(v) for v in value)
        allowed = SCALARS[self.annotation]
        try:
            finite = not isinstance(value, (int, float)) or math.isfinite(value)
        except OverflowError:  # an integer beyond all floats
            finite = False
        return finite and isinstance(value, allowed) and (bool in allowed or not isinstance(value, bool))

    def parse(self, text: str) -> Any:
        """The value that a text on the command line stands for: text as it is, numbers as Python, the rest as YAML."""
        import yaml

        from lemmse.book.plain_yaml import load_yaml

        convert = {"str": str, "int": int, "float": float}.get(self.annotation, load_yaml)
        try:
            return convert(text)
        except (ValueError, yaml.YAMLError):
            return text  # of the wrong type, as the check will say


def read_notebook(path: Path) -> Any:
    """The notebook in a percent script (.py) or an .ipynb, in the current format and for the kernel "python3".

    Raises:
        ValueError: if it can't be read, or is no notebook.
    """
    import jupytext
    import nbformat

    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".ipynb":
            notebook = nbformat.reads(text, as_version=4)
            notebook = nbformat.v4.upgrade(notebook, 4, notebook.nbformat_minor)
        else:
            notebook = jupytext.reads(text, fmt="py")
            notebook.nbformat_minor = 5
    except Exception as error:  # jupytext and nbformat raise errors of many types
        raise ValueError(f"cannot read the notebook {str(path)!r}: {_one_line(error)}") from None
    for number, cell in enumerate(notebook.cells):
        cell.setdefault("id", f"lemmse-{number}")
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return notebook


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def code_of(path: Path) -> str:
    """The code of a notebook as one program, without the lines that only IPython understands."""
    cells = [cell.source for cell in read_notebook(path).cells if cell.cell_type == "code"]
    lines = "\n".join(cells).splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))


def read_parameters(path: Path) -> dict[str, Parameter]:
    """The parameters of a notebook. Raises ValueError if the cell is missing or a line is no typed literal."""
    cells = [c for c in read_notebook(path).cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ValueError(f"{path.name} has {len(cells)} cells tagged 'parameters', it must have one")
    try:
        lines = ast.parse(cells[0].source).body
    except SyntaxError as error:
        raise ValueError(f"{path.name}: the parameters cell is no Python, line {error.lineno}: {error.msg}") from None
    found = {}
    for node in lines:
        try:
            annotation = ast.unparse(node.annotation)
            parameter = Parameter(annotation, ast.literal_eval(node.value))
            typed = parameter.accepts(parameter.default)
        except (AttributeError, ValueError, KeyError):
            typed = False
        if not typed:
            raise ValueError(f"{path.name}: parameters must read 'name: type = literal', got {ast.unparse(node)!r}")
        found[node.target.id] = parameter
    return found


def _short(value: Any) -> str:
    """The repr of a value, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."


def check_parameters(path: Path, values: dict[str, Any]) -> None:
    """Raise ValueError if a value has a name that the notebook does not know, or another type."""
    check_values(path.name, read_parameters(path), values)


def check_values(notebook: str, known: dict[str, Parameter], values: dict[str, Any]) -> None:
    """`check_parameters` against parameters that were read before."""
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"{notebook} has no parameter {name!r}: it has {', '.join(known)}")
        if not _is_text_that_files_can_hold(value):
            raise ValueError(
                f"{notebook}: {name} must be UTF-8 text, got {ascii(value)[:200]}: rename the file or folder"
            )
        if not known[name].accepts(value):
            numbers = "float" in known[name].annotation and "e" in str(value)
            hint = " (YAML reads 1e-3 as text: write 1.0e-3)" if numbers else ""
            raise ValueError(f"{notebook}: {name} must be {known[name].annotation}, got {_short(value)}{hint}")


def _is_text_that_files_can_hold(value: Any) -> bool:
    """False for a text with bytes that are no UTF-8, as a file name may have: no notebook could hold it."""
    texts = value if isinstance(value, list) else [value]
    return not any(isinstance(text, str) and _SURROGATES.search(text) for text in texts)


def absolute_paths(values: dict[str, Any]) -> dict[str, Any]:
    """The values, paths that exist made absolute, because a kernel runs in another folder.

    A text counts as a path if it is the value of `data` or is written as one, with a separator or a `~`. The name of a
    data set goes before a folder of that name, which `./name` stands for.
    """
    return {name: _absolute(name, value) for name, value in values.items()}


def _absolute(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    path = os.path.expanduser(value)
    written_as_path = path != value or any(separator in value for separator in (os.sep, os.altsep) if separator)
    if not (written_as_path or name == "data") or not os.path.exists(path):  # Path.exists raises for a long text
        return value
    from lemmse.data.sets import DATASETS

    if value in DATASETS:
        _say_that_the_set_is_meant(value)
        return value
    return str(Path(path).resolve())


@functools.cache
def _say_that_the_set_is_meant(name: str) -> None:
    """Say, once for each name, that a data set goes before a folder."""
    log.warning("data %r is the data set of that name: write './%s' for the folder", name, name)
