"""Engines against each other and against loops; the state as a monoid; extreme logits."""

from __future__ import annotations

import itertools
import math

import numba
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lemmse
from lemmse.engines.plain.box import box_sum
from lemmse.engines.state import SoftmaxState
from lemmse.patches import extract_patches, mask_strata, window_offsets
from tests.conftest import random_images


@settings(max_examples=60, deadline=None)
@given(length=st.integers(1, 12), half=st.integers(0, 8))
def test_box_sum_equals_its_definition(length, half):
    d = torch.rand(3, length, dtype=torch.float64)
    offsets = window_offsets(2 * half + 1, length)
    assert len(offsets) == min(2 * half + 1, length)
    expected = torch.stack([d[:, [(m + j) % length for j in offsets]].sum(1) for m in range(length)], 1)
    torch.testing.assert_close(box_sum(d, 2 * half + 1, 1), expected)


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 7), width=st.integers(1, 7), half=st.integers(0, 4))
def test_patches_hold_each_distinct_pixel_once(height, width, half):
    x = torch.arange(height * width, dtype=torch.float64).reshape(1, 1, height, width)
    patches = extract_patches(x, 2 * half + 1)[0, 0]
    assert all(len(set(p.tolist())) == patches.shape[1] for p in patches)
    assert patches.shape[1] == min(2 * half + 1, height) * min(2 * half + 1, width)


def test_strata_are_equal_mask_patterns():
    mask = torch.ones(7, 7)
    mask[3, 3] = 0
    labels = mask_strata(mask, 3)
    assert len(labels.unique()) == 10  # nine places around the hole, and full patches
    assert int((labels == labels[0, 0]).sum()) == 49 - 9


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 20),
    channels=st.sampled_from([1, 3]),
    patch_size=st.sampled_from([1, 3, 5, 11, 25]),
    sigma=st.sampled_from([1e-3, 0.05, 0.5, 10.0]),
    kind=st.sampled_from(["denoising", "inpainting", "zeros"]),
    count=st.integers(1, 20),
    seed=st.integers(0, 10**6),
)
def test_compiled_engine_equals_the_plain_one(height, width, channels, patch_size, sigma, kind, count, seed):
    g = torch.Generator().manual_seed(seed)
    x = random_images(count, channels, height, width, torch.float32, seed)
    physics = lemmse.Inpainting(torch.rand(height, width, generator=g) < 0.8)
    physics = physics if kind == "inpainting" else lemmse.Denoising()
    options = {"inpainting": {"pre_inverse": "pinv"}, "zeros": {"padding": "zeros"}}.get(kind, {})
    query = torch.cat([x[:1], random_images(1, channels, height, width, torch.float32, seed + 1)])
    y = physics.measure(query, sigma, generator=g)
    fast, plain = (
        lemmse.LocalEquivariantMMSE(images, physics, patch_size=patch_size, engine=engine, **options).posterior(
            q, sigma, top_k=3
        )
        for images, q, engine in ((x, y, "numba"), (x.double(), y.double(), "torch"))
    )
    torch.testing.assert_close(fast.mean.double(), plain.mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(fast.variance.double(), plain.variance, rtol=0, atol=1e-6)
    torch.testing.assert_close(fast.log_density.double(), plain.log_density, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(fast.weights.double(), plain.weights, rtol=0, atol=1e-6)
    assert ((fast.indices >= 0) == (plain.indices >= 0)).all()
    for value in (fast.mean, fast.variance, fast.log_density, fast.effective_samples):
        assert torch.isfinite(value).all()


def block(logits: torch.Tensor, values: torch.Tensor, first: int, top_k: int) -> SoftmaxState:
    return SoftmaxState.of_block(
        logits,
        dim=-1,
        moments=lambda e: (e @ values, e @ values.square()),
        sources=lambda j: torch.stack([j + first, j, j], -1),
        top_k=top_k,
    )


@settings(max_examples=50, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 30), max_size=4),
    order=st.randoms(use_true_random=False),
    scale=st.sampled_from([0.1, 30.0, 1e4]),
    dead=st.booleans(),
)
def test_state_is_the_same_for_any_split_in_any_order(cuts, order, scale, dead):
    g = torch.Generator().manual_seed(len(cuts))
    logits = scale * torch.randn(2, 3, 31, generator=g, dtype=torch.float64)
    if dead:
        logits[..., :20] = -torch.inf  # whole blocks in which nothing competes
    values = torch.rand(31, 2, generator=g, dtype=torch.float64) - 0.5
    edges = [0, *sorted(set(cuts)), 31]
    parts = [block(logits[..., a:b], values[a:b], a, 3) for a, b in itertools.pairwise(edges) if b > a]
    order.shuffle(parts)
    state = SoftmaxState.empty((2, 3), 2, 3, logits.device)
    for part in parts:
        state = state.merge(part)
    w = torch.softmax(logits, -1)
    mean = w @ (values + 0.5)
    torch.testing.assert_close(state.mean(torch.tensor(0.5)), mean)
    torch.testing.assert_close(
        state.variance, (w @ (values + 0.5).square() - mean.square()).clamp_min(0), rtol=0, atol=1e-12
    )
    torch.testing.assert_close(state.logsumexp, torch.logsumexp(logits, -1))
    torch.testing.assert_close(state.effective_samples, 1 / w.square().sum(-1))
    torch.testing.assert_close(state.top_weights, w.topk(3).values)
    assert torch.equal(
        state.top_sources[..., 1] + 0, logits.topk(3).indices - (state.top_sources[..., 0] - state.top_sources[..., 1])
    )


