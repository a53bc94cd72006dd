"""`explain` on networks whose explanation is known: the formula itself, a control, another patch size, and bad ones."""

from __future__ import annotations

import re

import pandas as pd
import pytest
import torch
from torch import nn

import lemmse
from lemmse.analysis.risk import training_draws
from tests.conftest import random_images

IMAGES = random_images(30, 1, 12, 12, torch.float32)
DENOISE = lemmse.Denoising()
FORMULA = lemmse.LocalEquivariantMMSE(IMAGES, DENOISE, patch_size=3)
TRUTH = random_images(1, 1, 20, 26, torch.float32, seed=7)


def measured(truth=TRUTH, sigma=0.2):
    return DENOISE.measure(truth, sigma, generator=torch.Generator().manual_seed(1))


def explain(net, est=FORMULA, y=None, **options):
    return lemmse.explain(net, est, measured() if y is None else y, 0.2, progress=False, **options)


def as_network(est):
    """An estimator as a network that takes one size of image only, so that `probe` leaves it alone."""

    def net(z, sigma):
        if z.shape[2:] != TRUTH.shape[2:]:
            raise RuntimeError("another size")
        return est(z) if isinstance(est, lemmse.BlindMMSE) else est(z, sigma)

    return net


def test_the_formula_is_explained_by_itself():
    found = explain(as_network(FORMULA), truth=TRUTH, sigmas=[0.1, 0.2, 0.5])
    assert found.answer.startswith("At sigma 0.1 to 0.5, yes:")
    assert (found.margins["to_formula"] > 99).all()
    assert found.best_patch_sizes["patch_size"].tolist() == [3, 3, 3]
    assert found.margins["sigma"].tolist() == [0.1, 0.2, 0.5]
    assert (found.risk["distance"] == 0).all()


@pytest.mark.parametrize("padding", ["circular", "zeros"])
def test_the_affine_filter_is_explained_by_itself(padding):
    est = lemmse.LocalEquivariantMMSE(IMAGES, DENOISE, patch_size=3, padding=padding)
    affine = lemmse.AffineMMSE(IMAGES, DENOISE, patch_size=3, padding=padding)
    found = explain(as_network(affine), est)
    assert found.answer.startswith("At sigma 0.2, no: the control 'affine filter' is nearer")
    assert found.margins["to_control"].tolist() == [100.0]
    assert found.risk is None


def test_another_patch_size_is_found():
    other = lemmse.LocalEquivariantMMSE(IMAGES, DENOISE, patch_size=5)
    found = explain(as_network(other), patch_sizes=[1, 5])
    assert found.best_patch_sizes["patch_size"].tolist() == [5]
    assert found.patch_sizes["patch_size"].tolist() == [1, 3, 5]
    assert found.margins["control"].tolist() == ["formula, P = 5"]


def test_the_distances_are_what_psnr_says():
    net = nn.Conv2d(1, 1, 3, padding=1).eval()
    found = explain(net, truth=TRUTH)
    near = found.distances.set_index("other")["psnr"]
    with torch.no_grad():
        x_hat = net(measured())
    for name, other in (("formula", FORMULA(measured(), 0.2)), ("truth", TRUTH), ("measurement", measured())):
        assert near[name] == pytest.approx(float(lemmse.psnr(x_hat, other)))
    torch.testing.assert_close(found.difference, (x_hat - FORMULA(measured(), 0.2))[0, 0].abs().double())


def test_on_the_training_law_the_rest_of_the_error_is_noise():
    x, y, _ = training_draws(IMAGES, DENOISE, 60, sigma_min=0.1, generator=torch.Generator().manual_seed(0))
    y = DENOISE.measure(x, 0.3, generator=torch.Generator().manual_seed(0))
    found = lemmse.explain(lambda z: (z + z.roll(1, -1) + z.roll(1, -2)) / 3, FORMULA, y, 0.3, x, progress=False)
    (row,) = found.risk.itertuples()
    assert abs(row.rest) < 3 * row.error
    assert row.distance > 5 * row.error


def test_sources_maps_and_pixels():
    found = explain(lambda z: z, pixels=[(0, 3), (19, 25)], top_k=2)
    assert list(found.sources) == [(0, 3), (19, 25)]
    posterior = FORMULA.posterior(measured(), 0.2, top_k=2)
    for (row, column), sources in found.sources.items():
        assert [s.weight for s in sources] == pytest.approx(posterior.weights[0, row, column].tolist())
        image, r, c = posterior.indices[0, row, column, 0].tolist()
        assert torch.equal(sources[0].image, IMAGES[image])
        assert (sources[0].row, sources[0].col) == (r, c)
    assert found.surprisal.shape == found.difference.shape == (20, 26)
    worst = next(iter(explain(lambda z: z).sources))
    assert found.difference[worst] == found.difference.max()


