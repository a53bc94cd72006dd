"""The error without the truth, and the estimator without sigma: exact identities and averages over the noise."""

from __future__ import annotations

import math

import pytest
import torch

import lemmse
from lemmse.engines.plain import box
from tests.conftest import random_images

DENOISE = lemmse.Denoising()
X = random_images(6, 1, 6, 5)
LOCAL = lemmse.LocalEquivariantMMSE(X, DENOISE, patch_size=3, engine="torch")


@pytest.mark.parametrize("kind", ["LE-MMSE", "E-MMSE", "MMSE"])
def test_the_divergence_is_the_variance(kind):
    """sum_m d x_hat[m] / d y[m] = sum_m Var_m / sigma^2, by autograd: what makes Stein's estimate exact."""
    estimator = {"LE-MMSE": LOCAL, "E-MMSE": lemmse.EquivariantMMSE(X, DENOISE), "MMSE": lemmse.MMSE(X, DENOISE)}[kind]
    sigma, y = 0.3, DENOISE.measure(X[:1], 0.3, generator=torch.Generator().manual_seed(0))
    jacobian = torch.autograd.functional.jacobian(lambda z: estimator(z, sigma), y).reshape(30, 30)
    variance = estimator.posterior(y, sigma).variance.sum()
    torch.testing.assert_close(jacobian.diagonal().sum(), variance / sigma**2, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "image",
    [
        X[0],  # a training image
        random_images(1, 1, 6, 5, seed=9)[0] ** 2,  # another
        torch.rand(1, 6, 5, generator=torch.Generator().manual_seed(5), dtype=torch.float64),  # noise
    ],
)
def test_steins_estimate_is_unbiased_for_any_image(image):
    sigma, draws = 0.2, 2000
    truth = image.expand(draws, 1, 6, 5)
    y = DENOISE.measure(truth, sigma, generator=torch.Generator().manual_seed(2))
    posterior = LOCAL.posterior(y, sigma)
    gap = lemmse.stein_error(y, posterior, sigma) - (posterior.mean - truth).square().mean((1, 2, 3))
    assert abs(float(gap.mean())) < 2 * float(gap.std()) / math.sqrt(draws)


def test_a_blind_estimator_weighs_levels_by_the_density_of_the_patch():
    sigmas, weights = [0.05, 0.2, 0.6], [1.0, 3.0, 2.0]
    y = DENOISE.measure(X[:2], torch.tensor([0.05, 0.6]).double(), generator=torch.Generator().manual_seed(1))
    blind = lemmse.BlindMMSE(LOCAL, sigmas, weights)
    known = [LOCAL.posterior(y, sigma) for sigma in sigmas]
    shares = torch.stack([w * p.log_density.exp() for w, p in zip(weights, known, strict=True)])
    expected = (shares[:, :, None] * torch.stack([p.mean for p in known])).sum(0) / shares.sum(0)[:, None]
    torch.testing.assert_close(blind(y), expected, rtol=0, atol=1e-10)
    probabilities = blind.level_probabilities(y)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(2, 6, 5).double())
    assert probabilities[0, 0].mean() > probabilities[1, 0].mean()  # little noise is recognized
    torch.testing.assert_close(lemmse.BlindMMSE(LOCAL, [0.2])(y), LOCAL(y, 0.2))


LEVELS = [0.3, 0.02, 1.0]  # in no order
BUILT = {
    "LE-MMSE": lambda x, **of: lemmse.LocalEquivariantMMSE(x, DENOISE, patch_size=3, **of),
    "LE-MMSE, zeros": lambda x, **of: lemmse.LocalEquivariantMMSE(x, DENOISE, patch_size=3, padding="zeros", **of),
    "LE-MMSE, counts": lambda x: lemmse.LocalEquivariantMMSE(x, DENOISE, patch_size=3, noise="poisson", background=0.1),
    "E-MMSE": lambda x: lemmse.EquivariantMMSE(x, DENOISE),
    "MMSE": lambda x: lemmse.MMSE(x, DENOISE),
}


def both_ways(estimator, y):
    """All levels in one call, and one pass a level: mean, variance, log density and effective samples, (Q * S, ...)."""
    together = estimator.posterior_at_levels(y, LEVELS)
    one_by_one = [estimator.posterior(y, sigma) for sigma in LEVELS]
    for name in ("mean", "variance", "log_density", "effective_samples"):
        yield getattr(together, name), torch.stack([getattr(known, name) for known in one_by_one], 1).flatten(0, 1)


