"""Shift and box-sum on CUDA devices, in Triton: exact LE-MMSE of float32 images, at a cost independent of P.

One program takes one query, all its positions m as one tile of registers, and a contiguous part of the list of work
units t = (image i, shift s). For each it computes the distances of a whole tile of pairs

    D[m] = sum_{j in window} x[m + j] = (R x C)[m],    x[n] = sum_f (q[f, n] - a_i[f, n + s])^2,

with the 0/1 circular band matrices R and C on the tensor cores, and adds `e = 2^(scale (least - D))` to running sums,
`least` the least D so far, by pixel. Neither patches nor distances are written to memory. x is nowhere negative and
nothing cancels; it enters the tensor cores as three bf16 pieces that add up to it exactly, their products with 0 and 1
are exact, and they accumulate in float32, so D is right to a few float32 roundings of its own size, about 2e-7.

A tile all of whose weights are under 2^-48 of the largest so far cannot matter and is skipped. Sums are taken in
float32 over FLUSH tiles, then added to float64 totals in memory. Tested against the plain engine in `box`; without a
GPU through Triton's interpreter (TRITON_INTERPRET=1, set before triton is imported).
"""

from __future__ import annotations

import math
import os
from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

from lemmse.engines.plain import box as plain
from lemmse.engines.state import SoftmaxState
from lemmse.patches import window_offsets

LOG2E = math.log2(math.e)
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
REGISTERS = 65536  # of a multiprocessor
WAVES = 4  # of programs, so that the end of the slowest, which skips the least, does not hold up all the others
MOST = 4  # channels and features, which live in registers
FAR = tl.constexpr(1e30)  # `least` before anything competed, and with a minus where nothing ever does
BITS = tl.constexpr(48.0)  # under the largest weight: negligible
FLUSH = tl.constexpr(64)  # tiles summed in float32


@triton.jit
def _split(x, DOT: tl.constexpr):
    """x = high + middle + low exactly, with 8 bits of significand each: bf16 numbers, none of the other sign."""
    high = (x.to(tl.int32, bitcast=True) & -65536).to(tl.float32, bitcast=True)
    rest = x - high
    middle = (rest.to(tl.int32, bitcast=True) & -65536).to(tl.float32, bitcast=True)
    return high.to(DOT), middle.to(DOT), (rest - middle).to(DOT)


@triton.jit
def _distances(x, row_band, col_band, DOT: tl.constexpr):
    """`R x C`, small pieces first, so that little is rounded off the sum of the large ones.

    Loops, since Triton spreads the warps over the rows alone where it sees one product depend on another in straight
    code; with more warps than rows / 16, each entry would be held and summed by several of them.
    """
    high, middle, low = _split(x, DOT)
    y = tl.zeros_like(x)
    for _ in range(3):
        y = tl.dot(row_band, low, y)
        low, middle = middle, high
    high, middle, low = _split(y, DOT)
    d = tl.zeros_like(x)
    for _ in range(3):
        d = tl.dot(low, col_band, d)
        low, middle = middle, high
    return d


@triton.jit
def _rescaled(sums, r, N: tl.constexpr):
    """The sums relative to a reference 1/r times as large: `sum e^2` is the second of them."""
    out = (sums[0] * r, sums[1] * (r * r))
    for i in tl.static_range(2, N):
        out = out + (sums[i] * r,)  # noqa: RUF005 - Triton has no unpacking
    return out


@triton.jit
def _plus(sums, e, values, there, size, C: tl.constexpr):
    """(sum e, sum e^2, sum e u, sum e u^2, ... by channel) with the pairs of one tile added."""
    out = (sums[0] + e, sums[1] + e * e)
    for c in tl.static_range(C):
        u = tl.load(values + c * size + there)
        eu = e * u
        out = out + (sums[2 + 2 * c] + eu, sums[3 + 2 * c] + eu * u)  # noqa: RUF005
    return out


@triton.jit
def _insert(d, t, top, sources, here, inside, size, K: tl.constexpr):
    """Put (d, t) into the ascending lists of the K least by compare-and-swap; returns the K-th least."""
    number = tl.zeros_like(here) + t
    kth = d
    for j in range(K):
        old, old_number = tl.load(top + j * size + here), tl.load(sources + j * size + here)
        less = d < old
        kth = tl.where(less, d, old)
        tl.debug_barrier()  # all have loaded before anyone stores, and below the reverse
        tl.store(top + j * size + here, kth, mask=inside)
        tl.store(sources + j * size + here, tl.where(less, number, old_number), mask=inside)
        d, number = tl.where(less, old, d), tl.where(less, old_number, number)
    tl.debug_barrier()
    return kth


