"""The Triton engine against the plain one in float64: on the GPU where there is one, else through the interpreter.

The same tests run on both; conftest.py sets TRITON_INTERPRET where there is no GPU. The interpreter takes about 10 ms
for a tile of pairs, so that sizes are small there: `TILES` (query, image, shift) by example.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("triton")

import lemmse
from lemmse.engines.cuda import box as box_gpu
from lemmse.engines.cuda.box import accumulate, live_shifts
from lemmse.engines.plain import box
from lemmse.engines.registry import ENGINES
from lemmse.engines.state import SoftmaxState
from lemmse.estimators.pixels import PixelFeatures
from lemmse.physics.preinverse import DiagonalPreInverse

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
TILES = 120 if INTERPRETED else 4000
DELTA = 5e-7  # relative error of a distance: a few roundings of float32

pytestmark = pytest.mark.skipif(not INTERPRETED and not torch.cuda.is_available(), reason="neither GPU nor interpreter")
on_gpu = pytest.mark.skipif(INTERPRETED, reason="needs a CUDA device, and TRITON_INTERPRET unset")


def states(queries, keys, values, sigma, patch_size, strata, top_k, splits=None, first=5):
    """The state by the Triton engine, and by the plain one in float64."""
    tensors = [x.to(DEVICE) for x in (queries, keys, values)]
    scale = torch.full((len(queries),), 1 / (2 * sigma**2), dtype=torch.float64, device=DEVICE)
    strata = strata.to(DEVICE)
    options = {"patch_size": patch_size, "query_strata": strata, "key_strata": strata, "first_image": first}
    empty = SoftmaxState.empty((len(queries), strata.numel()), values.shape[1], top_k, DEVICE)
    fast = accumulate(empty, *(x.float() for x in tensors), scale, splits=splits, **options)
    return fast, box.accumulate(empty, *(x.double() for x in tensors), scale, **options)


def assert_close(fast: SoftmaxState, plain: SoftmaxState) -> None:
    """Distances to DELTA; so logits l to DELTA |l|, and weights, relative to their sum, to twice the largest of that.

    Pairs 40 nats or more under the largest logit weigh nothing.
    """
    dead = torch.isinf(plain.max)
    assert torch.equal(torch.isinf(fast.max), dead)
    assert (fast.s0[dead] == 0).all()
    fast, plain = (SoftmaxState(*(f[~dead][None] for f in vars(s).values())) for s in (fast, plain))
    tolerance = 2 * DELTA * (plain.max.abs() + 40) + 2e-6

    def within(a, b, bound):
        assert torch.isfinite(a).all()
        excess = (a - b).abs() - bound
        assert (excess <= 0).all(), f"{excess.max()} over the bound"

    within(fast.max, plain.max, DELTA * plain.max.abs())
    within(fast.logsumexp, plain.logsumexp, tolerance)
    within(1 / fast.effective_samples, 1 / plain.effective_samples, 2 * tolerance)
    for power in ("s1", "s2"):
        a, b = (getattr(s, power) / s.s0[..., None] for s in (fast, plain))
        within(a, b, tolerance[..., None])
    if plain.top_k:
        assert torch.equal(torch.isinf(fast.top_logits), torch.isinf(plain.top_logits))
        assert torch.equal(fast.top_sources[..., 0] >= 0, plain.top_sources[..., 0] >= 0)
        found = ~torch.isinf(plain.top_logits)
        a, b = fast.top_logits[found], plain.top_logits[found]
        within(a, b, DELTA * b.abs() + 1e-12)
        assert (fast.top_logits.diff(dim=-1).nan_to_num(0) <= 0).all()


def assert_sources_have_their_logits(state, queries, keys, sigma, patch_size, shape, first=5) -> None:
    """Each source's squared patch distance, from its definition, gives the logit next to it."""
    from lemmse.patches import extract_patches

    q, a = (extract_patches(x.double(), patch_size) for x in (queries, keys))  # (N, F, H W, p)
    image, row, col = state.top_sources.cpu().unbind(-1)
    found = image >= 0
    key = a[(image - first).clamp_min(0), :, (row * shape[1] + col).clamp_min(0)]  # (Q, n, k, F, p)
    d = (q.movedim(1, 2)[:, :, None] - key).square().sum((-1, -2))
    logits = state.top_logits.cpu()
    torch.testing.assert_close(logits[found], -d[found] / (2 * sigma**2), rtol=DELTA, atol=1e-12)


