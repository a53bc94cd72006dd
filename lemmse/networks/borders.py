"""What a network does at the border of an image, told from its outputs: equivariance and padding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lemmse.networks.calling import Restorer

EQUAL = 1e-4  # relative difference below which two outputs count as equal in float32
_PADDINGS = {
    "reflection_pad2d": "reflect",
    "replication_pad2d": "replicate",
    "constant_pad_nd": "zeros",
}


def equivariance_errors(restore: Restorer, z: Tensor, x_hat: Tensor, sigma: float, radius: int) -> tuple[float, float]:
    """Relative root mean square of `x_hat(T_g z) - T_g x_hat(z)` far from the border and near it."""
    side, spread = z.shape[-1], max(float(x_hat.std()), 1e-12)
    errors_inside, errors_border = [], []
    for shift in ((1, 0), (0, 1), (3, 2)):
        difference = (restore(z.roll(shift, (-2, -1)), sigma) - x_hat.roll(shift, (-2, -1))).square().mean((0, 1))
        inside = torch.zeros(side, side, dtype=torch.bool, device=z.device)
        inside[radius + shift[0] : side - radius, radius + shift[1] : side - radius] = True
        errors_inside.append(difference[inside].mean() if bool(inside.any()) else difference.mean())
        errors_border.append(difference[~inside].mean() if bool((~inside).any()) else difference.new_zeros(()))
    inside_error, border_error = (
        float(torch.stack(errors).mean().sqrt()) / spread for errors in (errors_inside, errors_border)
    )
    return inside_error, border_error


class _Paddings(TorchDispatchMode):
    """Records how the operations that run pad their inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.split("::")[-1]
        if name in _PADDINGS:
            self.kinds.add(_PADDINGS[name])
        if "convolution" in name and any(p > 0 for p in args[4]):
            self.kinds.add("zeros")
        return func(*args, **(kwargs or {}))


def border_rule(restore: Restorer, z: Tensor, x_hat: Tensor, sigma: float, radius: int, *, circular: bool) -> str:
    """The border rule, from outputs: what is the same near the border and far from it, and by which padding.

    A circular network commutes with circular shifts at every pixel. Among the others, one that continues the image by
    its own values (reflection, replication) maps a constant image to a constant; zeros show at the border.
    """
    if circular:
        return "circular"
    with _Paddings() as seen:
        flat = restore(torch.full_like(z[:1], 0.5), sigma)
    kinds = seen.kinds
    level = flat[..., flat.shape[-2] // 2, flat.shape[-1] // 2][..., None, None]
    keeps_constants = float((flat - level).abs().max()) <= EQUAL * max(float(x_hat.std()), 1e-12)
    if keeps_constants:
        return kinds.pop() if len(kinds) == 1 and kinds <= {"reflect", "replicate"} else "other"
    return "zeros" if kinds <= {"zeros"} else "other"
