"""The posterior distribution of a pixel, against the weights of all pairs written out."""

from __future__ import annotations

import pytest
import torch

import lemmse
from lemmse.analysis.quantiles import Indicators
from lemmse.patches import extract_patches
from tests.conftest import random_images

X = random_images(6, 2, 6, 5)
Y = X[:2] + 0.1 * torch.randn(2, 2, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
SIGMA = 0.15
GRID = torch.linspace(0, 1, 41, dtype=torch.float64)


def weights(x=X, y=Y):
    """(Q, n, N n): the softmax over all training patches, and their center pixels (C, N n)."""
    keys, queries = (extract_patches(images, 3).transpose(1, 2).flatten(2) for images in (x, y))
    distances = (queries[:, :, None] - keys.flatten(0, 1)).square().sum(-1)
    return torch.softmax(-distances / (2 * SIGMA**2), -1), x.flatten(2).transpose(0, 1).flatten(1)


def distribution(target, x=X, y=Y):
    estimator = lemmse.LocalEquivariantMMSE(x, lemmse.Denoising(), patch_size=3, targets=target)
    return target.distribution(estimator(y, SIGMA))


def test_means_of_indicators_are_the_distribution_function():
    w, u = weights()
    target = Indicators(GRID)
    F = distribution(target)
    expected = torch.einsum("qnj,ctj->qctn", w, (u[:, None] <= GRID[:, None]).double()).unflatten(-1, (6, 5))
    torch.testing.assert_close(F, expected, rtol=0, atol=1e-9)
    assert bool((F.diff(dim=2) >= -1e-12).all())
    torch.testing.assert_close(F[:, :, -1], torch.ones(2, 2, 6, 5).double())


def test_the_mean_of_the_distribution_is_the_mean():
    """`E u = 1 - integral of F` for values in [0, 1]: to the step of a fine grid."""
    fine = Indicators(torch.linspace(0, 1, 201))
    mean = 1 - torch.trapezoid(distribution(fine), dx=1 / 200, dim=2)
    exact = lemmse.LocalEquivariantMMSE(X, lemmse.Denoising(), patch_size=3)(Y, SIGMA)
    torch.testing.assert_close(mean, exact, rtol=0, atol=1 / 200)


@pytest.mark.parametrize("level", [0.05, 0.5, 0.95])
def test_quantiles_are_those_of_the_weights(level):
    w, u = weights()
    order = u.argsort(1)
    sorted_u = u.gather(1, order)
    target = Indicators(GRID)
    quantile = target.quantile(distribution(target), level)
    for c in range(2):
        first = (w[:, :, order[c]].cumsum(-1) >= level).to(torch.uint8).argmax(-1)
        exact = sorted_u[c][first].unflatten(1, (6, 5))
        assert (quantile[:, c] - exact).abs().max() <= 1 / 40 + 1e-12


def test_a_quantile_is_linear_between_thresholds():
    target = Indicators([0.2, 0.4, 1.0])
    F = torch.tensor([0.1, 0.5, 1.0]).reshape(1, 1, 3, 1, 1)
    found = [float(target.quantile(F, level)) for level in (0.05, 0.3, 0.5, 0.75)]
    assert found == pytest.approx([0.2, 0.3, 0.4, 0.7])


def test_ranks_are_uniform_on_the_training_law():
    """x and y drawn as assumed: F(x), drawn evenly within its jump, has the mean 1/2 and the variance 1/12."""
    generator, draws = torch.Generator().manual_seed(1), 400
    truth = X[torch.randint(len(X), (draws,), generator=generator)]
    y = lemmse.Denoising().measure(truth, SIGMA, generator=generator)
    w, u = weights(y=y)
    own = truth.flatten(2).transpose(1, 2)[..., :1]  # the first channel, (Q, n, 1)
    below, upto = ((w * compared).sum(-1) for compared in (u[0] < own, u[0] <= own))
    ranks = below + torch.rand(below.shape, generator=generator, dtype=torch.float64) * (upto - below)
    pixel_means = ranks.mean(1)
    assert abs(float(pixel_means.mean() - 0.5)) < 3 * float(pixel_means.std()) / draws**0.5
    squares = (ranks - 0.5).square().mean(1)
    assert abs(float(squares.mean() - 1 / 12)) < 3 * float(squares.std()) / draws**0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Indicators([]), "thresholds must be finite ascending numbers, at least one"),
        (lambda: Indicators([0.2, 0.1]), "ascending"),
        (lambda: Indicators([0.1, float("nan")]), "ascending"),
        (lambda: Indicators([0.5, 1.0]).distribution(X[:, :1]), "means must be of 2 thresholds"),
        (lambda: Indicators([0.5]).quantile(torch.ones(1, 1, 2, 1, 1), 0.5), r"distribution must be \(Q, C, 1, H, W\)"),
        (lambda: Indicators([0.5]).quantile(torch.ones(1, 1, 1, 1, 1), 1.0), "level must be a number between 0 and 1"),
        (lambda: Indicators([0.5]).quantile(torch.zeros(1, 1, 1, 1, 1), 0.5), "the last threshold, 0.5, must be no"),
    ],
)
def test_bad_input_is_one_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()
