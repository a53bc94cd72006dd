"""The bar of a long pass: it counts every image once, appears when it should, and stays away where it should."""

from __future__ import annotations

import io
import time

import pytest
import torch

import lemmse
from lemmse.engines import progress
from lemmse.estimators import blind
from tests.conftest import random_images

X = random_images(12, 1, 10, 9, torch.float32)


@pytest.fixture
def counted(monkeypatch):
    """How far each bar came, of how much; bars are on."""
    bars = []

    class Bar:
        def __init__(self, total, **options):
            self.total, self.done, self.steps = total, 0.0, 0
            bars.append(self)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def update(self, more):
            self.done += more
            self.steps += 1

    monkeypatch.setattr("tqdm.tqdm", Bar)
    monkeypatch.setattr(progress._Switch, "shown", True)
    return bars


@pytest.mark.parametrize("engine", ["numba", "torch"])
@pytest.mark.parametrize("sides", [(10, 9), (150, 70)])
def test_every_image_is_counted_once(counted, engine, sides):
    y = random_images(3, 1, *sides, torch.float32)
    lemmse.LocalEquivariantMMSE(X, lemmse.Denoising(), patch_size=3, engine=engine, chunk_size=5)(y, 0.2)
    (bar,) = counted
    groups = bar.total / len(X)
    assert groups == int(groups)
    assert bar.done == pytest.approx(bar.total)
    assert bar.steps > 3


@pytest.mark.parametrize(
    "make",
    [
        lambda: lemmse.MMSE(X, lemmse.Denoising()),
        lambda: lemmse.EquivariantMMSE(X, lemmse.Denoising()),
        lambda: lemmse.LocalEquivariantMMSE(X, lemmse.Blur(torch.ones(3, 1)), patch_size=3, pre_inverse="tikhonov"),
        lambda: lemmse.LocalEquivariantMMSE(
            torch.utils.data.TensorDataset(X), lemmse.Denoising(), patch_size=3, chunk_size=3
        ),
    ],
)
def test_other_engines_count_by_blocks(counted, make):
    make()(X[:2], 0.2)
    assert [bar.done for bar in counted] == [pytest.approx(bar.total) for bar in counted]


def test_a_stream_of_unknown_length_has_no_bar(counted):
    lemmse.LocalEquivariantMMSE([X], lemmse.Denoising(), patch_size=3)(X[:1], 0.2)
    assert counted == []


def test_images_left_out_are_no_trouble(counted):
    est = lemmse.EquivariantMMSE(X, lemmse.Denoising())
    est.posterior(X[:2], 0.2, exclude=torch.tensor([3, -1]))
    assert all(bar.done <= bar.total for bar in counted)


def test_it_appears_after_some_seconds_and_says_what_is_left(monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    monkeypatch.setattr(progress, "DELAY", 0.3)
    lemmse.progress_bars(True)
    try:
        seen = []
        with progress.passes(10):
            for _ in range(5):
                with progress.block(2):
                    time.sleep(0.15)
                    seen.append(written.getvalue())
        assert seen[1].strip() == ""
        assert "patches:" in written.getvalue()
        assert "to go" in written.getvalue()
        assert written.getvalue().endswith("\r"), "it leaves nothing behind"
        lemmse.progress_bars(False)
        length = len(written.getvalue())
        with progress.passes(10), progress.block(10):
            time.sleep(0.4)
        assert len(written.getvalue()) == length
    finally:
        lemmse.progress_bars(None)


def test_without_a_terminal_nothing_is_shown(monkeypatch):
    def fail(*args, **options):
        raise AssertionError("a bar")

    monkeypatch.setattr("tqdm.tqdm", fail)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    lemmse.LocalEquivariantMMSE(X, lemmse.Denoising(), patch_size=3)(X[:1], 0.2)
    blind.BlindMMSE(lemmse.MMSE(X, lemmse.Denoising()), [0.1, 0.2])(X[:1])


def test_the_switch_takes_three_values():
    with pytest.raises(ValueError, match="True, False or None, got str"):
        lemmse.progress_bars("no")
