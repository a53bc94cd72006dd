"""How an executed notebook becomes a page of the book, without changing the notebook.

The book is built from the executed notebooks as they are, which is what a reader downloads. Sphinx reads each of them
through `read_page` (see `nb_custom_formats` in `_config.yml`), which rewrites the cells as the book needs them:

- A figure that `show_figure` displayed becomes a numbered figure below its cell, as vectors, with its caption.
  Its interactive form, where it has one, follows as data. A table that `show_table` displayed becomes a numbered
  table. Links refer to both by name.
- Any other Markdown that a cell displayed becomes text of the page.
- What `show_answer` displayed replaces the Markdown cell tagged `answer`, under the question.
- The cell of parameters folds under the name "Parameters"; the one that papermill injected is left out.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

FIGURES = "_generated"  # the folder of the book that holds the figures as files
NARROW = 500  # CSS pixels: figures up to this width shrink to fit a phone, wider ones scroll there


def read_page(text: str) -> Any:
    """The notebook that Sphinx reads instead of the executed one, whose JSON is `text`.

    Raises:
        ValueError: if a chapter has a place for an answer and shows none, or shows one and has no place for it.
    """
    import nbformat

    notebook = nbformat.reads(text, as_version=4)
    answers = [about["text"] for about in _shown(notebook) if about.get("kind") == "answer"]
    cells = [cell for cell in notebook.cells if "injected-parameters" not in _tags(cell)]
    places = [cell for cell in cells if cell.cell_type == "markdown" and "answer" in _tags(cell)]
    if len(answers) != len(places) or len(answers) > 1:
        raise ValueError(
            "a chapter that calls show_answer once has one Markdown cell tagged 'answer', "
            f"got {len(answers)} answers and {len(places)} such cells"
        )
    for place, answer in zip(places, answers, strict=True):
        place.source = f"```{{admonition}} Answer\n:class: tip answer\n\n{answer}\n```"
    for cell in cells:
        if "parameters" in _tags(cell):
            cell.metadata["mystnb"] = {"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
    notebook.cells = [part for cell in cells for part in _parts(cell)]
    return notebook


def figure_files(notebook: dict[str, Any]) -> dict[str, bytes]:
    """The figures that a notebook displayed, as vectors and as pixels: for each file name, its content."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    files = {}
    for output in outputs:
        if _about(output).get("kind") == "figure":
            name, data = _about(output)["name"], output["data"]
            files[f"{name}.svg"] = "".join(data["image/svg+xml"]).encode("utf-8")
            files[f"{name}.png"] = base64.b64decode("".join(data["image/png"]))
    return files


def _parts(cell: Any) -> Iterator[Any]:
    """A cell without the outputs that are Markdown of the page, then these, in their order, as Markdown cells."""
    from nbformat.v4 import new_markdown_cell

    outputs = cell.get("outputs", [])
    texts = [_page_text(output) for output in outputs]
    if cell.cell_type == "code":
        cell.outputs = [output for output, text in zip(outputs, texts, strict=True) if text is None]
    yield cell
    for number, text in enumerate(texts):
        if text:
            yield new_markdown_cell(text, id=f"{cell.get('id', 'cell')}-{number}"[-64:])


def _page_text(output: Any) -> str | None:
    """The Markdown that stands for an output in the book, "" for nothing; None where the output stays as it is."""
    about, data = _about(output), output.get("data", {})
    match about.get("kind"):
        case "figure":
            options = f":name: {about['name']}\n:alt: {about['alt']}"
            if output["metadata"].get("image/png", {}).get("width", NARROW + 1) <= NARROW:
                options += "\n:figclass: narrow"
            picture = f"```{{figure}} /{FIGURES}/{about['name']}.svg\n{options}\n\n{about['caption']}\n```"
            return picture + (_chart(about["name"], about["chart"]) if "chart" in about else "")
        case "table":
            table = "".join(data["text/markdown"])
            return f"~~~{{table}} {about['caption']}\n:name: {about['name']}\n\n{table}\n~~~"  # may quote `code`
        case "caption" | "answer":
            return ""
        case _:
            if "text/markdown" not in data:
                return None
            return re.sub(r"^(?=%)", r"\\", "".join(data["text/markdown"]), flags=re.MULTILINE)  # no comment of MyST


def _chart(name: str, chart: dict[str, Any]) -> str:
    """The data of the interactive form of a figure, which `book/_static/charts` draws in place of its picture."""
    data = json.dumps(chart, separators=(",", ":")).replace("<", r"\u003c")
    tag = f'<script type="application/json" class="chart-data" data-figure="{name}">{data}</script>'
    return f"\n\n```{{raw}} html\n{tag}\n```"


def _shown(notebook: Any) -> Iterator[dict[str, Any]]:
    """What the library says about each output of a notebook that it displayed."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            yield _about(output)


def _about(output: Any) -> dict[str, Any]:
    """What the library says about an output in its metadata."""
    return output.get("metadata", {}).get("lemmse", {})


def _tags(cell: Any) -> list[str]:
    """The tags of a cell."""
    return cell.get("metadata", {}).get("tags", [])
