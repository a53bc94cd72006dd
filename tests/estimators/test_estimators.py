"""Identities of the three estimators, in float64, and what they do with bad input."""

from __future__ import annotations

import math
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lemmse
from tests.conftest import random_images

DENOISE = lemmse.Denoising()


def noisy(x, sigma, seed=0):
    return DENOISE.measure(x, sigma, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=15, deadline=None)
@given(
    height=st.integers(3, 7),
    width=st.integers(3, 7),
    channels=st.sampled_from([1, 3]),
    sigma=st.sampled_from([0.05, 0.3]),
    more=st.sampled_from([0, 4]),
)
def test_le_mmse_with_a_covering_patch_is_e_mmse(height, width, channels, sigma, more):
    x = random_images(5, channels, height, width)
    patch_size = (max(height, width) | 1) + more
    y = noisy(x[:2], sigma)
    local = lemmse.LocalEquivariantMMSE(x, DENOISE, patch_size=patch_size).posterior(y, sigma, top_k=3)
    whole = lemmse.EquivariantMMSE(x, DENOISE).posterior(y, sigma, top_k=3)
    for name in ("mean", "variance", "log_density", "effective_samples", "weights"):
        torch.testing.assert_close(getattr(local, name), getattr(whole, name), rtol=1e-8, atol=1e-10)
    assert torch.equal(local.indices[..., 0], whole.indices[..., 0])


