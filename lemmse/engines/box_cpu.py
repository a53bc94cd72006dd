"""Shift and box-sum compiled for CPUs: exact LE-MMSE of float32 images, at a cost that does not depend on P.

For one query, one training image and one row shift dy, the kernel walks down the rows h of the query and keeps

    V[w, dx] = sum_{r in window rows} sum_f (q[f, h + r, w] - a[f, h + r + dy, w + dx])^2        (running along h)
    D[dx]    = sum_{c in window columns} V[w + c, dx]                                            (running along w)

so that D holds the distances of the query patch at (h, w) to the training patches at (h + dy, w + dx) for all dx, the
vector axis. Distances are taken in float64, for a running sum in float32 loses the small ones; weights in float32. A
row of pairs whose weights are all under 2^-40 of the largest so far cannot matter and is skipped. Tested against the
plain engine in `box`.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from torch import Tensor

from ..patches import window_offsets
from .state import SoftmaxState

LANES = 16  # floats in the widest vector register
PARTS = 8  # of the data set; fixed, so that the bits do not depend on the number of threads
LOG2E = math.log2(math.e)
_NEGLIGIBLE = 40.0  # bits under the largest weight
_FAR = 1e30  # the distance of a pair that does not compete
_FAST = {"fastmath": {"reassoc", "contract", "arcp", "nsz"}, "nogil": True, "cache": True, "error_model": "numpy"}
# 2^f = 1 + f (C1 + f (C2 + ...)) on [-1/2, 1/2], Chebyshev interpolation of (2^f - 1)/f: relative error 5e-9
_C1, _C2, _C3, _C4, _C5, _C6 = map(
    np.float32, (0.693147188026, 0.240226507606, 0.0555035711422, 0.00961808255728, 0.00133908633642, 0.000154531629420)
)


@intrinsic
def _from_bits(_typing, _bits):
    """The float32 with the bit pattern of an int32."""
    return types.float32(types.int32), lambda context, builder, signature, args: builder.bitcast(
        args[0], ir.FloatType()
    )


@numba.njit(inline="always", **{**_FAST, "cache": False})
def _exp2(x):
    """2^x for x <= 0 in float32, branch-free so that it vectorises: 2^i by the exponent bits, 2^f by a polynomial."""
    x = max(x, np.float32(-126.0))
    i = np.int32(x - np.float32(0.5))
    f = x - np.float32(i)
    p = np.float32(1) + f * (_C1 + f * (_C2 + f * (_C3 + f * (_C4 + f * (_C5 + f * _C6)))))
    return p * _from_bits((i + np.int32(127)) << np.int32(23))


@numba.njit(**_FAST)
def _kernel(q, keys, values, labels, scale2, rows, cols, first, largest, sums, top, sources):
    """One query against all `keys`: updates largest, sums, top and sources.

    q: (F, H, W). keys: (B, F, H, W + lanes) and values: (B, C, H, W + lanes), extended periodically. labels: (H, W +
    lanes), -1 outside. scale2: -logit / D, in bits. rows, cols: first and last offset of the window. first: number of
    the first key image. largest: (H, W) float32, the least D so far (the largest logit). sums: (H, W, 2 + 2 C)
    float64: sum e, sum e^2, sum e u, sum e u^2. top, sources: (H, W, k) float32, (H, W, k, 3) int64: the k least D,
    ascending.
    """
    features, height, width = q.shape
    channels, lanes, top_k = values.shape[1], values.shape[3] - width, top.shape[2]
    squares = np.empty((height, width * lanes))
    v = np.empty(width * lanes)
    d = np.empty(lanes)
    m = np.empty(lanes)
    e = np.empty(lanes, np.float32)
    for b in range(keys.shape[0]):
        for dy in range(height):
            for h in range(height):
                row = squares[h]
                for f in range(features):
                    a = keys[b, f, (h + dy) % height]
                    for w in range(width):
                        p = np.float64(q[f, h, w])
                        for x in range(lanes):
                            square = (p - a[w + x]) ** 2
                            row[w * lanes + x] = square if f == 0 else row[w * lanes + x] + square
            v[:] = 0
            for r in range(rows[0], rows[1] + 1):
                row = squares[r % height]
                for x in range(width * lanes):
                    v[x] += row[x]
            for h in range(height):
                if h > 0 and rows[1] - rows[0] + 1 < height:
                    leave, enter = squares[(h - 1 + rows[0]) % height], squares[(h + rows[1]) % height]
                    for x in range(width * lanes):
                        v[x] += enter[x] - leave[x]
                k = (h + dy) % height
                d[:] = 0
                for c in range(cols[0], cols[1] + 1):
                    column = v[(c % width) * lanes :]
                    for x in range(lanes):
                        d[x] += column[x]
                for w in range(width):
                    if w > 0 and cols[1] - cols[0] + 1 < width:
                        vl, ve = v[((w - 1 + cols[0]) % width) * lanes :], v[((w + cols[1]) % width) * lanes :]
                        for x in range(lanes):
                            d[x] += ve[x] - vl[x]
                    label = labels[h, w]
                    if label < 0:
                        continue
                    least = _FAR
                    for x in range(lanes):
                        m[x] = d[x] if labels[k, w + x] == label and x < width else _FAR
                        least = min(least, m[x])
                    if least >= _FAR:
                        continue
                    if top_k and least < top[h, w, top_k - 1]:
                        for x in range(width):
                            if m[x] < _FAR:
                                _insert(top[h, w], sources[h, w], m[x], first + b, k, (w + x) % width)
                    if (least - largest[h, w]) * scale2 > _NEGLIGIBLE:
                        continue
                    if least < largest[h, w]:
                        ratio = math.exp2((least - largest[h, w]) * scale2)
                        sums[h, w] *= ratio
                        sums[h, w, 1] *= ratio
                        largest[h, w] = least
                    s0 = np.float32(0)
                    s00 = np.float32(0)
                    for x in range(lanes):
                        e[x] = _exp2(np.float32((largest[h, w] - m[x]) * scale2))
                        s0 += e[x]
                        s00 += e[x] * e[x]
                    sums[h, w, 0] += s0
                    sums[h, w, 1] += s00
                    for c in range(channels):
                        u = values[b, c, k]
                        s1 = np.float32(0)
                        s2 = np.float32(0)
                        for x in range(lanes):
                            t = e[x] * u[w + x]
                            s1 += t
                            s2 += t * u[w + x]
                        sums[h, w, 2 + c] += s1
                        sums[h, w, 2 + channels + c] += s2


@numba.njit(**_FAST)
def _insert(top, sources, d, image, row, col):
    """Insert a distance into an ascending list, if it is under its last; an equal one stays behind."""
    j = len(top) - 1
    if d >= top[j]:
        return
    while j > 0 and top[j - 1] > d:
        top[j] = top[j - 1]
        sources[j] = sources[j - 1]
        j -= 1
    top[j] = d
    sources[j, 0], sources[j, 1], sources[j, 2] = image, row, col


def accumulate(
    state: SoftmaxState,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    scale: Tensor,
    *,
    patch_size: int,
    strata: Tensor,
    first_image: int,
) -> SoftmaxState:
    """The contract of `box.accumulate`, for float32 tensors on the CPU."""
    height, width = strata.shape
    lanes = -(-width // LANES) * LANES
    q, scale2 = queries.numpy(), (scale * LOG2E).numpy()
    keys, values = _extended(keys, lanes), _extended(values, lanes)
    labels = _extended(strata, lanes)
    rows, cols = ((r[0], r[-1]) for r in (window_offsets(patch_size, n) for n in (height, width)))

    def part(task: tuple[int, int, int]) -> SoftmaxState:
        n, start, stop = task
        largest = np.full((height, width), _FAR)
        sums = np.zeros((height, width, 2 + 2 * values.shape[1]))
        top = np.full((height, width, state.top_k), _FAR)
        sources = np.full((height, width, state.top_k, 3), -1, np.int64)
        _kernel(
            q[n],
            keys[start:stop],
            values[start:stop],
            labels,
            scale2[n],
            rows,
            cols,
            first_image + start,
            largest,
            sums,
            top,
            sources,
        )
        return _state(largest, sums, top, sources, float(scale[n]))

    size = -(-len(keys) // PARTS)
    parts = [(start, min(start + size, len(keys))) for start in range(0, len(keys), size)]
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        done = list(pool.map(part, [(n, *images) for images in parts for n in range(len(q))]))
    for start in range(0, len(done), len(q)):
        state = state.merge(SoftmaxState.stack(done[start : start + len(q)]))
    return state


def _extended(images: Tensor, lanes: int) -> np.ndarray:
    """(..., W) -> (..., W + lanes), periodic, so that a shift is a view."""
    columns = torch.arange(images.shape[-1] + lanes) % images.shape[-1]
    return images[..., columns].contiguous().numpy()


def _state(largest: np.ndarray, sums: np.ndarray, top: np.ndarray, sources: np.ndarray, scale: float) -> SoftmaxState:
    """The state of one query, rows (1, H*W), from what the kernel summed."""
    arrays = (largest, sums, top, sources)
    largest, sums, top, sources = (
        torch.from_numpy(a.reshape(1, a.shape[0] * a.shape[1], *a.shape[2:])) for a in arrays
    )
    channels = sums.shape[-1] // 2 - 1
    logits = torch.where(largest < _FAR, -scale * largest, -torch.inf)
    top_logits = torch.where(top < _FAR, -scale * top, -torch.inf)
    s1, s2 = sums[..., 2 : 2 + channels], sums[..., 2 + channels :]
    return SoftmaxState(logits, sums[..., 0], sums[..., 1], s1, s2, top_logits, sources)
