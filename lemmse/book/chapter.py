"""What the cells of a chapter call: they show a figure, a table or the answer, record values, and check the claim.

A chapter is a notebook first. In JupyterLab, in VS Code, on Binder and in a downloaded file, everything stands
below the cell that makes it: `show_figure` displays the picture and then its caption, `show_table` the caption and
then the table. Each of these outputs carries in its metadata (under the key `lemmse`) what the book needs in order
to number it, to caption it and to refer to it; `lemmse.book.pages` reads that and nothing else.

How a chapter is laid out:

1. Title and **Question**, in one Markdown cell.
2. A Markdown cell tagged `answer`. It tells the reader of the notebook that the answer stands at the end, because
   its numbers come from the run. The book replaces this cell by what `show_answer` displays, so that a reader of
   the book meets the answer under the question.
3. **The formula**, then the cell of parameters (tags `parameters` and `hide-input`), then the code that a reader
   came for, without tags: one idea in a cell.
4. Evidence: cells that draw are tagged `hide-input`, which folds their code in the book. A sentence with numbers of
   the run is what a cell displays, `Markdown(f"...")`; the tag `remove-input` and `jupyter={"source_hidden": true}`
   leave only the sentence, in the book and in JupyterLab.
5. The section "The answer, and what would prove it wrong": what would contradict the answer, in prose; the cell
   that calls `show_answer`; the cell that checks the identities and calls `check_claim`, tagged `hide-input`; the
   cell that calls `record`, tagged `remove-cell`.
6. **Try it**: parameters that are worth changing.

Prose refers to a figure or a table by a link such as `[the figure](#fig-patchwork)`, and to another page by a link
to its file, `[the theory](../theory.md)` or `[chapter](01_theory_predicts_network.ipynb)`. Both also read well
outside the book; a role such as `{doc}` or `{eq}` does not.
"""

from __future__ import annotations

import base64
import io
import re
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from lemmse.book.parameters import PRESETS
from lemmse.checks import check_choice

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from lemmse.figures.charts import Chart

COLUMNS = 76  # of printed text and of visible code, so that no line is cut in the book


def show_figure(figure: Figure, name: str, caption: str, alt: str, chart: Chart | None = None) -> None:
    """Display a figure as vectors and as pixels, and its caption below it.

    Args:
        figure: a matplotlib figure.
        name: what links refer to, unique in the book; it starts with "fig-".
        caption: Markdown, may hold numbers of the run.
        alt: what the picture shows, for those who cannot see it, one sentence without Markdown.
        chart: the interactive form of the figure, of `lemmse.figures.charts`, which the book draws in its place where
            the browser can.

    Raises:
        ValueError: if the name does not start with "fig-", or caption or alt text is empty.
    """
    caption, alt = _one_line(caption, "caption"), _one_line(alt, "alt text")
    _check_name(name, "fig-")
    data = {
        "image/svg+xml": _drawn(figure, "svg").decode("utf-8"),
        "image/png": base64.b64encode(_drawn(figure, "png")).decode("ascii"),
        "text/plain": alt,
    }
    width = round(96 * figure.get_figwidth())  # the size in CSS pixels that the vectors have, too
    about: dict[str, Any] = {"kind": "figure", "name": name, "caption": caption, "alt": alt}
    _display(data, about | ({"chart": chart} if chart else {}), {"image/png": {"width": width}})
    _display_caption("Figure", caption)


