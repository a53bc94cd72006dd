"""Where float32 and care end: data far from 0, absurd noise levels, gradients of every input, sums that do not fit.

A right answer or one `ValueError`, never NaN.
"""

from __future__ import annotations

import pytest
import torch

import lemmse
from lemmse.physics.gallery import gaussian_kernel
from tests.conftest import random_images

DENOISE, BLUR = lemmse.Denoising(), lemmse.Blur(gaussian_kernel(0.7, 1))
X = random_images(6, 1, 5, 4, torch.float32)


def local(images, physics=DENOISE, **options):
    return lemmse.LocalEquivariantMMSE(images, physics, patch_size=3, **options)


ESTIMATORS = {
    "LE-MMSE": local,
    "LE-MMSE, blur": lambda images, **o: local(images, BLUR, pre_inverse="pinv", **o),
    "MMSE": lambda images, **o: lemmse.MMSE(images, DENOISE, **o),
    "E-MMSE": lambda images, **o: lemmse.EquivariantMMSE(images, DENOISE, **o),
}
every_estimator = pytest.mark.parametrize("make", ESTIMATORS.values(), ids=ESTIMATORS)


def assert_finite(post):
    for name, value in vars(post).items():
        assert value is None or torch.isfinite(value).all(), name


@pytest.mark.filterwarnings("ignore:images span")
@pytest.mark.parametrize("offset", [10.0, 1000.0])
@pytest.mark.parametrize("sigma", [1e-4, 1e-3, 1e-2])
def test_whole_images_far_from_zero(offset, sigma):
    """Neighbors a few sigma apart, on a pedestal that expansions and float32 features would drown them in."""
    g = torch.Generator().manual_seed(0)
    x = offset + torch.rand(1, 1, 16, 16, generator=g).double() + 0.2 * sigma * torch.randn(80, 1, 16, 16, generator=g)
    x = x.float()
    for physics, name in ((BLUR, "pinv"), (BLUR, "tikhonov"), (DENOISE, "identity")):
        y = physics.measure(x[:2], sigma, generator=g)
        estimator = lemmse.MMSE(x, physics, pre_inverse=name)
        q, a = (
            estimator.features(z).double().flatten(1)
            for z in (estimator._query(y), estimator.pre_inverse.signal(x.double()))
        )
        d = (q[:, None] - a).square().sum(-1)
        w = torch.softmax(-d / (2 * torch.tensor(sigma).double().square()), 1).topk(3).values
        whole = lemmse.EquivariantMMSE(x, physics, pre_inverse=name)  # the other translations weigh nothing
        for found in (estimator, whole):
            top = found.posterior(y, sigma, top_k=3).weights[:, 0, 0].double()
            torch.testing.assert_close(top, w, rtol=0, atol=1e-5, msg=f"{found}")


@every_estimator
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_levels_at_the_limits_are_finite_and_beyond_them_raise(make, dtype):
    x = X.to(dtype)
    estimator = make(x)
    for sigma in (1e-12, 1e12):
        assert_finite(estimator.posterior(x[:1] + 0.1, sigma, top_k=2))
    torch.testing.assert_close(estimator(x[:1], 1e12).mean(), x.mean(), rtol=0, atol=1e-5)
    for sigma in (1e-30, 1e-20, 1e20, 1e30):
        with pytest.raises(ValueError, match="sigma must be between 1e-12 and 1e"):
            estimator(x[:1], sigma)


@pytest.mark.filterwarnings("ignore:images span")
@every_estimator
def test_values_too_large_to_compare_raise(make):
    assert_finite(make(X).posterior(1e9 * X[:1], 0.1, top_k=2))
    with pytest.raises(ValueError, match=r"y must be at most 1e\+09 in size"):
        make(X)(1e16 * X[:1], 0.1)
    with pytest.raises(ValueError, match=r"images must be at most 1e\+09 in size"):
        make(1e16 * X)
    stream = make([X, 1e16 * X])
    with pytest.raises(ValueError, match="must be at most 1e"):
        stream(X[:1], 0.1)


@pytest.mark.parametrize("make", [local, lemmse.MMSE, lemmse.EquivariantMMSE])
def test_a_map_that_leaves_the_real_numbers_raises(make):
    dark = torch.where(X > 0.4, X, 0.0)
    dark[0] = 0.5  # found only when the others are summed
    with pytest.raises(ValueError, match="B A x must be finite"):
        make(dark, lemmse.Nonlinear(torch.log))(X[:1], 0.1)
    for fn in (lambda x: x > 0.5, lambda x: torch.complex(x, x)):
        with pytest.raises(ValueError, match="B A x must be of dtype"):
            make(X, lemmse.Nonlinear(fn))