def test_density_leaves_out_the_border_that_zero_padding_shows():
    est = lemmse.LocalEquivariantMMSE(IMAGES, DENOISE, patch_size=5, padding="zeros")
    found = explain(lambda z: z, est)
    inside = ~found.surprisal.isnan()
    assert bool(inside[2:-2, 2:-2].all())
    assert int(inside.sum()) == 16 * 22
    assert all(2 <= row < 18 and 2 <= column < 24 for row, column in found.sources)
    assert found.density["decile"].tolist() == list(range(1, 11))


def test_a_blind_network_is_held_against_the_blind_formula():
    blind = lemmse.BlindMMSE(FORMULA, [0.1, 0.2, 0.4])
    found = explain(as_network(blind), blind)
    assert found.answer.startswith("At sigma 0.2, yes")
    assert found.margins["to_formula"].tolist() == [100.0]


def test_other_operators_and_channels():
    images = random_images(12, 3, 10, 10, torch.float32)
    mask = torch.ones(10, 10)
    mask[3:6, 3:6] = 0
    physics = lemmse.Inpainting(mask)
    est = lemmse.LocalEquivariantMMSE(images, physics, patch_size=3, pre_inverse="pinv")
    y = physics.measure(images[:2], 0.2, generator=torch.Generator().manual_seed(0))
    found = lemmse.explain(lambda z: z, est, y, 0.2, images[:2], sigmas=[0.4], progress=False)
    assert "non-local means" not in set(found.distances["other"])
    assert len(found.margins) == 2


def test_fewer_pixels_than_the_truth():
    images = random_images(8, 1, 8, 8, torch.float32)
    physics = lemmse.Downsampling(2)
    est = lemmse.LocalEquivariantMMSE(images, physics, patch_size=3, pre_inverse="pinv")
    y = physics.measure(images[:1], 0.1, generator=torch.Generator().manual_seed(0))
    found = lemmse.explain(lambda z: z, est, y, 0.1, images[:1], sigmas=[0.3], progress=False)
    assert found.difference.shape == (8, 8)
    assert found.margins["sigma"].tolist() == [0.1, 0.3]


def test_more_controls():
    options = {"other_images": random_images(30, 1, 12, 12, torch.float32, seed=3)}
    found = explain(lambda z: z, **options, another_set={"noise": torch.rand(9, 1, 12, 12)})
    others = set(found.distances["other"])
    assert {"formula of other images", "formula of noise"} <= others
    assert found.margins["control"].tolist() == ["measurement"]


