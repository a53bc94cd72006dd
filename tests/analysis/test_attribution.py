"""Shares of training images and what removing them changes: against weights written out and estimators built anew."""

from __future__ import annotations

import pytest
import torch

import lemmse
from lemmse.analysis.attribution import attribute
from lemmse.patches import extract_patches
from lemmse.physics.gallery import gaussian_kernel
from tests.conftest import random_images

X = random_images(6, 2, 6, 5)
MASK = torch.ones(6, 5)
MASK[2:4, 1:3] = 0
SETTINGS = {
    "denoising": (lemmse.Denoising(), {}),
    "zero padding": (lemmse.Denoising(), {"padding": "zeros"}),
    "mask": (lemmse.Inpainting(MASK), {"pre_inverse": "pinv"}),
    "blur": (lemmse.Blur(gaussian_kernel(0.7, 1)), {"pre_inverse": "tikhonov"}),
    "targets": (lemmse.Denoising(), {"targets": torch.cat([X.square(), X[:, :1]], 1)}),
}
every_setting = pytest.mark.parametrize("setting", SETTINGS)


def make(setting, images=X, kept=slice(None), dtype=torch.float64):
    physics, options = SETTINGS[setting]
    options = {name: value[kept].to(dtype) if name == "targets" else value for name, value in options.items()}
    return lemmse.LocalEquivariantMMSE(images[kept].to(dtype), physics, patch_size=3, **options)


def measure(setting, images=X[:2]):
    return SETTINGS[setting][0].measure(images, 0.2, generator=torch.Generator().manual_seed(0))


@every_setting
@pytest.mark.parametrize("removed", [[], [0], [2, 5], [0, 1, 2, 3, 4]])
def test_without_images_is_a_rebuild(setting, removed):
    y = measure(setting)
    found = attribute(make(setting), y, 0.2)
    kept = [i for i in range(len(X)) if i not in removed]
    rebuilt = make(setting, kept=kept)(y, 0.2)
    torch.testing.assert_close(found.without(removed), rebuilt, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.change(removed), rebuilt - make(setting)(y, 0.2), rtol=0, atol=1e-9)


def test_shares_are_the_sums_of_the_weights():
    y = measure("denoising")
    keys, queries = (extract_patches(images, 3).transpose(1, 2).flatten(2) for images in (X, y))
    distances = (queries[:, :, None] - keys.flatten(0, 1)).square().sum(-1)
    weights = torch.softmax(-distances / (2 * 0.2**2), -1).unflatten(-1, (6, -1)).sum(-1)  # (Q, n, N)
    found = attribute(make("denoising"), y, 0.2)
    torch.testing.assert_close(found.shares, weights.transpose(1, 2).unflatten(-1, (6, 5)), rtol=0, atol=1e-9)
    torch.testing.assert_close(found.shares.sum(1), torch.ones(2, 6, 5).double())
    torch.testing.assert_close(found.image_shares, found.shares.mean((2, 3)))
    assert found.effective_images.min() >= 1 - 1e-12
    assert found.effective_images.max() <= len(X)


def test_the_change_of_one_image_is_the_formula():
    """x_hat - x_hat^{-i} = r_i / (1 - r_i) (x_hat^(i) - x_hat)."""
    found = attribute(make("denoising"), measure("denoising"), 0.3)
    whole = found.without([])
    for i in range(len(X)):
        share = found.shares[:, i, None]
        expected = share / (1 - share) * (found.means[:, i] - whole)
        torch.testing.assert_close(-found.change([i]), expected, rtol=0, atol=1e-9)


def test_nothing_is_lost_where_one_image_decides():
    """At small noise the share of the image itself is 1 to the last bit; the others say what is without it."""
    y = X[:1] + 1e-3
    found = attribute(make("denoising"), y, 0.02)
    assert found.shares[0, 0].min() > 1 - 1e-12
    torch.testing.assert_close(found.without([0]), make("denoising", kept=slice(1, None))(y, 0.02), rtol=0, atol=1e-9)


def test_float32_and_queries_of_another_size():
    y = random_images(1, 2, 9, 8, seed=3)
    exact = attribute(make("denoising"), y, 0.2)
    rounded = attribute(make("denoising", dtype=torch.float32), y.float(), 0.2)
    assert exact.shares.shape == (1, 6, 9, 8)
    assert (rounded.shares - exact.shares).abs().max() < 1e-5
    assert (rounded.without([1]) - exact.without([1])).square().mean() < 1e-10  # 100 dB


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: attribute(lemmse.MMSE(X, lemmse.Denoising()), X[:1], 0.1), "estimator must be LE-MMSE over a tensor"),
        (lambda: attribute(make("denoising"), X[:1], 0.2).without(range(6)), "at least one of the 6"),
        (lambda: attribute(make("denoising"), X[:1], 0.2).without([6]), "each of images must be"),
        (lambda: attribute(make("denoising"), X.repeat(2**18, 1, 1, 1), 0.2), "pass fewer measurements"),
    ],
)
def test_bad_input_is_one_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()