def test_an_iterable_that_runs_dry_raises():
    class Once:
        def __init__(self):
            self.left = [[X], []]

        def __iter__(self):
            return iter(self.left.pop(0))

    with pytest.raises(ValueError, match="yields no batch"):
        local(Once())(X[:1], 0.1)


@pytest.mark.filterwarnings("ignore:engine")
@every_estimator
@pytest.mark.parametrize("needs", ["y", "sigma", "images"])
def test_gradients_of_every_input(make, needs):
    """Against central differences; without recording, the fast engine serves as if none was needed."""
    inputs = {"y": X[:1] + 0.05, "sigma": torch.tensor(0.2), "images": X}

    def mean(given):
        return make(given["images"])(given["y"], given["sigma"]).square().sum()

    leaf = inputs[needs].clone().requires_grad_()
    with torch.no_grad():
        torch.testing.assert_close(mean(inputs | {needs: leaf}), mean(inputs), rtol=0, atol=0)
    mean(inputs | {needs: leaf}).backward()
    wide = {name: value.double() for name, value in inputs.items()}
    direction = torch.randn(leaf.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    up, down = (mean(wide | {needs: wide[needs] + step * direction}) for step in (1e-5, -1e-5))
    torch.testing.assert_close((leaf.grad.double() * direction).sum(), (up - down) / 2e-5, rtol=1e-3, atol=1e-4)


def test_one_warning_for_one_fallback(recwarn):
    y = torch.rand(1100, 1, 8, 8).requires_grad_()  # more rows than are summed at once
    local(random_images(2, 1, 8, 8, torch.float32))(y, 0.1)
    assert ["engine 'numba' cannot serve" in str(w.message) for w in recwarn] == [True]


def test_an_engine_that_is_no_name_is_refused():
    with pytest.raises(ValueError, match="choose 'auto' or one of 'numba', 'torch'"):
        local(X, engine=["torch"])


@every_estimator
def test_sums_of_another_estimator_are_refused(make):
    other = {"LE-MMSE": lemmse.MMSE(X, DENOISE), "MMSE": local(X)}
    estimator = make(X)
    others = [make(random_images(2, 1, 5, 5, torch.float32)), make(random_images(2, 3, 5, 4, torch.float32))]
    others += [other["LE-MMSE" if isinstance(estimator, lemmse.LocalEquivariantMMSE) else "MMSE"]]
    for other in others:
        y = torch.rand(1, *other.shape)
        with pytest.raises(ValueError, match="sums of another estimator"):
            estimator.finish(other.partial(y, 0.1))
    part = estimator.partial(X[:1], 0.1)
    with pytest.raises(ValueError, match="on cpu and meta"):
        part.merge(part.to(torch.device("meta")))


@every_estimator
def test_absurd_arguments_are_one_line(make):
    estimator = make(X)
    part = estimator.partial(X[:1], 0.1)
    calls = [
        (lambda: estimator.posterior(X[:1], 0.1, top_k=10**8), "top_k must be at most 6710886 for 1 queries of 5 x 4"),
        (lambda: estimator.posterior(X[:1], 0.1, top_k=10**400), "top_k must be at most 6710886"),
        (lambda: estimator.posterior(X[:1], 0.1, top_k=10**5000), "top_k must be at most 6710886"),
        (lambda: estimator(X[:1], 10**400), "sigma must be finite and positive, got inf"),
        (lambda: estimator(X[:1], [0.1] * 10**4), "sigma must be a number or a"),
        (lambda: estimator(X.repeat(500, 1, 1, 1), 1e-20), "sigma must be between 1e-12 and 1e"),
        (lambda: estimator(X[:1].to_sparse(), 0.1), "y must be a dense tensor"),
        (lambda: estimator(X[:1].to("meta"), 0.1), "y must hold values"),
        (lambda: estimator.finish(None), "finish takes the PartialSum that `partial` returns, got NoneType"),
        (lambda: estimator.finish(part.state), "finish takes the PartialSum"),
        (lambda: part.merge(part.state), "merge takes another PartialSum, got SoftmaxState"),
        (lambda: make(X, engine="torch" * 999), "cannot serve"),
        (lambda: make(X, engine=torch.ones(3)), "cannot serve"),
        (lambda: make(X, chunk_size="all"), "chunk_size must be an integer"),
    ]
    for call, message in calls:
        with pytest.raises(ValueError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("padding", ["circular", "zeros"])
def test_a_patch_of_any_size_is_the_whole_image(padding):
    """However large: memory does not grow with it, and the result is that of the least patch which covers the image."""
    covering, huge = (
        lemmse.LocalEquivariantMMSE(X, DENOISE, patch_size=p, padding=padding).posterior(X[:1], 0.1, top_k=2)
        for p in (11, 10**400 + 1)
    )
    for name, value in vars(covering).items():
        assert torch.equal(value, getattr(huge, name)), name
