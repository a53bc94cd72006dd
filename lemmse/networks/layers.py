"""What the networks are built from: a convolution that keeps the size, and a layer that is told the noise level."""

from __future__ import annotations

import torch
from torch import Tensor, nn

EMBEDDING = 64  # length of the vector that stands for sigma


class Convolution(nn.Conv2d):
    """A convolution that keeps the size of the image, with circular or zero padding, for kernels of any odd size.

    A circular kernel may be larger than the image: it then wraps around more than once.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int, padding: str) -> None:
        half = kernel_size // 2
        super().__init__(channels_in, channels_out, kernel_size, padding=half if padding == "zeros" else 0)
        self.wrap = 0 if padding == "zeros" else half

    def forward(self, x: Tensor) -> Tensor:
        """(Q, C, H, W) -> (Q, C', H, W)."""
        wrap = self.wrap
        if wrap and wrap <= min(x.shape[-2:]):
            x = nn.functional.pad(x, (wrap, wrap, wrap, wrap), mode="circular")
        elif wrap:
            for dim in (-2, -1):
                size = x.shape[dim]
                x = x.index_select(dim, torch.arange(-wrap, size + wrap, dtype=torch.int64, device=x.device) % size)
        return super().forward(x)


class NoiseEmbedding(nn.Module):
    """sigma (Q,) -> (Q, 64): sines and cosines of log sigma, then a small MLP."""

    frequencies: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(9, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING), nn.SiLU())
        weight = next(self.mlp.parameters())
        self.register_buffer("frequencies", weight.new_tensor([0.5, 1.0, 2.0, 4.0]), persistent=False)

    def forward(self, sigma: Tensor) -> Tensor:
        """Embedding of the noise levels."""
        level = sigma.clamp_min(1e-6).log()[:, None]
        angle = level * self.frequencies
        return self.mlp(torch.cat([level / 4, angle.sin(), angle.cos()], 1))


class Layer(nn.Module):
    """`act(conv(x) + linear(embedding))`."""

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int, padding: str) -> None:
        super().__init__()
        self.conv = Convolution(channels_in, channels_out, kernel_size, padding)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")  # PyTorch's default fades in deep, narrow nets
        self.noise = nn.Linear(EMBEDDING, channels_out)
        self.act = nn.SiLU()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(Q, C, H, W), (Q, 64) -> (Q, C', H, W)."""
        return self.act(self.conv(x) + self.noise(embedding)[:, :, None, None])