@triton.jit
def _flush(least, sums, scale, least_ptr, total_ptr, here, inside, size, N: tl.constexpr):
    """Add `sums`, relative to `least`, to the float64 totals, relative to the `least` when they were stored."""
    r = tl.exp2(scale * (least - tl.load(least_ptr + here))).to(tl.float64)
    for i in tl.static_range(N):
        at = total_ptr + i * size + here
        total = tl.load(at) * (r * r if i == 1 else r) + sums[i].to(tl.float64)
        tl.debug_barrier()
        tl.store(at, total, mask=inside)
    tl.store(least_ptr + here, least, mask=inside)
    tl.debug_barrier()


@triton.jit
def _kernel(
    queries,  # (Q, F, H, W)
    keys,  # (B, F, H, W)
    values,  # (B, C, H, W)
    labels,  # (H, W) int32
    shifts,  # (S,) int32: W dy + dx of the shifts at which some pair competes
    row_bands,  # (HB, HB)
    col_bands,  # (WB, WB)
    scales,  # (Q,): -logit / D, in bits
    least_ptr,  # (programs, H, W): the least D; at first what is known of it, FAR for nothing, -FAR for no competition
    total_ptr,  # (programs, 2 + 2 C, H, W) float64
    top,  # (programs, K, H, W): the K least D, ascending
    sources,  # (programs, K, H, W) int32: their t
    n_queries,
    n_shifts,
    work,  # number of units t = S i + number of the shift
    share,  # units by program
    H: tl.constexpr,
    W: tl.constexpr,
    HB: tl.constexpr,
    WB: tl.constexpr,
    F: tl.constexpr,
    C: tl.constexpr,
    K: tl.constexpr,
    STRATA: tl.constexpr,  # whether labels differ
    DOT: tl.constexpr,
):
    """One query against the units t of one part."""
    program = tl.program_id(0)
    query = (program % n_queries).to(tl.int64)
    start = (program // n_queries) * share
    stop = tl.minimum(start + share, work)
    wide = program.to(tl.int64)
    size: tl.constexpr = H * W
    N: tl.constexpr = 2 + 2 * C
    least_ptr += wide * size
    total_ptr += wide * N * size
    top += wide * K * size
    sources += wide * K * size

    # A tile larger than the image repeats it (also the rows of R and the columns of C): the repeated pixels see the
    # same pairs as the pixels they repeat, so that they need no mask except where something is stored.
    h, w = tl.arange(0, HB).to(tl.uint32)[:, None], tl.arange(0, WB).to(tl.uint32)[None, :]
    inside = (h < H) & (w < W)
    here = (h % H) * W + w % W
    row_band = tl.load(row_bands + h * HB + tl.arange(0, HB)[None, :]).to(DOT)
    col_band = tl.load(col_bands + tl.arange(0, WB)[:, None] * WB + w).to(DOT)
    scale = tl.load(scales + query)
    label = tl.load(labels + here)
    q = (tl.load(queries + query * F * size + here),)
    for f in tl.static_range(1, F):
        q = q + (tl.load(queries + (query * F + f) * size + here),)  # noqa: RUF005

    least = tl.load(least_ptr + here)
    kth = tl.load(top + here) if K > 0 else least  # of the empty list
    image, number = start // n_shifts, start % n_shifts
    for block in range(start, stop, FLUSH):
        zero = tl.zeros((HB, WB), tl.float32)
        sums = (zero,) * N
        for t in range(block, tl.minimum(block + FLUSH, stop)):
            # x[n] = sum_f (q[f, n] - a[f, n + s])^2
            shift = tl.load(shifts + number).to(tl.uint32)  # unsigned, for a cheaper remainder
            there = ((h + shift // W) % H) * W + (w + shift % W) % W
            key = keys + image.to(tl.int64) * (F * size)
            x = zero
            for f in tl.static_range(F):
                difference = q[f] - tl.load(key + f * size + there)
                x += difference * difference
            d = _distances(x, row_band, col_band, DOT)
            if STRATA:
                d = tl.where(tl.load(labels + there) == label, d, float("inf"))

            gap = tl.max(least - d)  # > 0: some pair is the nearest so far of its pixel
            if gap * scale > -BITS:
                if gap > 0:
                    new = tl.minimum(least, d)
                    sums = _rescaled(sums, tl.exp2(scale * (new - least)), N)
                    least = new
                e = tl.exp2(scale * (least - d))
                sums = _plus(sums, e, values + image.to(tl.int64) * (C * size), there, size, C)
            if K > 0:  # noqa: SIM102 - compiles nothing for K = 0
                if tl.max(kth - d) > 0:
                    kth = _insert(d, t, top, sources, here, inside, size, K)

            number += 1
            image = tl.where(number == n_shifts, image + 1, image)
            number = tl.where(number == n_shifts, 0, number)
        if tl.max(sums[0]) > 0:
            _flush(least, sums, scale, least_ptr, total_ptr, here, inside, size, N)


def accumulate(
    state: SoftmaxState,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    scale: Tensor,
    *,
    patch_size: int,
    query_strata: Tensor,
    key_strata: Tensor,
    first_image: int,
    exclude: Tensor | None = None,
    splits: int | None = None,
) -> SoftmaxState:
    """The contract of `plain.box.accumulate`, for float32 tensors on a CUDA device; the plain engine serves what this
    one does not: queries and keys of different sizes or strata, and images left out. splits: programs by query, for
    tests.
    """
    if exclude is not None or query_strata.shape != key_strata.shape or not torch.equal(query_strata, key_strata):
        strata = {"query_strata": query_strata, "key_strata": key_strata}
        options = {"patch_size": patch_size, "first_image": first_image, "exclude": exclude}
        return plain.accumulate(state, queries, keys, values, scale, **options, **strata)
    strata = key_strata
    _check(queries, keys, values, strata)
    device, top_k = queries.device, state.top_k
    count, features, height, width = queries.shape
    channels, pixels = values.shape[1], height * width
    shifts = live_shifts(strata)
    work = len(keys) * len(shifts)
    if work == 0 or count == 0:
        return state
    if work >= 2**31 - 2**20:
        raise ValueError(f"{len(keys)} images of {height} x {width} are too many for one call; pass fewer at a time")
    rows, cols = (_band(patch_size, length, device) for length in (height, width))
    warps = min(len(rows) * len(cols) // 256, 16)
    registers = 168 if warps <= 4 else 128
    splits = splits or _splits(count, work, REGISTERS // (32 * warps * registers), device)
    programs = splits * count
    labels = torch.unique(strata, return_inverse=True)[1].int()
    far = torch.where(strata.flatten() >= 0, FAR.value, -FAR.value).float()
    # what is known is a reference to skip by; a little too far, so that it never is the least of all
    known = (-state.max / scale[:, None]).float() * (1 + 2**-22)
    least = torch.minimum(known, far).repeat(splits, 1)
    totals = torch.zeros(programs, 2 + 2 * channels, pixels, dtype=torch.float64, device=device)
    top = far.repeat(programs, top_k, 1)
    units = torch.full((programs, top_k, pixels), -1, dtype=torch.int32, device=device)
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        _kernel[(programs,)](
            *(x.contiguous() for x in (queries, keys, values, labels, shifts, rows, cols.T)),
            *((scale * LOG2E).float(), least, totals, top, units, count, len(shifts), work, -(-work // splits)),
            H=height,
            W=width,
            HB=len(rows),
            WB=len(cols),
            F=features,
            C=channels,
            K=top_k,
            STRATA=bool((labels != labels[0, 0]).any()),
            DOT=tl.float32 if INTERPRETED else tl.bfloat16,  # the interpreter multiplies the bits of bf16 as integers
            num_warps=warps,
            num_stages=1,
            maxnreg=registers,
        )
    scale = scale.repeat(splits)[:, None]
    top, units = top.transpose(1, 2), units.transpose(1, 2)
    parts = SoftmaxState(
        max=torch.where(least.abs() < FAR.value, -scale * least.double(), -torch.inf),
        s0=totals[:, 0],
        s00=totals[:, 1],
        s1=totals[:, 2::2].transpose(1, 2),
        s2=totals[:, 3::2].transpose(1, 2),
        top_logits=torch.where(units >= 0, -scale[..., None] * top.double(), -torch.inf),
        top_sources=_located(units.long(), shifts.long(), height, width, first_image),
    )
    return state.merge(_merged(parts, count))


def live_shifts(strata: Tensor) -> Tensor:
    """The shifts W dy + dx, int32 and ascending, at which some m and m + s have one label that is not negative."""
    height, width = strata.shape
    if bool((strata == strata[0, 0]).all() & (strata[0, 0] >= 0)):
        return torch.arange(height * width, dtype=torch.int32, device=strata.device)
    columns = torch.arange(width, dtype=torch.int64, device=strata.device)
    columns = (columns[:, None] + columns) % width  # (w, dx)
    label = strata[..., None]
    live = [((strata.roll(-dy, 0)[:, columns] == label) & (label >= 0)).any(dim=0).any(dim=0) for dy in range(height)]
    return torch.cat(live).nonzero()[:, 0].int()


def _check(queries: Tensor, keys: Tensor, values: Tensor, strata: Tensor) -> None:
    for name, x in {"queries": queries, "keys": keys, "values": values}.items():
        if x.dtype != torch.float32:
            raise ValueError(f"{name} are {x.dtype}; the Triton engine takes float32")
        if x.device != queries.device or (x.device.type != "cuda" and not INTERPRETED):
            raise ValueError(f"{name} are on {x.device}; the Triton engine takes tensors on one CUDA device")
        if x.shape[1] > MOST:
            raise ValueError(f"{name} have {x.shape[1]} channels; the Triton engine takes at most {MOST}")
        if x.shape[2:] != strata.shape:
            raise ValueError(f"{name} are {' x '.join(map(str, x.shape[2:]))}, strata {tuple(strata.shape)}")
        if torch.is_grad_enabled() and x.requires_grad:
            raise ValueError(f"{name} require a gradient, which the Triton engine does not have; take the torch engine")
    if keys.shape[1] != queries.shape[1]:
        raise ValueError(f"keys have {keys.shape[1]} features, queries {queries.shape[1]}")
    if len(keys) != len(values):
        raise ValueError(f"{len(keys)} keys and {len(values)} values")


def _splits(count: int, work: int, resident: int, device: torch.device) -> int:
    """How many programs share a query, from shapes and the device alone, so that the bits are reproducible."""
    processors = 1 if device.type == "cpu" else torch.cuda.get_device_properties(device).multi_processor_count
    return max(1, min(-(-WAVES * resident * processors // count), work // FLUSH.value))


def _band(patch_size: int, length: int, device: torch.device) -> Tensor:
    """1 at (m, n) if n is in the window around m mod length, for n < length: (tile, tile)."""
    tile = max(16, triton.next_power_of_2(length))  # tl.dot takes no less
    band = torch.zeros(tile, tile, dtype=torch.float32, device="cpu")
    m = torch.arange(tile, dtype=torch.int64, device="cpu")[:, None]
    offsets = torch.tensor(window_offsets(patch_size, length), dtype=torch.int64, device="cpu")
    band[m, (m + offsets) % length] = 1
    return band.to(device)


def _located(units: Tensor, shifts: Tensor, height: int, width: int, first_image: int) -> Tensor:
    """The key center (image, row, column) of the unit t of each pixel: (programs, n, k) -> (programs, n, k, 3)."""
    pixels = torch.arange(height * width, dtype=torch.int64, device=units.device)[:, None]
    shift = shifts[units % len(shifts)]
    image = first_image + units // len(shifts)
    row, col = (pixels // width + shift // width) % height, (pixels % width + shift % width) % width
    return torch.where(units[..., None] >= 0, torch.stack([image, row, col], -1), -1)


def _merged(parts: SoftmaxState, count: int) -> SoftmaxState:
    """The states (splits * Q, n) of all splits together, by halves: (Q, n)."""
    fields = list(vars(parts).values())
    while (splits := len(fields[0]) // count) > 1:
        half = splits // 2 * count
        first, second = (SoftmaxState(*(f[n : n + half] for f in fields)) for n in (0, half))
        rest = SoftmaxState(*(f[2 * half :] for f in fields))
        fields = list(vars(SoftmaxState.stack([first.merge(second), rest])).values())
    return SoftmaxState(*fields)
