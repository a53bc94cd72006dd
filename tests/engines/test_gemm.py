"""The mixed-precision engine of whitened features against the plain one in float64, and where it must be exact."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lemmse
from lemmse.engines.cpu import gemm as gemm_cpu
from lemmse.engines.cpu import whole as whole_cpu
from lemmse.engines.plain import correlation, gemm
from lemmse.engines.state import SoftmaxState
from lemmse.physics.gallery import gaussian_kernel
from tests.conftest import random_images


def operator(kind: str, height: int, width: int, seed: int = 0):
    if kind.startswith("blur"):
        return lemmse.Blur(gaussian_kernel(0.7, min(1, (min(height, width) - 1) // 2))), kind.split()[1]
    mask = torch.rand(height, width, generator=torch.Generator().manual_seed(seed)) < 0.5
    mask[0, 0] = True
    return lemmse.FourierSampling(mask), "pinv"


def both(x, y, physics, pre_inverse, patch_size, sigma, top_k=3):
    """The posterior by the mixed engine in float32, and by the plain one in float64."""
    mixed = lemmse.LocalEquivariantMMSE(x, physics, patch_size=patch_size, pre_inverse=pre_inverse)
    assert mixed.engine == "mixed"
    exact = lemmse.LocalEquivariantMMSE(
        x.double(), physics, patch_size=patch_size, pre_inverse=pre_inverse, engine="gemm"
    )
    wide = y.to(torch.complex128) if y.is_complex() else y.double()
    return mixed.posterior(y, sigma, top_k), exact.posterior(wide, sigma, top_k)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(2, 9),
    width=st.integers(2, 14),
    channels=st.sampled_from([1, 3]),
    patch_size=st.sampled_from([1, 3, 5, 11, 25]),
    sigma=st.sampled_from([1e-3, 0.05, 0.5, 10.0]),
    kind=st.sampled_from(["blur pinv", "blur tikhonov", "fourier"]),
    count=st.integers(1, 20),
    queries=st.integers(1, 3),
    seed=st.integers(0, 10**6),
)
def test_mixed_precision_equals_the_plain_engine(
    height, width, channels, patch_size, sigma, kind, count, queries, seed
):
    x = random_images(count, channels, height, width, torch.float32, seed)
    physics, pre_inverse = operator(kind, height, width, seed)
    clean = torch.cat([x[:1], random_images(queries, channels, height, width, torch.float32, seed + 1)])
    y = physics.measure(clean, sigma, generator=torch.Generator().manual_seed(seed))
    fast, plain = both(x, y, physics, pre_inverse, patch_size, sigma)
    for name in ("mean", "variance", "weights"):
        torch.testing.assert_close(getattr(fast, name).double(), getattr(plain, name), rtol=0, atol=2e-6, msg=name)
    torch.testing.assert_close(fast.log_density.double(), plain.log_density, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(fast.effective_samples.double(), plain.effective_samples, rtol=1e-4, atol=1e-5)
    assert ((fast.indices >= 0) == (plain.indices >= 0)).all()


@pytest.mark.parametrize("kind", ["blur pinv", "blur tikhonov", "fourier"])
@pytest.mark.parametrize("sigma", [1e-3, 10.0])
def test_extreme_noise_levels_on_a_training_image_with_duplicates(kind, sigma):
    x = random_images(4, 3, 9, 8, torch.float32)
    x = torch.cat([x, x[1:2], x[1:2]])
    physics, pre_inverse = operator(kind, 9, 8)
    y = physics.A(x[1:2])
    fast, plain = both(x, y, physics, pre_inverse, 5, sigma, top_k=4)
    for name in ("mean", "variance", "weights", "effective_samples"):
        torch.testing.assert_close(getattr(fast, name).double(), getattr(plain, name), rtol=1e-4, atol=1e-5, msg=name)
    if sigma < 1:
        torch.testing.assert_close(fast.mean, x[1:2], rtol=0, atol=1e-5)
        assert torch.isin(fast.indices[..., :3, 0], torch.tensor([1, 4, 5])).all()


def problem(keys: int, features: int, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(keys, features, generator=g, dtype=torch.float64)
    q = a[:5] + 0.3 * torch.randn(5, features, generator=g, dtype=torch.float64)
    u, places = torch.rand(keys, 2, generator=g) - 0.5, torch.arange(keys)[:, None].expand(-1, 3)
    return q[None], a, u, places


@pytest.mark.parametrize("sigma", [0.01, 0.5, 3.0])
@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_distances_are_exact_where_the_product_cancels(sigma, offset):
    """Features far from 0, and a first block that is far from the rest: float32 products alone would be useless."""
    q, a, u, places = problem(700, 24)
    q, a = q + offset, a + offset
    a[600:] += 1000
    scale = torch.tensor([1 / (2 * sigma**2)], dtype=torch.float64)
    for order in (torch.arange(700), torch.arange(700).flip(0)):
        blocks = [(a[part], u[part], places[part]) for part in order.split(90)]
        empty = SoftmaxState.empty((1, 5), 2, 4, a.device)
        fast, plain = (engine.accumulate(empty, q, blocks, scale, center=0.0) for engine in (gemm_cpu, gemm))
        center = torch.zeros(2)
        torch.testing.assert_close(fast.mean(center), plain.mean(center), rtol=0, atol=3e-6)
        torch.testing.assert_close(fast.top_logits, plain.top_logits, rtol=1e-9, atol=1e-6)
        assert torch.equal(fast.top_sources, plain.top_sources)


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 60),
    queries=st.integers(1, 4),
    sigma=st.sampled_from([1e-3, 0.1, 1.0, 10.0]),
    kind=st.sampled_from(["identity", "mask", "blur pinv"]),
    channels=st.sampled_from([1, 3]),
    chunk_size=st.sampled_from([None, 7]),
    seed=st.integers(0, 10**6),
)
def test_direct_differences_of_whole_images_equal_the_plain_engine(
    count, queries, sigma, kind, channels, chunk_size, seed
):
    x = random_images(count, channels, 6, 5, torch.float32, seed)
    x = torch.cat([x, x[:1]])  # a duplicate
    mask = torch.rand(6, 5, generator=torch.Generator().manual_seed(seed)) < 0.7
    physics, pre_inverse = {
        "identity": (lemmse.Denoising(), "identity"),
        "mask": (lemmse.Inpainting(mask), "tikhonov"),
    }.get(kind) or operator(kind, 6, 5)
    clean = torch.cat([x[:1], random_images(queries, channels, 6, 5, torch.float32, seed + 1)])
    y = physics.measure(clean, sigma, generator=torch.Generator().manual_seed(seed))
    fast = lemmse.MMSE(x, physics, pre_inverse=pre_inverse, chunk_size=chunk_size)
    plain = lemmse.MMSE(x.double(), physics, pre_inverse=pre_inverse, engine="gemm")
    assert (fast.engine, plain.engine) == ("direct", "gemm")
    fast, plain = fast.posterior(y, sigma, top_k=3), plain.posterior(y.double(), sigma, top_k=3)
    for name in ("mean", "variance", "weights"):
        torch.testing.assert_close(getattr(fast, name).double(), getattr(plain, name), rtol=0, atol=1e-5, msg=name)
    torch.testing.assert_close(fast.log_density.double(), plain.log_density, rtol=1e-5, atol=1e-5)
    assert ((fast.indices >= 0) == (plain.indices >= 0)).all()


def test_the_state_it_is_given_goes_on():
    q, a, u, places = problem(300, 9)
    scale = torch.tensor([2.0], dtype=torch.float64)
    state = SoftmaxState.empty((1, 5), 2, 3, a.device)
    whole = gemm_cpu.accumulate(state, q, [(a, u, places)], scale, center=0.0)
    for part in torch.arange(300).split(70):
        state = gemm_cpu.accumulate(state, q, [(a[part], u[part], places[part])], scale, center=0.0)
    torch.testing.assert_close(state.mean(torch.zeros(2)), whole.mean(torch.zeros(2)), rtol=0, atol=1e-6)
    torch.testing.assert_close(state.top_logits, whole.top_logits)
    assert torch.equal(state.top_sources, whole.top_sources)


def logits_of(q, blocks, scale, exclude):
    """All logits (Q, n, K) and values (K, C), pair by pair."""
    a, u, places = (torch.cat(parts) for parts in zip(*blocks, strict=True))
    d = (q[:, :, None].double() - a.double()).square().sum(-1)
    left_out = exclude[:, None, None] == places[:, 0]
    return torch.where(left_out, -torch.inf, -scale[:, None, None] * d), u.double(), places


@settings(max_examples=60, deadline=None)
@given(
    engine=st.sampled_from([gemm_cpu, whole_cpu, gemm]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    images=st.integers(1, 9),
    each=st.sampled_from([1, 12, 100]),
    sigma=st.sampled_from([0.05, 1.0, 20.0]),
    top_k=st.sampled_from([0, 3]),
    seed=st.integers(0, 10**6),
)
def test_images_left_out_and_both_dtypes_equal_the_sum_over_pairs(engine, dtype, images, each, sigma, top_k, seed):
    g = torch.Generator().manual_seed(seed)
    rows = 1 if engine is whole_cpu else 8
    a = torch.randn(images * each, 10, generator=g, dtype=torch.float64)
    q = a[torch.randint(len(a), (3, rows), generator=g)]
    q = q + sigma / 2 * torch.randn(q.shape, generator=g, dtype=torch.float64)
    if engine is whole_cpu:
        q, a = q.to(dtype), a.to(dtype)
    u = (torch.rand(len(a), 2, generator=g, dtype=torch.float64) - 0.5).to(dtype)
    places = torch.stack([torch.arange(4, 4 + images).repeat_interleave(each), *[torch.arange(len(a))] * 2], 1)
    blocks = list(zip(*(part.split(70) for part in (a, u, places)), strict=True))
    scale = torch.full((3,), 1 / (2 * sigma**2), dtype=torch.float64)
    exclude = torch.tensor([4, -1, 3 + images])
    state = SoftmaxState.empty((3, rows), 2, top_k, a.device)
    state = engine.accumulate(state, q, blocks, scale, center=0.0, exclude=exclude)
    logits, values, places = logits_of(q, blocks, scale, exclude)
    some = ~torch.isinf(logits).all(-1)
    assert torch.equal(state.s0 > 0, some)
    w = torch.softmax(logits, -1)[some]
    tolerance = 3e-6 if dtype == torch.float32 else 1e-10
    mean = w @ values
    variance = w @ values.square() - mean.square()
    torch.testing.assert_close(state.mean(torch.zeros(2))[some], mean, rtol=0, atol=tolerance)
    torch.testing.assert_close(state.variance[some], variance.clamp_min(0), rtol=0, atol=tolerance)
    torch.testing.assert_close(state.logsumexp[some], logits.logsumexp(-1)[some], rtol=tolerance, atol=tolerance)
    top = torch.nn.functional.pad(logits, (0, top_k), value=-torch.inf).topk(top_k).values if top_k else None
    if top_k:
        torch.testing.assert_close(state.top_logits, top, rtol=1e-9, atol=1e-6)
        assert (state.top_sources[..., 0] != exclude[:, None, None]).logical_or(torch.isinf(top)).all()


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 5), height=st.integers(1, 5), width=st.integers(1, 5), seed=st.integers(0, 10**6))
def test_translations_of_an_image_left_out_do_not_compete(count, height, width, seed):
    x = random_images(count + 1, 1, height, width, seed=seed)
    shifts, scale = torch.ones(height, width, dtype=torch.bool), torch.tensor([5.0], dtype=torch.float64)
    empty = SoftmaxState.empty((1, 1), height * width, 2, x.device)
    options = {"shifts": shifts, "first_image": 3}
    left_out = correlation.accumulate(empty, x[:1], x, x, scale, **options, exclude=torch.tensor([3 + count]))
    fewer = correlation.accumulate(empty, x[:1], x[:-1], x[:-1], scale, **options, exclude=torch.tensor([-1]))
    torch.testing.assert_close(left_out.mean(torch.zeros(1)), fewer.mean(torch.zeros(1)))
    torch.testing.assert_close(left_out.logsumexp, fewer.logsumexp)


def test_the_same_bits_twice():
    x = random_images(6, 1, 9, 8, torch.float32)
    physics, pre_inverse = operator("blur pinv", 9, 8)
    y = physics.measure(x[:2], 0.2, generator=torch.Generator().manual_seed(0))
    estimator = lemmse.LocalEquivariantMMSE(x, physics, patch_size=5, pre_inverse=pre_inverse)
    first, second = (vars(estimator.posterior(y, 0.2, top_k=2)).values() for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_map_that_leaves_some_images_as_they_are_is_asked_about_each():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(6, 1, 4, 4, generator=generator) * torch.linspace(0.5, 1, 6)[:, None, None, None]
    physics = lemmse.Nonlinear(lambda x: x if float(x.max()) < 0.6 else x / 2)
    y = physics.measure(images[-1:], 0.05, generator=generator)
    found = lemmse.MMSE(images, physics, chunk_size=1)(y, 0.05)
    keys = torch.cat([physics.A(image[None]) for image in images])
    weights = torch.softmax((keys - y).square().sum((1, 2, 3)) / (-2 * 0.05**2), 0)
    torch.testing.assert_close(found[0], (weights[:, None, None, None] * images).sum(0), rtol=0, atol=1e-5)
