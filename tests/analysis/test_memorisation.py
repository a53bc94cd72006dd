"""Risks on training and on new images: the inequality between them, and what is read off a sweep over N and P."""

from __future__ import annotations

import math

import matplotlib as mpl
import nbformat
import pandas as pd
import pytest
import torch

import lemmse
from lemmse import figures
from lemmse.analysis.evaluate import EQUAL
from lemmse.analysis.memorisation import (
    MEMORISED,
    best_patch_sizes,
    from_sweep,
    image_risks,
    memorised_below,
    risk_gaps,
    to_text,
)
from lemmse.book.notebooks import execute
from lemmse.book.values import glued_values
from tests.conftest import PROJECT, random_images

mpl.use("Agg")
PHYSICS = lemmse.Denoising()


def cell(images, evaluated, patch_size=3, sigmas=(0.2,), **options) -> pd.DataFrame:
    formula = lemmse.LocalEquivariantMMSE(images, PHYSICS, patch_size=patch_size)
    frame = image_risks(formula, evaluated, sigmas, seed=0, **options)
    return frame.assign(count=len(images), patch_size=patch_size)


def test_risks_are_those_of_the_formula_on_one_noise():
    x = random_images(6, 1, 7, 8)
    evaluated = {"training": x[:2], "test": random_images(3, 1, 7, 8, seed=1)}
    found = cell(x, evaluated, sigmas=(0.1, 0.3), net=lambda y, sigma: y)
    assert found.groupby(["sigma", "split"]).size().tolist() == [3, 2, 3, 2]
    for split, truth in evaluated.items():
        g = torch.Generator().manual_seed(0)
        for sigma in (0.1, 0.3):
            y = PHYSICS.measure(truth, sigma, generator=g)
            posterior = lemmse.LocalEquivariantMMSE(x, PHYSICS, patch_size=3).posterior(y, sigma)
            rows = found[(found.sigma == sigma) & (found.split == split)]
            assert rows.risk.tolist() == pytest.approx((posterior.mean - truth).square().mean((1, 2, 3)).tolist())
            assert rows.network_formula.tolist() == pytest.approx(lemmse.psnr(y, posterior.mean).tolist())
            assert rows.network_risk.tolist() == pytest.approx((y - truth).square().mean((1, 2, 3)).tolist())
            assert rows.effective.between(1, 6 * 56).all()
    same = cell(x, evaluated, net=lambda y, sigma: lemmse.LocalEquivariantMMSE(x, PHYSICS, patch_size=3)(y, sigma))
    assert (same.network_formula == EQUAL).all()


def test_the_least_risk_is_between_those_on_training_and_on_new_images():
    """In the mean over training sets: R(N) rises with N, stays under R'(N), and R'(N) falls."""
    means = {}
    for count in (1, 3, 9):
        frames = []
        for seed in range(25):
            images = random_images(count, 1, 5, 5, seed=seed)
            test = random_images(9, 1, 5, 5, seed=1000 + seed)
            frames.append(cell(images, {"training": images, "test": test}))
        means[count] = pd.concat(frames).groupby("split").risk.mean()
    training, test = ([means[n][split] for n in means] for split in ("training", "test"))
    assert training == sorted(training)
    assert test == sorted(test, reverse=True)
    assert training[-1] < test[-1]


def test_frames_survive_a_sweep_and_a_failed_run_is_named():
    x = random_images(4, 1, 5, 5)
    cells = [cell(x[:n], {"training": x[:2], "test": x[3:]}, p) for n, p in ((2, 1), (3, 3))]
    texts = [to_text(frame.drop(columns=["count", "patch_size"])) for frame in cells]
    table = pd.DataFrame(
        {"count": [2, 3], "patch_size": [1, 3], "images": texts, "status": "complete", "failure": None}
    )
    back = from_sweep(table, "images")
    pd.testing.assert_frame_equal(back, pd.concat(cells, ignore_index=True), rtol=1e-5, check_like=True)
    table.loc[1, ["status", "failure"]] = "failed", "a cell raised"
    with pytest.raises(ValueError, match="count 3, patch_size 3 is failed: a cell raised"):
        from_sweep(table, "images")


def made_up(risks: dict[tuple[float, int, int, str], list[float]]) -> pd.DataFrame:
    columns = ["sigma", "count", "patch_size", "split", "image", "risk"]
    return pd.DataFrame([(*key, i, r) for key, values in risks.items() for i, r in enumerate(values)], columns=columns)


