"""The looks of lines: no two controls of one figure share a color, and none has that of the formula."""

from __future__ import annotations

from lemmse.figures.style import STYLES, control_styles


def test_no_two_controls_share_a_color():
    others = ["Gaussian formula", "Anscombe, and back", "Anscombe, weights", "formula, P = 3", "formula, P = 9", "more"]
    looks = control_styles(["measurement", *others, "affine filter"])
    assert list(looks)[-1] == "formula"
    assert looks["formula"] == STYLES["formula"]
    assert looks["affine filter"] == STYLES["affine filter"]
    assert len({look["color"] for look in looks.values()}) == len(looks) == 9
