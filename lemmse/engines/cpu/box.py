"""Shift and box-sum compiled for CPUs: exact LE-MMSE of images in float32 or float64, at a cost independent of P.

`box_kernel.walk` compares one tile of a query with groups of training images; this module lays the images out, cuts
large queries into tiles, and spreads tiles, queries, groups and row shifts over threads. Tested against the plain
engine in `plain.box`, which states the contract.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from lemmse.engines.contracts import IMPOSSIBLE
from lemmse.engines.cpu.box_kernel import ABSENT, FAR, walk
from lemmse.engines.cpu.layout import Lanes, arrange, interleaved, replaced
from lemmse.engines.cpu.tasks import Stop, results
from lemmse.engines.cpu.vectors import COLUMNS, IMAGES, LOG2E
from lemmse.engines.plain.box import check_sides
from lemmse.engines.progress import advance
from lemmse.engines.state import SoftmaxState
from lemmse.patches import window_offsets

_PARTS = 32  # of the data set; fixed, so that the bits do not depend on the number of threads
_SEVERAL = 4  # parts are worth having at once
_LEAST_GROUPS = 4  # in a part, where there are many
_LEAST = 1 << 22  # pairs that are worth a task of their own
_WHOLE = 64  # pixels along an axis that is not cut
_TILE = (128, 64)  # rows and columns of a tile of a query that is cut: what it sums stays in the cache
_CHANNELS = (8, 32)  # of values, summed in one pass, at least and at most
_SUMS = 1 << 15  # channels of all pixels of a tile: more would not stay in the cache
_LEAST_SHARE = 1e-36  # of the largest scale: float32 has it, and the logits of images are 0 at it already


@dataclass(frozen=True)
class Span:
    """Pixels `start` .. `stop - 1` along one axis of the query, seen through windows of `window` features.

    features: how many the kernel needs: half a window more on both sides, unless the span is the whole torus.
    """

    start: int
    stop: int
    window: int
    features: int

    def around(self, length: int) -> Tensor:
        """The numbers of those features on a torus of `length`."""
        return (self.start - self.window // 2 + torch.arange(self.features, dtype=torch.int64, device="cpu")) % length


@dataclass(frozen=True)
class Tile:
    """A part of the queries: its pixels are the rows `positions` of the state.

    features: (Q, F, height, width) with what the windows need. labels: (h, w) of its pixels. at: row and column of the
    first feature, on the torus of the keys.
    """

    positions: Tensor
    features: np.ndarray
    labels: np.ndarray
    at: tuple[int, int]
    window: tuple[int, int]

    @classmethod
    def cut(cls, queries: Tensor, strata: Tensor, rows: Span, columns: Span, key_sides: tuple[int, int]) -> Tile:
        """The tile of these rows and columns."""
        height, width = strata.shape
        inside = slice(rows.start, rows.stop), slice(columns.start, columns.stop)
        return cls(
            positions=torch.arange(height * width, dtype=torch.int64, device="cpu")
            .reshape(height, width)[inside]
            .flatten(),
            features=queries[:, :, rows.around(height)][..., columns.around(width)].contiguous().numpy(),
            labels=strata[inside].contiguous().numpy(),
            at=tuple(
                (span.start - span.window // 2) % side for span, side in zip((rows, columns), key_sides, strict=True)
            ),
            window=(rows.window, columns.window),
        )


@dataclass(frozen=True)
class Groups:
    """Training images as the kernel takes them, all in runs of one length.

    keys: (groups, F * H * step). absent: (F, 1), the features of a lane without an image. values: arrays (groups, C * H
    * step) of some channels C each, `channels`. labels: (groups or 1, H * step), or (0, 0) where all pairs
    compete. numbers, rows: (groups, 16) int64, the image in each lane and its first row shift. sides: H and W.
    """

    keys: np.ndarray
    absent: Tensor
    values: list[np.ndarray]
    channels: list[int]
    labels: np.ndarray
    numbers: np.ndarray
    rows: np.ndarray
    length: int
    sides: tuple[int, int]


@dataclass(frozen=True)
class Part:
    """A share of the training images: groups and row shifts, from the first to the one after the last."""

    whole: Groups
    groups: slice
    shifts: tuple[int, int]


@dataclass(frozen=True)
class Task:
    """One query in one tile, at S scales, against one part; `state` (S, h*w) tells which pairs cannot matter."""

    tile: Tile
    part: Part
    query: int
    scale: Tensor
    left_out: int
    state: SoftmaxState
    form: bool | float | None  # as `walk` takes it

    @property
    def far(self) -> float:
        """The least D of a pair that does not compete."""
        return FAR if self.form is None else IMPOSSIBLE


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
    bilinear: bool = False,
) -> SoftmaxState:
    """The contract of `plain.box.accumulate`, for values of float32 or float64 on the CPU; the features are of the same
    dtype or of float64.
    """
    sides, key_sides = tuple(query_strata.shape), tuple(key_strata.shape)
    check_sides(sides, key_sides, patch_size)
    rows, columns = (_spans(*axis, patch_size) for axis in zip(sides, key_sides, _TILE, strict=True))
    tiles = [Tile.cut(queries, query_strata, r, c, key_sides) for r in rows for c in columns]
    stored = key_sides[1] + max(span.features for span in columns) + COLUMNS + 1  # one more: no power of two
    least, most = _CHANNELS
    chunks = values.split(max(least, min(most, _SUMS // max(tile.labels.size for tile in tiles))), 1)
    groups = [
        _groups(lanes, keys, chunks, _key_labels(query_strata, key_strata, values.dtype), stored, first_image, bilinear)
        for lanes in arrange(len(keys), key_sides[0])
    ]
    form = _form(queries, keys) if bilinear else None
    scales, left_out = scale.detach().chunk(len(queries)), [-1] * len(queries) if exclude is None else exclude.tolist()

    def tasks_of(tile: Tile, known: SoftmaxState) -> Iterator[Task]:
        for part in _parts(groups, tile.labels.size):
            for n in range(len(queries)):
                yield Task(tile, part, n, scales[n], left_out[n], known.query(n, len(scales[n])), form)

    tasks = (task for tile in tiles for task in tasks_of(tile, state.at(tile.positions)))
    with results(_sum, tasks) as sums:
        for tile in tiles:
            merged = state.at(tile.positions)
            parts = len(list(_parts(groups, tile.labels.size)))
            for _ in range(parts):
                merged = merged.merge(SoftmaxState.stack([next(sums) for _ in queries]))
                advance(1 / (parts * len(tiles)))
            state = state.put(tile.positions, merged)
    return state


def _form(queries: Tensor, keys: Tensor) -> bool | float:
    """The form that `walk` takes, of bilinear features: True, or `IMPOSSIBLE` where a pixel may have probability 0."""
    largest = [features.abs().amax((0, 2, 3)).double() for features in (queries, keys)]
    bound = largest[0][0] + largest[0][1:] @ largest[1]
    return True if float(bound) < IMPOSSIBLE else IMPOSSIBLE


def _spans(length: int, key_length: int, most: int, patch_size: int) -> list[Span]:
    """One axis of the query in equal spans; in one piece where it may wrap around, which takes fewest features."""
    window = len(window_offsets(patch_size, min(length, key_length)))
    if length == key_length and (length <= _WHOLE or window == length):
        return [Span(0, length, window, length)]
    count = -(-length // most)
    cuts = [i * length // count for i in range(count + 1)]
    return [Span(start, stop, window, stop - start + window - 1) for start, stop in pairwise(cuts)]


def _key_labels(query_strata: Tensor, key_strata: Tensor, dtype: torch.dtype) -> Tensor | None:
    """The labels of the keys, as an image (1, 1, H, W), if they tell anything: if not all pairs compete."""
    label = key_strata[0, 0]
    everywhere = (key_strata == label).all() & (label >= 0) & ((query_strata == label) | (query_strata < 0)).all()
    return None if bool(everywhere) else key_strata[None, None].to(dtype)


def _groups(
    lanes: Lanes,
    keys: Tensor,
    chunks: tuple[Tensor, ...],
    labels: Tensor | None,
    columns: int,
    first_image: int,
    bilinear: bool,
) -> Groups:
    """The images of these lanes as the kernel takes them, their values in chunks of some channels."""
    absent = torch.full((keys.shape[1], 1), ABSENT, dtype=keys.dtype, device="cpu")
    if bilinear:
        absent[:-1] = 0  # the last feature, which queries multiply by something positive, is enough
    if labels is None:
        key_labels = np.zeros((0, 0), chunks[0].numpy().dtype)
    else:
        alike = bool((lanes.rows == 0).all())  # one group tells for all
        rows = lanes.rows[:1] if alike else lanes.rows
        key_labels = interleaved(labels, Lanes(torch.zeros_like(rows), rows, lanes.length), columns, -1)
    return Groups(
        keys=interleaved(keys, lanes, columns, absent),
        absent=absent,
        values=[interleaved(chunk, lanes, columns, 0.0) for chunk in chunks],
        channels=[chunk.shape[1] for chunk in chunks],
        labels=key_labels,
        numbers=torch.where(lanes.images < 0, -1, lanes.images + first_image).numpy(),
        rows=lanes.rows.numpy(),
        length=lanes.length,
        sides=tuple(keys.shape[2:]),
    )


def _parts(groups: list[Groups], pixels: int) -> Iterator[Part]:
    """Shares of the training images: of several groups, or where these are few, of some row shifts of one group."""
    for whole in groups:
        count = len(whole.keys)
        size = max(-(-count // _PARTS), min(_LEAST_GROUPS, -(-count // _SEVERAL)))
        shares = -(-count // size)
        pairs = pixels * whole.sides[1] * IMAGES * size * whole.length
        pieces = max(1, min(-(-_SEVERAL // shares), pairs // _LEAST, whole.length))
        cuts = [i * whole.length // pieces for i in range(pieces + 1)]
        for start in range(0, count, size):
            for shifts in pairwise(cuts):
                yield Part(whole, slice(start, start + size), shifts)


def _sum(task: Task, stop: Stop) -> SoftmaxState:
    """The state (S, h*w) of the pairs of a task."""
    tile, whole, groups = task.tile, task.part.whole, task.part.groups
    keys, numbers = whole.keys[groups], whole.numbers[groups]
    left_out = (numbers == task.left_out) & (task.left_out >= 0)
    if left_out.any():
        keys = replaced(keys, left_out, whole.absent, whole.sides[0])
    labels = whole.labels[groups] if len(whole.labels) == len(whole.keys) else whole.labels
    scale = task.scale[0]  # any of them: which pairs are near does not depend on it
    nearest = -task.state.top_logits[0, :, -1:] / scale  # only nearer pairs can enter the list
    top = nearest.expand(-1, task.state.top_k).numpy().copy()
    sources = np.full(top.shape, -1)
    largest = float(task.scale.max())
    shares = None if len(task.scale) == 1 else (task.scale / largest).clamp_min(_LEAST_SHARE).numpy()
    sums = []
    for i, (values, channels) in enumerate(zip(whole.values, whole.channels, strict=True)):
        reference = (-task.state.max[0] / scale).numpy().copy()  # inf where nothing has competed yet
        sums.append(np.zeros((len(reference), len(task.scale), 2 + 2 * channels)))
        walk(
            *(task.form, task.far),
            *(tile.features[task.query], tile.at, tile.window, tile.labels),
            *(keys, values[groups], labels, numbers, whole.rows[groups], task.part.shifts, whole.sides),
            *(largest * LOG2E, shares, stop, reference, sums[-1]),
            *((top, sources) if i == 0 else (top[:, :0], sources[:, :0])),
        )
    return _state(reference, sums, top, sources, task, whole.sides)


def _state(
    reference: np.ndarray,
    sums: list[np.ndarray],
    top: np.ndarray,
    numbers: np.ndarray,
    task: Task,
    sides: tuple[int, int],
) -> SoftmaxState:
    """The state of one query at S scales, rows (S, h*w), from what the kernel summed, some channels after others."""
    sums = [torch.from_numpy(part).transpose(0, 1) for part in sums]
    reference, top, numbers = (torch.from_numpy(part) for part in (reference, top, numbers))
    scale = task.scale[:, None]
    nothing = reference >= task.far  # only absent lanes: their sums, over the distance of nothing, are void
    s1, s2 = (torch.cat([part[..., 2:].chunk(2, -1)[i] for part in sums], -1) for i in range(2))
    s0, s00 = sums[0][..., 0], sums[0][..., 1]
    height, width = sides
    sources = torch.stack([numbers // (height * width), numbers // width % height, numbers % width], -1)
    absent = numbers < 0
    return SoftmaxState(
        max=torch.where(nothing, -torch.inf, -scale * reference),
        s0=s0.masked_fill(nothing, 0),
        s00=s00.masked_fill(nothing, 0),
        s1=s1.masked_fill(nothing[:, None], 0),
        s2=s2.masked_fill(nothing[:, None], 0),
        top_logits=torch.where(absent, -torch.inf, -scale[..., None] * top),
        top_sources=torch.where(absent[..., None], -1, sources).expand(len(scale), -1, -1, -1),
    )
