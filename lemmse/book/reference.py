"""The Sphinx extension of the API reference: pages list the modules of a package, docstrings are translated.

In a page, the line `<!-- modules of lemmse.data -->` stands for a section for each public module of that package: a new
module is in the reference without an edit.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lemmse.book.docstrings import to_restructured_text

PACKAGE = Path(__file__).parents[1]
COMPILED = {"lemmse.engines.cpu", "lemmse.engines.cuda"}  # they have the functions of the plain engines
_LISTING = re.compile(r"^<!-- modules of (\S+) -->$", re.MULTILINE)


def setup(app: Any) -> dict[str, bool]:
    """Let Sphinx expand the pages as it reads them, and translate docstrings before napoleon reads their sections."""
    app.connect("source-read", _expand)
    app.connect("autodoc-process-docstring", _translate, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def modules_of(package: str) -> list[str]:
    """The public modules of a package and of the packages in it, or the one module of that name.

    Args:
        package: A dotted name, `lemmse.data`.

    Raises:
        ValueError: If there is no such package or module.

    Example:
        >>> modules_of("lemmse.engines.plain")[:2]
        ['lemmse.engines.plain.box', 'lemmse.engines.plain.correlation']
    """
    folder = PACKAGE.parent.joinpath(*package.split("."))
    if folder.with_suffix(".py").is_file():
        return [package]
    files = sorted(folder.rglob("*.py"))
    if not files:
        raise ValueError(f"{package!r} is no package or module of lemmse")
    names = [".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in files]
    return [n for n in names if not n.rsplit(".", 1)[1].startswith("_") and n.rsplit(".", 1)[0] not in COMPILED]


def expanded(page: str) -> str:
    """A page with a section for each module where it lists a package.

    Args:
        page: The page in Markdown.
    """
    return _LISTING.sub(lambda listing: "\n".join(_section(module) for module in modules_of(listing[1])), page)


def _section(module: str) -> str:
    return f"## `{module}`\n\n```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n   :show-inheritance:\n```\n"


def _expand(app: Any, docname: str, source: list[str]) -> None:
    source[0] = expanded(source[0])


def _translate(app: Any, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    lines[:] = to_restructured_text(lines)
