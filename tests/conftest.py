"""What the tests share: a generator, and small real images."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def random_images(
    count: int, channels: int, height: int, width: int, dtype=torch.float64, seed: int = 0
) -> torch.Tensor:
    """Smooth random images in [0, 1]: neighbours correlate, as in photographs."""
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(count, channels, height, width, generator=g, dtype=torch.float64)
    x = (x + x.roll(1, -1) + x.roll(1, -2)) / 3
    return x.to(dtype)