@st.composite
def problems(draw):
    """A problem of the box engines: features, queries, keys, values and options."""
    kind = draw(st.sampled_from(["full", "mask", "zeros"]))
    most = (4, 4) if kind == "zeros" else (9, 12)
    height, width = (draw(st.integers(1, n)) for n in most)
    channels, patch_size = draw(st.sampled_from([1, 3])), draw(st.sampled_from([1, 3, 5, 11, 25]))
    g = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    mask = ((torch.rand(height, width, generator=g) < 0.8) | (kind != "mask")).double()
    pre_inverse = DiagonalPreInverse(lemmse.Inpainting(mask), scale=1.0, mask=mask)
    padding = "zeros" if kind == "zeros" else "circular"
    features = PixelFeatures(pre_inverse, (channels, height, width), patch_size, padding, torch.device("cpu"))
    tiles = len(live_shifts(features.strata))
    n_queries = draw(st.integers(1, 2 if 2 * tiles <= TILES else 1))
    count = draw(st.integers(1, max(1, min(6, TILES // (tiles * n_queries)))))
    x = torch.rand(count, channels, height, width, generator=g)
    sigma = draw(st.sampled_from([1e-3, 0.05, 0.5, 10.0]))
    y = torch.rand(n_queries, channels, height, width, generator=g)
    y[0] = x[0] + draw(st.sampled_from([0.0, 1.0])) * sigma * torch.randn(x[0].shape, generator=g)
    return features, features(y).float(), features(x).float(), features.framed(x - 0.5), sigma, patch_size


@settings(max_examples=30, deadline=None)
@given(problem=problems(), top_k=st.sampled_from([0, 3]), splits=st.integers(1, 3))
def test_equals_the_plain_engine(problem, top_k, splits):
    features, queries, keys, values, sigma, patch_size = problem
    fast, plain = states(queries, keys, values, sigma, patch_size, features.strata, top_k, splits)
    assert_close(fast, plain)
    if top_k:
        assert_sources_have_their_logits(fast, queries, keys, sigma, patch_size, features.strata.shape)


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 6), width=st.integers(1, 6), classes=st.integers(1, 8), seed=st.integers(0, 10**6))
def test_live_shifts_equal_their_definition(height, width, classes, seed):
    strata = torch.randint(-1, classes, (height, width), generator=torch.Generator().manual_seed(seed))
    expected = [
        dy * width + dx
        for dy in range(height)
        for dx in range(width)
        if ((strata == strata.roll((-dy, -dx), (0, 1))) & (strata >= 0)).any()
    ]
    assert live_shifts(strata).tolist() == expected


@pytest.mark.parametrize("sigma", [1e-3, 10.0])
def test_duplicates_share_the_weight(sigma):
    g = torch.Generator().manual_seed(0)
    x = torch.rand(1, 3, 5, 4, generator=g)
    strata = torch.zeros(5, 4, dtype=torch.int64)
    fast, plain = states(x, x.repeat(3, 1, 1, 1), x.repeat(3, 1, 1, 1) - 0.5, sigma, 3, strata, 4, splits=2)
    assert_close(fast, plain)
    assert (fast.max == 0).all()  # the query is a training image: its distance to itself is 0 exactly
    if sigma == 1e-3:
        torch.testing.assert_close(fast.effective_samples, torch.full_like(fast.max, 3.0))
        assert torch.equal(fast.top_sources[0, :, :3, 0].cpu().sort(-1).values, torch.tensor([5, 6, 7]).expand(20, 3))
        assert fast.top_logits[..., 3].max() < -1e3


def test_one_image_of_one_pixel():
    x = torch.rand(1, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    fast, plain = states(x + 0.25, x, x - 0.5, 1e-3, 25, torch.zeros(1, 1, dtype=torch.int64), 3)
    assert_close(fast, plain)
    assert fast.effective_samples.item() == 1
    assert fast.top_sources[0, 0].tolist() == [[5, 0, 0], [-1] * 3, [-1] * 3]


def test_number_of_splits_does_not_matter_and_bits_repeat():
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 1, 4, 5, generator=g), torch.rand(2, 1, 4, 5, generator=g)
    strata = torch.zeros(4, 5, dtype=torch.int64)
    one, again, *others = (states(y, x, x - 0.5, 0.3, 3, strata, 3, splits=n)[0] for n in (1, 1, 2, 3, 50))
    for name, value in vars(one).items():
        assert torch.equal(value, getattr(again, name))
    for other in others:
        assert torch.equal(one.max, other.max)
        assert torch.equal(one.top_logits, other.top_logits)
        for name in ("s0", "s00", "s1", "s2"):
            torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=1e-6, atol=1e-6)


def test_sums_are_rescaled_from_block_to_block():
    """Ever nearer images over two blocks of sums, all of which matter in the end."""
    g = torch.Generator().manual_seed(0)
    y = torch.rand(1, 1, 3, 4, generator=g)
    x = y + torch.linspace(2, 0.2, 10)[:, None, None, None] + 0.1 * torch.rand(10, 1, 3, 4, generator=g)
    assert_close(*states(y, x, x - 0.5, 1.0, 1, torch.zeros(3, 4, dtype=torch.int64), 0, splits=1))


def test_pairs_that_cannot_matter_are_skipped_without_a_trace():
    """Far images first, then near ones, then far ones: the sums are rescaled, then the rest is skipped."""
    g = torch.Generator().manual_seed(0)
    x = torch.rand(3, 1, 3, 4, generator=g)
    x[0], x[2] = x[0] + 5, x[2] - 7
    fast, plain = states(x[1:2] + 0.01, x, x, 0.05, 3, torch.zeros(3, 4, dtype=torch.int64), 3, splits=1)
    assert_close(fast, plain)


def test_merges_into_the_state_it_is_given():
    g = torch.Generator().manual_seed(0)
    x = torch.rand(3, 1, 3, 4, generator=g).to(DEVICE)
    strata = torch.zeros(3, 4, dtype=torch.int64, device=DEVICE)
    options = {"patch_size": 3, "query_strata": strata, "key_strata": strata}
    scale = torch.tensor([2.0], dtype=torch.float64, device=DEVICE)
    q = x[:1] + 0.1
    state = plain = SoftmaxState.empty((1, 12), 1, 2, DEVICE)
    whole = accumulate(state, q, x, x, scale, first_image=0, **options)
    for i in range(3):
        part = (q, x[i : i + 1], x[i : i + 1])
        state = accumulate(state, *part, scale, first_image=i, **options)
        plain = box.accumulate(plain, *(p.double() for p in part), scale, first_image=i, **options)
    assert_close(state, plain)
    for name, value in vars(whole).items():
        torch.testing.assert_close(value, getattr(state, name), rtol=1e-6, atol=1e-6)
    assert accumulate(state, q, x[:0], x[:0], scale, first_image=3, **options) is state
    dead = options | {"query_strata": strata - 1, "key_strata": strata - 1}
    assert accumulate(state, q, x, x, scale, first_image=3, **dead) is state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q, k, v: (q.double(), k, v), "queries are torch.float64"),
        (lambda q, k, v: (q, k, v.repeat(1, 5, 1, 1)), "values have 5 channels"),
        (lambda q, k, v: (q, k[..., 1:], v), "keys are 3 x 3"),
        (lambda q, k, v: (q, k.repeat(1, 2, 1, 1), v), "keys have 2 features"),
        (lambda q, k, v: (q, k, v[:1]), "2 keys and 1 values"),
        (lambda q, k, v: (q.clone().requires_grad_(), k, v), "queries require a gradient"),
    ],
)
def test_bad_input(change, message):
    x = torch.rand(2, 1, 3, 4, device=DEVICE)
    state = SoftmaxState.empty((2, 12), 1, 0, DEVICE)
    scale = torch.ones(2, dtype=torch.float64, device=DEVICE)
    strata = torch.zeros(3, 4, dtype=torch.int64, device=DEVICE)
    with pytest.raises(ValueError, match=message):
        accumulate(state, *change(x, x, x), scale, patch_size=3, query_strata=strata, key_strata=strata, first_image=0)