def test_gaps_are_ratios_of_means():
    frame = made_up({(0.1, 5, 3, "training"): [1, 3], (0.1, 5, 3, "test"): [4, 4], (0.1, 5, 5, "test"): [1, 1]} | {
        (0.1, 5, 5, "training"): [0, 0]
    })  # fmt: skip
    half, all_of_it = risk_gaps(frame).sort_values("patch_size").itertuples()
    assert half.gap == pytest.approx(MEMORISED)
    assert half.error == pytest.approx(10 / math.log(10) * 0.5)  # standard error 1 of a mean of 2, and 0
    assert all_of_it.gap == pytest.approx(EQUAL)


def test_memorisation_begins_where_the_gap_crosses():
    gaps = pd.DataFrame(
        [(0.1, 2 * MEMORISED, 0.5, 9), (0.4, 0, 0.5, 9), (1.6, 0, 0.4, 9)], columns=["sigma", "mixed", "none", "all"]
    ).melt("sigma", var_name="patch_size", value_name="gap")
    found = memorised_below(gaps.assign(count=7)).loc[7]
    assert found["mixed"] == pytest.approx(0.2)  # half way from 0.1 to 0.4, in the logarithm
    assert found["none"] == 0
    assert found["all"] == math.inf


def test_the_best_patch_size_is_judged_on_the_same_images():
    image = torch.rand(30, generator=torch.Generator().manual_seed(0)).tolist()
    frame = made_up(
        {(0.1, 5, p, "test"): [100 * r + lead for r in image] for p, lead in ((3, 1), (5, 0), (7, 2))}
        | {(0.2, 5, p, "test"): image[: 30 - p] + image[30 - p :][::-1] for p in (3, 5, 7)}
    )
    frame = pd.concat([frame, frame.assign(split="training", risk=-frame.patch_size)])  # has no say
    sure, unsure = best_patch_sizes(frame, resamples=400, generator=torch.Generator().manual_seed(1)).itertuples()
    assert (sure.best, sure.low, sure.high, sure.share) == (5, 5, 5, 1)
    assert unsure.low < unsure.high
    assert unsure.share < 0.9


def test_the_figures_draw():
    x = random_images(4, 1, 5, 5)
    cells = [
        cell(x[:n], {"training": x[:2], "test": x[2:]}, p, (0.1, 0.2, 0.4), net=lambda y, s: y)
        for n in (2, 4)
        for p in (1, 3)
    ]
    frame = pd.concat(cells, ignore_index=True)
    maps = figures.cell_maps(risk_gaps(frame), "gap", "gap (dB)", darkest=20, border=MEMORISED)
    assert [axis.get_title() for axis in maps.axes[:3]] == ["sigma = 0.1", "sigma = 0.2", "sigma = 0.4"]
    assert [len(axis.texts) for axis in maps.axes[:3]] == [4, 4, 4]
    lines = figures.risks_over_count(frame[frame.sigma == 0.2], [1, 3])
    names = {text.get_text() for text in lines.legends[0].get_texts()}
    assert names == {"training", "test", "training, network", "test, network"}
    best = best_patch_sizes(frame, resamples=10, generator=torch.Generator().manual_seed(0))
    assert len(figures.patch_size_choice(frame, best, 0.2).axes) == 2


def test_the_cell_runs_and_glues_what_the_chapter_reads(cache, tmp_path):
    source = PROJECT.source(str(PROJECT.root / "notebooks" / "cells" / "data_and_patch_size.py"))
    small = {"count": 6, "size": 10, "patch_size": 3, "sigmas": [0.2], "recalled": 3, "tested": 4}
    network = {"architecture": "ResNet", "steps": 2, "batch_size": 2}
    execute(PROJECT, source, {**small, **network}, tmp_path / "cell.ipynb", progress=False)
    glued = glued_values(nbformat.read(tmp_path / "cell.ipynb", as_version=4))
    table = pd.DataFrame([{**small, **glued, "status": "complete", "failure": None}])
    found = from_sweep(table, "images")
    assert found.groupby("split").size().to_dict() == {"training": 3, "test": 4}
    assert found[found.split == "test"].risk.mean() == pytest.approx(glued["test_risk_0.2"], rel=1e-4)
    assert found.network_formula.notna().all()
