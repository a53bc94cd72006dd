"""Numbers as text: no zeros that say nothing, no negative zero, no error where there is none."""

from __future__ import annotations

import pytest

from lemmse.figures.tables import plus_minus, rounded, span


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.0, "3"),
        (53.0, "53"),
        (2.2, "2.2"),
        (2.197, "2.2"),
        (0.0, "0"),
        (-0.0, "0"),
        (-1e-9, "0"),
        (100.0, "100"),
        (999.96, "1,000"),
        (9.996, "10"),
        (1234.0, "1,230"),
        (313600.0, "314,000"),
        (0.01234, "0.0123"),
        (-37.219, "-37.2"),
        (float("nan"), "nan"),
    ],
)
def test_rounded(value, text):
    assert rounded(value) == text


@pytest.mark.parametrize(
    ("value", "spread", "text"),
    [
        (-0.04, 0.4, "0.0 ± 0.4"),
        (-0.2, 0.4, "-0.2 ± 0.4"),
        (-3.0, 210.0, "0 ± 210"),
        (57.0, 0.0, "57"),
        (0.0, 0.0, "0"),
        (-0.0, 0.0, "0"),
        (20.0, 0.4, "20.0 ± 0.4"),  # a zero here says how well the mean is known
        (100.0, 20.0, "100 ± 20"),
        (2.0, 0.97, "2.0 ± 1.0"),
        (100.0, 9.96, "100 ± 10"),
        (0.5, 1e-9, "0.5 ± <0.00001"),
        (float("nan"), 0.1, "nan ± 0.1"),
    ],
)
def test_plus_minus(value, spread, text):
    assert plus_minus(value, spread) == text


def test_a_span_has_no_negative_zero():
    assert span([-0.001, 0.5]) == "0.00 to 0.50"
    assert span([-0.001, 0.001]) == "0.00"
    assert span([-0.04, -0.02], ".1f") == "0.0"
    assert span([-0.5, -0.1]) == "-0.50 to -0.10"
