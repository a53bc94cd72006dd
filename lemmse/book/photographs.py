"""The list of the photographs that the book learns from, with their sources and licenses, as a page shows it."""

from __future__ import annotations

from lemmse.data.photographs import PHOTOGRAPHS

_SPLITS = {"train": "training", "test": "test"}


def photographs_table() -> str:
    """A Markdown table of `PHOTOGRAPHS`: what each shows, its use, and the source and license that its wheel states.

    Example:
        >>> photographs_table().splitlines()[2]  # doctest: +ELLIPSIS
        '| a woman in a space suit, indoors | training, color | scikit-image: NASA ...'
    """
    lines = ["| photograph | used for | source | license |", "|---|---|---|---|"]
    for entry in PHOTOGRAPHS:
        use = f"{_SPLITS[entry.split]}, {'color' if entry.color else 'gray'}"
        lines.append(f"| {entry.shows} | {use} | {entry.wheel}: {entry.source} | {entry.license} |")
    return "\n".join(lines) + "\n"