def show_table(frame: pd.DataFrame, name: str, caption: str) -> None:
    """Display a table, its caption above it.

    Args:
        frame: one column for each column of the table, its entries as they are to be read; the index is not shown.
            Columns whose entries start with a digit or a sign are aligned to the right.
        name: what links refer to, unique in the book; it starts with "tab-".
        caption: Markdown, may hold numbers of the run.

    Raises:
        ValueError: if the name does not start with "tab-", or the caption is empty.
    """
    caption = _one_line(caption, "caption")
    _check_name(name, "tab-")
    entries = frame.astype(str).map(_escaped).rename(columns=_escaped)
    is_number = entries.apply(lambda column: column.str.match(r"[-+−]?\d").all())
    aligned = ["right" if number else "left" for number in is_number]
    text = entries.to_markdown(index=False, disable_numparse=True, colalign=aligned)
    _display_caption("Table", caption)
    _display({"text/markdown": text, "text/plain": text}, {"kind": "table", "name": name, "caption": caption})


def show_answer(text: str) -> None:
    """Display the answer of the chapter; the book moves it under the question.

    Args:
        text: Markdown. It states the range of noise levels and images for which it holds. A blank line starts another
            paragraph.

    Raises:
        ValueError: if the text is empty.
    """
    text = "\n\n".join(_one_line(paragraph, "answer") for paragraph in text.split("\n\n"))
    shown = f"**Answer.** {text}"
    _display({"text/markdown": shown, "text/plain": shown}, {"kind": "answer", "text": text})


def record(**values: Any) -> None:
    """Keep numbers, texts and booleans under their names, for a sweep to collect; nothing is displayed."""
    from myst_nb import glue

    for name, value in values.items():
        glue(name, value.item() if isinstance(value, (np.generic, Tensor)) else value, display=False)


def check_claim(statements: dict[str, bool], preset: str, *, strict: bool = True) -> None:
    """Print which statements of a claim hold, and stop the notebook if one does not.

    At the preset "smoke" nothing is checked: its images, networks and sets are too small to show anything.

    Args:
        statements: for each statement, a whole sentence, whether it holds.
        preset: "smoke", "quick" or "paper".
        strict: False prints what fails and goes on.

    Raises:
        AssertionError: names the statements that do not hold.
        ValueError: if the preset is unknown.
    """
    if check_choice(preset, PRESETS, "preset") == "smoke":
        print("The identities hold. The claim is not tested at the preset smoke: its sizes are too small.")
        return
    for statement, holds in statements.items():
        print(textwrap.fill(f"{'Holds' if holds else 'FAILS'}: {statement}", COLUMNS, subsequent_indent=" " * 7))
    failed = [statement for statement, holds in statements.items() if not holds]
    if failed and strict:
        raise AssertionError("the claim fails: " + "; ".join(failed))


def _drawn(figure: Figure, format: str) -> bytes:
    """A figure as a file; the same figure gives the same bytes."""
    import matplotlib

    drawn = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "lemmse"}):
        figure.savefig(drawn, format=format, metadata={"Date": None} if format == "svg" else {}, dpi=192)
    return drawn.getvalue()


def _display(data: dict[str, str], about: dict[str, Any], sizes: dict[str, Any] | None = None) -> None:
    """Display a bundle of representations, with what the book has to know about it."""
    from IPython.display import display

    display(data, raw=True, metadata={"lemmse": about, **(sizes or {})})


def _display_caption(kind: str, caption: str) -> None:
    """The caption as a reader of the notebook sees it; the book makes its own."""
    shown = f"**{kind}.** {caption}"
    _display({"text/markdown": shown, "text/plain": shown}, {"kind": "caption"})


def _escaped(entry: str) -> str:
    """An entry of a Markdown table, in which a bar is no border."""
    return entry.replace("|", r"\|")


def _one_line(text: str, what: str) -> str:
    """A text on one line, as the option of a directive has to be."""
    line = " ".join(text.split())
    if not line:
        raise ValueError(f"{what} must not be empty")
    return line


def _check_name(name: str, prefix: str) -> None:
    """Raise ValueError unless a name can be the target of a link and tells its kind."""
    if not re.fullmatch(prefix + r"[a-zA-Z0-9-]+", name):
        raise ValueError(f"name must be {prefix!r} followed by letters, digits and hyphens, got {name[:80]!r}")
