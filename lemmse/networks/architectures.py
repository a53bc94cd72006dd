"""Convolutional solvers phi(z, sigma): receptive field exactly P x P, equivariant to circular translations.

No pooling, no stride, no statistics over the image; circular padding. Three architectures that share an input and
output:

    x_hat = mu_x + a (z - mu_z) + s F(c_in (z - mu_z), sigma),    c_in = 1 / sqrt(var(B A x) + sigma^2 mean diag(B B^T))

with F the network, a(sigma) the best linear gain from a pixel of z to the same pixel of x, and s(sigma) the standard
deviation of what the gain leaves. These are fixed numbers that `train` sets from the data: they neither widen nor
narrow the class of functions, since F may use every pixel of the patch, but they give F inputs and outputs of unit
size at every sigma and for every pre-inverse. After EDM (Karras et al., arXiv 2206.00364).
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lemmse.checks import check_batch, check_choice, check_count, check_patch_size, check_sigma

PARAMETERS = {"tiny": 32_000, "small": 130_000, "medium": 520_000, "paper": 4_200_000}  # at most, about
_EMBEDDING = 64


class CircularConv(nn.Conv2d):
    """A convolution with circular padding, for kernels of any odd size, also larger than the image."""

    def forward(self, x: Tensor) -> Tensor:
        """(Q, C, H, W) -> (Q, C', H, W)."""
        half = self.kernel_size[0] // 2
        if half <= min(x.shape[-2:]):
            x = nn.functional.pad(x, (half, half, half, half), mode="circular") if half else x
        else:  # the padding wraps more than once
            for dim in (-2, -1):
                x = x.index_select(dim, torch.arange(-half, x.shape[dim] + half, device=x.device) % x.shape[dim])
        return super().forward(x)


class NoiseEmbedding(nn.Module):
    """sigma (Q,) -> (Q, 64): sines and cosines of log sigma, then a small MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", 0.5 * 2.0 ** torch.arange(4), persistent=False)
        self.mlp = nn.Sequential(nn.Linear(9, _EMBEDDING), nn.SiLU(), nn.Linear(_EMBEDDING, _EMBEDDING), nn.SiLU())

    def forward(self, sigma: Tensor) -> Tensor:
        """Embedding of the noise levels."""
        level = sigma.clamp_min(1e-6).log()[:, None]
        angle = level * self.frequencies
        return self.mlp(torch.cat([level / 4, angle.sin(), angle.cos()], 1))


class Layer(nn.Module):
    """`act(conv(x) + linear(embedding))`."""

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = CircularConv(channels_in, channels_out, kernel_size)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")  # PyTorch's default fades in deep, narrow nets
        self.noise = nn.Linear(_EMBEDDING, channels_out)
        self.act = nn.SiLU()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(Q, C, H, W), (Q, 64) -> (Q, C', H, W)."""
        return self.act(self.conv(x) + self.noise(embedding)[:, :, None, None])


class Solver(nn.Module):
    """What the architectures share: scaling of input and output, the noise embedding, and checks.

    channels: C of z and x. patch_size: P, odd, the receptive field. size: "tiny" (about 0.03 M parameters), "small"
    (0.12 M), "medium" (0.5 M) or "paper" (4 M). Raises ValueError for other values, and in `forward` for z of another
    channel count or a bad sigma.
    """

    def __init__(self, channels: int, patch_size: int, size: str = "small") -> None:
        super().__init__()
        self.channels, self.patch_size = check_count(channels, "channels"), check_patch_size(patch_size)
        self.size = check_choice(size, PARAMETERS, "size")
        for name in ("input_mean", "output_mean"):
            self.register_buffer(name, torch.tensor(0.5))
        for name in ("input_variance", "output_variance", "covariance"):
            self.register_buffer(name, torch.tensor(0.08))
        self.register_buffer("noise_variance", torch.tensor(1.0))
        self.embedding = NoiseEmbedding()
        self.body = _width_for(lambda width: self.make_body(channels, patch_size, width), PARAMETERS[size])

    @staticmethod
    def make_body(channels: int, patch_size: int, width: int) -> nn.Module:
        """The network F of the given width."""
        raise NotImplementedError

    @torch.no_grad()
    def set_scale(self, images: Tensor, signal: Tensor, noise_variance: float) -> None:
        """Set the fixed numbers from clean images x, `signal` = B A x, both (N, C, H, W), and mean diag(B B^T)."""
        x, s = images.double(), signal.double()
        centred_x, centred_s = x - x.mean(), s - s.mean()
        self.input_mean.fill_(s.mean())
        self.output_mean.fill_(x.mean())
        self.input_variance.fill_(centred_s.square().mean().clamp_min(1e-12))
        self.output_variance.fill_(centred_x.square().mean().clamp_min(1e-12))
        self.covariance.fill_((centred_x * centred_s).mean())
        self.noise_variance.fill_(noise_variance)

    def forward(self, z: Tensor, sigma: float | Tensor) -> Tensor:
        """The estimate of x from z = B y: (Q, C, H, W), sigma a number, 0-d or (Q,) -> (Q, C, H, W)."""
        check_batch(z, "z")
        if (z.dtype, z.device) != (self.input_mean.dtype, self.input_mean.device):
            raise ValueError(
                f"z must be {self.input_mean.dtype} on {self.input_mean.device}, as the network is, "
                f"got {z.dtype} on {z.device}"
            )
        if z.shape[1] != self.channels:
            raise ValueError(f"z must have {self.channels} channels, as the network was built for, got {z.shape[1]}")
        sigma = check_sigma(sigma, len(z), z)
        variance = (self.input_variance + sigma.square() * self.noise_variance)[:, None, None, None]
        gain = self.covariance / variance
        unexplained = self.output_variance - self.covariance.square() / variance
        spread = unexplained.clamp_min(1e-4 * self.output_variance).sqrt()
        centred = z - self.input_mean
        return self.output_mean + gain * centred + spread * self.body(centred / variance.sqrt(), self.embedding(sigma))


class _PatchMLPBody(nn.Module):
    def __init__(self, channels: int, patch_size: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [Layer(channels, width, patch_size), Layer(width, width, 1), Layer(width, width, 1), Layer(width, width, 1)]
        )
        self.out = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, embedding)
        return self.out(x)