@pytest.fixture
def served(monkeypatch):
    """The engine as estimators see it, on the device of these tests."""
    monkeypatch.setitem(ENGINES, "triton", replace(ENGINES["triton"], device=DEVICE.type))


@pytest.mark.parametrize("kind", ["denoising", "inpainting", "zeros", "nonlinear"])
def test_posterior_equals_that_of_the_plain_engine(kind, served):
    g = torch.Generator().manual_seed(0)
    x, mask = torch.rand(2, 2, 4, 5, generator=g).to(DEVICE), torch.rand(4, 5, generator=g) < 0.7
    physics = {"inpainting": lemmse.Inpainting(mask), "nonlinear": lemmse.Nonlinear(lambda x: x[:, :1] ** 2)}
    physics = physics.get(kind, lemmse.Denoising()).to(DEVICE)
    options = {"inpainting": {"pre_inverse": "tikhonov"}, "zeros": {"padding": "zeros"}}.get(kind, {})
    sigma = torch.tensor([0.05, 0.4], device=DEVICE)
    y = physics.measure(x, sigma, generator=g)
    fast, plain = (
        lemmse.LocalEquivariantMMSE(images, physics, patch_size=3, engine=engine, **options).posterior(q, sigma, 3)
        for images, q, engine in ((x, y, "triton"), (x.double(), y.double(), "torch"))
    )
    for name in ("mean", "variance", "log_density", "effective_samples", "weights"):
        found, exact = getattr(fast, name).double(), getattr(plain, name)
        torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-5, msg=name)
    assert ((fast.indices >= 0) == (plain.indices >= 0)).all()


