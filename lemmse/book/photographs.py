"""The list of the photographs that the book learns from, with their sources and licenses, as a page shows it."""

from __future__ import annotations

from lemmse.data.photographs import PHOTOGRAPHS

_SPLITS = {"train": "training", "test": "test"}


def photographs_list() -> str:
    """`PHOTOGRAPHS` as a Markdown list: what each shows, its use, and the source and license that its wheel states.

    Example:
        >>> photographs_list().splitlines()[0][:61]
        '- **a woman in a space suit, indoors** (training, color). Sou'
    """
    lines = []
    for entry in PHOTOGRAPHS:
        use = f"{_SPLITS[entry.split]}, {'color' if entry.color else 'gray'}"
        origin = f"Source: {entry.wheel}, {entry.source}. License: {entry.license}."
        lines.append(f"- **{entry.shows}** ({use}). {origin}")
    return "\n".join(lines) + "\n"
