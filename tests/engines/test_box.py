"""The box engines against a brute-force oracle in float64, over sizes, strata, images left out, targets and top-k."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lemmse.engines.cpu import box as compiled
from lemmse.engines.plain import box as plain
from lemmse.engines.state import SoftmaxState
from lemmse.patches import window_offsets

TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-10}


def oracle(queries, keys, values, scale, patch_size, query_strata, key_strata, first_image, exclude):
    """The logits (Q, n, B*n') and the values (B*n', K) of all pairs, patch by patch."""
    offsets = [window_offsets(patch_size, side) for side in key_strata.shape]

    def patches(x):
        rows, columns = x.shape[-2:]
        cut = [
            torch.stack([x[:, :, (r + i) % rows, (c + j) % columns] for i, j in itertools.product(*offsets)], -1)
            for r, c in itertools.product(range(rows), range(columns))
        ]
        return torch.stack(cut, 1).flatten(2).double()

    q, a = patches(queries), patches(keys)
    d = (q[:, :, None, None] - a).square().sum(-1)  # (Q, n, B, n')
    competes = (query_strata.flatten()[:, None] == key_strata.flatten()) & (query_strata.flatten()[:, None] >= 0)
    left_out = exclude[:, None, None, None] == first_image + torch.arange(len(keys))[:, None]
    logits = torch.where(competes[:, None] & ~left_out, -scale[:, None, None, None] * d, -torch.inf)
    return logits.flatten(2), values.flatten(2).transpose(1, 2).flatten(0, 1).double()


def problem(count, queries, sides, key_sides, features, channels, dtype, seed):
    g = torch.Generator().manual_seed(seed)
    keys = torch.rand(count, features, *key_sides, generator=g, dtype=torch.float64)
    q = torch.rand(queries, features, *sides, generator=g, dtype=torch.float64)
    inside = [slice(0, min(pair)) for pair in zip(sides, key_sides, strict=True)]
    q[0, :, inside[0], inside[1]] = keys[
        0, :, inside[0], inside[1]
    ]  # a query that is a training image, as far as it goes
    values = torch.rand(count, channels, *key_sides, generator=g, dtype=torch.float64) - 0.5
    return q.to(dtype), keys.to(dtype), values.to(dtype)


def check(state, logits, values, dtype, first_image, key_sides):
    tolerance = TOLERANCE[dtype]
    some = ~torch.isinf(logits).all(-1)
    w = torch.softmax(logits, -1)[some]
    mean = w @ values
    assert torch.equal(state.s0 > 0, some)
    assert torch.isinf(state.max[~some]).all()
    zero = torch.zeros(values.shape[1])
    torch.testing.assert_close(state.mean(zero)[some], mean, rtol=0, atol=tolerance)
    variance = (w @ values.square() - mean.square()).clamp_min(0)
    torch.testing.assert_close(state.variance[some], variance, rtol=0, atol=tolerance)
    torch.testing.assert_close(state.logsumexp[some], logits.logsumexp(-1)[some], rtol=1e-7, atol=10 * tolerance)
    torch.testing.assert_close(
        state.effective_samples[some], 1 / w.square().sum(-1), rtol=20 * tolerance, atol=tolerance
    )
    if state.top_k:
        top = torch.nn.functional.pad(logits, (0, state.top_k), value=-torch.inf).topk(state.top_k).values
        torch.testing.assert_close(state.top_logits, top, rtol=1e-6, atol=10 * tolerance)
        assert torch.equal(state.top_sources[..., 0] >= 0, ~torch.isinf(top))
        image, row, column = state.top_sources.clamp_min(0).unbind(-1)
        pair = ((image - first_image).clamp_min(0) * key_sides[0] + row) * key_sides[1] + column
        named = torch.where(torch.isinf(top), top, logits.gather(-1, pair))
        torch.testing.assert_close(named, top, rtol=1e-6, atol=10 * tolerance)


@settings(max_examples=120, deadline=None)
@given(
    served=st.sampled_from([(compiled, torch.float32), (compiled, torch.float64), (plain, torch.float64)]),
    sides=st.tuples(st.integers(1, 9), st.integers(1, 11)),
    key_sides=st.one_of(st.none(), st.tuples(st.integers(1, 8), st.integers(1, 9))),
    half=st.integers(0, 5),
    count=st.sampled_from([1, 2, 5, 15, 16, 17, 33]),
    queries=st.integers(1, 3),
    features=st.sampled_from([1, 3]),
    channels=st.sampled_from([1, 2, 40]),
    labels=st.sampled_from([1, 1, 3]),
    top_k=st.sampled_from([0, 3]),
    left_out=st.booleans(),
    cut=st.booleans(),
    sigmas=st.sampled_from([(0.02,), (0.3,), (5.0,), (0.3, 0.02, 5.0)]),
    seed=st.integers(0, 10**6),
)
@example((compiled, torch.float32), (5, 4), None, 1, 1, 1, 1, 1, 1, 3, True, False, (0.3,), 0)  # nothing is left
def test_every_pair_is_summed_once(
    served, sides, key_sides, half, count, queries, features, channels, labels, top_k, left_out, cut, sigmas, seed
):
    engine, dtype = served
    key_sides = key_sides or sides
    patch_size = 2 * half + 1
    if sides != key_sides:
        least = min(*sides, *key_sides)
        patch_size = min(patch_size, least - 1 + least % 2)
    q, keys, values = problem(count, queries, sides, key_sides, features, channels, dtype, seed)
    g = torch.Generator().manual_seed(seed)
    query_strata, key_strata = (
        torch.randint(1 - labels, 2 if labels > 1 else 1, s, generator=g) for s in (sides, key_sides)
    )
    query_strata, key_strata = (query_strata.clamp_min(-1), key_strata.clamp_min(-1))
    exclude = torch.randint(4, 5 + count, (queries,), generator=g) if left_out else torch.full((queries,), -1)
    exclude[exclude == 4] = -1
    scale = 1 / (2 * torch.tensor(sigmas * queries, dtype=torch.float64) ** 2)
    options = {"patch_size": patch_size, "query_strata": query_strata, "key_strata": key_strata, "first_image": 5}
    state = SoftmaxState.empty((len(scale), query_strata.numel()), channels, top_k, q.device)
    with pytest.MonkeyPatch.context() as patch:
        if cut:  # as large queries are
            patch.setattr(compiled, "_WHOLE", 2)
            patch.setattr(compiled, "_TILE", (3, 4))
            patch.setattr(compiled, "_LEAST", 1 << 9)
        for start in range(0, count, 20):
            part = slice(start, start + 20)
            options["first_image"] = 5 + start
            state = engine.accumulate(
                state, q, keys[part], values[part], scale, **options, exclude=exclude if left_out else None
            )
    options["first_image"] = 5
    q, exclude = (given.repeat_interleave(len(sigmas), 0) for given in (q, exclude))
    logits, u = oracle(q, keys, values, scale, **options, exclude=exclude)
    check(state, logits, u, dtype, 5, key_sides)
