"""The kernel of the shift and box-sum on CPUs: one tile of a query against groups of training images.

The vector axis is 16 lanes times 4 neighboring column shifts dx. A lane is a training image, or one of several runs of
row shifts dy of the same image (see `layout`). For one row shift the kernel walks over the pixels (h, w) of the tile
and keeps

    V[w] = sum_{t = h .. h + depth - 1} sum_f (q[f, t, w] - a[f, t + dy, w + dx])^2        (running along h)
    D    = sum_{c = w .. w + span - 1} V[c]                                                (running along w)

so that D holds the distances of the query patch at (h, w) to 64 training patches. In place of the squared difference a
pixel may have a bilinear form, `q[0] + sum_f q[1 + f] a[f]`: `_pixel` is the one place where they differ. A pixel of
probability 0 is far from every other; a sum that slid over it would keep its rounding. Where there are such pixels they
are counted in a second plane of V, and add nothing to the first: a pair competes where it counts none.
The tile of query features starts half a window before the first pixel. Along an axis it either is the whole torus, so
that its window wraps around and what was summed for a row or column is used again, or holds half a window more on both
sides.

Distances are float64, for float32 would lose the small ones that decide at small sigma; their excess over a reference
distance and its exponential have the dtype of the values. The reference moves only when a distance falls `_GROWTH` bits
under it; pairs that cannot matter are skipped.

A query may ask for several scales of its distances, one for each level of white noise. Distances and reference are the
same for all of them, exponentials and sums are not.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload

from lemmse.engines.cpu.compile import jit
from lemmse.engines.cpu.vectors import (
    COLUMNS,
    IMAGES,
    LANES,
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
    narrow,
    splat,
    store,
    total,
    where_below,
    where_equal,
    widen,
)

ABSENT = 1e15  # the features of a lane without an image
FAR = 1e29  # no distance of a pair that competes is as large
_GROWTH = 24.0  # bits
_FLUSH = 256  # of 64 pairs of each pixel, summed in the dtype of the values before they are added in float64


@jit()
def _aligned(count, like):
    """An uninitialised array of the dtype of `like` that starts at a cache line."""
    array = np.empty(count + 64 // like.itemsize, like.dtype)
    start = -array.ctypes.data % 64 // like.itemsize
    return array[start : start + count]


def _negligible(values):
    """The logit, in bits over the largest, under which a pair cannot matter to sums in the dtype of the values."""
    raise NotImplementedError("for kernels only")


@overload(_negligible)
def _negligible_in(values):
    bits = NEGLIGIBLE if values.dtype == types.float32 else NEGLIGIBLE64
    return lambda values: bits


def _pixel(form, q, t, w, key, start, step):
    """The distance of a pixel of the query to 64 of the keys: `_square` if `form` is None, else `_bilinear`."""
    raise NotImplementedError("for kernels only")


@overload(_pixel)
def _pixel_of(form, q, t, w, key, start, step):
    return _square if isinstance(form, types.NoneType) else _bilinear


def _bilinear(form, q, t, w, key, start, step):
    d = splat(np.float64(q[0, t, w]))
    for f in range(len(q) - 1):
        d = d + splat(np.float64(q[f + 1, t, w])) * widen(load(key, start + f * step))
    return d


def _square(form, q, t, w, key, start, step):
    difference = splat(np.float64(q[0, t, w])) - widen(load(key, start))
    square = difference * difference
    for f in range(1, len(q)):
        difference = splat(np.float64(q[f, t, w])) - widen(load(key, start + f * step))
        square = square + difference * difference
    return square


def _constants(form):
    """How many features of a query have no feature of a key beside them."""
    raise NotImplementedError("for kernels only")


@overload(_constants)
def _constants_of(form):
    count = 0 if isinstance(form, types.NoneType) else 1
    return lambda form: count


def _planes(form):
    """How many planes V has: with the second, of the pixels of probability 0, two."""
    raise NotImplementedError("for kernels only")


@overload(_planes)
def _planes_of(form):
    count = 2 if isinstance(form, types.Float) else 1
    return lambda form: count


def _keep_pixel(form, squares, v, d, at, enter, leave):
    """Keep the distances d of a pixel at `enter + at` of the squares, and add to v at `at` what they exceed those at
    `leave + at` by; in two planes, where those of probability 0 are counted.
    """
    raise NotImplementedError("for kernels only")


@overload(_keep_pixel)
def _keep_pixel_of(form, squares, v, d, at, enter, leave):
    return _keep_both if isinstance(form, types.Float) else _keep_distance


def _keep_distance(form, squares, v, d, at, enter, leave):
    _exchange(squares, v, d, at, enter, leave)


def _keep_both(form, squares, v, d, at, enter, leave):
    far, one = splat(form), splat(1.0)
    _exchange(squares, v, where_below(d, d, far), at, enter, leave)
    _exchange(squares, v, one - where_below(one, d, far), at + LANES, enter, leave)


@jit()
def _exchange(squares, v, new, at, enter, leave):
    """Keep `new` at `enter + at` of the squares; add it to v at `at`, and take away what is at `leave + at`, if that is
    a place.
    """
    change = new
    if leave >= 0:
        change = change - load(squares, leave + at)
    store(squares, enter + at, new)
    store(v, at, load(v, at) + change)


@jit()
def _add_row(form, squares, v, q, key, step, t, at, enter, leave):
    """Add the squares of tile row t and the key row from `at` on to v, and keep them as row `enter` of the squares;
    take away those that were kept as row `leave` before, if it is a row.
    """
    lanes = _planes(form) * LANES
    row = q.shape[2] * lanes
    for w in range(q.shape[2]):
        d = _pixel(form, q, t, w, key, at + w * IMAGES, step)
        _keep_pixel(form, squares, v, d, w * lanes, enter * row, leave * row)


@jit()
def _slide_row(squares, v, enter, leave):
    """Add row `enter` of the squares to v, take row `leave` away."""
    for x in range(0, v.size, LANES):
        change = load(squares, enter * v.size + x) - load(squares, leave * v.size + x)
        store(v, x, load(v, x) + change)


@jit()
def _exponents(form, x, v, reference, bits, span, first, width, tile_width):
    """The logits, in bits over the reference, of `width` pixels from number `first` on, from the window sums v of the
    columns of the tile.
    """
    lanes = _planes(form) * LANES
    counts = lanes - LANES  # where they are; without a plane of them, the distances, which are not looked at
    d, count = load(v, 0), load(v, counts)
    for c in range(1, span):
        d = d + load(v, c * lanes)
        count = count + load(v, c * lanes + counts)
    for w in range(width):
        if w > 0 and span < tile_width:
            enter = w + span - 1
            enter -= tile_width if enter >= tile_width else 0
            d = d + (load(v, enter * lanes) - load(v, (w - 1) * lanes))
            count = count + (load(v, enter * lanes + counts) - load(v, (w - 1) * lanes + counts))
        excess = narrow(d - splat(reference[first + w]), x)
        excess = excess * like(excess, bits)
        if counts > 0:
            excess = where_equal(excess, narrow(count, x), like(excess, 0.0))
        store(x, w * LANES, excess)


@jit()
def _share(shares, level):
    """The scale of a level as a share of the largest."""
    if shares is None:
        return 1.0
    return shares[level]


@jit()
def _move_reference(x, start, v, lanes, span, w, m, reference, sums, acc, scale2, shares, distances):
    """Take the least distance in x as the reference of pixel m, and rescale what was summed about the old one; columns
    of v are `lanes` apart, `distances` is room for 64 numbers.
    """
    tile_width = v.size // lanes
    d = load(v, w * lanes)
    for c in range(w + 1, w + span):
        d = d + load(v, (c if c < tile_width else c - tile_width) * lanes)
    store(distances, 0, d)
    new = np.inf
    for lane in range(LANES):
        if x[start + lane] > -np.inf:
            new = min(new, distances[lane])
    levels, columns = sums.shape[1:]
    for level in range(levels):
        ratio = 2.0 ** max((new - reference[m]) * scale2 * _share(shares, level), -150.0)
        for j in range(columns):
            factor = ratio * ratio if j == 1 else ratio
            sums[m, level, j] *= factor
            at = ((m * levels + level) * columns + j) * IMAGES
            row = load_row(acc, at)
            store(acc, at, row * like(row, factor))
    reference[m] = new
    for lane in range(LANES):
        if x[start + lane] > -np.inf:
            x[start + lane] = (new - distances[lane]) * scale2


@jit()
def _keep_top(top, numbers, x, start, reference, scale2, far, images, rows, k, column, height, width):
    """Insert those of 64 pairs that are among the k nearest so far: keys at row k + rows of lane, column + 0 .. 3."""
    logits = load(x, start)
    lanes = above(logits, like(logits, (reference - top[-1]) * scale2))
    while lanes:
        lane = lowest(lanes)
        lanes &= lanes - np.uint64(1)
        d = reference - x[start + lane] / scale2
        if d < far:
            image, row = images[lane % IMAGES], (k + rows[lane % IMAGES]) % height
            insert(top, numbers, d, (image * height + row) * width + (column + lane // IMAGES) % width)


@jit()
def walk(
    form, far, q, at, window, labels, keys, values, key_labels, images, rows, shifts, size, scale2, shares, stop,
    reference, sums, top, numbers,
):  # fmt: skip
    """One tile of a query against all `keys`: updates reference, sums, top and numbers.

    form: None for squared differences, True for a bilinear form, the least D of a pixel of probability 0 for one with
    such pixels. far: D of a pair that does not compete, at least. q: (F, tile height, tile width), for a bilinear form
    (1 + F, tile height, tile width). at: row and column of its first pixel, at which the first window is centered, less
    half a window; both less than the sides of a key. window: height and width. labels: (h, w) int64 of the pixels, -1
    outside. keys: (groups, F * H * step) and values: (groups, C * H * step), interleaved. key_labels: the same with one
    channel, or (1, H * step) for all groups, or (0, 0) where all pairs compete. images, rows: (groups, 16) int64, the
    image of each lane and its first row shift. shifts: first and last row shift, of those after it. size: H and W of
    the keys. scale2: -logit / D, in bits, the largest of all S levels. shares: (S,) those of the levels as shares of
    it, None for one level. stop: (1,) bool, whether to return, at any time. reference: (h*w,) a distance near the least
    so far. sums: (h*w, S, 2 + 2 C): sum e, sum e^2, sum e u, sum e u^2. top, numbers: (h*w, k): the k least D,
    ascending, and their keys, int64, numbered through images, rows and columns. All else float64.
    """
    tile_height, tile_width = q.shape[1:]
    features = len(q) - _constants(form)
    height, width = labels.shape
    depth, span = window
    key_height, key_width = size
    step = keys.shape[1] // (features * key_height)  # numbers from one row of one feature, or channel, to the next
    levels, columns = sums.shape[1:]
    top_k = top.shape[1]
    channels = columns // 2 - 1
    masked = len(key_labels) > 0
    kept = tile_height if tile_height == height else depth  # rows of squares: all, where the window wraps around
    center_row, center_column = depth // 2, span // 2
    lanes = _planes(form) * LANES
    squares = _aligned(kept * tile_width * lanes, sums)
    v = _aligned(tile_width * lanes, sums)
    x = _aligned(width * LANES, values)
    distances = _aligned(LANES, sums)
    acc = _aligned(sums.size * IMAGES, values)
    acc[:] = 0
    negligible, visits = _negligible(values), 0
    for g in range(len(keys)):
        key, value = keys[g], values[g]
        for dy in range(shifts[0], shifts[1]):
            for dx in range(0, key_width, COLUMNS):
                if stop[0]:
                    return
                v[:] = 0
                first_column = (at[1] + dx) % key_width
                column = (at[1] + center_column + dx) % key_width
                for t in range(depth):
                    start = (at[0] + t + dy) % key_height * features * step + first_column * IMAGES
                    _add_row(form, squares, v, q, key, step, t, start, t, -1)
                for h in range(height):
                    if h > 0 and depth < tile_height:
                        enter, leave = h + depth - 1, h - 1
                        start = (at[0] + enter + dy) % key_height * features * step + first_column * IMAGES
                        if enter < tile_height:
                            _add_row(form, squares, v, q, key, step, enter, start, enter % kept, leave % kept)
                        else:
                            _slide_row(squares, v, enter - tile_height, leave)
                    _exponents(form, x, v, reference, -scale2, span, h * width, width, tile_width)
                    k = (at[0] + center_row + h + dy) % key_height
                    for w in range(width):
                        m, start = h * width + w, w * LANES
                        if labels[h, w] < 0:
                            continue
                        if masked:
                            pair = load(x, start)
                            there = load(key_labels[g % len(key_labels)], k * step + (column + w) * IMAGES)
                            store(x, start, where_equal(pair, there, like(pair, labels[h, w])))
                        if dx + COLUMNS > key_width:
                            x[start + (key_width - dx) * IMAGES : start + LANES] = -np.inf
                        peak = fold_max(load(x, start))
                        if any_above(peak, like(peak, _GROWTH)):
                            _move_reference(
                                *(x, start, v, lanes, span, w, m, reference, sums, acc, scale2, shares, distances)
                            )
                        if top_k and any_above(peak, like(peak, (reference[m] - top[m, -1]) * scale2)):
                            kinds = images[g], rows[g], k, column + w, key_height, key_width
                            _keep_top(top[m], numbers[m], x, start, reference[m], scale2, far, *kinds)
                        there = k * channels * step + (column + w) * IMAGES
                        if shares is None:
                            if any_above(peak, like(peak, negligible)):
                                e = exp2(load(x, start))
                                add_moments(acc, m * columns * IMAGES, e, value, there, step, channels)
                        else:
                            for level in range(levels):
                                if any_above(peak, like(peak, negligible / shares[level])):
                                    logits = load(x, start)
                                    e = exp2(logits * like(logits, shares[level]))
                                    row = (m * levels + level) * columns
                                    add_moments(acc, row * IMAGES, e, value, there, step, channels)
            visits += -(-key_width // COLUMNS)
            if visits >= _FLUSH or dy == shifts[1] - 1:
                visits = 0
                for m in range(height * width):
                    for level in range(levels):
                        for j in range(columns):
                            row = (m * levels + level) * columns + j
                            sums[m, level, j] += total(load_row(acc, row * IMAGES))
                acc[:] = 0
