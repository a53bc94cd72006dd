"""Floor and ceiling of the least risk: against estimators that are built anew without the image."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

import lemmse
from lemmse.analysis.floor import CELL, chosen_patch_sizes, floor_and_ceiling, risk_map, risks_with_and_without
from lemmse.physics.gallery import gaussian_kernel
from tests.conftest import random_images

X = random_images(7, 2, 6, 5)


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("groups", [None, ["a", "b", "a", "c", "b", "a", "c"]])
@pytest.mark.parametrize("physics", [None, lemmse.Blur(gaussian_kernel(0.7, 1))])
def test_the_ceiling_is_that_of_a_rebuild(groups, physics):
    frame = risks_with_and_without(X, 3, [0.1, 0.4], queries=5, generator=gen(), groups=groups, physics=physics)
    operator, generator = physics or lemmse.Denoising(), gen()
    drawn = torch.randperm(7, generator=generator)[:5]
    labels = groups or list(range(7))
    for sigma in (0.1, 0.4):
        part = frame[frame["sigma"] == sigma].reset_index()
        y = operator.measure(X[drawn], sigma, generator=generator)
        whole = lemmse.LocalEquivariantMMSE(X, operator, patch_size=3)(y, sigma)
        for n, i in enumerate(drawn.tolist()):
            others = torch.stack([X[j] for j in range(7) if labels[j] != labels[i]])
            rebuilt = lemmse.LocalEquivariantMMSE(others, operator, patch_size=3)(y[n : n + 1], sigma)[0]
            assert part["image"][n] == i
            assert part["group"][n] == labels[i]
            assert part["floor"][n] == pytest.approx(float((whole[n] - X[i]).square().mean()), abs=1e-9)
            assert part["ceiling"][n] == pytest.approx(float((rebuilt - X[i]).square().mean()), abs=1e-9)


def test_the_floor_is_below_the_risk_on_new_images_and_the_ceiling_is_that_risk():
    """Over many draws of data sets from one population: E R_N <= R'_N, and E R_LOO(N) = E R'_(N-1)."""
    generator, floors, ceilings, fresh = gen(3), [], [], []
    for _ in range(150):
        level = torch.rand(9, 1, 1, 1, generator=generator, dtype=torch.float64)
        x = (level + 0.2 * torch.rand(9, 1, 4, 4, generator=generator, dtype=torch.float64)).clamp(0, 1)
        frame = risks_with_and_without(x[:5], 3, [0.3], queries=5, generator=generator)
        floors.append(frame["floor"].mean())
        ceilings.append(frame["ceiling"].mean())
        y = lemmse.Denoising().measure(x[5:], 0.3, generator=generator)
        estimate = lemmse.LocalEquivariantMMSE(x[:4], lemmse.Denoising(), patch_size=3)(y, 0.3)
        fresh.append(float((estimate - x[5:]).square().mean()))
    floors, ceilings, fresh = (torch.tensor(values) for values in (floors, ceilings, fresh))
    assert floors.mean() < fresh.mean()
    gap = ceilings - fresh
    assert abs(float(gap.mean())) < 3 * float(gap.std()) / 150**0.5


def test_means_and_choice():
    frames = [risks_with_and_without(X[:n], p, [0.2], queries=n, generator=gen()) for n in (4, 7) for p in (1, 3, 5)]
    frame = pd.concat(frames, ignore_index=True)
    table = floor_and_ceiling(frame, generator=gen())
    assert len(table) == 6
    for _, row in table.iterrows():
        part = frame[(frame[CELL] == row[CELL]).all(axis=1)]
        assert row["floor"] == pytest.approx(part["floor"].mean())
        assert row["ceiling"] == pytest.approx(part["ceiling"].mean())
        assert 0 < row["ceiling_error"] < row["ceiling"]
    floors = table.pivot(index="count", columns="patch_size", values="floor")
    assert (floors.diff(axis=1).iloc[:, 1:] < 0).all(axis=None)  # more context never hurts at home
    chosen = chosen_patch_sizes(table)
    for _, row in chosen.iterrows():
        part = table[table["count"] == row["count"]]
        assert part["ceiling"].min() == part[part["patch_size"] == row["chosen"]]["ceiling"].iloc[0]


def test_the_map_joins_the_three_risks():
    test = random_images(3, 2, 6, 5, seed=9)
    table = risk_map(X, test, [4, 7], [1, 3], [0.2], queries=5, seed=0)
    assert len(table) == 4
    row = table[(table["count"] == 4) & (table["patch_size"] == 3)].iloc[0]
    own = floor_and_ceiling(risks_with_and_without(X[:4], 3, [0.2], queries=4, generator=gen()), generator=gen())
    assert row["floor"] == pytest.approx(own["floor"][0])
    assert row["ceiling"] == pytest.approx(own["ceiling"][0])
    y = lemmse.Denoising().measure(test, 0.2, generator=gen(1))
    estimate = lemmse.LocalEquivariantMMSE(X[:4], lemmse.Denoising(), patch_size=3)(y, 0.2)
    assert row["test"] == pytest.approx(float((estimate - test).square().mean()), abs=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queries": 8}, "queries must be .* 7"),
        ({"groups": ["a"] * 7}, "at least two groups"),
        ({"groups": ["a"]}, "groups must name each of the 7 images, got 1"),
        ({"generator": 0}, "generator must be a torch.Generator"),
    ],
)
def test_bad_input_is_one_line(options, message):
    with pytest.raises(ValueError, match=message):
        risks_with_and_without(X, 3, [0.2], **{"queries": 3, "generator": gen(), **options})
