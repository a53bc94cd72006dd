"""Engines against each other and against loops; the state as a monoid; extreme logits."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lemmse
from lemmse.engines.box import box_sum
from lemmse.engines.state import SoftmaxState
from lemmse.patches import extract_patches, mask_strata, window_offsets

from .conftest import random_images


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
@pytest.mark.parametrize("sigma", [1e-3, 10.0])
def test_extreme_noise_levels_are_finite(engine, sigma):
    x = random_images(4, 3, 9, 8, torch.float32)
    post = lemmse.LocalEquivariantMMSE(x, lemmse.Denoising(), patch_size=5, engine=engine).posterior(x[1:2], sigma)
    for value in (post.mean, post.variance, post.log_density, post.effective_samples):
        assert torch.isfinite(value).all()
    assert (post.variance >= 0).all()
    assert (post.effective_samples >= 1 - 1e-6).all()