class PatchMLP(Solver):
    """A multilayer perceptron on each P x P patch, written as a P x P convolution and pointwise layers."""

    make_body = staticmethod(_PatchMLPBody)


class _ResNetBody(nn.Module):
    """A lift, then residual blocks: 3 x 3 while the field grows, pointwise for the rest."""

    blocks = 3  # at least

    def __init__(self, channels: int, patch_size: int, width: int) -> None:
        super().__init__()
        lift, *rest = _kernel_sizes(patch_size, 1 + self.blocks)
        self.lift = Layer(channels, width, lift)
        self.layers = nn.ModuleList(Layer(width, width, k) for k in rest)
        self.mix = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in rest)
        self.out = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.lift(x, embedding)
        for layer, mix in zip(self.layers, self.mix, strict=True):
            x = x + mix(layer(x, embedding))
        return self.out(x)


class ResNet(Solver):
    """A 3 x 3 lift, (P - 3)/2 residual 3 x 3 blocks, filled up to three with pointwise ones, and a 1 x 1 output."""

    make_body = staticmethod(_ResNetBody)


class _UNetBody(nn.Module):
    """Three stages down in channels and two up, with skip connections, all at full resolution."""

    def __init__(self, channels: int, patch_size: int, width: int) -> None:
        super().__init__()
        stages = [[], [], [], [], []]
        order = (0, 4, 1, 3, 2)  # the outer stages grow the field first
        for i, k in enumerate(_kernel_sizes(patch_size, len(stages))):
            stages[order[i % len(stages)]].append(k)
        w = width
        sizes = [(channels, w), (w, 2 * w), (2 * w, 4 * w), (6 * w, 2 * w), (3 * w, w)]
        self.stages = nn.ModuleList(
            nn.ModuleList(Layer(a if i == 0 else b, b, k) for i, k in enumerate(kernels))
            for (a, b), kernels in zip(sizes, stages, strict=True)
        )
        self.out = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        def run(stage: nn.ModuleList, x: Tensor) -> Tensor:
            for layer in stage:
                x = layer(x, embedding)
            return x

        wide = run(self.stages[0], x)
        deep = run(self.stages[1], wide)
        x = run(self.stages[3], torch.cat([run(self.stages[2], deep), deep], 1))
        return self.out(run(self.stages[4], torch.cat([x, wide], 1)))


class UNet(Solver):
    """U-Net-like: channels grow and shrink, skip connections join, the resolution stays; the kernels add up to P."""

    make_body = staticmethod(_UNetBody)


ARCHITECTURES: dict[str, type[Solver]] = {"UNet": UNet, "ResNet": ResNet, "PatchMLP": PatchMLP}


def _kernel_sizes(patch_size: int, least: int) -> list[int]:
    """(P - 1)/2 kernels of 3, whose field is P, filled up with pointwise ones to at least `least` layers."""
    grow = (patch_size - 1) // 2
    return [3] * grow + [1] * (least - grow)


def _width_for(make: Callable[[int], nn.Module], parameters: int) -> nn.Module:
    """The widest module, in multiples of 4, of at most so many parameters."""

    def count(width: int) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in make(width).parameters())

    widths = range(4, 4096, 4)
    return make(widths[max(0, bisect(widths, parameters, key=count) - 1)])
