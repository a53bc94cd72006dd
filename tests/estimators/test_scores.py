"""Noise that is not white: against the softmax over all pairs of patches, written from the likelihoods with numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import lemmse
from tests.conftest import random_images
from tests.oracle import window, zero_window

ENGINES = ("numba", "torch")


def log_likelihood(noise, y, a, level, background=0.0):
    """log p(y | a) of each pixel, by scipy."""
    with np.errstate(divide="ignore"):
        match noise:
            case "poisson":
                return stats.poisson.logpmf(y, level * (a + background))
            case "gamma":
                return stats.gamma.logpdf(y, level, scale=a / level)
            case "bernoulli":
                return stats.bernoulli.logpmf(y, a)
            case "map":
                return stats.norm.logpdf(y, a, level)
    raise AssertionError(noise)


def brute_force(noise, images, y, level, patch_size, background=0.0, padding="circular", level_map=None):
    """Mean, variance and log density of LE-MMSE with B = I, pair by pair."""
    n, channels, height, width = images.shape
    pixels = height * width
    x = images.reshape(n, channels, pixels)
    means, variances, densities = (np.zeros((len(y), c, pixels)) for c in (channels, channels, 1))

    def seen(position):
        if padding == "circular":
            return list(enumerate(window(position, patch_size, height, width)))
        return zero_window(position, patch_size, height, width)

    for q in range(len(y)):
        flat = y[q].reshape(channels, pixels)
        for m in range(pixels):
            places, at = zip(*seen(m), strict=True)
            logits, values = [], []
            for k in range(pixels):
                other, there = zip(*seen(k), strict=True)
                if other != places:
                    continue
                of_pixel = level[q] if level_map is None else level_map[q].reshape(-1)[list(at)]
                like = log_likelihood(noise, flat[:, at], x[:, :, there], of_pixel, background)
                logits.append(like.sum((1, 2)))
                values.append(x[:, :, k])
            logits, values = np.concatenate(logits), np.concatenate(values)
            total = np.logaddexp.reduce(logits)
            weights = np.exp(logits - total)
            means[q, :, m] = weights @ values
            variances[q, :, m] = weights @ values**2 - means[q, :, m] ** 2
            densities[q, 0, m] = total - math.log(len(logits))
    shape = (len(y), -1, height, width)
    return means.reshape(shape), variances.reshape(shape), densities.reshape(len(y), height, width)


def measured(noise, images, level, background=0.0, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return lemmse.Denoising().measure(images, level, generator=generator, noise=noise, background=background)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("padding", ["circular", "zeros"])
@pytest.mark.parametrize(("noise", "background"), [("poisson", 0.0), ("poisson", 0.3), ("gamma", 0), ("bernoulli", 0)])
def test_it_is_the_softmax_of_the_likelihoods(engine, padding, noise, background):
    images = random_images(5, 2, 5, 6)
    level = torch.tensor([3.0, 40.0], dtype=torch.float64)
    y = measured(noise, images[:2], level, background)
    options = {"noise": noise, "background": background, "padding": padding, "engine": engine}
    posterior = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=3, **options).posterior(y, level)
    exact = brute_force(noise, images.numpy(), y.numpy(), level.numpy(), 3, background, padding)
    found = posterior.mean, posterior.variance, posterior.log_density
    for ours, oracle in zip(found, exact, strict=True):
        assert np.allclose(ours.numpy(), oracle, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("padding", ["circular", "zeros"])
def test_a_map_of_sigma(engine, padding):
    images = random_images(4, 2, 5, 6)
    sigma = 0.05 + random_images(2, 1, 5, 6, seed=3)
    y = lemmse.Denoising().measure(images[:2], sigma, generator=torch.Generator().manual_seed(0))
    estimator = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=3, padding=padding, engine=engine)
    posterior = estimator.posterior(y, sigma)
    exact = brute_force("map", images.numpy(), y.numpy(), None, 3, padding=padding, level_map=sigma.numpy())
    for ours, oracle in zip((posterior.mean, posterior.variance, posterior.log_density), exact, strict=True):
        assert np.allclose(ours.numpy(), oracle, rtol=1e-9, atol=1e-9)


def test_a_constant_map_is_a_number():
    images = random_images(4, 1, 6, 5)
    y = lemmse.Denoising().measure(images[:2], 0.2, generator=torch.Generator().manual_seed(0))
    estimator = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=3)
    constant, number = estimator.posterior(y, torch.full((2, 1, 6, 5), 0.2).double(), 3), estimator.posterior(y, 0.2, 3)
    assert torch.allclose(constant.mean, number.mean, atol=1e-12)
    assert torch.allclose(constant.log_density, number.log_density, atol=1e-9)
    assert torch.allclose(constant.weights, number.weights, atol=1e-12)
    assert torch.equal(constant.indices[..., 0, :], number.indices[..., 0, :])


@settings(max_examples=10, deadline=None)
@given(
    st.integers(3, 9),
    st.integers(3, 9),
    st.sampled_from([1, 3, 5, 7]),
    st.integers(1, 3),
    st.sampled_from([2.0, 500.0]),
)
def test_the_compiled_engine_is_the_plain_one(height, width, patch_size, channels, rate):
    images = random_images(19, channels, height, width)
    images = (images * 2 - 0.6).clamp(0, 1)  # zeros among them
    y = measured("poisson", images[:2], rate)
    exclude = torch.tensor([7, -1])
    both = [
        lemmse.LocalEquivariantMMSE(
            images, lemmse.Denoising(), patch_size=patch_size, noise="poisson", engine=engine
        ).posterior(y, rate, top_k=2, exclude=exclude)
        for engine in ENGINES
    ]
    for name in ("mean", "variance", "log_density", "weights"):
        assert torch.allclose(getattr(both[0], name), getattr(both[1], name), rtol=1e-10, atol=1e-10), name


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("padding", ["circular", "zeros"])
def test_dark_pixels_leave_no_rounding(engine, padding):
    """Half of the means are 0, and without a background they exclude most pairs: what is left is exact."""
    images = (random_images(8, 1, 9, 8) - 0.5).clamp_min(0)
    assert float((images == 0).double().mean()) > 0.4
    rate = torch.tensor([500.0, 2.0], dtype=torch.float64)
    y = measured("poisson", images[:2], rate)
    options = {"noise": "poisson", "padding": padding, "engine": engine}
    posterior = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=3, **options).posterior(y, rate)
    exact = brute_force("poisson", images.numpy(), y.numpy(), rate.numpy(), 3, padding=padding)
    found = posterior.mean, posterior.variance, posterior.log_density
    for ours, oracle in zip(found, exact, strict=True):
        assert np.allclose(ours.numpy(), oracle, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("rate", [5.0, 200.0, 2000.0])
def test_float32_keeps_its_digits(rate):
    images = random_images(20, 1, 8, 8, dtype=torch.float32)
    y = measured("poisson", images[:2], rate, 0.02)
    options = {"patch_size": 5, "noise": "poisson", "background": 0.02}
    single = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), **options)(y, rate)
    double = lemmse.LocalEquivariantMMSE(images.double(), lemmse.Denoising(), **options)(y.double(), rate)
    assert float((single - double).abs().max()) < 2e-6


@pytest.mark.parametrize("patch_size", [1, 3])
def test_robbins_identity(patch_size):
    """`rate (x_hat[m] + b) = (y_m + 1) p(v + e_m) / p(v)`."""
    rate, background = 7.0, 0.2
    images = random_images(6, 1, 4, 5)
    y = measured("poisson", images[:1], rate, background)
    options = {"patch_size": patch_size, "noise": "poisson", "background": background}
    estimator = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), **options)
    posterior = estimator.posterior(y, rate)
    for row, column in [(0, 0), (2, 3), (3, 1)]:
        more = y.clone()
        more[..., row, column] += 1
        grown = estimator.posterior(more, rate).log_density[0, row, column] - posterior.log_density[0, row, column]
        right = (y[0, 0, row, column] + 1) * grown.exp()
        assert float(rate * (posterior.mean[0, 0, row, column] + background)) == pytest.approx(float(right), rel=1e-11)


def test_much_background_is_gaussian_noise():
    """`y / rate - b` tends to N(x, b / rate) as b grows with b / rate fixed."""
    images = random_images(6, 1, 5, 5)
    sigma, z = 0.3, images[:2] + 0.3 * torch.randn(2, 1, 5, 5, generator=torch.Generator().manual_seed(0)).double()
    gaussian = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=3).posterior(z, sigma)
    errors = []
    for background in (1e1, 1e2, 5e3):
        rate = background / sigma**2
        options = {"patch_size": 3, "noise": "poisson", "background": background}
        estimator = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), **options)
        counts = estimator.posterior(rate * (z + background), rate)
        errors.append(float((counts.mean - gaussian.mean).abs().max()))
        density = counts.log_density + 9 * math.log(rate)  # of counts, as a density of z
    assert errors[1] < 0.15 * errors[0]
    assert errors[2] < 0.03 * errors[1]
    assert torch.allclose(density, gaussian.log_density, atol=1e-2)


def test_gradients():
    images = random_images(4, 1, 4, 4)
    y = measured("poisson", images[:1], 9.0, 0.1) + 0.5
    options = {"patch_size": 3, "noise": "poisson", "background": 0.1}
    estimator = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), **options)
    y.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: estimator(v, 9.0), (y,), atol=1e-5)
    zero = torch.zeros(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    step = 1e-6
    [slope] = torch.autograd.grad(estimator(zero, 9.0)[0, 0, 1, 1], zero)
    moved = torch.zeros_like(zero)
    moved[0, 0, 1, 2] = step
    difference = (estimator(moved.detach(), 9.0) - estimator(zero.detach(), 9.0))[0, 0, 1, 1] / step
    assert float(slope[0, 0, 1, 2]) == pytest.approx(float(difference), rel=1e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_count_that_no_patch_allows_is_named(engine):
    images = random_images(17, 1, 6, 6)
    images[..., 2, :] = 0
    dark = torch.zeros_like(images)
    y = torch.zeros(2, 1, 6, 6, dtype=torch.float64)
    y[1, 0, 3, 4] = 2
    some = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=3, noise="poisson", engine=engine)
    assert torch.isfinite(some(y, 20.0)).all()
    none = lemmse.LocalEquivariantMMSE(dark, lemmse.Denoising(), patch_size=3, noise="poisson", engine=engine)
    with pytest.raises(ValueError, match=r"row 2, column 3 of query 1 has probability 0 .* \(9 such pixels\)"):
        none(y, 20.0)
    assert float(none(y[:1], 20.0).abs().max()) == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_an_impossible_pair_has_no_weight(engine):
    images = random_images(3, 1, 5, 5)
    images[0, 0, :, :] = 0
    y = torch.full((1, 1, 5, 5), 1.0, dtype=torch.float64)
    options = {"patch_size": 3, "noise": "poisson", "engine": engine}
    with_dark = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), **options).posterior(y, 1e-3, top_k=60)
    without = lemmse.LocalEquivariantMMSE(images[1:], lemmse.Denoising(), **options).posterior(y, 1e-3)
    assert torch.allclose(with_dark.mean, without.mean, atol=1e-12)
    assert (with_dark.weights[..., 50:] == 0).all()
    assert (with_dark.indices[..., 50:, :] == -1).all()


def test_shards_merge():
    images = random_images(6, 1, 5, 5)
    y = measured("poisson", images[:1], 12.0)
    parts = [
        lemmse.LocalEquivariantMMSE(part, lemmse.Denoising(), patch_size=3, noise="poisson")
        for part in (images, images[:2], images[2:])
    ]
    whole = parts[0].posterior(y, 12.0)
    merged = parts[0].finish(parts[1].partial(y, 12.0).merge(parts[2].partial(y, 12.0)))
    assert torch.allclose(whole.mean, merged.mean, atol=1e-12)
    assert torch.allclose(whole.log_density, merged.log_density, atol=1e-9)


def test_queries_of_another_size():
    images, large = random_images(4, 1, 6, 6), random_images(1, 1, 9, 8, seed=5)
    y = measured("poisson", large, 30.0, 0.1)
    options = {"patch_size": 3, "noise": "poisson", "background": 0.1}
    estimates = [
        lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), engine=engine, **options)(y, 30.0) for engine in ENGINES
    ]
    assert torch.allclose(*estimates, atol=1e-10)


def poisson(images=None, **options):
    images = random_images(3, 1, 5, 5) if images is None else images
    return lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=3, **{"noise": "poisson", **options})


def test_bad_input():
    y = torch.ones(1, 1, 5, 5, dtype=torch.float64)
    with pytest.raises(ValueError, match="counts of at least 0, got -1"):
        poisson()(-y, 5.0)
    with pytest.raises(ValueError, match="rate must be finite and positive, got 0"):
        poisson()(y, 0.0)
    with pytest.raises(ValueError, match="unknown noise 'shot'"):
        poisson(noise="shot")
    with pytest.raises(ValueError, match="background must be"):
        poisson(background=-1)
    with pytest.raises(ValueError, match="background is for noise 'poisson'"):
        poisson(noise="gaussian", background=1.0)
    with pytest.raises(ValueError, match="needs pre_inverse 'identity'"):
        poisson(pre_inverse="pinv")
    with pytest.raises(ValueError, match=r"A x \+ background of at least 0"):
        lemmse.LocalEquivariantMMSE(
            random_images(3, 1, 5, 5), lemmse.Nonlinear(lambda x: x - 1), patch_size=3, noise="poisson"
        )(y, 5.0)
    with pytest.raises(ValueError, match="real images"):
        lemmse.LocalEquivariantMMSE(
            random_images(3, 1, 5, 5), lemmse.FourierSampling(torch.ones(5, 5)), patch_size=3, noise="poisson"
        )
    with pytest.raises(ValueError, match="positive intensities"):
        poisson(noise="gamma")(0 * y, 5.0)
    with pytest.raises(ValueError, match=r"only 0 and 1, got 0\.5"):
        poisson(noise="bernoulli")(y / 2, 1.0)
    with pytest.raises(ValueError, match="or a map of shape"):
        poisson(noise="gaussian")(y, torch.ones(1, 1, 4, 5).double())


def test_measure_draws_counts():
    images = random_images(200, 1, 8, 8)
    counts = measured("poisson", images, 20.0, 0.5)
    assert torch.equal(counts, counts.round())
    means = 20 * (images + 0.5)
    assert float((counts - means).mean()) == pytest.approx(0, abs=0.15)
    assert float(((counts - means).square() / means).mean()) == pytest.approx(1, abs=0.05)
    speckle = measured("gamma", images + 0.1, 4.0)
    assert float((speckle / (images + 0.1)).var()) == pytest.approx(0.25, abs=0.02)
    ones = measured("bernoulli", images, 1.0)
    assert float((ones - images).mean()) == pytest.approx(0, abs=0.02)
    with pytest.raises(ValueError, match="no mean"):
        measured("poisson", images - 1, 1.0)