def test_merging_grouped_either_way():
    g = torch.Generator().manual_seed(0)
    a, b, c = (
        block(5 * torch.randn(1, 2, 4, generator=g, dtype=torch.float64), torch.rand(4, 1, dtype=torch.float64), 0, 2)
        for _ in range(3)
    )
    left, right = a.merge(b).merge(c), a.merge(b.merge(c))
    torch.testing.assert_close(left.s2, right.s2)
    torch.testing.assert_close(left.top_logits, right.top_logits)


@pytest.mark.parametrize("engine", ["numba", "torch"])
@pytest.mark.parametrize("patch_size", [1, 5, 21])
@pytest.mark.parametrize("sigma", [1e-3, 10.0])
def test_extreme_noise_levels_on_a_training_image_with_duplicates(engine, patch_size, sigma):
    x = random_images(4, 3, 9, 8, torch.float32)
    x = torch.cat([x, x[1:2], x[1:2]])
    physics = lemmse.Denoising()
    post, exact = (
        lemmse.LocalEquivariantMMSE(images, physics, patch_size=patch_size, engine=name).posterior(y, sigma, top_k=4)
        for images, y, name in ((x, x[1:2], engine), (x.double(), x[1:2].double(), "torch"))
    )
    for name in ("mean", "variance", "log_density", "effective_samples"):
        torch.testing.assert_close(getattr(post, name).double(), getattr(exact, name), rtol=1e-6, atol=1e-6, msg=name)
    torch.testing.assert_close(post.weights.double(), exact.weights, rtol=0, atol=1e-6)
    if sigma < 1 and patch_size > 1:
        torch.testing.assert_close(post.mean, x[1:2], rtol=0, atol=1e-6)
        torch.testing.assert_close(post.effective_samples, torch.full((1, 9, 8), 3.0))
        rows, cols = torch.meshgrid(torch.arange(9), torch.arange(8), indexing="ij")
        for found in post.indices[0, ..., :3, :].unbind(-2):  # each pixel of the image comes from its three copies
            assert torch.isin(found[..., 0], torch.tensor([1, 4, 5])).all()
            assert torch.equal(found[..., 1:], torch.stack([rows, cols], -1))


@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_one_training_image_of_one_pixel(engine):
    x = torch.full((1, 1, 1, 1), 0.25)
    post = lemmse.LocalEquivariantMMSE(x, lemmse.Denoising(), patch_size=3, engine=engine).posterior(x + 0.5, 0.1, 2)
    assert post.mean.item() == pytest.approx(0.25)
    assert post.variance.item() == pytest.approx(0, abs=1e-12)
    assert post.log_density.item() == pytest.approx(-12.5 - 0.5 * math.log(2 * math.pi * 0.01), rel=1e-6)
    assert post.effective_samples.item() == pytest.approx(1)
    assert post.indices.flatten().tolist() == [0, 0, 0, -1, -1, -1]


def test_compiled_engine_gives_the_same_bits_with_any_number_of_threads():
    x = random_images(150, 3, 9, 12, torch.float32)
    y = random_images(2, 3, 9, 12, torch.float32, seed=1)
    estimator = lemmse.LocalEquivariantMMSE(x, lemmse.Denoising(), patch_size=5, engine="numba")
    threads = torch.get_num_threads()
    try:
        found = []
        for count in (1, 3, 3):
            torch.set_num_threads(count)
            found.append(estimator.posterior(y, 0.2, top_k=3))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        for name, value in vars(found[0]).items():
            assert torch.equal(value, getattr(other, name)), name


def test_exponential_of_the_compiled_engine():
    """Relative error under 4e-7 down to -62 bits, where it stays: the square of a smaller one would be denormal."""
    from lemmse.engines.cpu import vectors

    @numba.njit
    def exponentials(x):
        for start in range(0, len(x), vectors.LANES):
            vectors.store(x, start, vectors.exp2(vectors.load(x, start)))

    x = torch.linspace(-62, 24, 64 * 1000)
    found = x.clone().numpy()
    exponentials(found)
    error = torch.from_numpy(found).double() / torch.exp2(x.double()) - 1
    assert error.abs().max() < 4e-7
    low = torch.tensor([-1e30, -torch.inf, -63.0, -62.0] * 16).numpy()
    exponentials(low)
    assert (low == 2.0**-62).all()


@pytest.mark.parametrize("engine", ["numba", "torch"])
@pytest.mark.parametrize("sigma", [1e-3, 10.0])
def test_extreme_noise_levels_are_finite(engine, sigma):
    x = random_images(4, 3, 9, 8, torch.float32)
    post = lemmse.LocalEquivariantMMSE(x, lemmse.Denoising(), patch_size=5, engine=engine).posterior(x[1:2], sigma)
    for value in (post.mean, post.variance, post.log_density, post.effective_samples):
        assert torch.isfinite(value).all()
    assert (post.variance >= 0).all()
    assert (post.effective_samples >= 1 - 1e-6).all()
