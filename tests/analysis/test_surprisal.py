"""Surprisal means what it says, errors belong to their pixels, and the interval covers what it should."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

import lemmse
from lemmse import figures
from lemmse.analysis.risk import training_checkpoints
from lemmse.analysis.surprisal import deciles, pixel_errors, rank_correlation, surprisals, tenths
from tests.conftest import random_images

X = random_images(4, 1, 6, 6)
FORMULA = lemmse.LocalEquivariantMMSE(X, lemmse.Denoising(), patch_size=3)


def test_surprisal_of_a_lone_patch_is_minus_the_log_of_its_share():
    x = torch.full((64, 1, 6, 6), 0.3, dtype=torch.float64)
    x[:, 0, 2, 2] = 0.9  # 1 patch of 36 has it in its center, others elsewhere, and 27 do not have it
    formula = lemmse.LocalEquivariantMMSE(x[:1], lemmse.Denoising(), patch_size=3)
    (found,) = surprisals(formula, {"x": x}, [0.02], seed=0)["x"]
    mean = found.surprisal.mean(0)
    assert float(mean[2, 2]) == pytest.approx(math.log(36), abs=4 * math.sqrt(9 / 2 / 64))
    assert float(mean[5, 5]) == pytest.approx(-math.log(27 / 36), abs=4 * math.sqrt(9 / 2 / 64))


def test_surprisal_falls_as_density_rises_and_needs_one_stratum():
    (found,) = surprisals(FORMULA, {"x": X[:2]}, [0.2], seed=0)["x"]
    shift = found.surprisal + found.posterior.log_density
    assert float(shift.std()) < 1e-10
    masked = lemmse.Inpainting(torch.ones(6, 6).index_fill(0, torch.tensor([2]), 0))
    behind = lemmse.LocalEquivariantMMSE(X, masked, patch_size=3, pre_inverse="pinv")
    with pytest.raises(ValueError, match="within a stratum"):
        surprisals(behind, {"x": X[:1]}, [0.2], seed=0)["x"]


def test_errors_are_those_of_their_pixels():
    queries = surprisals(FORMULA, {"x": X[:2]}, [0.1, 0.4], seed=0)["x"]
    frame = pixel_errors({"same": FORMULA, "off": lambda z, sigma: FORMULA(z, sigma) + 0.1}, queries)
    assert len(frame) == 2 * 2 * 2 * 36
    assert frame[frame.network == "same"].error.max() < 1e-20
    assert frame[frame.network == "off"].error.to_numpy() == pytest.approx(0.01)
    part = frame[(frame.network == "off") & (frame.sigma == 0.4) & (frame.image == 1)]
    assert part.surprisal.to_numpy() == pytest.approx(queries[1].surprisal[1].flatten().numpy())


def made(images: int, nets: int, error) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    surprisal = rng.normal(size=(images, 100))
    rows = [
        pd.DataFrame(
            {"sigma": 0.1, "network": n, "image": i, "group": i, "surprisal": s, "error": error(s, rng), "flat": 1.0}
        )
        for n in range(nets)
        for i, s in enumerate(surprisal)
    ]
    return pd.concat(rows, ignore_index=True)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def correlation(frame: pd.DataFrame, against: str = "surprisal") -> tuple[float, float, float]:
    return rank_correlation(frame, against, generator=generator())


def test_rank_correlation_sees_order_only_and_its_interval_covers():
    assert correlation(made(3, 2, lambda s, r: np.exp(s))) == pytest.approx((1, 1, 1))
    assert correlation(made(3, 2, lambda s, r: -s)) == pytest.approx((-1, -1, -1))
    noise = made(20, 3, lambda s, r: r.normal(size=100))
    mean, low, high = correlation(noise)
    assert low < 0 < high
    assert low < mean < high
    with pytest.raises(ValueError, match="no image has an order of error and flat"):
        correlation(made(2, 1, lambda s, r: s), "flat")


def test_the_interval_is_wider_where_images_share_a_photograph():
    frame = made(20, 3, lambda s, r: r.normal(size=100) + r.normal() * s)
    _, low, high = correlation(frame)
    _, low_shared, high_shared = correlation(frame.assign(group=frame.image // 10))
    assert high_shared - low_shared > high - low


def test_tenths_are_means_over_their_pixels_and_know_the_nearest_rival():
    frame = made(6, 2, lambda s, r: 0.01 * np.exp(s)).assign(far=1.0, near=lambda f: 2 * f.error)
    found = tenths(frame, ["far", "near"], generator=generator())
    assert found.decile.tolist() == list(range(1, 11))
    assert found.psnr.to_numpy() == pytest.approx(-10 * np.log10(deciles(frame, ["sigma"]).error.to_numpy()))
    assert found["drop"].iloc[0] == 0 == found.drop_error.iloc[0]
    assert found["drop"].is_monotonic_increasing
    assert (found.rival == "near").all()
    assert found.margin.to_numpy() == pytest.approx(10 * np.log10(2))
    assert found.margin_error.max() < 1e-6
    assert "rival" not in tenths(frame, generator=generator())


def test_a_tenth_that_lies_in_one_image_has_an_error_all_the_same():
    frame = made(6, 1, lambda s, r: r.random(100)).assign(surprisal=lambda f: f.image + 0.001 * f.surprisal)
    assert np.isfinite(tenths(frame, generator=generator()).drop_error).all()


def test_rivals_are_compared_with_the_networks():
    queries = surprisals(FORMULA, {"x": X[:2]}, [0.1], seed=0)["x"]
    nets = {"off": lambda z, sigma: FORMULA(z, sigma) + 0.1}
    frame = pixel_errors(nets, queries, rivals={"same": FORMULA, "input": lambda z, sigma: z}, groups=["a", "b"])
    assert frame["same"].to_numpy() == pytest.approx(frame.error.to_numpy())
    expected = (nets["off"](queries[0].z, 0.1) - queries[0].z).square().flatten()
    assert frame["input"].to_numpy() == pytest.approx(expected.numpy())
    assert frame.groupby("image").group.unique().map(list).tolist() == [["a"], ["b"]]


def test_deciles_are_tenths_from_dense_to_rare_within_each_group():
    frame = made(2, 2, lambda s, r: s)
    found = deciles(frame, ["network"])
    assert found.decile.tolist() == 2 * list(range(1, 11))
    expected = np.sort(frame[frame.network == 1].surprisal).reshape(10, 20).mean(1)
    assert found[found.network == 1].surprisal.to_numpy() == pytest.approx(expected)
    assert found.error.to_numpy() == pytest.approx(found.surprisal.to_numpy())


def test_checkpoints_come_in_order_and_figures_say_what_they_show():
    images = X.float()
    formula = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=3)
    queries = surprisals(formula, {"x": images[:2]}, [0.1], seed=0)["x"]
    options = {"patch_size": 3, "size": "small", "seed": 0, "batch_size": 2}
    seen = list(training_checkpoints(["PatchMLP"], images, formula.physics, [1, 3], repeats=1, **options))
    assert [(name, steps) for name, steps, _ in seen] == [
        ("PatchMLP", 1), ("PatchMLP", 3), ("PatchMLP 2", 1), ("PatchMLP 2", 3)
    ]  # fmt: skip
    frame = pd.concat(pixel_errors({name: net}, queries).assign(steps=steps) for name, steps, net in seen)
    path = deciles(frame, ["network", "steps"])
    assert len(path) == 4 * 10
    left, right = figures.deciles_over_steps(path, [1, 10], "PSNR (dB)").axes
    assert (left.get_ylabel(), right.get_ylabel()) == ("PSNR (dB)", "squared error left (%)")
    points = deciles(frame, ["sigma", "network"]).assign(psnr=lambda f: -10 * np.log10(f.error))
    (panel,) = figures.error_over_surprisal(points, "network", "PSNR (dB)").axes
    assert len(panel.get_lines()) == 2
    drawn = figures.density_maps({"sigma = 0.1": (queries[0], torch.rand(2, 6, 6))}, image=1)
    assert [axis.get_title() for axis in drawn.axes[:4]] == ["measurement", "formula", "surprisal", "difference"]
