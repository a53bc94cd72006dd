"""Any target in place of the clean image: against the formula written out, in every engine."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import lemmse
from lemmse.patches import extract_patches
from tests.conftest import random_images
from tests.estimators.test_as_modules import KINDS, SETTINGS, X, every_kind, every_setting, measure

DENOISE = lemmse.Denoising()


def build(kind, setting, images=X, **options):
    physics, pre_inverse = SETTINGS[setting]
    return getattr(lemmse, kind)(images, physics, pre_inverse=pre_inverse, **KINDS[kind], **options)


def same(a, b):
    for name, value in vars(a).items():
        assert torch.equal(value, getattr(b, name)), name


@every_setting
@every_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_images_as_targets_are_the_mean_to_the_bit(kind, setting, dtype):
    x, y = X.to(dtype), measure(setting, X[:2].to(dtype))
    own = build(kind, setting, x).posterior(y, 0.2, 2)
    same(build(kind, setting, x, targets=x).posterior(y, 0.2, 2), own)
    same(build(kind, setting, x, targets=lambda images: images).posterior(y, 0.2, 2), own)


@settings(max_examples=25, deadline=None)
@given(
    sides=st.tuples(st.integers(3, 7), st.integers(3, 7)),
    channels=st.sampled_from([1, 3]),
    kinds=st.sampled_from([1, 2, 7, 8, 9, 20]),
    patch_size=st.sampled_from([1, 3, 5]),
    sigma=st.sampled_from([0.05, 0.3]),
    engine=st.sampled_from(["numba", "torch"]),
    seed=st.integers(0, 10**6),
)
def test_targets_are_averaged_with_the_weights_of_the_formula(sides, channels, kinds, patch_size, sigma, engine, seed):
    x, y = random_images(4, channels, *sides, seed=seed), random_images(2, channels, *sides, seed=seed + 1)
    t = torch.randn(4, kinds, *sides, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    options = {"patch_size": patch_size, "targets": t, "engine": engine}
    found = lemmse.LocalEquivariantMMSE(x, DENOISE, **options).posterior(y, sigma)
    keys, queries = (extract_patches(images, patch_size).transpose(1, 2).flatten(2) for images in (x, y))
    distances = (queries[:, :, None] - keys.flatten(0, 1)).square().sum(-1)
    w, u = torch.softmax(-distances / (2 * sigma**2), -1), t.flatten(2).transpose(1, 2).flatten(0, 1)
    mean = (w @ u).transpose(1, 2).unflatten(-1, sides)
    variance = (w @ u.square()).transpose(1, 2).unflatten(-1, sides) - mean.square()
    torch.testing.assert_close(found.mean, mean, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.variance, variance, rtol=0, atol=1e-9)


@every_setting
@every_kind
def test_channels_of_targets_do_not_mix(kind, setting):
    """Many targets in one pass are what each of them is alone; a linear map of the target is one of its mean."""
    y, many = measure(setting), torch.cat([X, X.square(), X.flip(2), 1 - X], 1).repeat(1, 3, 1, 1)
    together = build(kind, setting, targets=many)(y, 0.2)
    for k in (0, 1, 2, 11):
        alone = build(kind, setting, targets=many[:, k : k + 1])(y, 0.2)
        torch.testing.assert_close(together[:, k : k + 1], alone, rtol=0, atol=1e-12)
    torch.testing.assert_close(together[:, 3], 1 - together[:, 0], rtol=0, atol=1e-12)


def test_hundreds_of_targets_go_in_chunks(monkeypatch):
    x, y = random_images(40, 1, 6, 5, torch.float32), random_images(2, 1, 6, 5, torch.float32, seed=1)
    thresholds = torch.linspace(0, 1, 256)[:, None, None]

    def target(images):
        assert len(images) <= 16
        return (images <= thresholds).to(images.dtype)

    monkeypatch.setattr("lemmse.estimators.targets._IN_FLIGHT", 16 * 256 * 30)
    found = lemmse.LocalEquivariantMMSE(x, DENOISE, patch_size=3, targets=target)(y, 0.2)
    exact = (x.double(), y.double())
    expected = lemmse.LocalEquivariantMMSE(exact[0], DENOISE, patch_size=3, targets=(x <= thresholds).double())
    assert found.shape == (2, 256, 6, 5)
    assert float((found.double() - expected(exact[1], 0.2)).square().mean()) < 1e-10  # 100 dB


@pytest.mark.parametrize("sigma", [0.01, 0.1, 1.0])
def test_targets_in_float32_are_as_near_as_the_mean(sigma):
    x, y = random_images(30, 1, 12, 12), random_images(3, 1, 12, 12, seed=1)
    y = DENOISE.measure(y, sigma, generator=torch.Generator().manual_seed(0))
    t = torch.cat([x.square(), x.roll(1, -1) - x, (x > 0.5).double()], 1)
    exact = lemmse.LocalEquivariantMMSE(x, DENOISE, patch_size=5, targets=t)(y, sigma)
    rounded = lemmse.LocalEquivariantMMSE(x.float(), DENOISE, patch_size=5, targets=t.float())(y.float(), sigma)
    noise = (y.float().double() - y).abs().max()  # what rounding y alone may change is no error of the engine
    assert noise < 1e-6
    assert float((rounded - exact).square().mean()) < (1e-8 if sigma == 0.01 else 1e-10)


def test_streams_and_shards_and_left_out_images_have_targets_too():
    y, t = measure("identity"), torch.cat([X, X.square()], 1)
    whole = lemmse.LocalEquivariantMMSE(X, DENOISE, patch_size=3, targets=t)
    expected = whole.posterior(y, 0.2)
    streamed = lemmse.LocalEquivariantMMSE(list(X.split(4)), DENOISE, patch_size=3, targets=t)
    torch.testing.assert_close(streamed(y, 0.2), expected.mean, rtol=0, atol=1e-12)
    a, b = (
        lemmse.LocalEquivariantMMSE(X[part], DENOISE, patch_size=3, targets=t[part])
        for part in (slice(2), slice(2, None))
    )
    merged = a.finish(a.partial(y, 0.2).merge(b.partial(y, 0.2)))
    torch.testing.assert_close(merged.mean, expected.mean, rtol=0, atol=1e-12)
    left = whole.posterior(y, 0.2, exclude=torch.tensor([0, 0])).mean
    rebuilt = lemmse.LocalEquivariantMMSE(X[1:], DENOISE, patch_size=3, targets=t[1:])(y, 0.2)
    torch.testing.assert_close(left, rebuilt, rtol=0, atol=1e-9)
    small = random_images(1, 1, 4, 4)
    assert whole(small, 0.2).shape == (1, 2, 4, 4)


def test_gradients_go_to_targets():
    t = X.clone().requires_grad_()
    lemmse.LocalEquivariantMMSE(X, DENOISE, patch_size=3, targets=t)(measure("identity"), 0.2)[0, 0, 1, 1].backward()
    torch.testing.assert_close(t.grad.sum(), torch.tensor(1.0).double())  # the gradient is the weights


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ("median", "targets must be a torch tensor, got str"),
        (X[:5], r"N, H and W of the images \(6, 1, 6, 5\), got \(5, 1, 6, 5\)"),
        (X[..., :4], r"got \(6, 1, 6, 4\)"),
        (X > 0.5, "targets must be of dtype torch.float32 or torch.float64, got torch.bool"),
        (X / 0, "targets must be finite"),
        (lambda x: x.sum((2, 3)), "the values of targets must be 4-D"),
        (lambda x: None, "the values of targets must be a torch tensor, got NoneType"),
    ],
)
def test_bad_targets_are_one_line(targets, message):
    with pytest.raises(ValueError, match=message):
        lemmse.LocalEquivariantMMSE(X, DENOISE, patch_size=3, targets=targets)


def test_targets_of_other_images_are_refused():
    loader = DataLoader(X, batch_size=2, shuffle=True)
    with pytest.warns(UserWarning, match="shuffles"), pytest.raises(ValueError, match="must be a function where"):
        lemmse.MMSE(loader, DENOISE, targets=X)
    for other, message in ((X[:5], "got"), (torch.cat([X, X]), "one for each of the 6 images, got 12")):
        estimator = lemmse.MMSE(list(X.split(2)), DENOISE, targets=other)
        with pytest.raises(ValueError, match=message):
            estimator(measure("identity"), 0.2)
