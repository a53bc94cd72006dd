"""Whole images on CPUs: few rows, as many value channels as features. One pass over the memory, with no matrix.

Each training image is compared with every query, and added to the means of those to which it matters, while it is in
the cache. For values in float32 a distance is summed as squared differences, in float32, and again in float64 where
its rounding could show: within `_CLOSE` bits of the largest weight. For values in float64 all is float64. Tested
against the plain engine in `gemm`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from lemmse.engines.contracts import Block
from lemmse.engines.cpu.compile import jit
from lemmse.engines.cpu.tasks import Stop, results
from lemmse.engines.cpu.vectors import LOG2E, NEGLIGIBLE, NEGLIGIBLE64, insert, squared_distance
from lemmse.engines.state import SoftmaxState

_CLOSE = 20.0  # bits
_ROUNDING = 2.0**-20  # of a float32 sum of squares, relative: partial sums run in parallel
_GROWTH = 24.0  # bits by which a logit may exceed that of the reference
_FLUSH = 64  # images summed in float32
_LEAST = 1 << 22  # squared differences that are worth a thread of their own
_RELAXED = {"reassoc", "contract", "nsz"}


@jit(fastmath=_RELAXED)
def _rough_distance(q, a):
    """The squared distance of two images in float32, of features that are subtracted in their own dtype."""
    d = np.float32(0)
    for f in range(len(q)):
        difference = np.float32(q[f] - a[f])
        d += difference * difference
    return d


@jit(fastmath=_RELAXED)
def _add_image(e, u, center, s1, s2):
    """s1 += e (u - c), s2 += e (u - c)^2, in the dtype of all of them."""
    for c in range(len(u)):
        value = u[c] - center
        first = e * value
        s1[c] += first
        s2[c] += first * value


@jit(fastmath=_RELAXED)
def _flush(part, whole):
    """Add a sum to a float64 one, and clear it."""
    for c in range(len(part)):
        whole[c] += part[c]
        part[c] = 0


@jit()
def _kernel(
    q, keys, values, images, left_out, center, scale2, rounding, negligible, stop, reference, s0, s00, s1, s2, top,
    numbers,
):  # fmt: skip
    """All rows of q against all keys: updates reference (Q,), s0, s00 (Q,), s1, s2 (Q, C), top and numbers (Q, k).

    q: (Q, F), keys: (K, F), values: (K, C). images: (K,) int64, the image of each key. left_out: (Q,) int64, the image
    left out of each query. scale2: (Q,), -logit / D in bits. rounding: relative, of a distance in float32; 0 to sum in
    float64. negligible: the logit, in bits, under which a pair cannot matter. stop: (1,) bool, whether to return.
    """
    part1, part2 = np.zeros(s1.shape, values.dtype), np.zeros(s1.shape, values.dtype)
    for i in range(len(keys)):
        if stop[0]:
            return
        for m in range(len(q)):
            if images[i] == left_out[m]:
                continue
            d = np.float64(_rough_distance(q[m], keys[i])) if rounding > 0 else squared_distance(q[m], keys[i])
            margin = d * rounding * scale2[m]
            x = (reference[m] - d) * scale2[m]
            nearest = len(top[m]) > 0 and d * (1 - rounding) < top[m, -1]
            if x < negligible - margin and not nearest:
                continue
            if x > -_CLOSE - margin or nearest:
                if rounding > 0:
                    d = squared_distance(q[m], keys[i])
                x = (reference[m] - d) * scale2[m]
                if nearest:
                    insert(top[m], numbers[m], d, i)
            if x > _GROWTH:
                ratio = 2.0 ** max(-x, -150.0)
                for total in (s1, s2):
                    total[m] *= ratio
                part1[m] *= part1.dtype.type(ratio)
                part2[m] *= part1.dtype.type(ratio)
                s0[m] *= ratio
                s00[m] *= ratio * ratio
                reference[m], x = d, 0.0
            if x > negligible:
                e = 2.0**x
                s0[m] += e
                s00[m] += e * e
                _add_image(part1.dtype.type(e), values[i], part1.dtype.type(center), part1[m], part2[m])
        if i % _FLUSH == _FLUSH - 1 or i == len(keys) - 1:
            for m in range(len(q)):
                _flush(part1[m], s1[m])
                _flush(part2[m], s2[m])


def accumulate(
    state: SoftmaxState,
    queries: Tensor,
    blocks: Iterable[Block],
    scale: Tensor,
    *,
    center: float,
    exclude: Tensor | None = None,
) -> SoftmaxState:
    """The contract of `gemm.accumulate` on the CPU, for rows (Q, 1), accurate to the dtype of the values."""
    q, scale = queries[:, 0].detach().contiguous(), scale.detach()  # worker threads record gradients by default
    left_out = torch.full((len(q),), -1, dtype=torch.int64, device="cpu") if exclude is None else exclude
    for recorded in blocks:
        block = tuple(part.detach() for part in recorded)
        share = max(-(-len(block[0]) // torch.get_num_threads()), _LEAST // q.numel())
        run = partial(_sum, state, q, block, scale, center, left_out, share)
        with results(run, range(0, len(block[0]), share)) as parts:
            for part in parts:
                state = state.merge(part)
    return state


def _sum(
    state: SoftmaxState,
    q: Tensor,
    block: Block,
    scale: Tensor,
    center: float,
    left_out: Tensor,
    share: int,
    start: int,
    stop: Stop,
) -> SoftmaxState:
    """The state of `share` keys of a block from `start` on; what is known from `state` tells which cannot matter."""
    keys, values, sources = (part[start : start + share] for part in block)
    wide = values.dtype == torch.float64
    reference = -state.max[:, 0] / scale
    top = -state.top_logits[:, 0, -1:].repeat(1, state.top_k) / scale[:, None]
    numbers = torch.full(top.shape, -1, dtype=torch.int64, device="cpu")
    s0, s00, s1, s2 = (torch.zeros_like(sums[:, 0]) for sums in (state.s0, state.s00, state.s1, state.s2))
    _kernel(
        *(part.contiguous().numpy() for part in (q, keys, values, sources[:, 0], left_out)),
        *(center, (scale * LOG2E).numpy()),
        *((0.0, NEGLIGIBLE64) if wide else (_ROUNDING, NEGLIGIBLE)),
        stop,
        *(part.numpy() for part in (reference, s0, s00, s1, s2, top, numbers)),
    )
    logits = torch.where(numbers < 0, -torch.inf, -scale[:, None] * top)
    found = torch.where(numbers[..., None] < 0, -1, sources[numbers.clamp_min(0)])
    rows = (-scale * reference, s0, s00, s1, s2, logits, found)
    return SoftmaxState(*(part[:, None] for part in rows))
