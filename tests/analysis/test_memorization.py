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
from lemmse.analysis.memorization import MEMORIZED, best_patch_sizes, image_risks, memorized_below, risk_gaps
from lemmse.book.notebooks import execute
from lemmse.book.values import glued_values
from tests.conftest import PROJECT, random_images

mpl.use("Agg")
PHYSICS = lemmse.Denoising()


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def cell(images, evaluated, patch_size=3, sigmas=(0.2,)) -> pd.DataFrame:
    formula = lemmse.LocalEquivariantMMSE(images, PHYSICS, patch_size=patch_size)
    affine = lemmse.AffineMMSE(images, PHYSICS, patch_size=patch_size)
    groups = {split: range(len(x)) for split, x in evaluated.items()}
    return image_risks(formula, affine, evaluated, sigmas, groups=groups, seed=0)


def test_risks_are_those_of_formula_and_affine_filter_on_one_noise():
    x = random_images(6, 1, 7, 8)
    evaluated = {"training": x[:2], "test": random_images(3, 1, 7, 8, seed=1)}
    found = cell(x, evaluated, sigmas=(0.1, 0.3))
    assert found.groupby(["sigma", "split"]).size().tolist() == [3, 2, 3, 2]
    assert set(found["count"]) == {6}
    for split, truth in evaluated.items():
        g = generator()
        for sigma in (0.1, 0.3):
            y = PHYSICS.measure(truth, sigma, generator=g)
            rows = found[(found.sigma == sigma) & (found.split == split)]
            for column, solver in (
                ("risk", lemmse.LocalEquivariantMMSE(x, PHYSICS, patch_size=3)),
                ("affine_risk", lemmse.AffineMMSE(x, PHYSICS, patch_size=3)),
            ):
                expected = (solver(y, sigma) - truth).square().mean((1, 2, 3))
                assert rows[column].tolist() == pytest.approx(expected.tolist())
            assert rows.effective.between(1, 6 * 56).all()


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


def made_up(risks: dict[tuple[float, int, int, str], list[float]]) -> pd.DataFrame:
    columns = ["sigma", "count", "patch_size", "split", "image", "group", "risk"]
    rows = [(*key, i, i, r) for key, values in risks.items() for i, r in enumerate(values)]
    return pd.DataFrame(rows, columns=columns).assign(affine_risk=1.0)


def test_gaps_are_ratios_of_means():
    frame = made_up({(0.1, 5, 3, "training"): [1, 3], (0.1, 5, 3, "test"): [4, 4], (0.1, 5, 5, "test"): [1, 1]} | {
        (0.1, 5, 5, "training"): [0, 0]
    })  # fmt: skip
    half, all_of_it = risk_gaps(frame, generator=generator(), draws=4000).sort_values("patch_size").itertuples()
    assert half.gap == pytest.approx(MEMORIZED)
    assert half.error == pytest.approx(1.73, abs=0.1)  # the mean is 1, 2 or 3 with weights 1/4, 1/2, 1/4
    assert all_of_it.gap == pytest.approx(EQUAL)


def test_harder_images_widen_no_gap():
    frame = made_up({(0.1, 5, 3, "training"): [1, 3], (0.1, 5, 3, "test"): [4, 8]})
    (found,) = risk_gaps(frame.assign(affine_risk=2 * frame.risk), generator=generator()).itertuples()
    assert found.difficulty == pytest.approx(10 * math.log10(3))
    assert (found.gap, found.error) == pytest.approx((0, 0), abs=1e-12)


def test_memorization_begins_where_the_gap_crosses():
    gaps = pd.DataFrame(
        [(0.1, 2 * MEMORIZED, 0.5, 9), (0.4, 0, 0.5, 9), (1.6, 0, 0.4, 9)], columns=["sigma", "mixed", "none", "all"]
    ).melt("sigma", var_name="patch_size", value_name="gap")
    found = memorized_below(gaps.assign(count=7)).loc[7]
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
    sure, unsure = best_patch_sizes(frame, generator=generator()).itertuples()
    assert (sure.best, sure.low, sure.high) == (5, 5, 5)
    assert unsure.low < unsure.high


def test_the_figures_draw():
    x = random_images(4, 1, 5, 5)
    evaluated = {"training": x[:2], "test": x[2:]}
    frame = pd.concat([cell(x[:n], evaluated, p, (0.1, 0.2, 0.4)) for n in (2, 4) for p in (1, 3)], ignore_index=True)
    gaps = risk_gaps(frame, generator=generator())
    maps = figures.cell_maps(gaps, "gap", "gap (dB)", darkest=20, border=MEMORIZED)
    assert [axis.get_title() for axis in maps.axes[:3]] == ["sigma = 0.1", "sigma = 0.2", "sigma = 0.4"]
    assert [len(axis.texts) for axis in maps.axes[:3]] == [4, 4, 4]
    bold = sum(text.get_weight() == "bold" for axis in maps.axes[:3] for text in axis.texts)
    assert bold == (gaps.gap > MEMORIZED).sum()
    lines = figures.risks_over_count(frame[frame.sigma == 0.2], [1, 3])
    assert {text.get_text() for text in lines.legends[0].get_texts()} == {"training images", "test images"}
    best = best_patch_sizes(frame, generator=generator(), draws=10)
    assert len(figures.patch_size_choice(frame, best, 0.2).axes) == 2


def test_the_cell_records_what_a_sweep_collects(cache, tmp_path):
    source = PROJECT.source(str(PROJECT.root / "notebooks" / "cells" / "data_and_patch_size.py"))
    small = {"count": 6, "size": 10, "patch_size": 3, "sigmas": [0.2], "recalled": 3, "tested": 4}
    execute(PROJECT, source, small, tmp_path / "cell.ipynb", progress=False)
    glued = glued_values(nbformat.read(tmp_path / "cell.ipynb", as_version=4))
    names = {f"{split}_{name}_0.2" for split in ("training", "test") for name in ("risk", "affine_risk", "effective")}
    assert set(glued) == names
    assert glued["training_risk_0.2"] < glued["test_risk_0.2"]


def test_risks_need_images_in_memory():
    x = random_images(2, 1, 5, 5)
    formula = lemmse.LocalEquivariantMMSE([x], PHYSICS, patch_size=3)
    affine = lemmse.AffineMMSE(x, PHYSICS, patch_size=3)
    with pytest.raises(ValueError, match="images of the formula in memory"):
        image_risks(formula, affine, {"test": x}, [0.1], groups={"test": [0, 1]}, seed=0)