@pytest.mark.parametrize(
    ("kind", "options"),
    [(kind, {}) for kind in BUILT] + [(kind, {"engine": "torch"}) for kind in ("LE-MMSE", "LE-MMSE, zeros")],
)
def test_all_levels_in_one_pass_are_those_of_a_pass_each(kind, options):
    """Exact in float64: the distances are the same at all levels, the weights `exp(-D / 2 sigma^2)` are not."""
    y = DENOISE.measure(X[:2], 0.1, generator=torch.Generator().manual_seed(1)).clamp_min(0)
    for together, one_by_one in both_ways(BUILT[kind](X, **options), y):
        torch.testing.assert_close(together, one_by_one, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["LE-MMSE", "LE-MMSE, zeros"])
def test_all_levels_in_one_pass_are_as_accurate_in_float32(kind):
    """Means are those of a pass each in float64 to 100 dB, in every image at every level."""
    x = random_images(40, 1, 12, 12).float()
    y = DENOISE.measure(x[:2], 0.1, generator=torch.Generator().manual_seed(1))
    single, double = (BUILT[kind](images).posterior_at_levels for images in (x, x.double()))
    assert (lemmse.psnr(single(y, LEVELS).mean.double(), double(y.double(), LEVELS).mean) > 100).all()


def test_distances_are_computed_once_for_all_levels(monkeypatch):
    """One pass over the data, in which each query is compared once."""
    queries = []
    accumulate = box.accumulate

    def counted(state, q, *args, **options):
        queries.append(len(q))
        return accumulate(state, q, *args, **options)

    monkeypatch.setattr(box, "accumulate", counted)
    lemmse.BlindMMSE(LOCAL, LEVELS)(X[:2])
    assert queries == [2]


def test_a_blind_estimator_has_a_gradient():
    y = DENOISE.measure(X[:1], 0.2, generator=torch.Generator().manual_seed(4)).requires_grad_()
    assert torch.autograd.gradcheck(lemmse.BlindMMSE(LOCAL, [0.2, 0.5]), (y,), fast_mode=True)


def test_the_price_of_not_knowing_the_noise():
    """R_blind - R_known = E |x_hat_blind - x_hat_sigma|^2, over images, noise and levels drawn as assumed."""
    sigmas, draws, g = torch.tensor([0.1, 0.5]).double(), 1000, torch.Generator().manual_seed(3)
    truth = X[torch.randint(len(X), (draws,), generator=g)]
    sigma = sigmas[torch.randint(2, (draws,), generator=g)]
    y = DENOISE.measure(truth, sigma, generator=g)
    known, blind = LOCAL(y, sigma), lemmse.BlindMMSE(LOCAL, sigmas)(y)

    def per_image(a, b):
        return (a - b).square().mean((1, 2, 3))

    gap = per_image(blind, truth) - per_image(known, truth) - per_image(blind, known)
    assert abs(float(gap.mean())) < 3 * float(gap.std()) / math.sqrt(draws)
    assert per_image(blind, known).mean() > 1e-6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lemmse.BlindMMSE(None, [0.1]), "estimator must be LE-MMSE, E-MMSE or MMSE, got NoneType"),
        (lambda: lemmse.BlindMMSE(LOCAL, []), "sigmas must be a list of at least one number"),
        (lambda: lemmse.BlindMMSE(LOCAL, 0.1), "sigmas must be a list"),
        (lambda: lemmse.BlindMMSE(LOCAL, [0.1, -1.0]), "each of sigmas must be a finite positive number, got -1.0"),
        (lambda: lemmse.BlindMMSE(LOCAL, [0.1], [1, 2]), "weights must be one for each sigma, got 2 and 1"),
        (lambda: LOCAL.posterior_at_levels(X, []), "sigmas must be a list of at least one number"),
        (lambda: LOCAL.posterior_at_levels(X[0], [0.1]), "y must be of shape"),
        (lambda: lemmse.stein_error(X, X, 0.1), "posterior must be"),
        (lambda: lemmse.stein_error(X[:1], LOCAL.posterior(X, 0.1), 0.1), "must be of one shape"),
    ],
)
def test_bad_input_is_one_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()
