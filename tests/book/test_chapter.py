"""What the cells of a chapter call: what a reader of the notebook sees, and what the book is told."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table
from lemmse.figures import new_figure


@pytest.fixture
def displayed(monkeypatch):
    """The outputs that are displayed: pairs of data and metadata."""
    outputs = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw, metadata: outputs.append((data, metadata)))
    return outputs


def drawn():
    figure, axes = new_figure(1, 1, 2.0, 1.0)
    axes[0][0].plot([0, 1], [1, 0])
    return figure


def test_a_figure_shows_as_vectors_and_pixels_with_its_caption_below(displayed):
    show_figure(drawn(), "fig-line", "A line\n    of 2 points.", "A falling line.")
    (data, about), (caption, of) = displayed
    assert data["image/svg+xml"].lstrip().startswith("<?xml")
    assert data["image/png"].startswith("iVBOR")
    assert data["text/plain"] == "A falling line."
    assert about["lemmse"] == {
        "kind": "figure",
        "name": "fig-line",
        "caption": "A line of 2 points.",
        "alt": "A falling line.",
    }
    assert about["image/png"] == {"width": 192}
    assert caption["text/markdown"] == "**Figure.** A line of 2 points."
    assert of == {"lemmse": {"kind": "caption"}}


def test_a_figure_may_have_an_interactive_form(displayed):
    chart = {"kind": "lines", "points": []}
    show_figure(drawn(), "fig-line", "A line.", "A falling line.", chart=chart)
    assert displayed[0][1]["lemmse"]["chart"] == chart
    assert "chart" not in displayed[1][1]["lemmse"]


def test_a_figure_is_drawn_to_the_same_bytes_again(displayed):
    for _ in range(2):
        show_figure(drawn(), "fig-line", "A line.", "A falling line.")
    assert displayed[0] == displayed[2]


def test_a_table_shows_below_its_caption_with_numbers_to_the_right(displayed):
    show_table(pd.DataFrame({"a | b": ["x|y", "z"], "dB": ["1.0 ± 0.2", "-3"]}), "tab-small", "Two rows.")
    (caption, _), (table, about) = displayed
    assert caption["text/markdown"] == "**Table.** Two rows."
    lines = [line.replace(" ", "") for line in table["text/markdown"].splitlines()]
    assert lines[0] == r"|a\|b|dB|"
    assert lines[2:] == [r"|x\|y|1.0±0.2|", "|z|-3|"]
    left, right = lines[1].strip("|").split("|")
    assert right.endswith(":")
    assert not left.endswith(":")
    assert about["lemmse"] == {"kind": "table", "name": "tab-small", "caption": "Two rows."}


def test_the_answer_shows_where_it_is_computed(displayed):
    show_answer("It is\n42.\n\nIt was\n41.")
    assert displayed[0][0]["text/markdown"] == "**Answer.** It is 42.\n\nIt was 41."
    assert displayed[0][1] == {"lemmse": {"kind": "answer", "text": "It is 42.\n\nIt was 41."}}


@pytest.mark.parametrize("name", ["line", "tab-line", "fig-", "fig-a b", "fig-" + "x" * 500 + "!"])
def test_names_that_no_link_can_hold_are_refused(displayed, name):
    with pytest.raises(ValueError, match="name must be 'fig-' followed by letters") as caught:
        show_figure(drawn(), name, "A line.", "A falling line.")
    assert len(str(caught.value)) < 200
    assert displayed == []


def test_a_figure_without_caption_or_alt_text_is_refused(displayed):
    with pytest.raises(ValueError, match="caption must not be empty"):
        show_figure(drawn(), "fig-line", " \n", "A falling line.")
    with pytest.raises(ValueError, match="alt text must not be empty"):
        show_figure(drawn(), "fig-line", "A line.", "")
    with pytest.raises(ValueError, match="answer must not be empty"):
        show_answer("")


def test_recorded_values_are_plain_and_out_of_sight(monkeypatch):
    glued = {}
    monkeypatch.setattr("myst_nb.glue", lambda name, value, display: glued.update({name: (value, display)}))
    record(a=np.float64(0.1), b=torch.tensor(3), c="text", d=2.5)
    assert glued == {"a": (0.1, False), "b": (3, False), "c": ("text", False), "d": (2.5, False)}
    assert [type(value) for value, _ in glued.values()] == [float, int, str, float]


def test_a_claim_names_what_fails(capsys):
    with pytest.raises(AssertionError, match="the claim fails: The moon is cheese"):
        check_claim({"The sky is up.": True, "The moon is cheese.": False}, "quick")
    assert capsys.readouterr().out.splitlines() == ["Holds: The sky is up.", "FAILS: The moon is cheese."]
    check_claim({"The moon is cheese.": False}, "paper", strict=False)
    assert "FAILS: The moon is cheese." in capsys.readouterr().out
    check_claim({"The sky is up.": np.True_}, "quick")


def test_printed_claims_fit_the_page(capsys):
    check_claim({"The sky is up, " * 20: True}, "quick")
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 76


def test_nothing_is_claimed_at_smoke(capsys):
    check_claim({"The moon is cheese.": False}, "smoke")
    assert "not tested" in capsys.readouterr().out
    with pytest.raises(ValueError, match="unknown preset 'large'"):
        check_claim({}, "large")
