"""Shift and box-sum compiled for CPUs: exact LE-MMSE of float32 images, at a cost that does not depend on P.

The vector axis is 16 training images times 4 neighbouring column shifts dx. For one query, those images and one row
shift dy, the kernel walks over the pixels (h, w) of the query and keeps

    V[w] = sum_{r in window rows} sum_f (q[f, h + r, w] - a[f, h + r + dy, w + dx])^2        (running along h)
    D    = sum_{c in window columns} V[w + c]                                                (running along w)

so that D holds the distances of the query patch at (h, w) to 64 training patches. Distances are float64, for float32
would lose the small ones that decide at small sigma; their excess over a reference distance and its exponential are
float32. The reference moves only when a distance falls `_GROWTH` bits under it; pairs that cannot matter,
`NEGLIGIBLE` bits under, are skipped. Tested against the plain engine in `box`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from lemmse.engines.cpu.compile import jit
from lemmse.engines.cpu.vectors import (
    COLUMNS,
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
    load,
    load_row,
    lowest,
    narrow,
    splat,
    splat_row,
    store,
    total,
    widen,
)
from lemmse.engines.state import SoftmaxState
from lemmse.patches import window_offsets

PARTS = 32  # of the data set; fixed, so that the bits do not depend on the number of threads
_LEAST = 4  # groups of images in a part
_GROWTH = np.float32(24)  # bits
_ABSENT = 1e15  # the features of an image that fills up a vector
_FAR = 1e29  # no distance of a pair that competes is as large


@jit()
def _aligned(count, like):
    """An uninitialised array of the dtype of `like` that starts at a cache line."""
    array = np.empty(count + 64 // like.itemsize, like.dtype)
    start = -array.ctypes.data % 64 // like.itemsize
    return array[start : start + count]


@jit()
def _add_row(squares, v, q, key, step, h, at, leave):
    """Add the squared differences of query row h and the key row from `at` on to v; take row `leave`, if any, away."""
    features, _, width = q.shape
    for w in range(width):
        start = at + w * IMAGES
        difference = splat(np.float64(q[0, h, w])) - widen(load(key, start))
        square = difference * difference
        for f in range(1, features):
            difference = splat(np.float64(q[f, h, w])) - widen(load(key, start + f * step))
            square = square + difference * difference
        store(squares, (h * width + w) * LANES, square)
        if leave >= 0:
            square = square - load(squares, (leave * width + w) * LANES)
        store(v, w * LANES, load(v, w * LANES) + square)


@jit()
def _slide_row(squares, v, width, enter, leave):
    """Add row `enter` of the squares to v, take row `leave` away."""
    for x in range(0, width * LANES, LANES):
        change = load(squares, enter * width * LANES + x) - load(squares, leave * width * LANES + x)
        store(v, x, load(v, x) + change)


@jit()
def _exponents(x, v, reference, bits, cols, h, width):
    """The logits, in bits over the reference, of all pixels of query row h, from the window sums v of its columns."""
    first, last = cols
    d = load(v, first % width * LANES)
    for c in range(first + 1, last + 1):
        d = d + load(v, c % width * LANES)
    for w in range(width):
        if w > 0 and last - first + 1 < width:
            enter, leave = w + last, w - 1 + first
            enter -= width if enter >= width else 0
            leave += width if leave < 0 else 0
            d = d + (load(v, enter * LANES) - load(v, leave * LANES))
        store(x, w * LANES, narrow(d - splat(reference[h * width + w])) * bits)


@jit()
def _exclude(x, start, labels, h, w, k, dx):
    """Set the logits of columns that do not compete with pixel (h, w) to -inf; False if none competes."""
    width, any_competes = labels.shape[1], False
    for j in range(COLUMNS):
        if dx + j < width and labels[k, (w + dx + j) % width] == labels[h, w]:
            any_competes = True
        else:
            x[start + j * IMAGES : start + (j + 1) * IMAGES] = -np.inf
    return any_competes


@jit()
def _move_reference(x, start, v, cols, w, m, reference, sums, acc, scale2):
    """Take the least distance in x as the reference of pixel m, and rescale what was summed about the old one."""
    first, last = cols
    width = v.size // LANES
    distances = np.zeros(LANES)
    for c in range(w + first, w + last + 1):
        for lane in range(LANES):
            distances[lane] += v[c % width * LANES + lane]
    new = np.inf
    for lane in range(LANES):
        if x[start + lane] > -np.inf:
            new = min(new, distances[lane])
    ratio = 2.0 ** max((new - reference[m]) * scale2, -150.0)
    columns = sums.shape[1]
    for j in range(columns):
        factor = ratio * ratio if j == 1 else ratio
        sums[m, j] *= factor
        at = (m * columns + j) * IMAGES
        store(acc, at, load_row(acc, at) * splat_row(np.float32(factor)))
    reference[m] = new
    for lane in range(LANES):
        if x[start + lane] > -np.inf:
            x[start + lane] = (new - distances[lane]) * scale2


@jit()
def _keep_top(top, numbers, x, start, reference, scale2, first, k, column, height, width):
    """Insert those of 64 pairs that are among the k nearest so far."""
    limit = np.float32((reference - top[-1]) * scale2)
    lanes = above(load(x, start), splat(limit))
    while lanes:
        lane = lowest(lanes)
        lanes &= lanes - np.uint64(1)
        d = reference - x[start + lane] / scale2
        if d < _FAR:
            image, col = first + lane % IMAGES, (column + lane // IMAGES) % width
            insert(top, numbers, d, (image * height + k) * width + col)


@jit()
def _kernel(q, keys, values, labels, scale2, rows, cols, first, reference, sums, top, numbers):
    """One query against all `keys`: updates reference, sums, top and numbers.

    q: (F, H, W) float32. keys: (groups, F * H * stride) and values: (groups, C * H * stride), interleaved. labels: (H,
    W), -1 outside. scale2: -logit / D, in bits. rows, cols: first and last offset of the window. first: number of the
    first key image. reference: (H*W,) a distance near the least so far. sums: (H*W, 2 + 2 C): sum e, sum e^2, sum e u,
    sum e u^2. top, numbers: (H*W, k): the k least D, ascending, and their keys, int64, numbered through images, rows
    and columns. All else float64.
    """
    features, height, width = q.shape
    step = keys.shape[1] // (features * height)  # numbers from one row of one feature, or channel, to the next
    columns, depth, top_k = sums.shape[1], rows[1] - rows[0] + 1, top.shape[1]
    channels = columns // 2 - 1
    masked = labels.min() != labels.max()
    squares, x = _aligned(height * width * LANES, sums), _aligned(width * LANES, q)
    v = _aligned(width * LANES, sums)
    acc = _aligned(height * width * columns * IMAGES, q)
    acc[:] = 0
    bits = splat(np.float32(-scale2))
    for g in range(len(keys)):
        key, value = keys[g], values[g]
        for dy in range(height):
            for dx in range(0, width, COLUMNS):
                v[:] = 0
                for r in range(rows[0], rows[1] + 1):
                    at = (r + dy) % height * features * step + dx * IMAGES
                    _add_row(squares, v, q, key, step, r % height, at, -1)
                for h in range(height):
                    if h > 0 and depth < height:
                        enter, leave = (h + rows[1]) % height, (h - 1 + rows[0]) % height
                        if h + depth <= height:
                            at = (enter + dy) % height * features * step + dx * IMAGES
                            _add_row(squares, v, q, key, step, enter, at, leave)
                        else:
                            _slide_row(squares, v, width, enter, leave)
                    _exponents(x, v, reference, bits, cols, h, width)
                    k = (h + dy) % height
                    for w in range(width):
                        m, start = h * width + w, w * LANES
                        if labels[h, w] < 0:
                            continue
                        if (masked or dx + COLUMNS > width) and not _exclude(x, start, labels, h, w, k, dx):
                            continue
                        peak = fold_max(load(x, start))
                        if any_above(peak, splat_row(_GROWTH)):
                            _move_reference(x, start, v, cols, w, m, reference, sums, acc, scale2)
                        if top_k and any_above(peak, splat_row(np.float32((reference[m] - top[m, -1]) * scale2))):
                            image = first + g * IMAGES
                            found = top[m], numbers[m]
                            _keep_top(*found, x, start, reference[m], scale2, image, k, w + dx, height, width)
                        if not any_above(peak, splat_row(NEGLIGIBLE)):
                            continue
                        e = exp2(load(x, start))
                        add_moments(
                            acc, m * columns * IMAGES, e, value, k * channels * step + (w + dx) * IMAGES, step, channels
                        )
        for m in range(height * width):
            for j in range(columns):
                sums[m, j] += total(load_row(acc, (m * columns + j) * IMAGES))
        acc[:] = 0


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
    columns = 2 + 2 * values.shape[1]
    q, labels, scale2 = queries.contiguous().numpy(), strata.numpy(), (scale * LOG2E).numpy()
    keys, values = _interleaved(keys, _ABSENT), _interleaved(values, 0.0)
    rows, cols = ((r[0], r[-1]) for r in (window_offsets(patch_size, n) for n in (height, width)))
    known = -state.max / scale[:, None]  # inf where nothing has competed yet
    bounds = -state.top_logits[..., -1:] / scale[:, None, None]  # only nearer pairs can enter the list

    def part(task: tuple[int, int, int]) -> SoftmaxState:
        n, start, stop = task
        reference, top = known[n].numpy().copy(), bounds[n].expand(-1, state.top_k).numpy().copy()
        sums, numbers = np.zeros((height * width, columns)), np.full(top.shape, -1)
        first = first_image + start * IMAGES
        _kernel(
            q[n],
            keys[start:stop],
            values[start:stop],
            labels,
            scale2[n],
            rows,
            cols,
            first,
            reference,
            sums,
            top,
            numbers,
        )
        return _state(reference, sums, top, numbers, float(scale[n]), width)

    size = max(_LEAST, -(-len(keys) // PARTS))
    parts = [(start, min(start + size, len(keys))) for start in range(0, len(keys), size)]
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        done = list(pool.map(part, [(n, *groups) for groups in parts for n in range(len(q))]))
    for start in range(0, len(done), len(q)):
        state = state.merge(SoftmaxState.stack(done[start : start + len(q)]))
    return state


def _interleaved(images: Tensor, absent: float) -> np.ndarray:
    """(B, C, H, W) -> (groups, H * C * columns * 16), the images fastest, a row periodic in its columns."""
    count, channels, height, width = images.shape
    held = width + -(-width // COLUMNS) * COLUMNS + 1  # one more: no stride is a power of two
    columns = torch.arange(held, dtype=torch.int64, device="cpu") % width
    shape = (-(-count // IMAGES) * IMAGES, height, channels, held)
    filled = torch.full(shape, absent, dtype=torch.float32, device="cpu")
    filled[:count] = images.transpose(1, 2)[..., columns]
    grouped = filled.reshape(-1, IMAGES, height * channels * len(columns))
    return grouped.transpose(1, 2).contiguous().flatten(1).numpy()


def _state(
    reference: np.ndarray, sums: np.ndarray, top: np.ndarray, numbers: np.ndarray, scale: float, width: int
) -> SoftmaxState:
    """The state of one query, rows (1, H*W), from what the kernel summed."""
    reference, sums, top, numbers = (torch.from_numpy(a)[None] for a in (reference, sums, top, numbers))
    channels = sums.shape[-1] // 2 - 1
    s1, s2 = sums[..., 2 : 2 + channels], sums[..., 2 + channels :]
    top_logits = torch.where(numbers < 0, -torch.inf, -scale * top)
    pixel = numbers % reference.shape[1]
    sources = torch.stack([numbers // reference.shape[1], pixel // width, pixel % width], -1)
    sources = torch.where(numbers[..., None] < 0, -1, sources)
    return SoftmaxState(-scale * reference, sums[..., 0], sums[..., 1], s1, s2, top_logits, sources)
