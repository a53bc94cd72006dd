"""The gap between the error that occurs and the one that is expected: unbiased at home, an alarm elsewhere."""

from __future__ import annotations

import pytest
import torch

import lemmse
from lemmse.analysis.alarm import area_under_roc, error_gap, roc
from tests.conftest import random_images

X = random_images(8, 1, 6, 5)
FORMULA = lemmse.LocalEquivariantMMSE(X, lemmse.Denoising(), patch_size=3)


def test_the_gap_is_zero_on_average_on_the_training_law():
    generator, draws, sigma = torch.Generator().manual_seed(0), 2000, 0.2
    truth = X[torch.randint(len(X), (draws,), generator=generator)]
    y = lemmse.Denoising().measure(truth, sigma, generator=generator)
    gaps = error_gap(y, FORMULA.posterior(y, sigma), sigma)
    assert abs(float(gaps.mean())) < 2 * float(gaps.std()) / draws**0.5


def test_the_gap_is_stein_less_the_variance():
    y = X[:3] + 0.1
    posterior = FORMULA.posterior(y, 0.2)
    expected = (posterior.mean - y).square().mean((1, 2, 3)) - 0.04 + posterior.variance.mean((1, 2, 3))
    torch.testing.assert_close(error_gap(y, posterior, 0.2), expected, rtol=0, atol=1e-12)


def test_roc_counts_pairs():
    generator = torch.Generator().manual_seed(0)
    home, away = torch.randint(6, (9,), generator=generator), torch.randint(2, 8, (7,), generator=generator)
    pairs = (away[:, None] > home).double() + 0.5 * (away[:, None] == home).double()
    assert area_under_roc(home, away) == pytest.approx(float(pairs.mean()))
    false, true = roc(home, away)
    assert (float(false[0]), float(true[0]), float(false[-1]), float(true[-1])) == (0, 0, 1, 1)
    assert bool((false.diff() >= 0).all() & (true.diff() >= 0).all())
    assert area_under_roc([0, 1], [2, 3]) == 1
    with pytest.raises(ValueError, match="finite values at home and elsewhere, got 0 and 1"):
        roc([], [1.0])
