"""The estimators as a competent user writes them in plain torch: what `lemmse bench` measures the engines against.

Means only, float32, online log-sum-exp, 16 training images a batch (whole images: 256). Not for use: distances are of
`torch.cdist`, whose matrix product loses digits where sigma is small, and the cost grows with P^2.
"""

from __future__ import annotations

import torch
from torch import Tensor

BATCH = 16  # training images whose patches are held at once
WHOLE_BATCH = 256  # training images that are compared whole


def le_mmse(
    keys: Tensor,
    values: Tensor,
    z: Tensor,
    sigma: float,
    patch_size: int,
    *,
    whitening: Tensor | None = None,
    strata: Tensor | None = None,
) -> Tensor:
    """LE-MMSE: `sum_{i,k} x_i[c, k] w_{i,k}`, `w_{i,k} ~ exp(-|v - Pi_k B A x_i|^2 / (2 sigma^2))`, (Q, C, H, W).

    keys: the training images through `B A`, (N, C, H, W). values: the clean ones. z: the queries `B y`, (Q, C, H, W).
    P at most the sides of the image. whitening: (P*P, r), applied to the patches of each channel in its own dtype.
    strata: (H, W) labels, positions compete if theirs are equal.
    """
    queries = _patches(z, patch_size, whitening)
    count, pixels, _ = queries.shape
    channels = values.shape[1]
    competes = None
    if strata is not None:
        labels = strata.flatten()
        competes = (labels[:, None] == labels).repeat(1, BATCH)
    largest = torch.full((count, pixels, 1), -torch.inf, dtype=torch.float32, device=z.device)
    total = torch.zeros(count, pixels, 1, dtype=torch.float32, device=z.device)
    weighted = torch.zeros(count, pixels, channels, dtype=torch.float32, device=z.device)
    for a, u in zip(keys.split(BATCH), values.split(BATCH), strict=True):
        patches = _patches(a, patch_size, whitening).flatten(0, 1)
        centers = u.flatten(2).transpose(1, 2).flatten(0, 1)
        for n in range(count):
            logits = torch.cdist(queries[n], patches).square() / (-2 * sigma**2)
            if competes is not None:
                logits = logits.masked_fill(~competes[:, : len(patches)], -torch.inf)
            new = torch.maximum(largest[n], logits.amax(-1, keepdim=True))
            shrink, e = torch.exp(largest[n] - new), torch.exp(logits - new)
            total[n] = shrink * total[n] + e.sum(-1, keepdim=True)
            weighted[n] = shrink * weighted[n] + e @ centers
            largest[n] = new
    return (weighted / total).transpose(1, 2).reshape(count, channels, *z.shape[2:])


def e_mmse(images: Tensor, z: Tensor, sigma: float) -> Tensor:
    """E-MMSE with B = A = I: `sum_{i,g} T_g^-1 x_i w_{i,g}`, `w_{i,g} ~ exp(-|T_g z - x_i|^2 / (2 sigma^2))`."""
    height, width = z.shape[2:]
    largest = torch.full((len(z), 1), -torch.inf, dtype=torch.float32, device=z.device)
    total = torch.zeros(len(z), 1, dtype=torch.float32, device=z.device)
    weighted = torch.zeros_like(z)
    for a in images.split(WHOLE_BATCH):
        for dy in range(height):
            for dx in range(width):
                shifted = z.roll((dy, dx), (2, 3))
                logits = (shifted[:, None] - a).square().sum((2, 3, 4)) / (-2 * sigma**2)
                new = torch.maximum(largest, logits.amax(1, keepdim=True))
                shrink, e = torch.exp(largest - new), torch.exp(logits - new)
                mixed = torch.einsum("qi,ichw->qchw", e, a).roll((-dy, -dx), (2, 3))
                total = shrink * total + e.sum(1, keepdim=True)
                weighted = shrink[..., None, None] * weighted + mixed
                largest = new
    return weighted / total[..., None, None]


def mmse(images: Tensor, z: Tensor, sigma: float) -> Tensor:
    """MMSE with B = A = I: `sum_i x_i w_i`, `w_i ~ exp(-|z - x_i|^2 / (2 sigma^2))`."""
    parts = [(z[:, None] - a).square().sum((2, 3, 4)) for a in images.split(WHOLE_BATCH)]
    weights = torch.softmax(torch.cat(parts, 1) / (-2 * sigma**2), 1)
    return torch.einsum("qi,ichw->qchw", weights, images)


def _patches(z: Tensor, patch_size: int, whitening: Tensor | None) -> Tensor:
    """Circular patches (Q, n, C * P * P) float32; whitened, (Q, n, C * r)."""
    radius = patch_size // 2
    padded = torch.nn.functional.pad(z, (radius,) * 4, mode="circular")
    patches = torch.nn.functional.unfold(padded, patch_size).transpose(1, 2)
    if whitening is not None:
        by_channel = patches.unflatten(-1, (z.shape[1], -1))
        patches = (by_channel @ whitening).flatten(2)
    return patches.float()
