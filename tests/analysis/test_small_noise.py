"""Weights over sigma do not move the minimizer, and the nearest patch size is found."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

import lemmse
from lemmse.analysis.evaluate import FORMULA, compare
from lemmse.analysis.small_noise import (
    agreement_and_voters,
    correlation_within_levels,
    gains,
    nearest_patch_sizes,
    patch_size_formulas,
)
from tests.conftest import random_images

X = random_images(6, 1, 9, 8)
SIZES = (1, 3, 5)


def test_the_nearest_patch_size_is_that_of_a_formula_in_disguise():
    formula = lemmse.LocalEquivariantMMSE(X, lemmse.Denoising(), patch_size=5)
    others = patch_size_formulas(formula, SIZES)
    assert list(others) == ["formula, P = 1", "formula, P = 3"]
    narrow = lemmse.LocalEquivariantMMSE(X, lemmse.Denoising(), patch_size=3)

    def net(y: torch.Tensor, sigma: float) -> torch.Tensor:
        return (formula if sigma > 0.2 else narrow)(y, sigma) + 1e-3

    frame = compare({"net": net, FORMULA: formula, **others}, lemmse.Denoising(), {"x": X}, [0.1, 0.4], seed=0)
    table = nearest_patch_sizes(frame, ["net"], 5, SIZES).set_index("sigma")
    assert table.nearest.to_dict() == {0.1: 3, 0.4: 5}
    assert table.to_nearest.to_list() == pytest.approx([60, 60], abs=1e-3)
    assert table.to_formula[0.1] < table.to_nearest[0.1]
    with pytest.raises(ValueError, match="not compared with 'formula, P = 7'"):
        nearest_patch_sizes(frame, ["net"], 5, (*SIZES, 7))


@pytest.mark.parametrize("weights", [(1.0, 1.0), (100.0, 1.0), (1.0, 1000.0)])
def test_weights_do_not_move_the_minimizer(weights):
    """For every weighting the weighted loss of a disturbed LE-MMSE exceeds that of LE-MMSE, at each disturbance."""
    formula = lemmse.LocalEquivariantMMSE(X, lemmse.Denoising(), patch_size=3)
    x = X.repeat(400, 1, 1, 1)
    losses, excess = [], []
    for weight, sigma in zip(weights, (0.1, 0.6), strict=True):
        y = lemmse.Denoising().measure(x, sigma, generator=torch.Generator().manual_seed(1))
        best = formula(y, sigma)
        local = best + 0.1 * (y - y.roll(1, -1))  # any other local, equivariant map
        losses.append(weight * float((local - x).square().mean() - (best - x).square().mean()))
        excess.append(weight * float((local - best).square().mean()))
    assert sum(losses) > 0
    assert sum(losses) == pytest.approx(sum(excess), rel=0.1)


def test_voters_are_those_of_the_posterior_and_agreement_is_per_image():
    formula = lemmse.LocalEquivariantMMSE(X, lemmse.Denoising(), patch_size=3)
    frame = agreement_and_voters(
        lambda y, sigma: formula(y, sigma) + sigma / 10, formula, {"x": X}, [0.1, 1.0], groups={"x": range(6)}, seed=3
    )
    assert list(frame.columns) == ["split", "sigma", "image", "group", "psnr", "voters"]
    assert frame.psnr.to_list() == pytest.approx([40.0] * 6 + [20.0] * 6, abs=1e-6)
    generator = torch.Generator().manual_seed(3)
    for sigma in (0.1, 1.0):
        y = lemmse.Denoising().measure(X, sigma, generator=generator)
        weights = formula.posterior(y, sigma).effective_samples
        expected = [math.exp(float(image.log().mean())) for image in weights]
        assert frame[frame.sigma == sigma].voters.to_list() == pytest.approx(expected)


def test_gains_are_paired_differences_within_bands():
    rows = [
        {"split": "x", "sigma": sigma, "image": image, "group": image // 2, "change": change, "psnr": psnr}
        for sigma in (0.1, 0.2, 0.8)
        for image in range(4)
        for change, psnr in (("base", 30.0 + image), ("longer", 30.0 + image + 10 * sigma), ("wider", 29.0 + image))
    ]
    table = gains(
        pd.DataFrame(rows),
        "base",
        {"small": (0.0, 0.2), "large": (0.4, 1.0)},
        generator=torch.Generator().manual_seed(0),
    )
    found = {(row.change, row.band): (row.mean, row.error) for row in table.itertuples(index=False)}
    assert found == {
        ("longer", "small"): pytest.approx((1.5, 0.0)),
        ("longer", "large"): pytest.approx((8.0, 0.0)),
        ("wider", "small"): pytest.approx((-1.0, 0.0)),
        ("wider", "large"): pytest.approx((-1.0, 0.0)),
    }
    assert table.change.to_list() == ["longer", "longer", "wider", "wider"]
    with pytest.raises(ValueError, match="every change must be asked about"):
        gains(pd.DataFrame(rows[:-1]), "base", {"all": (0, 1)}, generator=torch.Generator())


def trainings(psnr_of: dict[str, list[float]], voters_of: dict[str, list[float]]) -> pd.DataFrame:
    """Agreement and voters of some trainings at two noise levels."""
    rows = [
        {"change": change, "sigma": sigma, "psnr": psnr_of[change][i], "voters": voters_of[change][i]}
        for change in psnr_of
        for i, sigma in enumerate((0.1, 0.8))
    ]
    return pd.DataFrame(rows)


def test_the_noise_level_alone_makes_no_correlation_within_levels():
    order = [[1, 50], [2, 51], [3, 52], [4, 53], [5, 54]]
    names = "abcde"
    same = dict(zip(names, order, strict=True))
    opposite = dict(zip(names, reversed(order), strict=True))
    generator = torch.Generator().manual_seed(0)
    found, chance = correlation_within_levels(trainings(same, same), generator=generator)
    assert found == pytest.approx(1)
    assert chance == pytest.approx(1 / 120, abs=0.005)  # one order of five gives as much
    found, chance = correlation_within_levels(trainings(same, opposite), generator=generator)
    assert found == pytest.approx(-1)
    assert chance == 1
    few = trainings({"a": [1, 2], "b": [2, 3]}, {"a": [1, 2], "b": [2, 3]})
    with pytest.raises(ValueError, match="at least three trainings, got 2"):
        correlation_within_levels(few, generator=generator)
