"""Shift and box-sum in torch: the squared distance of all patches at one shift is a box-sum of one image.

For query features q, key features a and a shift s,

    D_s[m] = sum_{j in window} sum_f (q[f, m + j] - a[f, m + j + s])^2,

a sum of squared differences (it does not cancel) whose cost does not depend on the patch size. Runs on any device, in
float32 and float64, and is differentiable in q: the plain version that the compiled engine is tested against.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lemmse.engines.state import SoftmaxState


def box_sum(d: Tensor, patch_size: int, dim: int) -> Tensor:
    """Circular sum of `d` over the window of `patch_size` along `dim`, by doubling: log2(P) additions, none cancels."""
    length = d.shape[dim]
    if patch_size >= length:
        return d.sum(dim, keepdim=True).expand_as(d)
    total, offset, span, run = None, -(patch_size // 2), 1, d
    while patch_size:
        if patch_size & 1:
            part = run.roll(-offset, dim)
            total = part if total is None else total + part
            offset += span
        patch_size >>= 1
        if patch_size:
            run = run + run.roll(-span, dim)
            span *= 2
    return total


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
    """Merge all pairs (query position m of q, key position k of image i) of one stratum into the state.

    queries: (Q, F, H, W). keys: (B, F, H, W). values: (B, C, H, W), about their centre. scale: (Q,), the logit is
    `-scale * D`, float64. strata: (H, W) int64, m and k compete if their labels are equal and not negative.
    first_image: number of the first key image. The images in one dtype, all on one device.
    """
    height, width = strata.shape
    columns = torch.arange(height * width, dtype=torch.int64, device=strata.device)
    rows, cols = columns // width, columns % width
    values = values.double()
    squares = values.square()
    for dy in range(height):
        for dx in range(width):
            shift = (-dy, -dx)
            competes = (strata == strata.roll(shift, (0, 1))) & (strata >= 0)
            if not bool(competes.any()):
                continue
            d = (queries[:, None] - keys.roll(shift, (-2, -1))).square().sum(2)
            d = box_sum(box_sum(d, patch_size, -2), patch_size, -1)
            logits = torch.where(competes, -scale[:, None, None, None] * d.double(), -torch.inf).flatten(2)
            u, u2 = values.roll(shift, (-2, -1)).flatten(2), squares.roll(shift, (-2, -1)).flatten(2)
            source = torch.stack([(rows + dy) % height, (cols + dx) % width], -1)[None, :, None]
            block = SoftmaxState.of_block(
                logits,
                dim=1,
                moments=lambda e, u=u, u2=u2: (
                    torch.einsum("qbn,bcn->qnc", e, u),
                    torch.einsum("qbn,bcn->qnc", e, u2),
                ),
                sources=lambda b, source=source: torch.cat(
                    [first_image + b[..., None], source.expand(*b.shape, 2)], -1
                ),
                top_k=state.top_k,
            )
            state = state.merge(block)
    return state
