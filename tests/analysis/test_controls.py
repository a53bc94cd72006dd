"""Controls are what their names say, and margins and their errors follow from the distances."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

import lemmse
from lemmse.analysis.controls import (
    AFFINE,
    MEASUREMENT,
    NON_LOCAL_MEANS,
    OTHER_IMAGES,
    NonLocalMeans,
    controls,
    half_and_double,
    patch_size_control,
)
from lemmse.analysis.evaluate import compare
from lemmse.analysis.margins import margin_gains, margin_sentence, margins, mean_margins, sure_from
from lemmse.analysis.uncertainty import bootstrap_by_group, jackknife
from tests.conftest import random_images

X = random_images(12, 1, 9, 8, torch.float32)
MASK = torch.ones(9, 8)
MASK[3:6, 2:5] = 0


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", range(1, 30, 2))
def test_half_and_double_have_half_and_double_the_radius(size):
    radii = [other // 2 for other in half_and_double(size)]
    assert radii == [r for r in ((size // 2) // 2, 2 * (size // 2)) if r != size // 2]


def test_each_control_is_what_it_says():
    others = random_images(12, 1, 9, 8, torch.float32, seed=1)
    formula = lemmse.LocalEquivariantMMSE(X, lemmse.Denoising(), patch_size=5)
    chosen = controls(formula, few=3, other_images=others, another_set={"noise": others.flip(0)[:4]})
    y = X[:2] + 0.1

    def le(images: torch.Tensor, patch_size: int) -> torch.Tensor:
        return lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=patch_size)(y, 0.2)

    expected = {
        MEASUREMENT: y,
        AFFINE: lemmse.AffineMMSE(X, lemmse.Denoising(), patch_size=5)(y, 0.2),
        "formula, P = 3": le(X, 3),
        "formula, P = 9": le(X, 9),
        "formula of 3 images": le(X[:3], 5),
        OTHER_IMAGES: le(others, 5),
        "formula of noise": le(others.flip(0)[:4], 5),
        NON_LOCAL_MEANS: NonLocalMeans(5)(y, 0.2),
    }
    assert list(chosen) == list(expected)
    for name, estimate in expected.items():
        torch.testing.assert_close(chosen[name](y, 0.2), estimate, rtol=0, atol=1e-6)


def test_controls_behind_a_pre_inverse_share_it():
    physics = lemmse.Blur(torch.tensor([[0.25, 0.5, 0.25]]))
    formula = lemmse.LocalEquivariantMMSE(X, physics, patch_size=3, pre_inverse="tikhonov", tikhonov_lambda=0.3)
    chosen = controls(formula, few=None)
    assert list(chosen) == [MEASUREMENT, AFFINE, "formula, P = 1", "formula, P = 5"]
    y = physics.measure(X[:2], 0.1, generator=seeded())
    torch.testing.assert_close(chosen[MEASUREMENT](y, 0.1), formula.pre_inverse(y))
    options = {"pre_inverse": "tikhonov", "tikhonov_lambda": 0.3}
    wide = lemmse.LocalEquivariantMMSE(X, physics, patch_size=5, **options)(y, 0.1)
    torch.testing.assert_close(chosen["formula, P = 5"](y, 0.1), wide)
    affine = lemmse.AffineMMSE(X, physics, patch_size=3, **options)(y, 0.1)
    torch.testing.assert_close(chosen[AFFINE](y, 0.1), affine)


def test_controls_need_the_images():
    streamed = lemmse.LocalEquivariantMMSE([X], lemmse.Denoising(), patch_size=3)
    with pytest.raises(ValueError, match="in memory"):
        controls(streamed)


@pytest.mark.parametrize("channels", [1, 3])
def test_non_local_means_removes_noise_and_keeps_shape(channels):
    x = torch.full((2, channels, 20, 24), 0.4)
    x[:, :, :, 12:] = 0.8  # an edge that a transposed image would not have
    y = x + 0.2 * torch.randn(x.shape, generator=seeded())
    estimate = NonLocalMeans(5)(y, 0.2)
    assert estimate.shape == x.shape
    assert estimate.dtype == x.dtype
    assert (lemmse.psnr(estimate, x) > lemmse.psnr(y, x) + 8).all()


def test_resampling_single_values_is_the_ordinary_bootstrap():
    values = torch.randn(400, 2, generator=seeded(), dtype=torch.float64)
    means = bootstrap_by_group(values, range(400), seeded(1), 4000)
    assert means.shape == (4000, 2)
    torch.testing.assert_close(means.std(0), values.std(0) / 20, rtol=0.06, atol=0)
    torch.testing.assert_close(means.mean(0), values.mean(0), rtol=0, atol=5e-3)


def test_images_of_one_group_count_as_little_more_than_one():
    """50 groups of 8 equal values know as much as 50 values; as 400 single values the error would be far too small."""
    centers = torch.randn(50, generator=seeded(), dtype=torch.float64)
    values = centers.repeat_interleave(8)
    groups = torch.arange(50).repeat_interleave(8).tolist()
    error = float(bootstrap_by_group(values, groups, seeded(1), 4000).std())
    assert error == pytest.approx(float(centers.std()) / 50**0.5, rel=0.06)


def test_groups_of_any_size_are_resampled_with_their_weight():
    values = torch.tensor([0.0, 1.0, 1.0, 1.0])
    means = bootstrap_by_group(values, ["a", "b", "b", "b"], seeded(), 4000)
    assert {round(mean, 9) for mean in means.tolist()} == {0.0, 0.75, 1.0}, (
        "no group twice, one of each, the other twice"
    )
    with pytest.raises(ValueError, match="one group for each value"):
        bootstrap_by_group(values, ["a"], seeded())


def made_up(distances: dict[tuple[float, str], list[float]]) -> pd.DataFrame:
    """Rows from a network "net" at sigma to others, one value for each image."""
    rows = [
        {"split": "test", "sigma": s, "image": i, "group": i, "one": "net", "other": other, "psnr": value}
        for (s, other), values in distances.items()
        for i, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_the_margin_is_to_the_nearest_control():
    frame = made_up(
        {(0.1, "formula"): [30, 34], (0.1, "a"): [20, 31], (0.1, "b"): [26, 27]}
        | {(0.4, "formula"): [40, 41], (0.4, "a"): [30, 30], (0.4, "b"): [20, 20]}
    )
    table = margins(frame, ["net"], ["a", "b"], generator=seeded()).set_index("sigma")
    assert table.control.to_dict() == {0.1: "b", 0.4: "a"}
    assert table.margin.to_dict() == {0.1: pytest.approx(5.5), 0.4: pytest.approx(10.5)}
    assert table.error[0.4] == pytest.approx(0.5 / 2**0.5, rel=0.1)
    assert table.images.to_list() == [2, 2]
    with pytest.raises(ValueError, match=r"not compared with 'c' at sigma = 0\.1"):
        margins(frame, ["net"], ["a", "c"], generator=seeded())
    with pytest.raises(ValueError, match="at least one control"):
        margins(frame, ["net"], [], generator=seeded())


def test_the_mean_over_noise_levels_resamples_their_images_together():
    """What differs from image to image is the same at both levels, so the error of the mean is that of one level."""
    frame = made_up(
        {(0.1, "formula"): [30, 34], (0.1, "a"): [20, 21], (0.4, "formula"): [40, 44], (0.4, "a"): [30, 31]}
    )
    alone = margins(frame, ["net"], ["a"], generator=seeded())
    mean = mean_margins(frame, ["net"], ["a"], generator=seeded()).loc[0]
    assert (mean.split, mean.network, mean.margin) == ("test", "net", pytest.approx(11.5))
    assert mean.error == pytest.approx(alone.error.mean(), rel=0.1)
    with pytest.raises(ValueError, match="not compared with 'c'"):
        mean_margins(frame, ["net"], ["c"], generator=seeded())


def test_the_gain_of_a_network_over_another_is_paired():
    before = made_up({(0.1, "formula"): [30, 50], (0.1, "a"): [20, 21], (0.1, "b"): [21, 20]})
    after = before.assign(one="longer", psnr=before["psnr"] + 2 * (before["other"] == "formula"))
    gains = margin_gains(pd.concat([before, after]), "net", "longer", ["a", "b"], generator=seeded()).loc[0]
    assert gains.gain == pytest.approx(2)
    assert gains.after - gains.before == pytest.approx(2)
    assert gains.error == pytest.approx(0, abs=1e-9), "all images gain the same, however different they are"


def test_the_jackknife_of_a_mean_is_its_standard_error_and_axes_add_up():
    x = torch.randn(30, 5, generator=seeded(), dtype=torch.float64)

    def mean(values):
        return float(values.mean())

    rows, columns = (x.mean(axis) for axis in (1, 0))
    errors = [float(part.std()) / len(part) ** 0.5 for part in (rows, columns)]
    assert jackknife(mean, x, axes=(0,)) == pytest.approx((mean(x), errors[0]))
    assert jackknife(mean, x, axes=(0, 1)) == pytest.approx((mean(x), (errors[0] ** 2 + errors[1] ** 2) ** 0.5))
    assert jackknife(mean, x[:1], axes=(0,)) == (mean(x[:1]), 0)


def test_the_range_of_a_claim_starts_where_every_margin_above_is_sure():
    table = pd.DataFrame(
        {
            "split": "test",
            "sigma": [0.1, 0.2, 0.4, 0.8, 0.8],
            "network": ["UNet", "UNet", "UNet", "UNet", "ResNet"],
            "control": "affine filter",
            "margin": [3.0, -1.0, 2.0, 5.0, 4.0],
            "error": [0.1, 0.3, 0.2, 0.5, 0.1],
        }
    )
    assert sure_from(table) == 0.4
    assert sure_from(table, least=1.7) == 0.8
    assert sure_from(table, least=3.95) is None
    text = margin_sentence(table)
    assert "by 2.0 ± 0.2 dB to 5.0 ± 0.5 dB for $\\sigma$ from 0.4 to 0.8" in text
    assert "at $\\sigma = 0.2$ UNet is nearer to the control 'affine filter' than to the formula by 1.0 ± 0.3" in text
    nowhere = margin_sentence(table.assign(margin=table.margin - 4.5))
    assert "at any noise level" in nowhere
    assert "at $\\sigma = 0.8$ ResNet is nearer to the control 'affine filter'" in nowhere
    everywhere = margin_sentence(table.assign(margin=9.0))
    assert everywhere.endswith("for $\\sigma$ from 0.1 to 0.8.")


def test_margins_of_a_comparison():
    """The formula itself, a little disturbed, is nearer to the formula than to any control."""
    formula = lemmse.LocalEquivariantMMSE(X, lemmse.Denoising(), patch_size=3)
    chosen = controls(formula, few=2)
    solvers = {"net": lambda y, sigma: formula(y, sigma) + 1e-4, "formula": formula, **chosen}
    frame = compare(solvers, formula.physics, {"x": X[:4]}, [0.2], seed=0, progress=False)
    (row,) = margins(frame, ["net"], chosen, generator=seeded()).itertuples()
    assert row.to_formula == pytest.approx(80, abs=0.01)
    assert row.margin > 3 * row.error


def test_other_patch_sizes_may_be_chosen():
    images = random_images(4, 1, 9, 8, torch.float32)
    formula = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=5)
    for chosen, expected in ((None, [3, 9]), ([3], [3]), ([], [])):
        names = [name for name in controls(formula, patch_sizes=chosen) if name.startswith("formula, P")]
        assert names == [patch_size_control(patch_size) for patch_size in expected]
