"""The risk identity: an orthogonality that holds for local, equivariant maps and fails for others."""

from __future__ import annotations

import pytest
import torch

import lemmse
from lemmse.analysis.evaluate import compare
from lemmse.analysis.risk import (
    error_correlation,
    split_risk,
    training_draws,
    training_path,
)
from tests.conftest import random_images

X = random_images(4, 1, 6, 6)
PHYSICS = lemmse.Denoising()


def draws(count: int):
    return training_draws(X, PHYSICS, count, sigma_min=0.1, generator=torch.Generator().manual_seed(0))


def test_the_split_adds_up():
    x, y, sigma = draws(6)
    optimum = lemmse.LocalEquivariantMMSE(X, PHYSICS, patch_size=3)(y, sigma)
    found = split_risk(y, optimum, x)
    assert found.risk == pytest.approx(float((y - x).square().mean()))
    assert found.risk == pytest.approx(found.distance + found.floor + found.rest)
    assert found.rest == pytest.approx(float((2 * (y - optimum) * (optimum - x)).mean()))


def test_identity_holds_for_local_maps_and_fails_for_global_ones():
    x, y, sigma = draws(4000)
    optimum = lemmse.LocalEquivariantMMSE(X, PHYSICS, patch_size=3)(y, sigma)
    for local in (y, (y + y.roll(1, -1)) / 2):
        found = split_risk(local, optimum, x)
        assert abs(found.rest) < 4 * found.error < 0.05 * found.risk
    beyond = split_risk(lemmse.EquivariantMMSE(X, PHYSICS)(y, sigma), optimum, x)
    assert beyond.risk < beyond.floor, "E-MMSE sees more, and passes the floor of the local maps"
    assert beyond.rest < -10 * beyond.error


def test_draws_are_those_of_training():
    x, y, sigma = draws(10)
    counts = [(x == image).all((1, 2, 3)).sum() for image in X]
    assert sum(counts) == 10
    assert min(counts) >= 2
    assert ((sigma >= 0.1) & (sigma <= 1)).all()
    assert (((sigma.sort().values - 0.1) / 0.09).floor() == torch.arange(10)).all(), "one in each stratum"
    assert y.shape == x.shape
    assert not torch.equal(y, x)


def test_correlation_of_errors():
    g = torch.Generator().manual_seed(0)
    a, b = (0.1 * torch.randn(X.shape, generator=g, dtype=X.dtype) for _ in range(2))
    estimators = {"r": lambda y, s: X, "a": lambda y, s: X + a, "2a": lambda y, s: X + 2 * a, "b": lambda y, s: X + b}
    pairs = compare(estimators, PHYSICS, {"x": X}, [0.1], seed=0, progress=False)
    assert error_correlation(pairs, ["a", "2a"], "r", ["sigma"])[0.1] == pytest.approx(1)
    expected = float((a * b).sum() / (a.norm() * b.norm()))
    assert error_correlation(pairs, ["a", "b"], "r", ["sigma"])[0.1] == pytest.approx(expected)


def test_path_stays_above_the_floor_and_does_not_touch_the_global_seed():
    images = X.float()
    optimum = lemmse.LocalEquivariantMMSE(images, PHYSICS, patch_size=3)
    options = {"size": "small", "draws": 200, "sigma_min": 0.1, "seed": 0, "batch_size": 4, "lr": 2e-3}
    before = torch.get_rng_state()
    path = training_path(["PatchMLP", "ResNet"], optimum, [1, 20], repeats=1, **options)
    assert torch.equal(torch.get_rng_state(), before)
    assert path[["network", "steps"]].to_numpy().tolist() == [
        ["PatchMLP", 1], ["PatchMLP", 20], ["ResNet", 1], ["ResNet", 20],
        ["ResNet 2", 1], ["ResNet 2", 20],
    ]  # fmt: skip
    assert path.risk.nunique() == 6, "another seed, another training"
    assert (path.risk - path.floor > -3 * path.error).all()
    assert (path.rest.abs() < 4 * path.error).all()
    assert path.floor.nunique() == 1


def test_bad_input():
    with pytest.raises(ValueError, match="count must be"):
        draws(0)
    with pytest.raises(ValueError, match=r"sigma_min must be in \[0, 1\), got 1"):
        training_draws(X, PHYSICS, 2, sigma_min=1, generator=torch.Generator())
    with pytest.raises(ValueError, match="one shape"):
        split_risk(X, X, X[:2])
