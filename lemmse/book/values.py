"""What a notebook glued, as plain values, and what of it is none.

`myst_nb.glue` keeps what IPython displays: for a number or a text, its repr. Values that are numbers, texts or booleans
come back as such, those of numpy and torch too, which `lemmse.book.scalars` lets a kernel write in full; decimals and
fractions come back as the nearest float. Figures, tables and collections are no values.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

_WRAPPED = re.compile(r"(?:np\.\w+|tensor|array)\((.*?)(?:, (?:dtype|device|requires_grad|grad_fn)=.*)?\)", re.DOTALL)
_FRACTION = re.compile(r"Fraction\((-?\d+), (\d+)\)")
_DECIMAL = re.compile(r"Decimal\('([^']*)'\)")
_NAMES = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "np.True_": True, "np.False_": False}


def glued_values(notebook: Any) -> dict[str, Any]:
    """The glued values of an executed notebook, by name, in the order of the notebook."""
    values = ((name, _parsed(text)) for name, text in _glued_texts(notebook))
    return {name: value for name, value in values if value is not None}


def left_out(notebook: Any) -> list[str]:
    """The names of what a notebook glued as text that is neither number, text nor boolean: a list, an array, None."""
    return list(dict.fromkeys(name for name, text in _glued_texts(notebook) if _parsed(text) is None))


def _glued_texts(notebook: Any) -> Iterator[tuple[str, str]]:
    """Name and text of what was glued and shows as text alone, as figures and tables do not."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            about = output.get("metadata", {}).get("scrapbook", {})
            prefix = about.get("mime_prefix", "")
            data = output.get("data", {})
            if "name" in about and set(data) == {prefix + "text/plain"}:
                yield about["name"], data[prefix + "text/plain"]


def _parsed(text: str) -> Any:
    """The number, text or boolean that a repr stands for, None if it is none."""
    if text in _NAMES:
        return _NAMES[text]
    fraction, decimal = _FRACTION.fullmatch(text), _DECIMAL.fullmatch(text)
    if fraction:
        return float(Fraction(int(fraction[1]), int(fraction[2])))
    if decimal:
        return float(decimal[1])
    wrapped = _WRAPPED.fullmatch(text)
    inner = wrapped[1] if wrapped else text
    if inner in _NAMES:
        return _NAMES[inner]
    try:
        value = ast.literal_eval(inner)
    except (ValueError, SyntaxError):
        return None
    return value if isinstance(value, (bool, int, float, str)) else None
