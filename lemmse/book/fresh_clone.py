"""A Sphinx extension: a book without its chapters is an error that says which command makes them.

Jupyter Book by itself renders what it finds, and succeeds without a single chapter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def setup(app: Any) -> dict[str, bool]:
    """What Sphinx calls."""
    app.connect("config-inited", _check_chapters)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _check_chapters(app: Any, config: Any) -> None:
    """Raise an error of Sphinx if a chapter of the table of contents was not executed yet."""
    from sphinx.errors import ConfigError

    source = Path(app.srcdir)
    missing = [
        name for name in _files(source / "_toc.yml") if name.startswith("notebooks/") and not _exists(source, name)
    ]
    if missing:
        raise ConfigError(
            f"{len(missing)} chapters have not been executed, {missing[0]} first: run `make book` or `lemmse book`, "
            "which executes the chapters and builds the book"
        )


def _files(toc: Path) -> list[str]:
    """The files that a table of contents names."""
    waiting, files = [yaml.safe_load(toc.read_text(encoding="utf-8"))], []
    while waiting:
        entry = waiting.pop(0)
        if isinstance(entry, dict):
            files += [entry["file"]] if "file" in entry else []
            waiting += entry.values()
        elif isinstance(entry, list):
            waiting += entry
    return files


def _exists(source: Path, name: str) -> bool:
    return any((source / f"{name}{suffix}").exists() for suffix in ("", ".ipynb", ".md"))
