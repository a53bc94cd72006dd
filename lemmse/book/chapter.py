"""What every chapter of the book does: keep figures and numbers for its text, and judge its claim at the end."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from lemmse.book.parameters import PRESETS
from lemmse.checks import check_choice


def keep(**values: Any) -> None:
    """Glue each value under its name, for `{glue:text}` and `{glue:figure}` in the text; nothing is displayed."""
    from myst_nb import glue

    for name, value in values.items():
        glue(name, value.item() if isinstance(value, (np.generic, Tensor)) else value, display=False)


def judge(held: dict[str, bool], preset: str, *, strict: bool = True) -> None:
    """Print which parts of a claim hold; raises AssertionError that names those that do not, unless `strict` is False.

    At the preset "smoke" nothing is judged: its images, networks and sets are too small to show anything.
    """
    if check_choice(preset, PRESETS, "preset") == "smoke":
        print("smoke: what is exact holds; the claim itself is not tested at this size")
        return
    for what, holds in held.items():
        print(f"{'holds' if holds else 'FAILS'}: {what}")
    failed = [what for what, holds in held.items() if not holds]
    if failed and strict:
        raise AssertionError("the claim fails: " + "; ".join(failed))
