"""The comparison of networks and formula, and the figures that show it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import lemmse
from lemmse import figures
from lemmse.analysis import evaluate as comparison
from lemmse.analysis.experiment import evaluation_images, experiment, other_images, trainings
from lemmse.analysis.margins import margins
from tests.conftest import random_images

X = random_images(8, 1, 9, 8, torch.float32)
FORMULA = lemmse.LocalEquivariantMMSE(X, lemmse.Denoising(), patch_size=3)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_every_solver_sees_one_measurement_of_each_set():
    """Noise depends on the seed and the images, and on no solver, no other set and no order."""
    torch.manual_seed(0)
    nets = {"ResNet": lemmse.ResNet(1, 3), "UNet": lemmse.UNet(1, 3)}
    solvers = comparison.restorers(FORMULA, nets)
    frame = comparison.compare(solvers, FORMULA.physics, {"a": X[:3], "b": X[3:5]}, [0.1, 0.4], seed=0, progress=False)
    assert len(frame) == (3 + 2) * 2 * 6 * 2  # images, sigmas, pairs of 3 solvers and the truth, orders
    alone = {"UNet": solvers["UNet"], "formula": FORMULA}
    again = comparison.compare(alone, FORMULA.physics, {"b": X[3:5]}, [0.1, 0.4], seed=0, progress=False)
    part = frame[(frame.split == "b") & frame.one.isin(["UNet", "truth", "formula"])]
    part = part[part.other.isin(["UNet", "truth", "formula"])]
    key = ["sigma", "image", "one", "other"]
    pd.testing.assert_frame_equal(
        part.sort_values(key).reset_index(drop=True), again.sort_values(key).reset_index(drop=True)
    )


def test_distances_are_those_between_the_estimates():
    torch.manual_seed(0)
    net = lemmse.UNet(1, 3)
    solvers = comparison.restorers(FORMULA, {"UNet": net})
    frame = comparison.compare(solvers, FORMULA.physics, {"a": X[:3]}, [0.1], seed=7, progress=False)
    y = lemmse.Denoising().measure(X[:3], 0.1, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        expected = lemmse.psnr(net(y, 0.1), FORMULA(y, 0.1))
    both = [frame[(frame.one == a) & (frame.other == b)].psnr for a, b in (("UNet", "formula"), ("formula", "UNet"))]
    for found in both:
        torch.testing.assert_close(torch.tensor(found.to_list()).double(), expected, rtol=1e-5, atol=1e-4)
    side_by_side = comparison.network_distances(frame, ["UNet"])
    assert side_by_side.network_formula.to_list() == pytest.approx(both[0].to_list())
    assert side_by_side.formula_truth.to_list() == pytest.approx(lemmse.psnr(FORMULA(y, 0.1), X[:3]).tolist(), abs=1e-4)


def test_equal_images_are_a_hundred_decibels_apart_and_half_a_tenth_is_known():
    solvers = {"same": lambda y, sigma: X[:2] + 0 * y, "off": lambda y, sigma: X[:2] - 0.1}
    frame = comparison.compare(solvers, lemmse.Denoising(), {"x": X[:2]}, [0.1, 0.2], seed=0, progress=False)
    mean = frame.groupby(["one", "other"]).psnr.mean()
    assert mean["off", "truth"] == mean["truth", "off"] == pytest.approx(20, abs=1e-5)
    assert mean["same", "truth"] == comparison.EQUAL
    assert mean["same", "off"] == pytest.approx(20, abs=1e-5)


def test_groups_name_the_images():
    options = {"seed": 0, "progress": False}
    solvers = {"y": lambda y, sigma: y}
    frame = comparison.compare(
        solvers, lemmse.Denoising(), {"x": X[:3]}, [0.1], groups={"x": ["cat", "cup", "cat"]}, **options
    )
    assert frame.groupby("image").group.unique().map(list).to_list() == [["cat"], ["cup"], ["cat"]]
    alone = comparison.compare(solvers, lemmse.Denoising(), {"x": X[:3]}, [0.1], **options)
    assert (alone.group == alone.image).all()
    with pytest.raises(ValueError, match="'x' has 2 names"):
        comparison.compare(solvers, lemmse.Denoising(), {"x": X[:3]}, [0.1], groups={"x": ["cat", "cup"]}, **options)


def test_physics_aware_networks_see_b_y():
    physics = lemmse.Blur(torch.tensor([[0.25, 0.5, 0.25]]))
    formula = lemmse.LocalEquivariantMMSE(X, physics, patch_size=3, pre_inverse="tikhonov")
    y = physics.measure(X[:2], 0.1, generator=generator())
    seen = comparison.restorers(formula, {"net": lambda z, sigma: z})["net"](y, 0.1)
    torch.testing.assert_close(seen, formula.pre_inverse(y))
    restored = comparison.restore({"formula": formula}, physics, X[:2], 0.1, generator=generator())
    torch.testing.assert_close(restored.y, y)
    torch.testing.assert_close(restored.estimates["formula"], formula(y, 0.1))
    torch.testing.assert_close(restored.posteriors["formula"].variance, formula.posterior(y, 0.1).variance)
    one = comparison.restore_one({}, formula, X[0], 0.1, seed=0)
    torch.testing.assert_close(one["formula"], formula(physics.measure(X[:1], 0.1, generator=generator()), 0.1)[0])


def test_summary():
    rows = {"network_formula": [100.0, 60.0], "network_truth": [30.0, 20.0], "formula_truth": [30.0, 20.0]}
    table = comparison.summarise(pd.DataFrame({"sigma": [0.1, 0.1], **rows}), ["sigma"])
    assert table.loc[0.1].to_list() == ["80.0 ± 20.0", "25.0 ± 5.0", "25.0 ± 5.0"]


def test_brute_force_agrees_and_checks():
    y = lemmse.Denoising().measure(X[:2], 0.2, generator=generator())
    pixels = [(0, 0), (4, 7)]
    exact = comparison.brute_force(X, lemmse.Denoising(), y, 0.2, 3, pixels)
    ours = torch.stack([FORMULA(y, 0.2)[:, :, r, c] for r, c in pixels], -1)
    torch.testing.assert_close(ours.double(), exact, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match=r"pixel \(9, 0\) is outside"):
        comparison.brute_force(X, lemmse.Denoising(), y, 0.2, 3, [(9, 0)])


def test_formula_error_finds_an_error():
    y = lemmse.Denoising().measure(X[:2], 0.2, generator=generator())
    assert comparison.formula_error(FORMULA, y, 0.2) < 1e-5
    wrong = lemmse.LocalEquivariantMMSE(X, lemmse.Denoising(), patch_size=3)
    wrong.patch_size = 5  # what is written out is now another formula
    assert comparison.formula_error(wrong, y, 0.2, [(4, 4)]) > 1e-3


def test_other_images_are_the_next_of_the_set(tmp_path):
    twice = lemmse.load_images("photos", count=6, size=12, channels=1)
    assert torch.equal(other_images(twice[:3], "photos"), twice[3:])
    for number in range(5):
        Image.fromarray(np.full((12, 12), 40 * number, np.uint8)).save(tmp_path / f"{number}.png")
    some = lemmse.load_images(str(tmp_path), count=3, size=12, channels=1)
    assert other_images(some, str(tmp_path)) is None
    assert len(other_images(some[:2], str(tmp_path))) == 2


def test_evaluation_images_are_of_both_splits():
    images = lemmse.load_images("photos", count=9, size=12, channels=1)
    found = evaluation_images(images, "photos", 3)
    assert torch.equal(found["training"], images[:3])
    assert torch.equal(found["test"], lemmse.load_images("photos", split="test", count=3, size=12, channels=1))
    with pytest.raises(ValueError, match="at most the number of training images, 9, got 10"):
        evaluation_images(images, "photos", 10)


def test_trainings_repeat_the_last_architecture():
    found = trainings(["UNet", "PatchMLP"], 2, 5)
    seeds = {
        "UNet": ("UNet", 5),
        "PatchMLP": ("PatchMLP", 5),
        "PatchMLP 2": ("PatchMLP", 6),
        "PatchMLP 3": ("PatchMLP", 7),
    }
    assert found == seeds
    assert list(trainings(["UNet"], 0, 5)) == ["UNet"]
    assert trainings([], 2, 5) == {}  # the formula alone


@pytest.mark.usefixtures("cache")
def test_an_experiment_repeats_a_training_with_another_seed():
    options = {"patch_size": 3, "seed": 0, "steps": 2, "batch_size": 2, "progress": False}
    _, nets = experiment(X, lemmse.Denoising(), ["PatchMLP"], repeats=1, **options)
    assert list(nets) == ["PatchMLP", "PatchMLP 2"]
    _, again = experiment(X, lemmse.Denoising(), ["PatchMLP"], **(options | {"seed": 1}))
    outputs = [net(X[:1], 0.1) for net in (*nets.values(), again["PatchMLP"])]
    assert not torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[1], outputs[2])


def test_nothing_to_compare():
    for solvers, sets, sigmas in (({}, {"x": X}, [0.1]), ({"y": FORMULA}, {}, [0.1]), ({"y": FORMULA}, {"x": X}, [])):
        with pytest.raises(ValueError, match="needs a solver, a set of images and a sigma"):
            comparison.compare(solvers, FORMULA.physics, sets, sigmas, seed=0)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [(X, X[:2], "one shape"), (X[0], X[0], "one shape"), (X, X.numpy(), "two tensors")],
)
def test_psnr_refuses(a, b, message):
    with pytest.raises(ValueError, match=message):
        lemmse.psnr(a, b)


def test_psnr():
    torch.testing.assert_close(lemmse.psnr(X, X + 0.1), torch.full((8,), 20.0).double(), rtol=1e-5, atol=0)
    assert lemmse.psnr(X, X).isinf().all()
    assert lemmse.psnr(X * 0, X * 0 + 3)[0] < 0  # nothing is clipped


def test_figures_draw():
    rows = {"one": {"a": X[0], "b": X[1]}, "two": {"a": X[2]}}
    drawn = figures.gallery(rows, ["a", "b"], lambda row, name: name)
    assert len(drawn.axes) == 4
    frame = pd.DataFrame(
        {"sigma": [0.1, 0.2] * 4, "v": range(8), "net": ["UNet"] * 4 + ["other"] * 4, "split": ["x", "y"] * 4}
    )
    lines = figures.psnr_lines(frame, "v", "net", "split", label="dB")
    assert [len(axis.lines) for axis in lines.axes] == [len(lines.axes[0].lines)] * 2
    assert all(axis.get_xlabel() for axis in lines.axes)


def test_figures_of_controls_and_margins():
    solvers = {"net": FORMULA, comparison.FORMULA: FORMULA, "copy": lambda y, sigma: y}
    frame = comparison.compare(solvers, FORMULA.physics, {"x": X}, [0.1, 0.2], seed=0, progress=False)
    [axis] = figures.control_lines(frame, ["net"], ["copy"]).axes
    assert [line.get_label() for line in axis.lines] == ["copy", comparison.FORMULA]
    assert axis.lines[1].get_ydata().tolist() == [comparison.EQUAL] * 2
    table = margins(frame, ["net"], ["copy"], generator=torch.Generator().manual_seed(0), draws=20)
    [axis] = figures.margin_lines(table).axes
    assert axis.containers[0].lines[0].get_ydata().tolist() == pytest.approx(table["margin"].tolist())


def test_a_difference_of_equal_images_is_gray():
    assert torch.equal(figures.magnified_difference(X[0], X[0]), torch.full_like(X[0], 0.5))
    torch.testing.assert_close(figures.magnified_difference(X[0] + 0.01, X[0]), torch.full_like(X[0], 0.6))


def test_figures_of_pairs_and_of_the_floor():
    table = pd.DataFrame([[100.0, 30.0], [30.0, 100.0]], ["a", "b"], ["a", "b"])
    drawn = figures.agreement({"training": table, "test": table})
    assert [text.get_text() for text in drawn.axes[0].texts] == ["30.0", "30.0"]
    path = {"network": ["UNet", "UNet"], "steps": [1, 3], "risk": [3e-3, 2e-3], "distance": [2e-3, 1e-3]}
    path = pd.DataFrame({**path, "floor": 1e-3, "rest": 0.0, "error": 1e-4})
    left, right = figures.risk_floor(path).axes
    assert left.lines[0].get_ydata().tolist() == pytest.approx([3, 2])
    gap = right.containers[0].lines[0]
    assert gap.get_xydata().tolist() == [pytest.approx([2, 2]), pytest.approx([1, 1])]


def test_notes_under_images():
    row = {"UNet": X[0] + 0.1, "MMSE": X[0], "truth": X[0]}
    assert [figures.note_truth(row, name) for name in ("UNet", "MMSE", "truth")] == ["20.0 dB", "exact", ""]


def test_every_thing_looks_different_in_gray():
    names = [name for name in figures.STYLES if name != "formula"] + ["PatchMLP 2", "PatchMLP 3"]
    styles = {name: figures.style(name) for name in names}
    looks = {k: (v["marker"], v["linestyle"], v.get("fillstyle")) for k, v in styles.items()}
    assert len(set(looks.values())) == len(looks)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (X.to(torch.complex64), X.to(torch.complex64), "dtype"),
        ((255 * X).to(torch.uint8), (255 * X).to(torch.uint8), "dtype"),
        (X, X * torch.nan, "finite"),
        (X, X / 0, "finite"),
        (X[:0], X[:0], "empty"),
        (X, X.to("meta"), "one device"),
    ],
)
def test_psnr_refuses_what_has_no_peak_of_1(a, b, message):
    with pytest.raises(ValueError, match=message):
        lemmse.psnr(a, b)


def test_brute_force_of_another_size_is_of_the_right_pixel():
    y = lemmse.Denoising().measure(random_images(1, 1, 12, 7, torch.float32), 0.2, generator=generator())
    whole = comparison.brute_force(X, lemmse.Denoising(), y, 0.2, 3, [(r, c) for r in range(12) for c in range(7)])
    assert torch.equal(comparison.brute_force(X, lemmse.Denoising(), y, 0.2, 3, [(11, 6)])[..., 0], whole[..., -1])
    with pytest.raises(ValueError, match="patch_size must be at most the sides"):
        comparison.brute_force(X, lemmse.Denoising(), y, 0.2, 9, [(0, 0)])
    with pytest.raises(ValueError, match=r"pixel \(0, 7\) is outside the image of 12 x 7"):
        comparison.brute_force(X, lemmse.Denoising(), y, 0.2, 3, [(0, 7)])
