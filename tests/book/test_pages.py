"""The page that the book makes of an executed notebook: each figure, table and answer once, in its place."""

from __future__ import annotations

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lemmse.book.pages import figure_files, read_page


def output(about: dict, **data: str):
    return new_output(
        "display_data", {f"{a.replace('_', '/')}": b for a, b in data.items()}, metadata={"lemmse": about}
    )


def figure():
    about = {"kind": "figure", "name": "fig-a", "caption": "A caption with $x$.", "alt": "An alt text."}
    shown = output(about, text_plain="An alt text.", image_png="cGl4ZWxz")
    shown.data["image/svg+xml"] = "<svg/>"
    return [shown, output({"kind": "caption"}, text_markdown="**Figure.** A caption with $x$.")]


def page(*cells):
    return read_page(nbformat.writes(new_notebook(cells=list(cells))))


def test_a_figure_is_numbered_below_its_cell_and_shown_once():
    cells = page(new_code_cell("draw()", outputs=figure()), new_markdown_cell("after")).cells
    assert [cell.cell_type for cell in cells] == ["code", "markdown", "markdown"]
    assert cells[0].outputs == []
    assert cells[1].source.splitlines() == [
        "```{figure} /_generated/fig-a.svg",
        ":name: fig-a",
        ":alt: An alt text.",
        "",
        "A caption with $x$.",
        "```",
    ]


@pytest.mark.parametrize(("width", "narrow"), [(500, True), (501, False)])
def test_narrow_figures_shrink_on_a_phone_and_wide_ones_scroll(width, narrow):
    outputs = figure()
    outputs[0].metadata["image/png"] = {"width": width}
    source = page(new_code_cell("draw()", outputs=outputs)).cells[1].source
    assert (":figclass: narrow" in source) == narrow


def test_the_interactive_form_of_a_figure_follows_it_as_data():
    outputs = figure()
    outputs[0].metadata["lemmse"]["chart"] = {"kind": "lines", "label": "a </script> b"}
    _, cell = page(new_code_cell("draw()", outputs=outputs)).cells
    picture, data = cell.source.split("\n\n```{raw} html\n")
    assert picture.endswith("A caption with $x$.\n```")
    tag, text = data.removesuffix("\n```").removesuffix("</script>").split(">", 1)
    assert tag == '<script type="application/json" class="chart-data" data-figure="fig-a"'
    assert "<" not in text
    assert json.loads(text) == {"kind": "lines", "label": "a </script> b"}


def test_figures_are_files_of_the_book():
    notebook = new_notebook(cells=[new_code_cell("draw()", outputs=figure())])
    assert figure_files(notebook) == {"fig-a.svg": b"<svg/>", "fig-a.png": b"pixels"}
    assert figure_files(new_notebook(cells=[new_markdown_cell("text"), new_code_cell("1")])) == {}


def test_a_table_is_numbered_and_other_outputs_stay():
    table = output({"kind": "table", "name": "tab-a", "caption": "Rows of `a`."}, text_markdown="| a |\n|--:|\n| 1 |")
    printed = new_output("stream", name="stdout", text="printed")
    sentence = new_output("execute_result", {"text/markdown": "It is $1$."}, execution_count=1)
    cells = page(new_code_cell("x", outputs=[printed, table, sentence])).cells
    assert cells[0].outputs == [printed]
    assert cells[1].source == "~~~{table} Rows of `a`.\n:name: tab-a\n\n| a |\n|--:|\n| 1 |\n~~~"
    assert cells[2].source == "It is $1$."


def test_a_line_of_a_sentence_that_starts_with_a_percent_sign_is_no_comment():
    sentence = new_output("execute_result", {"text/markdown": "It has 21\n% left, not 51 %."}, execution_count=1)
    assert page(new_code_cell("x", outputs=[sentence])).cells[1].source == "It has 21\n\\% left, not 51 %."


def test_the_answer_moves_under_the_question():
    answer = output({"kind": "answer", "text": "It is 42."}, text_markdown="**Answer.** It is 42.")
    place = new_markdown_cell("**Answer.** See below.", metadata={"tags": ["answer"]})
    cells = page(new_markdown_cell("# Title"), place, new_code_cell("show()", outputs=[answer])).cells
    assert [cell.cell_type for cell in cells] == ["markdown", "markdown", "code"]
    assert "It is 42." in cells[1].source
    assert "See below" not in cells[1].source
    assert cells[2].outputs == []


@pytest.mark.parametrize("shown", [0, 2])
def test_an_answer_has_one_place(shown):
    answer = output({"kind": "answer", "text": "It is 42."}, text_markdown="**Answer.** It is 42.")
    place = new_markdown_cell("**Answer.**", metadata={"tags": ["answer"]})
    with pytest.raises(ValueError, match=f"got {shown} answers and 1 such cells"):
        page(place, new_code_cell("show()", outputs=[answer] * shown))


def test_injected_parameters_are_left_out_and_the_others_fold_under_a_name():
    given = new_code_cell("sigma: float = 0.1", metadata={"tags": ["parameters", "hide-input"]})
    injected = new_code_cell("sigma = 0.2", metadata={"tags": ["injected-parameters"]})
    (cell,) = page(given, injected).cells
    assert cell.metadata["mystnb"]["code_prompt_show"] == "Parameters"
