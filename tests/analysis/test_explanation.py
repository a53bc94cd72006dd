"""The numbers and the words of an explanation, against their definitions."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lemmse
from lemmse.analysis.evaluate import FORMULA, NETWORK
from lemmse.analysis.explanation import Squares, best_patch_sizes, margin_row, risk_row, verdict
from tests.conftest import random_images


def squares_of(x):
    return Squares(x, torch.Generator().manual_seed(0))


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 6),
    channels=st.integers(1, 3),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    seed=st.integers(0, 99),
)
def test_squares_hold_every_pixel_once(count, channels, height, width, seed):
    a, b = (random_images(count, channels, height, width, seed=seed + i) for i in range(2))
    squares = squares_of(a)
    assert squares.counts.sum() == a.numel()
    torch.testing.assert_close(squares.sums(a, b).sum(), (a - b).square().sum())
    if count == 1:
        torch.testing.assert_close(squares.psnr(squares.sums(a, a + 0.1)), lemmse.psnr(a, a + 0.1)[0])
    assert len(set(squares.groups)) == (count if count >= 5 else len(squares.counts))


def test_the_margin_is_the_difference_of_two_psnr():
    x = random_images(1, 1, 32, 40)
    estimates = {NETWORK: x, FORMULA: x + 0.01, "far": x + 0.1, "near": x - 0.02}
    row = margin_row(estimates, ["far", "near"], 0.1, squares_of(x))
    assert row["control"] == "near"
    assert row["to_formula"] == pytest.approx(40.0)
    assert row["margin"] == pytest.approx(20 * torch.log10(torch.tensor(2.0)).item())
    assert row["error"] == pytest.approx(0, abs=1e-9)  # the same everywhere, however pixels are drawn


def test_the_standard_error_is_that_of_repetition():
    """The spread of the margin over new noise is what the squares of one image say, within a third."""
    x = random_images(1, 1, 96, 96)

    def row(seed):
        g = torch.Generator().manual_seed(seed)
        noise = [torch.randn(x.shape, generator=g, dtype=x.dtype) for _ in range(2)]
        estimates = {NETWORK: x, FORMULA: x + 0.05 * noise[0], "other": x + 0.08 * noise[1]}
        return margin_row(estimates, ["other"], 0.1, squares_of(x))

    rows = pd.DataFrame([row(seed) for seed in range(40)])
    assert rows["error"].mean() == pytest.approx(rows["margin"].std(), rel=1 / 3)


def test_the_split_of_the_error_adds_up():
    f, le, x = (random_images(2, 3, 20, 24, seed=seed) for seed in range(3))
    row = risk_row({NETWORK: f, FORMULA: le}, x, 0.1, squares_of(x))
    assert row["risk"] == pytest.approx(float((f - x).square().mean()))
    assert row["rest"] == pytest.approx(float(2 * ((f - le) * (le - x)).mean()))
    assert row["explained"] == pytest.approx(1 - row["distance"] / row["risk"])


def table(margins, errors=None, controls=None):
    sigmas = [0.05, 0.1, 0.2, 0.4, 0.8][: len(margins)]
    columns = {"sigma": sigmas, "margin": margins, "error": errors or [0.1] * len(margins)}
    return pd.DataFrame({**columns, "control": controls or ["affine filter"] * len(margins)})


@pytest.mark.parametrize(
    ("margins", "sentence"),
    [
        (
            [1.0, 2.0, 3.0],
            "At sigma 0.05 to 0.2, yes: the formula with P = 5 is nearer to the network than every control, by "
            "1.0 ± 0.1 dB or more.",
        ),
        (
            [-1.0, 0.1, 2.0, 4.0],
            "At sigma 0.2 to 0.4, yes: the formula with P = 5 is nearer to the network than every control, by "
            "2.0 ± 0.1 dB or more; at sigma 0.05, no: the control 'affine filter' is nearer to the network than the "
            "formula with P = 5, by 1.0 ± 0.1 dB; at sigma 0.1, undecided: the formula with P = 5 and the control "
            "'affine filter' are equally near to the network.",
        ),
        (
            [1.0, -3.0, 2.0],
            "At sigma 0.05, 0.2, yes: the formula with P = 5 is nearer to the network than every control, by "
            "1.0 ± 0.1 dB or more; at sigma 0.1, no: the control 'affine filter' is nearer to the network than the "
            "formula with P = 5, by 3.0 ± 0.1 dB.",
        ),
    ],
)
def test_the_verdict_names_every_level_once(margins, sentence):
    assert verdict(table(margins), 5) == sentence
    assert verdict(table(margins).iloc[::-1], 5) == sentence


def test_a_margin_within_two_standard_errors_decides_nothing():
    assert verdict(table([0.5], [0.26]), 3).startswith("At sigma 0.05, undecided")
    assert verdict(table([0.5], [0.24]), 3).startswith("At sigma 0.05, yes")


def test_the_best_patch_size_at_each_level():
    frame = pd.DataFrame({"sigma": [0.4, 0.4, 0.1, 0.1], "patch_size": [3, 5, 3, 5], "psnr": [1.0, 2.0, 4.0, 3.0]})
    assert best_patch_sizes(frame)[["sigma", "patch_size"]].to_numpy().tolist() == [[0.1, 3], [0.4, 5]]
