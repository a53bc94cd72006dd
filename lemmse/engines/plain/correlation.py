"""All translations of an image against another by FFT: the distances of E-MMSE in O(n log n) a training image.

    |T_g q - a|^2 = |q|^2 + |a|^2 - 2 corr[g],    corr = F^-1 [conj(F q) F a],    (T_g q)[p] = q[p - g]

and the mixture of translated values, `sum_g w[g] u[m + g] = F^-1 [conj(F w) F u]`. In float64, because both cancel, and
about the mean of the keys by feature, a constant that all translations keep, so that less does.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fft import irfft2, rfft2

from lemmse.engines.state import SoftmaxState


def accumulate(
    state: SoftmaxState,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    scale: Tensor,
    *,
    shifts: Tensor,
    first_image: int,
    exclude: Tensor | None = None,
) -> SoftmaxState:
    """Merge all pairs (query, translation g of image i) into the state of rows (Q * S, 1) and C*H*W channels.

    queries: (Q, F, H, W). keys: (B, F, H, W). values: (B, C, H, W), about their center. scale: (Q * S,), the S scales
    of the first query, then those of the next: the logit is `-scale * |T_g q - a|^2`. shifts: (H, W) bool, which
    translations g compete. exclude: (Q,) int64, the number of the image that is left out of each query, -1 for none.
    Sources are (image, g).
    """
    a, u = keys.double(), values.double()
    mean = a.mean((0, 2, 3), keepdim=True)
    q, a = queries.double() - mean, a - mean
    size = tuple(shifts.shape)
    corr = irfft2(torch.einsum("qfhw,bfhw->qbhw", rfft2(q).conj(), rfft2(a)), s=size)
    norms = q.square().sum((1, 2, 3))[:, None] + a.square().sum((1, 2, 3))
    d = (norms[..., None, None] - 2 * corr).clamp_min(0)
    images = first_image + torch.arange(len(a), dtype=torch.int64, device=a.device)
    competes = shifts if exclude is None else shifts & (exclude[:, None] != images)[..., None, None]
    scale = scale.double().reshape(len(q), -1, 1, 1, 1)
    logits = torch.where(competes.expand(d.shape)[:, None], -scale * d[:, None], -torch.inf).flatten(0, 1)

    def mixture(weights: Tensor, images: Tensor) -> Tensor:
        spectrum = torch.einsum("qbhw,bchw->qchw", rfft2(weights).conj(), rfft2(images))
        return irfft2(spectrum, s=size).flatten(1)[:, None]

    def moments(e: Tensor) -> tuple[Tensor, Tensor]:
        weights = e.reshape(logits.shape)
        return mixture(weights, u), mixture(weights, u.square())

    def sources(j: Tensor) -> Tensor:
        image, g = j // shifts.numel(), j % shifts.numel()
        return torch.stack([first_image + image, g // size[1], g % size[1]], -1)

    block = SoftmaxState.of_block(logits.flatten(1)[:, None], -1, moments, sources, state.top_k)
    return state.merge(block)
