"""The parameters cell of a notebook: names, types and defaults, and the check of given values against them.

The cell tagged `parameters` holds typed assignments of literals, one a line: `sigma: float = 0.1  # noise level`. A
float takes an int; nothing else is converted, because papermill would pass on a mistyped value without a word.
"""

from __future__ import annotations

import ast
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

        convert = {"str": str, "int": int, "float": float}.get(self.annotation, yaml.safe_load)
        try:
            return convert(text)
        except (ValueError, yaml.YAMLError):
            return text  # of the wrong type, as the check will say


def read_notebook(path: Path) -> Any:
    """The notebook node of a jupytext .py or an .ipynb. Raises ValueError if it can't be read."""
    import jupytext

    try:
        return jupytext.read(path)
    except Exception as error:  # jupytext raises what its formats raise
        raise ValueError(f"cannot read the notebook {str(path)!r}: {error}") from None


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


def check_parameters(path: Path, values: dict[str, Any]) -> None:
    """Raise ValueError if a value has a name that the notebook does not know, or another type."""
    check_values(path.name, read_parameters(path), values)


def check_values(notebook: str, known: dict[str, Parameter], values: dict[str, Any]) -> None:
    """`check_parameters` against parameters that were read before."""
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"{notebook} has no parameter {name!r}: it has {', '.join(known)}")
        if not known[name].accepts(value):
            numbers = "float" in known[name].annotation and "e" in str(value)
            hint = " (YAML reads 1e-3 as text: write 1.0e-3)" if numbers else ""
            raise ValueError(f"{notebook}: {name} must be {known[name].annotation}, got {value!r}{hint}")


def absolute_paths(values: dict[str, Any]) -> dict[str, Any]:
    """The values, paths that exist made absolute, for a kernel runs in another folder; data sets go before paths."""
    return {name: _absolute(value) for name, value in values.items()}


def _absolute(value: Any) -> Any:
    path = os.path.expanduser(value) if isinstance(value, str) else ""
    if not os.path.exists(path):  # Path.exists raises for a long text
        return value
    from lemmse.data.sets import DATASETS

    return value if value in DATASETS else str(Path(path).resolve())
