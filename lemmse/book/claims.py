"""Whom a claim binds, and what became of it.

The claim at the end of a chapter is made for the sizes of the presets: there a claim that fails is an error. As soon as
a parameter is changed, the claim says what the change did, so it is reported and the run is kept.
"""

from __future__ import annotations

import textwrap
from typing import Any

from lemmse.book.parameters import Parameter

STRICT = "strict"  # the parameter of a chapter that says whether a claim that fails is an error
_FAILS = "FAILS: "  # how the chapter's line begins


def bind_claim(
    given: dict[str, Any], preset: dict[str, Any], known: dict[str, Parameter], *, strict: bool = False
) -> dict[str, Any]:
    """The parameters of a run: the given ones over those of the preset, and `strict` as it follows from them.

    Args:
        given: what the user sets.
        preset: what the preset sets.
        known: the parameters of the notebook.
        strict: whether a claim that fails is an error although parameters differ from the preset.

    Returns:
        The parameters; `strict` is set if the notebook has it, the user does not set it, and a value differs from that
        of the preset.
    """
    values = preset | given
    if STRICT not in known or STRICT in given:
        return values
    at_preset = {name: parameter.default for name, parameter in known.items()} | preset
    changed = any(value != at_preset.get(name) for name, value in given.items())
    return values | {STRICT: strict} if changed else values


def failed_claims(notebook: Any) -> list[str]:
    """The statements of the claim that an executed notebook printed as failed."""
    statements = []
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            if output.get("name") == "stdout":
                statements += _failed_in("".join(output["text"]))
    return statements


def _failed_in(text: str) -> list[str]:
    """The statements after `FAILS: `, each with the indented lines that continue it."""
    statements: list[str] = []
    inside = False
    for line in text.splitlines():
        if line.startswith(_FAILS):
            statements.append(line.removeprefix(_FAILS))
            inside = True
        elif inside and line.startswith(" " * len(_FAILS)):
            statements[-1] += f" {line.strip()}"
        else:
            inside = False
    return statements


def report(statements: list[str]) -> str:
    """One line that names the statements that failed."""
    return "the claim fails for these parameters: " + textwrap.shorten("; ".join(statements), 400, placeholder=" ...")
