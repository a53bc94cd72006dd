"""Shift and box-sum in torch: the squared distance of all patches at one shift is a box-sum of one image.

For query features q on a torus (H, W), key features a on a torus (h, w) and a shift s of the second,

    D_s[m] = sum_{j in window} sum_f (q[f, m + j] - a[f, m + j + s])^2,    k = m + s,

a sum of squared differences (it does not cancel) whose cost does not depend on the patch size. The shifts s of the
torus of the keys bring every pixel m of the query to every key position k once. Runs on any device, in float32 and
float64, and is differentiable in q: the plain version that the compiled engines are tested against.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from lemmse.engines.contracts import IMPOSSIBLE
from lemmse.engines.progress import advance
from lemmse.engines.state import SoftmaxState


def box_sum(d: Tensor, patch_size: int, dim: int) -> Tensor:
    """Circular sum of `d` over the window of `patch_size` along `dim`, by doubling: log2(P) additions, none cancels."""
    length = d.shape[dim]
    if patch_size >= length:
        return d.sum(dim, keepdim=True).expand_as(d)
    total: Tensor | None = None
    offset, span, run = -(patch_size // 2), 1, d
    while patch_size:
        if patch_size & 1:
            part = run.roll(-offset, dim)
            total = part if total is None else total + part
            offset += span
        patch_size >>= 1
        if patch_size:
            run = run + run.roll(-span, dim)
            span *= 2
    assert total is not None  # a patch has at least one pixel
    return total


def check_sides(sides: tuple[int, int], key_sides: tuple[int, int], patch_size: int) -> None:
    """Raise ValueError if queries and keys of these sides differ and one is smaller than a patch."""
    if sides != key_sides and patch_size > min(*sides, *key_sides):
        raise ValueError(
            f"patch_size must be at most {min(*sides, *key_sides)} where queries of {sides[0]} x {sides[1]} pixels are "
            f"compared with images of {key_sides[0]} x {key_sides[1]}, got {patch_size}"
        )


def _axis(patch_size: int, length: int, key_length: int, device: torch.device) -> tuple[Tensor, slice]:
    """Coordinates along one axis of the query, and which of them are its pixels: more, half a window on both sides,
    where the torus of the keys is another, for pixels beyond the query then meet other keys than those they repeat.
    """
    beyond = 0 if length == key_length else patch_size // 2
    return torch.arange(-beyond, length + beyond, dtype=torch.int64, device=device), slice(beyond, beyond + length)


def _pixels(queries: Tensor, keys: Tensor, bilinear: bool) -> Tensor:
    """The distance of each pixel (.., F, H, W) of a query and a key: (.., H, W)."""
    if bilinear:
        return queries[:, :, 0] + (queries[:, :, 1:] * keys).sum(2)
    return (queries - keys).square().sum(2)


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
    """Merge all pairs (query position m of q, key position k of image i) of one stratum into the state.

    Args:
        state: rows (Q * S, H*W) and K channels.
        queries: (Q, F, H, W) features.
        keys: (B, F, h, w) features; h and w may differ from H and W, and then P is at most the least of the four.
        values: (B, K, h, w) of the key positions, about their center.
        scale: (Q * S,) float64, the S scales of the first query, then those of the next: the logit is `-scale * D`.
        patch_size: P, odd. Along an axis no longer than P the window is the whole axis, each pixel once.
        query_strata: (H, W) int64, m and k compete if their labels are equal and not negative.
        key_strata: (h, w) int64, of the key positions.
        first_image: number of the first key image.
        exclude: (Q,) int64, the number of the image that is left out of each query, -1 for none; None for none at all.
        bilinear: whether D is a box-sum of `q[0] + sum_f q[1 + f] a[f]` in place of squared differences. The queries
            then have one feature more than the keys, and a pair whose D is at least `contracts.IMPOSSIBLE` has weight
            0.

    Returns:
        The state with these pairs merged in. The images are in one dtype, all tensors on one device.

    Raises:
        ValueError: if the sizes differ and P is larger than one of them.
    """
    height, width = query_strata.shape
    key_height, key_width = key_strata.shape
    check_sides((height, width), (key_height, key_width), patch_size)
    rows, row_pixels = _axis(patch_size, height, key_height, keys.device)
    columns, column_pixels = _axis(patch_size, width, key_width, keys.device)
    around = queries[:, None, :, rows % height][..., columns % width]
    images = first_image + torch.arange(len(keys), dtype=torch.int64, device=keys.device)
    left_out = None if exclude is None else (exclude[:, None] == images)[..., None, None]
    scale = scale.reshape(len(queries), -1, 1, 1, 1)
    values = values.double()
    squares = values.square()
    for dy in range(key_height):
        advance(1 / key_height)
        for dx in range(key_width):
            key_rows, key_columns = (rows + dy) % key_height, (columns + dx) % key_width
            row, column = key_rows[row_pixels], key_columns[column_pixels]  # k = m + s
            competes = (query_strata == key_strata[row][:, column]) & (query_strata >= 0)
            if not bool(competes.any()):
                continue
            there = keys[:, :, key_rows][..., key_columns]
            d = _pixels(around, there, bilinear)
            d = box_sum(box_sum(d, patch_size, -2), patch_size, -1)[..., row_pixels, column_pixels]
            if left_out is not None:
                competes = competes & ~left_out
            if bilinear:
                competes = competes & (d < IMPOSSIBLE)
            competes = competes.expand(d.shape)[:, None]
            logits = torch.where(competes, -scale * d[:, None].double(), -torch.inf).flatten(0, 1).flatten(2)
            u, u2 = (x[:, :, row][..., column].flatten(2) for x in (values, squares))
            source = torch.cartesian_prod(row, column).reshape(1, -1, 1, 2)
            block = SoftmaxState.of_block(
                logits,
                dim=1,
                moments=partial(_weighted_sums, values=u, squares=u2),
                sources=partial(_sources, images=images, source=source),
                top_k=state.top_k,
            )
            state = state.merge(block)
    return state


def _weighted_sums(e: Tensor, values: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
    """`sum_b e u` and `sum_b e u^2`, each (Q, n, C), of e (Q, B, n) and of values and their squares (B, C, n)."""
    return torch.einsum("qbn,bcn->qnc", e, values), torch.einsum("qbn,bcn->qnc", e, squares)


def _sources(index: Tensor, images: Tensor, source: Tensor) -> Tensor:
    """Image, row and column (Q, n, k, 3) of the pairs `index` (Q, n, k), whose image is one of the block."""
    return torch.cat([images[index][..., None], source.expand(*index.shape, 2)], -1)
