"""Whitened features on CPUs: a float32 product fused with the softmax, float64 for the few pairs that need it.

    D = |q - a|^2 = |q|^2 - z,    z = 2 <q, a> - |a|^2,    for features centred at the mean key.

The products of 6 queries and 64 keys stay in registers until their weights are summed, so no matrix of pairs is ever
written. z is wrong by up to `margin`, in bits of the logit, about 2^-24 scale (|q| + |a|)^2. A pair whose weight is so
large that this could move the result, or that may be among the k nearest, is taken out and its distance summed again,
in float64, as squared differences. As the sum of weights grows, fewer and fewer qualify: of n pairs of equal weight
some log n, so that the cost stays that of the product. Tested against the plain engine in `gemm`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import Tensor

from lemmse.engines.contracts import Block
from lemmse.engines.cpu.compile import jit
from lemmse.engines.cpu.vectors import (
    IMAGES,
    LANES,
    LOG2E,
    NEGLIGIBLE,
    above,
    add_moments,
    any_above,
    exp2,
    fold_max,
    insert,
    like,
    load,
    load_row,
    lowest,
    splat,
    squared_distance,
    store,
    total,
)
from lemmse.engines.state import SoftmaxState

_ROWS = 6  # queries whose products with 64 keys are held in registers
_GROWTH = 24.0  # bits by which a logit may exceed that of the reference
_TOLERANCE = 2.0**-20  # relative error of the sums that a pair may cause
_ABSENT = np.float32(1e30)  # |a|^2 of keys that fill up a vector


@jit()
def _pack(keys, mean, panels, norms):
    """Centre the keys (K, F), 64 to a panel: panels (K / 64, F, 64) float32, and their squared norms (K / 64, 64)."""
    features = keys.shape[1]
    for p in range(len(panels)):
        present = min(LANES, len(keys) - p * LANES)
        panels[p, :, present:] = 0
        norms[p, present:] = _ABSENT
        for lane in range(present):
            key, square = keys[p * LANES + lane], np.float32(0)
            for f in range(features):
                value = np.float32(key[f] - mean[f])
                panels[p, f, lane] = value
                square += value * value
            norms[p, lane] = square


@jit()
def _products(z, tile, panel, norms):
    """z = 2 <q, a> - |a|^2, (6 * 64,): tile (F * 6,) of 6 times 2 q, panel (F * 64,) of 64 keys, norms (64,)."""
    minus = splat(np.float32(0)) - load(norms, 0)
    z0, z1, z2, z3, z4, z5 = minus, minus, minus, minus, minus, minus
    q = 0
    for f in range(0, len(panel), LANES):
        a = load(panel, f)
        z0 = z0 + splat(tile[q]) * a
        z1 = z1 + splat(tile[q + 1]) * a
        z2 = z2 + splat(tile[q + 2]) * a
        z3 = z3 + splat(tile[q + 3]) * a
        z4 = z4 + splat(tile[q + 4]) * a
        z5 = z5 + splat(tile[q + 5]) * a
        q += _ROWS
    store(z, 0, z0)
    store(z, LANES, z1)
    store(z, 2 * LANES, z2)
    store(z, 3 * LANES, z3)
    store(z, 4 * LANES, z4)
    store(z, 5 * LANES, z5)


@jit()
def _limit(m, scale2, margin, reference, sums, acc, top):
    """The logit, in bits over the reference of row m, from which on a pair is taken out."""
    s0 = sums[m, 0] + total(load_row(acc, m * sums.shape[1] * IMAGES))
    weight = math.log2(s0 * _TOLERANCE / (margin[m] / LOG2E)) if s0 > 0 else -np.inf
    nearest = (reference[m] - top[m, -1]) * scale2[m] if top.shape[1] else np.inf
    return min(weight, nearest) - margin[m]


@jit()
def _move_reference(new, m, scale2, reference, sums, acc):
    """Take the distance `new` as the reference of row m, and rescale what was summed about the old one."""
    ratio, columns = 2.0 ** max((new - reference[m]) * scale2[m], -150.0), sums.shape[1]
    for i in range(columns):
        factor, at = ratio * ratio if i == 1 else ratio, (m * columns + i) * IMAGES
        sums[m, i] *= factor
        row = load_row(acc, at)
        store(acc, at, row * like(row, factor))
    reference[m] = new


@jit()
def _take_out(z, at, j, lanes, m, q, keys, values, scale2, reference, sums, acc, top, numbers, first):
    """Sum the pairs `lanes` of row m and the keys from j on by their exact distances, and leave them out of z."""
    channels = values.shape[0]
    while lanes:
        lane = lowest(lanes)
        lanes &= lanes - np.uint64(1)
        if j + lane >= len(keys):
            return
        d = squared_distance(q[m], keys[j + lane])
        if (reference[m] - d) * scale2[m] > _GROWTH:
            _move_reference(d, m, scale2, reference, sums, acc)
        e = 2.0 ** ((reference[m] - d) * scale2[m])
        sums[m, 0] += e
        sums[m, 1] += e * e
        for c in range(channels):
            u = values[c, j + lane]
            sums[m, 2 + c] += e * u
            sums[m, 2 + channels + c] += e * u * u
        if top.shape[1]:
            insert(top[m], numbers[m], d, first + j + lane)
        z[at + lane] = -_ABSENT


@jit()
def _kernel(panels, norms, keys, values, first, tiles, q, norms_q, scale2, margin, reference, sums, top, numbers):
    """All rows against a block of keys: updates reference, sums, top and numbers.

    panels: (p, F * 64), norms: (p, 64) float32, of centred keys. keys: (K, F) float64, 64 p >= K. values: (C, 64 p)
    float32. first: number of the first key. tiles: (t, F * 6) float32, twice the centred queries. q: (rows, F) float64.
    norms_q: (rows,), squared. scale2: (rows,), -logit / D in bits. margin: (rows,), how wrong a product may be, in
    bits. reference: (rows,) a distance near the least so far. sums: (rows, 2 + 2 C): sum e, sum e^2, sum e u, sum e
    u^2. top, numbers: (rows, k): the k least D, ascending, and their keys.
    """
    rows, columns = sums.shape
    channels, padded = values.shape
    flat, acc = values.reshape(channels * padded), np.zeros(rows * columns * IMAGES, np.float32)
    limits, z = np.empty(rows), np.empty(_ROWS * LANES, np.float32)
    for m in range(rows):
        limits[m] = _limit(m, scale2, margin, reference, sums, acc, top)
    for p in range(len(panels)):
        for t in range(len(tiles)):
            _products(z, tiles[t], panels[p], norms[p])
            for m in range(t * _ROWS, min((t + 1) * _ROWS, rows)):
                at = (m - t * _ROWS) * LANES
                bits = splat(np.float32(scale2[m]))
                x = (load(z, at) + splat(np.float32(reference[m] - norms_q[m]))) * bits
                peak = fold_max(x)
                if not any_above(peak, like(peak, min(NEGLIGIBLE - margin[m], limits[m]))):
                    continue
                if any_above(peak, like(peak, _GROWTH)):
                    certain = norms_q[m] - z[at : at + LANES].max() + margin[m] / scale2[m]  # some pair is no farther
                    if (reference[m] - certain) * scale2[m] > _GROWTH:
                        _move_reference(certain, m, scale2, reference, sums, acc)
                        limits[m] = _limit(m, scale2, margin, reference, sums, acc, top)
                        x = (load(z, at) + splat(np.float32(reference[m] - norms_q[m]))) * bits
                        peak = fold_max(x)
                if any_above(peak, like(peak, limits[m])):
                    limit = np.float32(_limit(m, scale2, margin, reference, sums, acc, top))
                    lanes, j = above(x, splat(limit)), p * LANES
                    _take_out(z, at, j, lanes, m, q, keys, values, scale2, reference, sums, acc, top, numbers, first)
                    limits[m] = _limit(m, scale2, margin, reference, sums, acc, top)
                    x = (load(z, at) + splat(np.float32(reference[m] - norms_q[m]))) * bits
                add_moments(acc, m * columns * IMAGES, exp2(x), flat, p * LANES, padded, channels)
    for m in range(rows):
        for i in range(columns):
            sums[m, i] += total(load_row(acc, (m * columns + i) * IMAGES))


def accumulate(
    state: SoftmaxState, queries: Tensor, blocks: Iterable[Block], scale: Tensor, *, centre: float
) -> SoftmaxState:
    """The contract of `gemm.accumulate`, for tensors on the CPU and logits of float32 accuracy."""
    shape, threads, channels = queries.shape[:2], torch.get_num_threads(), state.s1.shape[-1]
    rows, features = shape[0] * shape[1], queries.shape[2]
    scale2 = (scale.double() * LOG2E).repeat_interleave(shape[1])
    reference = (-state.max / scale[:, None]).flatten()
    sums = torch.zeros(rows, 2 + 2 * channels, dtype=torch.float64, device="cpu")
    top = (-state.top_logits[..., -1:] / scale[:, None, None]).expand_as(state.top_logits).flatten(0, 1).clone()
    numbers = torch.full(top.shape, -1, dtype=torch.int64, device="cpu")
    sources, first = [numbers.new_full((1, 3), -1)], 1  # key 0 stands for none
    q = queries.flatten(0, 1)
    share = -(-rows // threads // _ROWS) * _ROWS  # of a thread, in whole tiles
    with ThreadPoolExecutor(threads) as pool:
        for keys, values, places in blocks:
            if first == 1:
                mean = keys.mean(0)
                tiles, norms_q = _tiles(2 * (q - mean)), (q - mean).square().sum(1)
            panels, norms = _panels(keys, mean, pool)
            u = torch.zeros(channels, norms.numel(), dtype=torch.float32, device="cpu")
            u[:, : len(keys)] = values.T - centre
            longest = norms_q.sqrt() + norms[norms < _ABSENT].max().sqrt()
            margin = scale2 * (4 + math.sqrt(features)) * 2**-24 * longest.square()
            kernel = partial(_kernel, *(part.numpy() for part in (panels, norms, keys, u)), first)
            each = (q, norms_q, scale2, margin, reference, sums, top, numbers)
            parts = zip(tiles.split(share // _ROWS), *(part.split(share) for part in each), strict=True)
            list(pool.map(lambda own, kernel=kernel: kernel(*(part.numpy() for part in own)), parts))
            sources.append(places)
            first += len(keys)
    found = torch.cat(sources)[numbers.clamp_min(0)].reshape(*shape, -1, 3)
    logits = torch.where(numbers < 0, -torch.inf, -top).reshape(*shape, -1) * scale[:, None, None]
    s0, s00, s1, s2 = (part.reshape(*shape, -1) for part in sums.split([1, 1, channels, channels], 1))
    part = SoftmaxState(-scale[:, None] * reference.reshape(shape), s0[..., 0], s00[..., 0], s1, s2, logits, found)
    return state.merge(part)


def _panels(keys: Tensor, mean: Tensor, pool: ThreadPoolExecutor) -> tuple[Tensor, Tensor]:
    """The centred keys, 64 to a panel, (K / 64, F * 64), and their squared norms, (K / 64, 64); both float32."""
    count, share = -(-len(keys) // LANES), 8
    panels = torch.empty(count, keys.shape[1], LANES, dtype=torch.float32, device="cpu")
    norms = panels.new_empty(count, LANES)
    parts = zip(keys.split(share * LANES), panels.split(share), norms.split(share), strict=True)
    list(pool.map(lambda part: _pack(part[0].numpy(), mean.numpy(), part[1].numpy(), part[2].numpy()), parts))
    return panels.flatten(1), norms


def _tiles(q: Tensor) -> Tensor:
    """(rows, F) -> (tiles, F * 6) float32, the queries fastest; absent ones are zero."""
    filled = torch.zeros(-(-len(q) // _ROWS) * _ROWS, q.shape[1], dtype=torch.float32, device="cpu")
    filled[: len(q)] = q
    return filled.reshape(-1, _ROWS, q.shape[1]).transpose(1, 2).flatten(1)
