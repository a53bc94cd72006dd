"""What the tests share: examples that repeat in CI, Triton interpreted where there is no GPU, and small images."""

from __future__ import annotations

import os

import torch
from hypothesis import settings

settings.register_profile("ci", derandomize=True)  # the same examples on every machine; elsewhere, new ones each time
if os.environ.get("CI"):
    settings.load_profile("ci")
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is imported


def random_images(
    count: int, channels: int, height: int, width: int, dtype=torch.float64, seed: int = 0
) -> torch.Tensor:
    """Smooth random images in [0, 1]: neighbours correlate, as in photographs."""
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(count, channels, height, width, generator=g, dtype=torch.float64)
    x = (x + x.roll(1, -1) + x.roll(1, -2)) / 3
    return x.to(dtype)