def test_one_pixel_patches_are_a_gaussian_smoother():
    x = random_images(4, 1, 5, 6)
    y = noisy(x[:1], 0.1)
    w = torch.exp(-((y.flatten()[:, None] - x.flatten()) ** 2) / (2 * 0.1**2))
    expected = (w @ x.flatten() / w.sum(1)).reshape(1, 1, 5, 6)
    torch.testing.assert_close(lemmse.LocalEquivariantMMSE(x, DENOISE, patch_size=1)(y, 0.1), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_sigma_gives_the_mean_pixel(dtype):
    x = random_images(6, 3, 6, 5, dtype)
    found = lemmse.LocalEquivariantMMSE(x, DENOISE, patch_size=3)(x[:2], 1e4)
    torch.testing.assert_close(found, x.mean((0, 2, 3))[None, :, None, None].expand_as(found), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("estimator", ["LocalEquivariantMMSE", "EquivariantMMSE", "MMSE"])
def test_small_sigma_on_a_training_image_gives_that_image(estimator, dtype):
    x = random_images(6, 3, 6, 5, dtype)
    options = {"patch_size": 3} if estimator == "LocalEquivariantMMSE" else {}
    post = getattr(lemmse, estimator)(x, DENOISE, **options).posterior(x[2:3], 1e-3, top_k=1)
    torch.testing.assert_close(post.mean, x[2:3], rtol=0, atol=1e-6)
    assert (post.indices[..., 0, 0] == 2).all()
    torch.testing.assert_close(post.effective_samples, torch.ones_like(post.effective_samples), rtol=1e-5, atol=0)
    assert post.variance.max() < 1e-6


def test_duplicates_share_the_vote():
    x = random_images(3, 1, 5, 5)
    post = lemmse.LocalEquivariantMMSE(torch.cat([x, x]), DENOISE, patch_size=5).posterior(x[:1], 1e-2, top_k=2)
    torch.testing.assert_close(post.weights, torch.full_like(post.weights, 0.5))
    torch.testing.assert_close(post.effective_samples, torch.full_like(post.effective_samples, 2.0))


def test_one_training_image_of_one_pixel():
    x = torch.full((1, 1, 1, 1), 0.25, dtype=torch.float64)
    for estimator in (lemmse.LocalEquivariantMMSE(x, DENOISE, patch_size=3), lemmse.MMSE(x, DENOISE)):
        assert estimator(torch.full_like(x, 0.9), 0.1).item() == 0.25


@pytest.mark.parametrize(
    ("physics", "pre_inverse"),
    [
        (DENOISE, "identity"),
        (lemmse.Blur(torch.tensor([[0.2, 0.5, 0.3]])), "pinv"),
        (lemmse.Blur(torch.tensor([[0.2, 0.5, 0.3]])), "tikhonov"),
    ],
)
def test_le_mmse_commutes_with_translations(physics, pre_inverse):
    x = random_images(5, 2, 7, 6)
    estimator = lemmse.LocalEquivariantMMSE(x, physics, patch_size=3, pre_inverse=pre_inverse)
    y = noisy(x[:1], 0.2)
    moved = estimator(y.roll((2, 3), (2, 3)), 0.2)
    torch.testing.assert_close(moved, estimator(y, 0.2).roll((2, 3), (2, 3)), rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_le_mmse_sees_its_window_only_to_the_bit(dtype):
    x = random_images(5, 2, 9, 8, dtype)
    estimator = lemmse.LocalEquivariantMMSE(x, DENOISE, patch_size=3, engine="torch")
    y = noisy(x[:1], 0.2)
    other = noisy(x[:1], 0.2, seed=9)
    other[..., 3:6, 2:5] = y[..., 3:6, 2:5]
    assert torch.equal(estimator(y, 0.2)[..., 4, 3], estimator(other, 0.2)[..., 4, 3])
    assert not torch.equal(estimator(y, 0.2)[..., 6, 3], estimator(other, 0.2)[..., 6, 3])


@pytest.mark.parametrize("sigma", [0.1, 0.5])
def test_tweedie(sigma):
    """x_hat = v_c + sigma^2 d log p(v) / d v_c: the density and the mean of one pass agree."""
    x = random_images(5, 2, 6, 5)
    y = noisy(x[:1], sigma).requires_grad_(True)
    post = lemmse.LocalEquivariantMMSE(x, DENOISE, patch_size=3).posterior(y, sigma)
    row, col = 2, 3
    (gradient,) = torch.autograd.grad(post.log_density[0, row, col], y, retain_graph=True)
    tweedie = y[0, :, row, col] + sigma**2 * gradient[0, :, row, col]
    torch.testing.assert_close(post.mean[0, :, row, col], tweedie, rtol=0, atol=1e-9)


def test_risk_identity_and_order():
    """E|f - x|^2 = E|f - LE|^2 + E|LE - x|^2 for a local f, and MMSE <= E-MMSE <= LE-MMSE, on the training images."""
    sigma, x = 0.3, random_images(30, 1, 6, 6, torch.float32)
    g = torch.Generator().manual_seed(3)
    truth = x[torch.randint(len(x), (6000,), generator=g)]
    y = DENOISE.measure(truth, sigma, generator=g)
    local = lemmse.LocalEquivariantMMSE(x, DENOISE, patch_size=3)(y, sigma)
    f = 0.5 * y + 0.1 * (y.roll(1, -1) + y.roll(-1, -1)) + 0.15

    def per_image(a, b):
        return (a - b).square().mean((1, 2, 3))

    difference = per_image(f, truth) - per_image(f, local) - per_image(local, truth)
    assert abs(difference.mean()) < 4 * difference.std() / math.sqrt(len(difference))
    whole = per_image(lemmse.EquivariantMMSE(x, DENOISE)(y, sigma), truth).mean()
    any_map = per_image(lemmse.MMSE(x, DENOISE)(y, sigma), truth).mean()
    larger = per_image(lemmse.LocalEquivariantMMSE(x, DENOISE, patch_size=5)(y, sigma), truth).mean()
    assert any_map <= whole <= larger <= per_image(local, truth).mean()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("estimator", ["LocalEquivariantMMSE", "EquivariantMMSE", "MMSE"])
def test_batch_equals_one_by_one_and_stream_equals_tensor(estimator, dtype):
    x = random_images(11, 3, 6, 5, dtype)
    sigma = torch.tensor([0.05, 0.2, 0.9])
    y = DENOISE.measure(x[:3], sigma, generator=torch.Generator().manual_seed(0))
    options = {"patch_size": 3} if estimator == "LocalEquivariantMMSE" else {}
    make = getattr(lemmse, estimator)
    whole = make(x, DENOISE, **options).posterior(y, sigma, top_k=5)
    stream = make(list(x.split(4)), DENOISE, chunk_size=3, **options).posterior(y, sigma, top_k=5)
    single = [make(x, DENOISE, **options).posterior(y[i : i + 1], float(sigma[i]), top_k=5) for i in range(3)]
    tolerance = {"rtol": 1e-4, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-7, "atol": 1e-10}
    for name in ("mean", "variance", "log_density", "effective_samples", "weights"):
        together = getattr(whole, name)
        torch.testing.assert_close(getattr(stream, name), together, **tolerance)
        torch.testing.assert_close(torch.cat([getattr(s, name) for s in single]), together, **tolerance)
    assert (stream.indices == whole.indices).float().mean() > 0.99


@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_a_stream_is_not_kept(engine):
    """Memory is flat in N: a batch is let go before the next but one is asked for."""
    alive = weakref.WeakSet()

    class Stream:
        def __iter__(self):
            for seed in range(20):
                assert len(alive) <= 2
                batch = random_images(4, 1, 6, 6, torch.float32, seed)
                alive.add(batch)
                yield batch
                del batch

    estimator = lemmse.LocalEquivariantMMSE(Stream(), DENOISE, patch_size=3, engine=engine)
    assert estimator(random_images(1, 1, 6, 6, torch.float32), 0.1).shape == (1, 1, 6, 6)


def test_numbers_of_numpy_are_numbers():
    estimator = lemmse.LocalEquivariantMMSE(X, DENOISE, patch_size=np.int64(3))
    assert torch.equal(estimator(X, np.float32(0.5)), estimator(X, 0.5))


def test_same_input_same_bits():
    x = random_images(9, 3, 8, 8, torch.float32)
    estimator = lemmse.LocalEquivariantMMSE(x, DENOISE, patch_size=5)
    y = noisy(x[:2], 0.2)
    assert torch.equal(estimator(y, 0.2), estimator(y, 0.2))


def test_wholly_masked_image_gives_the_mean_pixel():
    x = random_images(4, 3, 5, 6)
    physics = lemmse.Inpainting(torch.zeros(5, 6))
    y = physics.measure(x[:1], 0.1, generator=torch.Generator().manual_seed(0))
    mean = x.mean((0, 2, 3))[None, :, None, None].expand(1, 3, 5, 6)
    local = lemmse.LocalEquivariantMMSE(x, physics, patch_size=3, pre_inverse="pinv")
    whole = lemmse.EquivariantMMSE(x, physics, pre_inverse="pinv")
    torch.testing.assert_close(local(y, 0.1), mean)
    torch.testing.assert_close(whole(y, 0.1), mean)
    assert local.posterior(y, 0.1).log_density.abs().max() < 1e-9  # a density on a point


def test_wholly_masked_patches_share_the_mean_over_the_hole():
    x = random_images(4, 1, 9, 9)
    mask = torch.ones(9, 9)
    mask[2:7, 2:7] = 0
    physics = lemmse.Inpainting(mask)
    y = physics.measure(x[:1], 0.1, generator=torch.Generator().manual_seed(0))
    found = lemmse.LocalEquivariantMMSE(x, physics, patch_size=3, pre_inverse="pinv")(y, 0.1)
    torch.testing.assert_close(found[0, 0, 3:6, 3:6], x[:, 0, 3:6, 3:6].mean().expand(3, 3))


def test_nonlinear_map_that_changes_channels():
    x = random_images(5, 3, 6, 6)
    physics = lemmse.Nonlinear(lambda v: v.mean(1, keepdim=True) ** 2)
    y = physics.measure(x[:2], 0.05, generator=torch.Generator().manual_seed(0))
    assert y.shape == (2, 1, 6, 6)
    assert lemmse.LocalEquivariantMMSE(x, physics, patch_size=3)(y, 0.05).shape == (2, 3, 6, 6)


def test_state_dict_leaves_the_images_out():
    x = random_images(5, 1, 6, 6)
    mask = torch.ones(6, 6)
    state = lemmse.LocalEquivariantMMSE(x, lemmse.Inpainting(mask), patch_size=3).state_dict()
    assert sum(v.numel() for v in state.values()) == 36
    with pytest.raises(ValueError, match="stays where its images are"):
        lemmse.MMSE(x, DENOISE).float()


X = random_images(3, 1, 5, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_size": 4}, "odd and positive, got 4"),
        ({"patch_size": 0}, "got 0"),
        ({"patch_size": -3}, "got -3"),
        ({"patch_size": 3.0}, "got 3.0"),
        ({"pre_inverse": "inverse"}, "'identity', 'pinv', 'tikhonov', 'adjoint'"),
        ({"padding": "reflect"}, "'circular', 'zeros'"),
        ({"padding": "zeros", "pre_inverse": "pinv"}, "padding 'zeros' needs"),
        ({"engine": "cuda"}, "choose 'auto' or one of 'numba', 'torch'"),
        ({"engine": "triton"}, "cannot serve"),
        ({"tikhonov_lambda": 0.0, "pre_inverse": "tikhonov"}, "tikhonov_lambda"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"physics": lemmse.Nonlinear(lambda v: v), "pre_inverse": "pinv"}, "needs a linear physics"),
        ({"physics": "denoising"}, "must be a lemmse.Physics"),
        ({"physics": lemmse.Inpainting(torch.ones(6, 5))}, "mask is 6 x 5, but the images are 5 x 6"),
        ({"physics": lemmse.Inpainting(torch.ones(6, 5)), "pre_inverse": "pinv"}, "mask is 6 x 5"),
        ({"physics": lemmse.Blur(torch.ones(7, 3))}, "kernel of 7 x 3 is larger"),
        ({"physics": lemmse.Linear(torch.ones(4, 7))}, "7 columns"),
        ({"images": X[0]}, "must be 4-D"),
        ({"images": X[:0]}, "must not be empty"),
        ({"images": (255 * X).byte()}, "dtype"),
        ({"images": X.half()}, "dtype"),
        ({"images": X.where(X.max() > X, torch.nan)}, "NaN"),
        ({"images": X.numpy()}, "first|tensor|re-iterable"),
        ({"images": iter([X])}, "re-iterable"),
        ({"images": []}, "yields no batch"),
    ],
)
def test_bad_arguments_raise_one_clear_error(options, message):
    options = {"images": X, "physics": DENOISE, "patch_size": 3, **options}
    with pytest.raises(ValueError, match=message):
        lemmse.LocalEquivariantMMSE(options.pop("images"), options.pop("physics"), **options)


@pytest.mark.parametrize(
    ("y", "sigma", "message"),
    [
        (X, 0.0, "finite and positive, got 0.0"),
        (X, -0.1, "got -0.1"),
        (X, float("nan"), "got nan"),
        (X, float("inf"), "got inf"),
        (X, torch.tensor([0.1, 0.2]), "shape"),
        (X, torch.tensor([0.1, 0.2, -1.0]), "got -1"),
        (X, "0.1", "must be a number"),
        (X, torch.tensor(0.1 + 0j), "must be real"),
        (X[:, :, :2], 0.1, "shape"),
        (X.repeat(1, 3, 1, 1), 0.1, "shape"),
        (X[:0], 0.1, "Q >= 1"),
        (X[0], 0.1, "shape"),
        (X.float(), 0.1, "float64"),
        (X.where(X.max() > X, torch.nan), 0.1, "NaN"),
        (X.numpy(), 0.1, "torch tensor"),
    ],
)
@pytest.mark.parametrize("estimator", ["LocalEquivariantMMSE", "EquivariantMMSE", "MMSE"])
def test_bad_queries_raise_one_clear_error(estimator, y, sigma, message):
    options = {"patch_size": 3} if estimator == "LocalEquivariantMMSE" else {}
    with pytest.raises(ValueError, match=message):
        getattr(lemmse, estimator)(X, DENOISE, **options)(y, sigma)


def test_images_outside_the_range_warn_once(recwarn):
    estimator = lemmse.LocalEquivariantMMSE([2 * X, 2 * X], DENOISE, patch_size=3)
    estimator(X, 0.1)
    estimator(X, 0.1)
    assert ["outside [0, 1]" in str(w.message) for w in recwarn] == [True]


def test_a_batch_of_another_shape_is_refused():
    estimator = lemmse.LocalEquivariantMMSE([X, X[..., :5]], DENOISE, patch_size=3)
    with pytest.raises(ValueError, match="every batch of images"):
        estimator(X, 0.1)


def test_numba_refuses_gradients_and_auto_does_not():
    x = X.float()
    y = x.clone().requires_grad_(True)
    with pytest.raises(ValueError, match="it has no gradient: choose 'auto' or one of 'torch'"):
        lemmse.LocalEquivariantMMSE(x, DENOISE, patch_size=3, engine="numba")(y, 0.1)
    lemmse.LocalEquivariantMMSE(x, DENOISE, patch_size=3)(y, 0.1).sum().backward()
    assert torch.isfinite(y.grad).all()
    assert y.grad.abs().max() > 0
