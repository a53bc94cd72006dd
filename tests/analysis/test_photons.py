"""Solvers for counts: the transform and its inverse against sums over the Poisson law, and the limit of much light."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

import lemmse
from lemmse.analysis.photons import AfterAnscombe, AsGaussian, Counting, OfCounts, anscombe, inverse_anscombe
from tests.conftest import random_images


@pytest.mark.parametrize("mean", [0.5, 1.0, 3.0, 20.0, 200.0])
def test_the_inverse_is_unbiased(mean):
    counts = np.arange(2000)
    transformed = float(stats.poisson.pmf(counts, mean) @ (2 * np.sqrt(counts + 3 / 8)))
    found = float(inverse_anscombe(torch.tensor(transformed, dtype=torch.float64)))
    assert found == pytest.approx(mean, abs=0.03 + 1e-4 * mean)


def test_all_solvers_agree_where_there_is_much_light():
    images = random_images(6, 1, 6, 6)
    rate, background = 1e5, 0.1
    y = Counting(lemmse.Denoising(), background).measure(images[:2], rate, torch.Generator().manual_seed(0))
    options = {"patch_size": 3, "noise": "poisson", "background": background}
    exact = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), **options)(y, rate)
    gaussian = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=3)
    others = [AfterAnscombe(images, 3, background, back) for back in (True, False)]
    others.append(AsGaussian(gaussian, background, float(images.mean())))
    for other in others:
        assert float((other(y, rate) - exact).abs().max()) < 1e-3


def test_a_network_sees_normalized_counts():
    seen = []

    def network(z, sigma):
        seen.append((z, sigma))
        return z

    y = torch.tensor([[[[0.0, 8.0]]]])
    OfCounts(network, 0.5)(y, 4.0)
    assert seen[0][0].flatten().tolist() == [-0.5, 1.5]
    assert seen[0][1] == 0.5


def test_anscombe_of_nothing():
    assert float(inverse_anscombe(anscombe(torch.tensor(0.0)))) == pytest.approx(0, abs=1e-6)
