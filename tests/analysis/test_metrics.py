"""Spearman's rank correlation, from its definition, and what it does not depend on."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import spearmanr

from lemmse.analysis.metrics import rank_correlation
from tests.conftest import random_images


def test_it_is_spearmans_coefficient_with_ties():
    a = (random_images(3, 2, 5, 4) * 6).round()
    b = (random_images(3, 2, 5, 4, seed=1) * 6).round() + a
    expected = [spearmanr(x.flatten(), y.flatten()).statistic for x, y in zip(a, b, strict=True)]
    assert torch.allclose(rank_correlation(a, b), torch.tensor(expected, dtype=torch.float64), atol=1e-12)


def test_it_does_not_see_increasing_maps():
    a, b = random_images(2, 1, 6, 6), random_images(2, 1, 6, 6, seed=1)
    assert torch.allclose(rank_correlation(a.exp(), b), rank_correlation(a, 3 * b + 1), atol=1e-12)
    assert torch.allclose(rank_correlation(a, a.exp()), torch.ones(2, dtype=torch.float64))


def test_a_constant_image_is_unrelated():
    a = random_images(1, 1, 4, 4)
    assert float(rank_correlation(a, torch.ones_like(a))) == 0


def test_bad_pairs():
    with pytest.raises(ValueError, match="rank_correlation needs two"):
        rank_correlation(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 3))
    with pytest.raises(ValueError, match="finite"):
        rank_correlation(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), torch.nan))