def test_size_of_a_task_is_that_of_what_is_compared(served):
    """Channels after A, sides with the frame of zero padding: past the limits 'auto' takes another engine."""
    wide = lemmse.Nonlinear(lambda x: x.repeat(1, 5, 1, 1)).to(DEVICE)
    with pytest.raises(ValueError, match="it takes at most 4 channels"):
        lemmse.LocalEquivariantMMSE(torch.rand(1, 1, 3, 4).to(DEVICE), wide, patch_size=3, engine="triton")
    options = {"patch_size": 5, "padding": "zeros", "engine": "triton"}
    x = torch.rand(1, 1, 63, 4).to(DEVICE)
    with pytest.raises(ValueError, match="it takes sides of at most 64 pixels"):
        lemmse.LocalEquivariantMMSE(x, lemmse.Denoising(), **options)
    assert lemmse.LocalEquivariantMMSE(x[:, :, :62], lemmse.Denoising(), **options).engine == "triton"


@pytest.mark.parametrize("length", [1, 5, 16, 21])
@pytest.mark.parametrize("patch_size", [1, 5, 25])
def test_bands_hold_the_window_of_every_pixel_and_of_its_copies(length, patch_size):
    band = box_gpu._band(patch_size, length, torch.device("cpu"))
    d = torch.rand(len(band), dtype=torch.float64)
    expected = box.box_sum(d[:length], patch_size, 0)
    torch.testing.assert_close(band.double() @ d, expected[torch.arange(len(band)) % length])


@on_gpu
@pytest.mark.parametrize("sigma", [1e-3, 0.05, 0.5, 10.0])
@pytest.mark.parametrize(
    ("height", "width", "channels"), [(32, 32, 3), (28, 28, 1), (33, 40, 3), (64, 64, 3), (8, 100, 4)]
)
def test_large_on_the_gpu(height, width, channels, sigma):
    g = torch.Generator().manual_seed(0)
    x = torch.rand(20, channels, height, width, generator=g)
    y = x[:2] + sigma * torch.randn(2, channels, height, width, generator=g)
    strata = torch.zeros(height, width, dtype=torch.int64)
    strata[:2, :2] = -1
    strata[-3:] = 1
    fast, plain = states(y, x, x - 0.5, sigma, 11, strata, 10)
    assert_close(fast, plain)
    again, _ = states(y, x, x - 0.5, sigma, 11, strata, 10)
    assert all(torch.equal(a, b) for a, b in zip(vars(fast).values(), vars(again).values(), strict=True))


@on_gpu
def test_long_sums_on_the_gpu():
    """Equal weights, 10^5 pairs for each sum: its relative error is under 1e-6."""
    g = torch.Generator().manual_seed(0)
    x = torch.rand(100, 3, 32, 32, generator=g)
    fast, plain = states(x[:1], x, x, 1e3, 11, torch.zeros(32, 32, dtype=torch.int64), 0, splits=1)
    for name in ("s0", "s00", "s1", "s2"):
        torch.testing.assert_close(getattr(fast, name), getattr(plain, name), rtol=1e-6, atol=0)
