"""Solvers behind several inputs: regions of a mask, gains on shared measurements, second moments, and their figures."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch

import lemmse
from lemmse import figures
from lemmse.analysis.evaluate import FORMULA, TRUTH
from lemmse.analysis.experiment import Training
from lemmse.analysis.pre_inverses import (
    AGNOSTIC,
    BLUR,
    HOLE,
    NETWORK,
    PINV,
    Behind,
    compare_inputs,
    competitions,
    deep_error,
    drawn_on,
    errors_by_region,
    gains,
    input_margins,
    restorers_behind,
    shared_inputs,
    side_by_side,
    solvers_behind,
    window_regions,
)
from lemmse.analysis.risk import training_draws
from lemmse.analysis.second_moments import affine_table, noise_covariance
from lemmse.analysis.uncertainty import means_by_group
from lemmse.physics.gallery import FOURIER, make_operator
from lemmse.physics.preinverse import pre_inverse
from tests.conftest import random_images

X = random_images(8, 1, 11, 10, torch.float32)
MASK = torch.ones(11, 10)
MASK[3:8, 2:7] = 0


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


TRAINING = Training(steps=2, batch_size=2, lr=1e-3, size="tiny")
GROUPS = {"test": [0, 0, 1]}


@pytest.fixture(scope="module")
def behind(cache):
    physics, found = lemmse.Inpainting(MASK), {}
    for label, B in ((AGNOSTIC, "identity"), (PINV, "pinv")):
        formula = lemmse.LocalEquivariantMMSE(X, physics, patch_size=3, pre_inverse=B)
        network = TRAINING.network("PatchMLP", X, physics, patch_size=3, pre_inverse=B, progress=False)
        found[label] = Behind(formula, network)
    return found


@pytest.fixture(scope="module")
def pairs(behind):
    return compare_inputs({"hole": behind}, {"test": X[:3]}, [0.1, 0.4], groups=GROUPS, seed=0)


def test_regions_of_a_square_hole():
    counts = {name: int(inside.sum()) for name, inside in window_regions(MASK, 3).items()}
    assert counts == {"clear": 110 - 49, "rim, seen": 49 - 25, "rim, hidden": 25 - 9, "deep": 9}
    assert torch.stack(list(window_regions(MASK, 3).values())).sum(0).eq(1).all()
    assert list(window_regions(MASK, 1)) == ["clear", "deep"]
    with pytest.raises(ValueError, match=r"mask must be \(H, W\)"):
        window_regions(MASK[None], 3)


def test_gains_are_differences_on_the_same_measurements(behind, pairs):
    frame = gains(pairs, {"hole": behind})
    assert frame.groupby(["input", "solver"]).size().to_dict() == {
        (label, kind): 2 * 3 for label in (AGNOSTIC, PINV) for kind in (FORMULA, "affine filter", NETWORK)
    }
    assert (frame[frame.input == AGNOSTIC].gain == 0).all()
    y = behind[PINV].formula.physics.measure(X[:3], 0.1, generator=generator())
    restored = {label: formula(y, 0.1) for label, (formula, _) in behind.items()}
    psnr = {label: lemmse.psnr(x, X[:3]) for label, x in restored.items()}
    mse = {label: (x - X[:3]).square().mean((1, 2, 3)) for label, x in restored.items()}
    found = frame[(frame.sigma == 0.1) & (frame.solver == FORMULA) & (frame.input == PINV)]
    assert found.gain.tolist() == pytest.approx((psnr[PINV] - psnr[AGNOSTIC]).tolist(), abs=1e-4)
    assert found.lost.tolist() == pytest.approx((mse[PINV] - mse[AGNOSTIC]).tolist(), abs=1e-6)
    assert found.group.tolist() == GROUPS["test"]


def test_a_network_is_held_against_its_own_controls_and_the_other_formulas(behind, pairs):
    table = input_margins(pairs, {"hole": behind}, generator=generator())
    assert table.groupby(["operator", "input"]).size().to_dict() == {("hole", AGNOSTIC): 2, ("hole", PINV): 2}
    mean = pairs[pairs.sigma == 0.4].groupby(["one", "other"]).psnr.mean()["pseudo-inverse network"]
    (row,) = table[(table.input == PINV) & (table.sigma == 0.4)].itertuples()
    rivals = ["pseudo-inverse affine filter", "pseudo-inverse formula, P = 1", "agnostic formula"]
    assert row.margin == pytest.approx(mean["pseudo-inverse formula"] - mean[rivals].max())
    assert set(mean.index) > {TRUTH, "agnostic network"}


def test_inputs_of_several_operators_share_no_measurements(behind):
    other = Behind(lemmse.LocalEquivariantMMSE(X, lemmse.Inpainting(MASK), patch_size=3), None)
    with pytest.raises(ValueError, match="need one physics"):
        errors_by_region({**behind, "other": other}, {"x": X[:1]}, [0.1], groups={"x": [0]}, seed=0)
    noise = Behind(lemmse.LocalEquivariantMMSE(X, lemmse.Denoising(), patch_size=3), None)
    with pytest.raises(ValueError, match="only an inpainting has regions, got Denoising"):
        errors_by_region({AGNOSTIC: noise}, {"x": X[:1]}, [0.1], groups={"x": [0]}, seed=0)


def test_what_a_formula_can_draw_on(behind):
    errors = errors_by_region(behind, {"test": X[:3]}, [0.2], groups=GROUPS, seed=0)
    table = drawn_on(behind, errors).set_index("region")
    assert table.competing.tolist() == pytest.approx([61, 2, 2.5, 9])  # sides of 3, corners alone
    assert (table.effective <= 8 * table.competing * 1.001).all()
    assert table.effective["deep"] == pytest.approx(8 * 9)  # every pixel that is wholly hidden, alike
    mean = errors[errors.solver == FORMULA].groupby(["input", "region"]).psnr.mean()
    assert table.gain.to_dict() == pytest.approx((mean[PINV] - mean[AGNOSTIC]).to_dict())


def test_deep_in_the_hole_the_aware_formula_is_the_mean(behind):
    aware, agnostic = behind[PINV].formula, behind[AGNOSTIC].formula
    found = [deep_error(formula, X[:2], 0.2, generator=generator()) for formula in (aware, agnostic)]
    assert found[0] < 1e-5 < found[1]
    wide = lemmse.LocalEquivariantMMSE(X, aware.physics, patch_size=7, pre_inverse="pinv")
    assert deep_error(wide, X[:2], 0.2, generator=generator()) == 0  # no pixel is so deep


def test_inputs_of_an_operator_share_its_physics(cache):
    inputs = shared_inputs([0.1, 1.0])
    assert list(inputs[BLUR]) == [AGNOSTIC, PINV, "Tikhonov 0.1", "Tikhonov 1"]
    found = solvers_behind(X, [0.1, 1.0], TRAINING, "PatchMLP", patch_size=3)
    assert {name: list(behind) for name, behind in found.items()} == {name: list(inputs[name]) for name in inputs}
    untrained = [(op, label) for op, behind in found.items() for label, (_, net) in behind.items() if net is None]
    assert untrained == [(BLUR, PINV)]
    assert NETWORK not in {kind for label, kind in restorers_behind(found[BLUR]) if label == PINV}
    for name, behind in found.items():
        one, *others = (formula for formula, _ in behind.values())
        physics = make_operator(name, 11, 10, generator())
        assert all(other.physics is one.physics for other in others)
        assert torch.equal(one.physics.A(X), physics.A(X))
        y = physics.measure(X[:1], 0.2, generator=generator())
        z = [formula.pre_inverse(y) for formula, _ in behind.values()]
        assert y.is_complex() or torch.equal(z[0], y)  # a spectrum is first transformed back
        assert not any(torch.equal(a, b) for a, b in combinations(z, 2))


def test_who_competes_behind_a_mask():
    mask, strata, competing = competitions([HOLE, "random inpainting"], 11, 3, seed=0)[HOLE]
    assert torch.equal(mask == 0, make_operator(HOLE, 11, 11, generator()).mask_on(11, 11) == 0)
    assert [int(competing[5, 5]), int(competing[0, 0]), int(competing[3, 3])] == [9, 121 - 49, 1]
    assert all(int(competing[strata == one].unique()) == int((strata == one).sum()) for one in strata.unique())
    with pytest.raises(ValueError, match=r"inpainting, which has a mask, got Blur"):
        competitions([BLUR], 11, 3, seed=0)


@pytest.mark.parametrize("name", ["centre inpainting", FOURIER])
def test_noise_of_what_was_not_measured_only_harms(name):
    """y is z and independent noise, so on the training distribution the aware optimum is at least as good."""
    images = random_images(8, 1, 8, 8, torch.float64)
    physics = make_operator(name, 8, 8, generator())
    x, y, sigma = training_draws(images, physics, 128, sigma_min=0.05, generator=generator())
    risks = {}
    for B in ("identity", "pinv"):
        estimate = lemmse.LocalEquivariantMMSE(images, physics, patch_size=3, pre_inverse=B)(y, sigma)
        risks[B] = (estimate - x).square().mean((1, 2, 3))
    lost = risks["pinv"] - risks["identity"]
    assert lost.mean() < 3 * lost.std() / math.sqrt(len(lost))
    assert lost.mean() < 0


def test_the_table_of_affine_maps_says_risk_and_directions():
    physics = lemmse.Blur(torch.tensor([[0.2, 0.6, 0.2]]))
    formula = lemmse.LocalEquivariantMMSE(X, physics, patch_size=3, pre_inverse="tikhonov", tikhonov_lambda=0.1)
    options = {"patch_size": 3, "pre_inverse": "tikhonov", "tikhonov_lambda": 0.1}
    affine = lemmse.AffineMMSE(X, physics, **options)
    table = affine_table({"one\ntwo": formula}, iter([0.3]))
    expected = f"{-10 * math.log10(affine.risk(0.3)):.1f} ({affine.directions(0.3):g})"
    assert table.set_index("input").loc["one two", "0.3"] == expected


def test_a_mask_has_no_one_covariance():
    with pytest.raises(ValueError, match="depends on the position"):
        noise_covariance(pre_inverse(lemmse.Inpainting(MASK), "pinv", (11, 10)), 3, 11, 10)
    white = noise_covariance(pre_inverse(lemmse.Inpainting(MASK), "identity", (11, 10)), 3, 11, 10)
    torch.testing.assert_close(white, torch.eye(9).double())


def test_figures_of_inputs(behind):
    errors = errors_by_region(behind, {"test": X[:3]}, [0.1, 0.4], groups=GROUPS, seed=0)
    means = means_by_group(errors, "psnr", ["region", "solver", "input", "sigma"], generator=generator())
    lines = figures.input_lines(means, "region", "solver", inputs=[AGNOSTIC, PINV], label="dB", level=0)
    assert len(lines.axes) == 4 * 2
    assert {text.get_text() for text in lines.legends[0].get_texts()} == {AGNOSTIC, PINV}
    maps = figures.competitors(competitions([HOLE], 11, 3, seed=0))
    assert len(maps.axes) == 4
    squares = figures.covariances({"a": torch.eye(9).double(), "b": 4 * torch.eye(4).double()})
    assert [axis.get_xlabel() for axis in squares.axes[:2]] == ["1 sigma; ratio 1", "2 sigma; ratio 1"]
    rows = side_by_side({"hole": behind}, X[:1], 0.2, generator=generator())
    assert list(rows) == ["hole\npseudo-inverse"]
    row = rows["hole\npseudo-inverse"]
    assert list(row)[-1] == "truth"
    assert row["z = B y"][0, 5, 4] == 0 != row["measurement"][0, 5, 4]
    notes = {name: figures.note_input(row, name) for name in row}
    assert notes["truth"] == notes["z = B y"] == notes["measurement"] == ""
    exact = float(lemmse.psnr(row["aware\nnetwork"][None], row["aware\nformula"][None]))
    assert notes["aware\nnetwork"] == f"{exact:.1f} dB"
