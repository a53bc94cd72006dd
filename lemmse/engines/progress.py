"""A bar with the time that is left, for a pass over the training images that takes longer than some seconds.

It shows on a terminal, after `DELAY` seconds, and leaves nothing behind. `progress_bars` turns it off and on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

DELAY = 3.0  # seconds before a bar appears
_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {elapsed} passed, {remaining} to go"


class _Switch:
    """Whether bars are shown: None where the output is a terminal."""

    shown: bool | None = None


@dataclass
class _Pass:
    """The bar of a pass, and how many images of the block that is worked on are counted already."""

    bar: Any
    images: int = 0
    counted: float = 0.0

    def count(self, images: float) -> None:
        """So many more images of this block are done."""
        more = min(images, self.images - self.counted)
        self.counted += more
        self.bar.update(more)


_running: ContextVar[_Pass | None] = ContextVar("running", default=None)


def progress_bars(shown: bool | None) -> None:
    """Say whether passes of estimators that take longer than some seconds show a bar with the time that is left.

    The setting holds for the whole process.

    Args:
        shown: True or False; None, the default of the library, shows bars on a terminal and nowhere else.

    Raises:
        ValueError: for anything else.

    Example:
        >>> import lemmse
        >>> lemmse.progress_bars(False)  # for scripts
        >>> lemmse.progress_bars(None)
    """
    if shown is not None and not isinstance(shown, bool):
        raise ValueError(f"progress_bars takes True, False or None, got {type(shown).__name__}")
    _Switch.shown = shown


@contextmanager
def passes(total: int | None) -> Iterator[None]:
    """A bar for work on `total` images in all, None where their number is not known."""
    wanted = sys.stderr.isatty() if _Switch.shown is None else _Switch.shown
    if not wanted or total is None or _running.get() is not None:
        yield
        return
    from tqdm import tqdm

    with tqdm(total=total, desc="patches", delay=DELAY, leave=False, bar_format=_FORMAT, smoothing=0.1) as bar:
        token = _running.set(_Pass(bar))
        try:
            yield
        finally:
            _running.reset(token)


@contextmanager
def block(images: int) -> Iterator[None]:
    """The part of a pass that works on a block of so many images; when it ends, all of them are counted."""
    running = _running.get()
    if running is None:
        yield
        return
    running.images, running.counted = images, 0.0
    yield
    running.count(images)


def advance(share: float) -> None:
    """An engine says that one more share of its block, in (0, 1], is done."""
    running = _running.get()
    if running is not None:
        running.count(share * running.images)
