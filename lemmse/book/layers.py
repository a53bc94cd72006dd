"""The picture of the layers of the library, drawn from the contract that the lint of imports checks.

`python -m lemmse.book.layers` writes it to book/images/layers.svg; a test tells when it must be written again.
"""

from __future__ import annotations

import tomllib
from html import escape
from pathlib import Path

from lemmse.book.notebooks import Project
from lemmse.files import write_atomically

WHAT = {
    "cli": "the command line",
    "sweep": "a chapter at a grid of parameters",
    "book": "from a notebook to a page",
    "bench": "speed and memory of the engines",
    "report": "answers for one network, one picture",
    "figures": "one visual language",
    "analysis": "networks, formulas and controls compared",
    "networks": "architectures, training, weights",
    "estimators": "LE-MMSE, E-MMSE, MMSE, affine",
    "engines": "from distances to softmax sums",
    "physics": "operators",
    "data": "images",
    "patches": "windows of P x P pixels",
    "files": "the cache, atomic writing",
    "checks": "of what a user gives",
}
_WIDTH, _ROW, _GAP, _MARGIN = 460, 36, 8, 12
_FONT = "font-family='system-ui, sans-serif' font-size='14'"


def layers(root: Path) -> list[list[str]]:
    """The layers from top to bottom, each a list of packages that know nothing of one another.

    Args:
        root: The folder that holds pyproject.toml.
    """
    contracts = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (contract,) = (c for c in contracts["contracts"] if c["type"] == "layers")
    return [layer.split(" | ") for layer in contract["layers"]]


def draw(rows: list[list[str]]) -> str:
    """The picture as SVG: a box for each package, layers below each other, on a white ground that suits dark pages too.

    Args:
        rows: What `layers` returns.
    """
    height = 2 * _MARGIN + len(rows) * (_ROW + _GAP) - _GAP
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {height}' role='img'>",
        "<title>The layers of the library: every package imports only from those below it.</title>",
        f"<rect width='{_WIDTH}' height='{height}' rx='8' fill='#ffffff'/>",
    ]
    for index, row in enumerate(rows):
        top = _MARGIN + index * (_ROW + _GAP)
        width = (_WIDTH - 2 * _MARGIN - _GAP * (len(row) - 1)) / len(row)
        for place, name in enumerate(row):
            left = _MARGIN + place * (width + _GAP)
            parts += _box(name, left, top, width)
    return "\n".join([*parts, "</svg>", ""])


def _box(name: str, left: float, top: float, width: float) -> list[str]:
    """A box with the name of a package in bold and what it holds."""
    y = top + _ROW / 2 + 5
    return [
        f"<rect x='{left:g}' y='{top:g}' width='{width:g}' height='{_ROW}' rx='6' fill='#eaf3f9' stroke='#0072b2'/>",
        f"<text x='{left + 12:g}' y='{y:g}' {_FONT} font-weight='bold' fill='#111111'>{escape(name)}</text>",
        f"<text x='{left + 108:g}' y='{y:g}' {_FONT} fill='#111111'>{escape(WHAT[name])}</text>",
    ]


if __name__ == "__main__":
    project = Project.find()
    picture = draw(layers(project.root))
    write_atomically(
        project.root / "book" / "images" / "layers.svg", lambda to: to.write_text(picture, encoding="utf-8")
    )
