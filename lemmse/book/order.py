"""The order of the chapters: that of the book's table of contents, whatever number a file name begins with."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def in_reading_order(sources: list[Path], toc: Path) -> list[Path]:
    """The notebook sources in the order of the table of contents; those that it does not list come last, by name.

    Args:
        sources: Notebook sources, `notebooks/NAME.py`; the table of contents lists them as `notebooks/NAME`.
        toc: The file `_toc.yml` of the book. Without it, the order is that of the names.

    Raises:
        ValueError: If the table of contents cannot be read.
    """
    listed = listed_files(toc)
    place = {file: index for index, file in enumerate(listed)}
    return sorted(sources, key=lambda source: (place.get(f"notebooks/{source.stem}", len(listed)), source.name))


def listed_files(toc: Path) -> list[str]:
    """Every page that a table of contents lists, in reading order, as it is written there: no suffix.

    Raises:
        ValueError: If the table of contents cannot be read.
    """
    import yaml

    if not toc.exists():
        return []
    try:
        return _files(yaml.safe_load(toc.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"cannot read the table of contents {str(toc)!r}: {error}") from None


def _files(node: Any) -> list[str]:
    """The values of all keys `file` in a tree of mappings and lists, in the order of the tree."""
    if isinstance(node, list):
        return [file for item in node for file in _files(item)]
    if isinstance(node, dict):
        own = [node["file"]] if isinstance(node.get("file"), str) else []
        return own + [file for value in node.values() for file in _files(value)]
    return []