def test_the_report_is_one_page_with_tables_and_pictures(tmp_path):
    found = explain(as_network(FORMULA), truth=TRUTH)
    assert found.probe is None
    page = found.save(tmp_path / "made")
    text = page.read_text(encoding="utf-8")
    assert text.index(found.answer.replace("'", "&#39;")) < text.index("<img")
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "<script" not in text
    for name, table in found.tables().items():
        written = pd.read_csv(page.parent / f"{name}.csv")
        pd.testing.assert_frame_equal(written, table[list(written)], check_dtype=False)
    for name in found.pictures():
        assert (page.parent / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert text.count("data:image/png;base64,") == len(found.pictures())
    assert str(found) == found.answer


def test_the_page_says_where_network_and_formula_do_not_fit():
    torch.manual_seed(0)
    text = explain(nn.Conv2d(1, 1, 5, padding=2).eval()).html()
    assert "receptive field of the network is 5 pixels, but the formula was built for P = 3" in text
    assert "by the rule &#39;zeros&#39;, the formula by &#39;circular&#39;" in text
    assert "does not speak of it" in explain(lambda z: z - z.mean((2, 3), keepdim=True)).html()


class Trained(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, z):
        return self.drop(z)


def exits(z):
    raise SystemExit(3)


def fails(z):
    raise RuntimeError("no kernel for this")


@pytest.mark.parametrize(
    ("net", "options", "message"),
    [
        (lambda z: z[..., 1:, :], {}, "net must keep the batch, height and width"),
        (lambda z: z * torch.nan, {}, "net returns NaN or infinity for an input of shape"),
        (lambda z: z.repeat(1, 3, 1, 1), {}, "net must return 1 channels, as the images have, got 3"),
        (nn.Conv2d(3, 3, 3, padding=1).eval(), {}, "net raises RuntimeError for an input of shape"),
        (fails, {}, "net raises RuntimeError for an input of shape .*: no kernel for this"),
        (Trained(), {}, r"net is in training mode.*net\.eval"),
        (nn.Conv2d(1, 1, 3, padding=1).double().eval(), {}, "net is torch.float64 on cpu, but the images"),
        (nn.Conv2d(1, 1, 3, padding=1, device="meta").eval(), {}, "net is torch.float32 on meta, but the images"),
        (lambda z: z.numpy(), {}, "net must return a tensor, got ndarray"),
        ("net", {}, "net must be a torch.nn.Module or a function, got str"),
        (lambda z: z, {"y": torch.zeros(1, 1, 2, 9)}, "patch_size at most 1"),
        (lambda z: z, {"y": torch.zeros(1, 1, 9)}, r"y must be of shape \(Q, 1, 12, 12\)"),
        (lambda z: z, {"y": torch.zeros(1, 3, 9, 9)}, r"y must be of shape \(Q, 1, 12, 12\)"),
        (lambda z: z, {"y": torch.zeros(1, 1, 9, 9).numpy()}, "y must be a torch tensor, got ndarray"),
        (lambda z: z, {"sigmas": [0.1]}, "sigmas needs the truth"),
        (lambda z: z, {"truth": TRUTH[..., 1:]}, r"measurements of shape \(1, 1, 20, 25\), but y has \(1, 1, 20, 26\)"),
        (lambda z: z, {"truth": TRUTH, "sigmas": [0.1, -1]}, "each of sigmas must be a finite positive number"),
        (lambda z: z, {"truth": TRUTH, "sigmas": 0.1}, "sigmas must be a list of numbers, got 0.1"),
        (lambda z: z, {"pixels": (3, 4)}, r"pixels must be \(row, column\)"),
        (lambda z: z, {"pixels": [(3.7, 4.2)]}, r"pixels must be \(row, column\)"),
        (lambda z: z, {"top_k": 0}, "top_k must be an integer of at least 1"),
        (lambda z: z, {"patch_sizes": 5}, "patch_sizes must be a list of odd numbers, got 5"),
        (lambda z: z, {"other_images": IMAGES.repeat(1, 3, 1, 1)}, "other_images must have 1 channels"),
        (lambda z: z, {"another_set": IMAGES}, "another_set must be a dictionary"),
        (lambda z: z, {"another_set": {"other images": IMAGES}}, "must not use the name of another control"),
        (lambda z: z.long(), {}, "net must return real floating-point values, got torch.int64"),
        (lambda z: z + torch.rand_like(z), {}, "net gives two different answers to one input"),
        (exits, {}, "net raises SystemExit for an input of shape"),
        (
            lambda z: z,
            {"est": lemmse.LocalEquivariantMMSE(IMAGES, DENOISE, patch_size=3, noise="poisson", background=0.1)},
            "est was built for noise 'poisson'",
        ),
        (lambda z: z, {"pixels": [(20, 3)]}, r"pixels must be \(row, column\) of an image of 20 x 26, got"),
        (lambda z: z, {"patch_sizes": [4]}, "patch_size must be odd"),
        (lambda z: z, {"est": lemmse.MMSE(IMAGES, DENOISE)}, "est must be LocalEquivariantMMSE"),
        (
            lambda z: z,
            {"est": lemmse.LocalEquivariantMMSE(IMAGES, DENOISE, patch_size=3, targets=IMAGES)},
            "which was given other targets",
        ),
        (
            lambda z: z,
            {"est": lemmse.LocalEquivariantMMSE([IMAGES], DENOISE, patch_size=3)},
            "in memory, as one tensor",
        ),
    ],
)
def test_bad_input_is_one_line(net, options, message):
    with pytest.raises(ValueError, match=message) as error:
        explain(net, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("side", [20, 12])
def test_a_wide_network_is_compared_with_what_fits(side):
    """The control of twice the radius is left out where images and measurements are too small for it."""
    est = lemmse.LocalEquivariantMMSE(IMAGES, DENOISE, patch_size=11)
    found = explain(nn.Conv2d(1, 1, 11, padding=5).eval(), est, measured(TRUTH[..., :side, :side]))
    assert "formula, P = 21" not in found.controls
    assert set(found.patch_sizes["patch_size"]) == {1, 3, 5, 7, 9, 11}


def test_a_network_that_works_in_place_changes_nothing():
    y = measured()
    before = y.clone()
    in_place = explain(lambda z: z.mul_(0.5), y=y)
    assert torch.equal(y, before)
    assert in_place.margins.equals(explain(lambda z: z * 0.5, y=y).margins)
    assert in_place.probe.receptive_field == 1


def test_a_report_of_complex_images_and_one_after_another(tmp_path):
    """Images of two channels are drawn by their magnitude; tables of an earlier report do not stay."""
    images = random_images(6, 2, 8, 8, torch.float32)
    physics = lemmse.FourierSampling(torch.ones(8, 8), complex_images=True)
    est = lemmse.LocalEquivariantMMSE(images, physics, patch_size=3)
    y = physics.measure(images[:1], 0.2, generator=torch.Generator().manual_seed(0))
    explain(lambda z: z * 0.9, est, y, truth=images[:1]).save(tmp_path)
    assert (tmp_path / "risk.csv").exists()
    explain(lambda z: z * 0.9, est, y).save(tmp_path)
    assert not (tmp_path / "risk.csv").exists()
