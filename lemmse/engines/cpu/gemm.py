"""Whitened features on CPUs: a product fused with the softmax, exact distances for the few pairs that need them.

    D = |q - a|^2 = |q|^2 - z,    z = 2 <q, a> - |a|^2,    for features centered at the mean key.

The products of 6 queries and 64 keys stay in registers until their weights are summed, so no matrix of pairs is ever
written. They and their weights have the dtype of the values, float32 or float64. z is wrong by up to `margin`, in bits
of the logit, about 2^-24 (float64: 2^-53) scale (|q| + |a|)^2. A pair whose weight is so large that this could move the
result, or that may be among the k nearest, is taken out and its distance summed again, in float64, as squared
differences. As the sum of weights grows, fewer and fewer qualify: of n pairs of equal weight
some log n, so that the cost stays that of the product. Tested against the plain engine in `gemm`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from lemmse.engines.contracts import Block
from lemmse.engines.cpu.compile import jit
from lemmse.engines.cpu.tasks import Stop, results
from lemmse.engines.cpu.vectors import (
    IMAGES,
    LANES,
    LOG2E,
    NEGLIGIBLE,
    NEGLIGIBLE64,
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
_TOLERANCE = {torch.float32: 2.0**-20, torch.float64: 2.0**-46}  # relative error of the sums that a pair may cause
_ABSENT = 1e30  # |a|^2 of keys that fill up a vector


@jit()
def _pack(keys, mean, panels, norms):
    """Center the keys (K, F), 64 to a panel: panels (K / 64, F, 64), and their squared norms (K / 64, 64)."""
    features = keys.shape[1]
    for p in range(len(panels)):
        present = min(LANES, len(keys) - p * LANES)
        panels[p, :, present:] = 0
        norms[p, present:] = _ABSENT
        for lane in range(present):
            key = keys[p * LANES + lane]
            norms[p, lane] = 0
            for f in range(features):
                panels[p, f, lane] = key[f] - mean[f]
                norms[p, lane] += panels[p, f, lane] * panels[p, f, lane]


@jit()
def _products(z, tile, panel, norms):
    """z = 2 <q, a> - |a|^2, (6 * 64,): tile (F * 6,) of 6 times 2 q, panel (F * 64,) of 64 keys, norms (64,)."""
    square = load(norms, 0)
    minus = like(square, 0.0) - square
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


@jit(inline="always")
def _bits(z, at, offset, scale2):
    """The logits, in bits over the reference, of 64 products."""
    products = load(z, at)
    return (products + like(products, offset)) * like(products, scale2)


@jit()
def _limit(m, tolerance, scale2, margin, reference, sums, acc, top):
    """The logit, in bits over the reference of row m, from which on a pair is taken out."""
    s0 = sums[m, 0] + total(load_row(acc, m * sums.shape[1] * IMAGES))
    weight = math.log2(s0 * tolerance / (margin[m] / LOG2E)) if s0 > 0 else -np.inf
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
def _take_out(
    z, at, j, lanes, m, q, keys, values, images, left_out, scale2, reference, sums, acc, top, numbers, first
):  # fmt: skip
    """Sum the pairs `lanes` of row m and the keys from j on by their exact distances, and leave them out of z."""
    channels = values.shape[0]
    while lanes:
        lane = lowest(lanes)
        lanes &= lanes - np.uint64(1)
        if j + lane >= len(keys):
            return
        if images[j + lane] == left_out[m]:
            continue
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
def _leave_out(z, at, j, image, images):
    """Put the keys of an image, of the 64 from j on, out of reach; whether others are left."""
    for lane in range(min(LANES, len(images) - j)):
        if images[j + lane] == image:
            z[at + lane] = -_ABSENT
    return z[at : at + LANES].max() > -_ABSENT / 2


@jit()
def _kernel(
    panels, norms, keys, values, images, spans, first, tolerance, negligible, stop, tiles, q, norms_q, scale2, margin,
    left_out, reference, sums, top, numbers,
):  # fmt: skip
    """All rows against a block of keys: updates reference, sums, top and numbers.

    panels: (p, F * 64), norms: (p, 64), of centered keys. keys: (K, F) float64, 64 p >= K. values: (C, 64 p). images:
    (K,) int64, of the keys, and spans: (p, 2) the least and largest of a panel. first: number of the first key.
    tolerance: relative error that a pair may cause. negligible: the logit, in bits, under which a pair cannot matter.
    stop: (1,) bool, whether to return. tiles: (t, F * 6), twice the centered queries. q: (rows, F) float64. norms_q:
    (rows,), squared. scale2: (rows,), -logit / D in bits. margin: (rows,), how wrong a product may be, in bits.
    left_out: (rows,) int64, the image left out of each row. reference: (rows,) a distance near the least so far. sums:
    (rows, 2 + 2 C): sum e, sum e^2, sum e u, sum e u^2. top, numbers: (rows, k): the k least D, ascending, and their
    keys. panels, norms, values and tiles in one dtype, all else float64.
    """
    rows, columns = sums.shape
    channels, padded = values.shape
    flat, acc = values.reshape(channels * padded), np.zeros(rows * columns * IMAGES, values.dtype)
    limits, z = np.empty(rows), np.empty(_ROWS * LANES, values.dtype)
    for m in range(rows):
        limits[m] = _limit(m, tolerance, scale2, margin, reference, sums, acc, top)
    for p in range(len(panels)):
        if stop[0]:
            return
        for t in range(len(tiles)):
            _products(z, tiles[t], panels[p], norms[p])
            for m in range(t * _ROWS, min((t + 1) * _ROWS, rows)):
                at = (m - t * _ROWS) * LANES
                if spans[p, 0] <= left_out[m] <= spans[p, 1] and not _leave_out(z, at, p * LANES, left_out[m], images):
                    continue
                x = _bits(z, at, reference[m] - norms_q[m], scale2[m])
                peak = fold_max(x)
                if not any_above(peak, like(peak, min(negligible - margin[m], limits[m]))):
                    continue
                if any_above(peak, like(peak, _GROWTH)):
                    certain = norms_q[m] - z[at : at + LANES].max() + margin[m] / scale2[m]  # some pair is no farther
                    if (reference[m] - certain) * scale2[m] > _GROWTH:
                        _move_reference(certain, m, scale2, reference, sums, acc)
                        limits[m] = _limit(m, tolerance, scale2, margin, reference, sums, acc, top)
                        x = _bits(z, at, reference[m] - norms_q[m], scale2[m])
                        peak = fold_max(x)
                if any_above(peak, like(peak, limits[m])):
                    limit = _limit(m, tolerance, scale2, margin, reference, sums, acc, top)
                    lanes, j = above(x, like(x, limit)), p * LANES
                    exact = q, keys, values, images, left_out
                    _take_out(z, at, j, lanes, m, *exact, scale2, reference, sums, acc, top, numbers, first)
                    limits[m] = _limit(m, tolerance, scale2, margin, reference, sums, acc, top)
                    x = _bits(z, at, reference[m] - norms_q[m], scale2[m])
                add_moments(acc, m * columns * IMAGES, exp2(x), flat, p * LANES, padded, channels)
    for m in range(rows):
        for i in range(columns):
            sums[m, i] += total(load_row(acc, (m * columns + i) * IMAGES))


def accumulate(
    state: SoftmaxState,
    queries: Tensor,
    blocks: Iterable[Block],
    scale: Tensor,
    *,
    center: float,
    exclude: Tensor | None = None,
) -> SoftmaxState:
    """The contract of `gemm.accumulate`, for tensors on the CPU and logits as accurate as the dtype of the values."""
    shape, channels = queries.shape[:2], state.s1.shape[-1]
    rows, features = shape[0] * shape[1], queries.shape[2]
    scale2 = (scale.double() * LOG2E).repeat_interleave(shape[1])
    left_out = (
        torch.full((rows,), -1, dtype=torch.int64, device="cpu")
        if exclude is None
        else exclude.repeat_interleave(shape[1])
    )
    reference = (-state.max / scale[:, None]).flatten()
    sums = torch.zeros(rows, 2 + 2 * channels, dtype=torch.float64, device="cpu")
    top = (-state.top_logits[..., -1:] / scale[:, None, None]).expand_as(state.top_logits).flatten(0, 1).clone()
    numbers = torch.full(top.shape, -1, dtype=torch.int64, device="cpu")
    sources, first = [numbers.new_full((1, 3), -1)], 1  # key 0 stands for none
    q = queries.flatten(0, 1)
    share = -(-rows // torch.get_num_threads() // _ROWS) * _ROWS  # of a thread, in whole tiles
    for keys, values, places in blocks:
        dtype = values.dtype
        if first == 1:
            mean = keys.mean(0)
            tiles, norms_q = _tiles((2 * (q - mean)).to(dtype)), (q - mean).square().sum(1)
        panels, norms = _panels(keys, mean, dtype)
        u = torch.zeros(channels, norms.numel(), dtype=dtype, device="cpu")
        u[:, : len(keys)] = values.T - center
        longest = norms_q.sqrt() + norms[norms < _ABSENT].max().double().sqrt()
        margin = scale2 * (4 + math.sqrt(features)) * torch.finfo(dtype).eps / 2 * longest.square()
        images = places[:, 0].contiguous()
        spans = torch.cat([images, images[-1:].expand(norms.numel() - len(images))]).reshape(-1, LANES)
        spans = torch.stack([spans.amin(1), spans.amax(1)], 1)
        block = [part.numpy() for part in (panels, norms, keys.contiguous(), u, images, spans)]
        accuracy = _TOLERANCE[dtype], NEGLIGIBLE if dtype == torch.float32 else NEGLIGIBLE64
        each = (q, norms_q, scale2, margin, left_out, reference, sums, top, numbers)

        def run(own: tuple[Tensor, ...], stop: Stop, given: tuple = (*block, first, *accuracy)) -> None:
            _kernel(*given, stop, *(part.numpy() for part in own))

        with results(run, zip(tiles.split(share // _ROWS), *(part.split(share) for part in each), strict=True)) as done:
            list(done)
        sources.append(places)
        first += len(keys)
    found = torch.cat(sources)[numbers.clamp_min(0)].reshape(*shape, -1, 3)
    logits = torch.where(numbers < 0, -torch.inf, -top).reshape(*shape, -1) * scale[:, None, None]
    s0, s00, s1, s2 = (part.reshape(*shape, -1) for part in sums.split([1, 1, channels, channels], 1))
    part = SoftmaxState(-scale[:, None] * reference.reshape(shape), s0[..., 0], s00[..., 0], s1, s2, logits, found)
    return state.merge(part)


def _panels(keys: Tensor, mean: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The centered keys, 64 to a panel, (K / 64, F * 64), and their squared norms, (K / 64, 64)."""
    count, share = -(-len(keys) // LANES), 8
    panels = torch.empty(count, keys.shape[1], LANES, dtype=dtype, device="cpu")
    norms = panels.new_empty(count, LANES)

    def pack(part: tuple[Tensor, Tensor, Tensor], _: Stop) -> None:
        _pack(part[0].numpy(), mean.numpy(), part[1].numpy(), part[2].numpy())

    with results(pack, zip(keys.split(share * LANES), panels.split(share), norms.split(share), strict=True)) as done:
        list(done)
    return panels.flatten(1), norms


def _tiles(q: Tensor) -> Tensor:
    """(rows, F) -> (tiles, F * 6), the queries fastest; absent ones are zero."""
    filled = torch.zeros(-(-len(q) // _ROWS) * _ROWS, q.shape[1], dtype=q.dtype, device="cpu")
    filled[: len(q)] = q
    return filled.reshape(-1, _ROWS, q.shape[1]).transpose(1, 2).flatten(1)
