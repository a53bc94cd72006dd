"""Whitened features on CPUs: a float32 matrix product for all pairs, float64 for the few whose rounding would show.

    D = |q - a|^2 = |q|^2 - z,    z = 2 <q, a> - |a|^2,    for features centred at the mean key.

z comes from a blocked float32 product and is wrong by up to `margin`, in bits of the logit, about 2^-24 scale (|q| +
|a|)^2. A pair whose weight is so large that this could move the result, or that may be among the k nearest, is taken
out of the block and its distance summed again, in float64, as squared differences. As the sum of weights grows, fewer
and fewer qualify: of n pairs of equal weight some log n, so that the cost stays that of the product. Tested against
the plain engine in `gemm`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import torch
from torch import Tensor

from .gemm import Block
from .state import SoftmaxState
from .vectors import (
    IMAGES,
    JIT,
    LANES,
    LOG2E,
    NEGLIGIBLE,
    above,
    add_moments,
    any_above,
    exp2,
    fold_max,
    insert,
    larger,
    load,
    load_row,
    lowest,
    splat,
    splat_row,
    squared_distance,
    store,
    total,
)

_BLOCK = 1 << 21  # pairs held at once: they stay in the cache
_GROWTH = 24.0  # bits by which a logit may exceed that of the reference
_TOLERANCE = 2.0**-20  # relative error of the sums that a pair may cause
_ABSENT = 1e30  # |a|^2 of keys that fill up a vector


@numba.njit(**JIT)
def _subtract_norms(z, norms):
    """z - norms in place; returns the largest entry."""
    largest = splat(np.float32(-np.inf))
    for j in range(0, len(z), LANES):
        difference = load(z, j) - load(norms, j)
        store(z, j, difference)
        largest = larger(largest, difference)
    row = np.empty(IMAGES, np.float32)
    store(row, 0, fold_max(largest))
    return row.max()


@numba.njit(**JIT)
def _limit(s0, margin, scale2, reference, top):
    """The logit, in bits over the reference, from which on a pair is taken out."""
    weight = math.log2(s0 * _TOLERANCE / (margin / LOG2E)) if s0 > 0 else -np.inf
    nearest = (reference - top[-1]) * scale2 if len(top) else np.inf
    return min(weight, nearest) - margin


@numba.njit(**JIT)
def _move_reference(new, scale2, reference, sums, acc):
    """Take the distance `new` as the reference of a row, and rescale what was summed about the old one."""
    ratio = 2.0 ** max((new - reference[0]) * scale2, -150.0)
    for i in range(len(sums)):
        factor = ratio * ratio if i == 1 else ratio
        sums[i] *= factor
        store(acc, i * IMAGES, load_row(acc, i * IMAGES) * splat_row(np.float32(factor)))
    reference[0] = new


@numba.njit(**JIT)
def _take_out(z, j, lanes, q, keys, values, scale2, reference, sums, acc, top, numbers, first):
    """Sum the pairs `lanes` of the block at j from exact distances, and leave them out of z."""
    channels = len(sums) // 2 - 1
    while lanes:
        lane = lowest(lanes)
        lanes &= lanes - np.uint64(1)
        if j + lane >= len(keys):
            return
        d = squared_distance(q, keys[j + lane])
        if (reference[0] - d) * scale2 > _GROWTH:
            _move_reference(d, scale2, reference, sums, acc)
        e = 2.0 ** ((reference[0] - d) * scale2)
        sums[0] += e
        sums[1] += e * e
        for c in range(channels):
            u = values[c, j + lane]
            sums[2 + c] += e * u
            sums[2 + channels + c] += e * u * u
        if len(top):
            insert(top, numbers, d, first + j + lane)
        z[j + lane] = -_ABSENT


@numba.njit(**JIT)
def _kernel(keys, norms, values, first, z, q, norms_q, scale2, margin, reference, sums, top, numbers):
    """All rows of a block: updates reference, sums, top and numbers, and overwrites z.

    z: (rows, K) float32, 2 <q, a>. q: (rows, F), keys: (K', F) float64, K' <= K. norms_q: (rows,), norms: (K,)
    float32, squared. values: (C, K) float32. scale2: (rows,), -logit / D in bits. margin: (rows,), how wrong z may
    be, in bits. first: number of the first key. reference: (rows,) a distance near the least so far. sums: (rows, 2 + 2
    C): sum e, sum e^2, sum e u, sum e u^2. top, numbers: (rows, k): the k least D, ascending, and their keys.
    """
    columns, keys_padded = sums.shape[1], z.shape[1]
    channels = columns // 2 - 1
    acc = np.zeros(columns * IMAGES, np.float32)
    flat = values.reshape(channels * keys_padded)
    for m in range(len(z)):
        row, at = z[m], reference[m : m + 1]
        nearest = norms_q[m] - _subtract_norms(row, norms)
        certain = nearest + margin[m] / scale2[m]  # some pair is no farther
        if (at[0] - certain) * scale2[m] > _GROWTH:
            _move_reference(certain, scale2[m], at, sums[m], acc)
        limit = _limit(sums[m, 0], margin[m], scale2[m], at[0], top[m])
        least = min(np.float64(NEGLIGIBLE) - margin[m], limit)
        if (at[0] - nearest) * scale2[m] < least:
            continue
        bits = splat(np.float32(scale2[m]))
        for j in range(0, keys_padded, LANES):
            offset = splat(np.float32(at[0] - norms_q[m]))
            peak = fold_max((load(row, j) + offset) * bits)
            if not any_above(peak, splat_row(np.float32(least))):
                continue
            if any_above(peak, splat_row(np.float32(limit))):
                s0 = sums[m, 0] + total(load_row(acc, 0))
                limit = _limit(s0, margin[m], scale2[m], at[0], top[m])
                lanes = above((load(row, j) + offset) * bits, splat(np.float32(limit)))
                _take_out(row, j, lanes, q[m], keys, values, scale2[m], at, sums[m], acc, top[m], numbers[m], first)
                offset = splat(np.float32(at[0] - norms_q[m]))
            add_moments(acc, 0, exp2((load(row, j) + offset) * bits), flat, j, keys_padded, channels)
        for i in range(columns):
            sums[m, i] += total(load_row(acc, i * IMAGES))
        acc[:] = 0


def accumulate(
    state: SoftmaxState, queries: Tensor, blocks: Iterable[Block], scale: Tensor, *, centre: float
) -> SoftmaxState:
    """The contract of `gemm.accumulate`, for tensors on the CPU and logits of float32 accuracy."""
    shape, threads, channels = queries.shape[:2], torch.get_num_threads(), state.s1.shape[-1]
    rows, features = shape[0] * shape[1], queries.shape[2]
    scale2 = (scale.double() * LOG2E).repeat_interleave(shape[1])
    reference = (-state.max / scale[:, None]).flatten()
    sums = torch.zeros(rows, 2 + 2 * channels, dtype=torch.float64)
    top = (-state.top_logits[..., -1:] / scale[:, None, None]).expand_as(state.top_logits).flatten(0, 1).clone()
    numbers, sources, first = torch.full(top.shape, -1), [torch.full((1, 3), -1)], 1  # key 0 stands for none
    edges = [rows * i // threads for i in range(threads + 1)]
    count = max(LANES, _BLOCK // rows // LANES * LANES)
    product = torch.empty(rows * count)
    mean = None
    with ThreadPoolExecutor(threads) as pool:
        for keys, values, places in blocks:
            if mean is None:
                mean, q = keys.mean(0), queries.flatten(0, 1)
                twice = (2 * (q - mean)).float()
                norms_q = (q - mean).square().sum(1)
            for start in range(0, len(keys), count):
                a = keys[start : start + count]
                padded = torch.zeros(-(-len(a) // LANES) * LANES, features)
                torch.sub(a, mean, out=padded[: len(a)])
                u = torch.zeros(channels, len(padded))
                u[:, : len(a)] = values[start : start + count].T - centre
                norms = padded.square().sum(1)
                longest = norms_q.sqrt() + norms.max().sqrt()
                margin = scale2 * (4 + math.sqrt(features)) * 2**-24 * longest.square()
                norms[len(a) :] = _ABSENT
                shared = (a.numpy(), norms.numpy(), u.numpy(), first + start)
                z = product[: rows * len(padded)].view(rows, len(padded))
                each = (torch.mm(twice, padded.T, out=z), q, norms_q, scale2, margin, reference, sums, top, numbers)

                def run(start: int, stop: int, shared: tuple = shared, each: tuple = each) -> None:
                    _kernel(*shared, *(rows[start:stop].numpy() for rows in each))

                list(pool.map(run, edges[:-1], edges[1:]))
            sources.append(places)
            first += len(keys)
    found = torch.cat(sources)[numbers.clamp_min(0)].reshape(*shape, -1, 3)
    logits = torch.where(numbers < 0, -torch.inf, -top).reshape(*shape, -1) * scale[:, None, None]
    s0, s00, s1, s2 = (part.reshape(*shape, -1) for part in sums.split([1, 1, channels, channels], 1))
    part = SoftmaxState(-scale[:, None] * reference.reshape(shape), s0[..., 0], s00[..., 0], s1, s2, logits, found)
    return state.merge(part)
