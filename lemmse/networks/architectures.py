"""Convolutional solvers phi(z, sigma): the receptive field is exactly P x P, and every position runs the same weights.

No pooling, no stride, no statistics over the image. The three architectures share one input and one output:

    t_hat = mu_t + a (z - mu_z) + s F(c_in (z - mu_z), sigma),    c_in = 1 / sqrt(var(B A x) + sigma^2 mean diag(B B^T))

F is the network, t the target (the clean image x unless `train` is told otherwise), a(sigma) the best linear gain from
a pixel of z to the same pixel of t, and s(sigma) the standard deviation of what that gain leaves unexplained. `train`
sets these numbers from the data. They neither widen nor narrow the class of functions, because F may use every pixel of
the patch, but they give F inputs and outputs of unit size at every sigma and for every pre-inverse. After EDM (Karras
et al., arXiv 2206.00364).
"""

from __future__ import annotations

from bisect import bisect
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from lemmse.checks import check_batch, check_choice, check_count, check_patch_size, check_sigma
from lemmse.networks.layers import Layer, NoiseEmbedding

PARAMETERS = {"tiny": 32_000, "small": 130_000, "medium": 520_000, "paper": 4_200_000}  # of the body, at most
PADDINGS = ("circular", "zeros")
MOST_CHANNELS = 256  # of images
LARGEST_PATCH = 255  # pixels: the receptive field of a network that anyone would train


class Shape(NamedTuple):
    """What the body F of a network is built from."""

    channels: int
    target_channels: int
    patch_size: int
    width: int
    padding: str


class Scales(NamedTuple):
    """The fixed numbers around F at each noise level, (Q, 1, 1, 1) each."""

    gain: Tensor  # a, from z to the target
    input_scale: Tensor  # c_in
    spread: Tensor  # s, the standard deviation of what the gain leaves


class Solver(nn.Module):
    """What the architectures share: scaling of input and output, the noise embedding, and checks.

    Args:
        channels: channels of z, at least 1.
        patch_size: P, odd: the side of the receptive field in pixels.
        size: how many weights at most: "tiny" (0.03 M), "small" (0.13 M), "medium" (0.5 M) or "paper" (4.2 M).
        padding: "circular": the network commutes with circular translations; "zeros": every convolution pads with
            zeros, so an output pixel whose window leaves the image also knows where the border is.
        blind: True for a network that does not get sigma; its `forward` ignores the sigma that it is given.
        target_channels: channels of the output; None means as many as z has.

    Raises:
        ValueError: for any other value, and in `forward` for a z of another shape or type, or for a bad sigma.

    Source: the networks of arXiv 2601.10334, section on experiments; scaling after arXiv 2206.00364.

    Example:
        >>> import torch, lemmse
        >>> net = lemmse.ResNet(channels=1, patch_size=5)
        >>> net(torch.zeros(2, 1, 8, 8), sigma=0.1).shape
        torch.Size([2, 1, 8, 8])
    """

    body_type: ClassVar[type[nn.Module]]  # made of a Shape
    input_mean: Tensor
    output_mean: Tensor
    input_variance: Tensor
    output_variance: Tensor
    covariance: Tensor
    noise_variance: Tensor
    typical_sigma: Tensor

    def __init__(
        self,
        channels: int,
        patch_size: int,
        size: str = "small",
        *,
        padding: str = "circular",
        blind: bool = False,
        target_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.channels = check_count(channels, "channels", maximum=MOST_CHANNELS)
        self.patch_size = check_patch_size(patch_size)
        check_count(self.patch_size, "patch_size", maximum=LARGEST_PATCH)
        self.size = check_choice(size, PARAMETERS, "size")
        self.padding = check_choice(padding, PADDINGS, "padding")
        if not isinstance(blind, bool):
            raise ValueError(f"blind must be True or False, got {type(blind).__name__}")
        self.blind = blind
        self.target_channels = (
            channels
            if target_channels is None
            else check_count(target_channels, "target_channels", maximum=MOST_CHANNELS)
        )
        self.embedding = NoiseEmbedding()
        self.body = self._widest_body(PARAMETERS[size])
        weight = next(self.parameters())
        for name in ("input_mean", "output_mean"):
            self.register_buffer(name, weight.new_tensor(0.5))
        for name in ("input_variance", "output_variance", "covariance"):
            self.register_buffer(name, weight.new_tensor(0.08))
        self.register_buffer("noise_variance", weight.new_tensor(1.0))
        if blind:
            self.register_buffer("typical_sigma", weight.new_tensor(0.5))

    def config(self) -> dict[str, Any]:
        """The arguments that build this network again, options that keep their default left out."""
        config: dict[str, Any] = {"channels": self.channels, "patch_size": self.patch_size, "size": self.size}
        optional = {"padding": "circular", "blind": False, "target_channels": self.channels}
        return config | {
            name: getattr(self, name) for name, default in optional.items() if getattr(self, name) != default
        }

    def _widest_body(self, parameters: int) -> nn.Module:
        """The widest body, in multiples of 4, of at most so many parameters."""

        def build(width: int) -> nn.Module:
            return self.body_type(Shape(self.channels, self.target_channels, self.patch_size, width, self.padding))

        def count(width: int) -> int:
            with torch.device("meta"):
                return sum(p.numel() for p in build(width).parameters())

        widths = range(4, 4096, 4)
        return build(widths[max(0, bisect(widths, parameters, key=count) - 1)])

    @property
    def has_gain(self) -> bool:
        """Whether each channel of the target has a channel of z to start from: the same, or the only one."""
        return self.channels in (1, self.target_channels)

    @torch.no_grad()
    def set_scale(
        self, targets: Tensor, signal: Tensor, noise_variance: float, typical_sigma: float | None = None
    ) -> None:
        """Set the fixed numbers from the data.

        Args:
            targets: t, (N, K, H, W): the clean images unless the network is to learn something else.
            signal: B A x, (N, C, H, W).
            noise_variance: mean of diag(B B^T), the variance of z for a known x and sigma = 1.
            typical_sigma: root mean square of sigma in training, which a blind network takes for sigma.
        """
        t, s = targets.double(), signal.double()
        centered_t, centered_s = t - t.mean(), s - s.mean()
        self.input_mean.fill_(s.mean())
        self.output_mean.fill_(t.mean())
        self.input_variance.fill_(centered_s.square().mean().clamp_min(1e-12))
        self.output_variance.fill_(centered_t.square().mean().clamp_min(1e-12))
        self.covariance.fill_((centered_t * centered_s).mean() if self.has_gain else 0.0)
        self.noise_variance.fill_(noise_variance)
        if self.blind and typical_sigma is not None:
            self.typical_sigma.fill_(typical_sigma)

    def scales(self, sigma: Tensor) -> Scales:
        """The gain a, the input scale c_in and the spread s at noise levels sigma (Q,)."""
        variance = (self.input_variance + sigma.square() * self.noise_variance)[:, None, None, None]
        unexplained = self.output_variance - self.covariance.square() / variance
        spread = unexplained.clamp_min(1e-4 * self.output_variance).sqrt()
        return Scales(self.covariance / variance, 1 / variance.sqrt(), spread)

    def forward(self, z: Tensor, sigma: float | Tensor | None = None) -> Tensor:
        """The estimate of the target from what the network sees.

        Args:
            z: B y, (Q, C, H, W), with the dtype and on the device of the network.
            sigma: noise standard deviation, a number, 0-d or (Q,), positive; a blind network ignores it.

        Returns:
            (Q, K, H, W).

        Raises:
            ValueError: for z of another shape, dtype or device, and for a sigma that is missing or not positive.
        """
        check_batch(z, "z")
        if (z.dtype, z.device) != (self.input_mean.dtype, self.input_mean.device):
            raise ValueError(
                f"z must be {self.input_mean.dtype} on {self.input_mean.device}, as the network is, "
                f"got {z.dtype} on {z.device}"
            )
        if z.shape[1] != self.channels:
            raise ValueError(f"z must have {self.channels} channels, as the network was built for, got {z.shape[1]}")
        if self.blind:
            sigma = self.typical_sigma
        elif sigma is None:
            raise ValueError("sigma is missing: only a network built with blind=True goes without it")
        levels = check_sigma(sigma, len(z), z)
        gain, input_scale, spread = self.scales(levels)
        centered = z - self.input_mean
        output = self.output_mean + spread * self.body(centered * input_scale, self.embedding(levels))
        return output + gain * centered if self.has_gain else output


class _PatchMLPBody(nn.Module):
    depth = 4

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, padding = shape.width, shape.padding
        first = Layer(shape.channels, width, shape.patch_size, padding)
        self.layers = nn.ModuleList([first, *(Layer(width, width, 1, padding) for _ in range(self.depth - 1))])
        self.out = nn.Conv2d(width, shape.target_channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, embedding)
        return self.out(x)


class PatchMLP(Solver):
    """PatchMLP is a multilayer perceptron on each P x P patch, written as a P x P convolution and pointwise layers.

    `net(z, sigma)` takes z = B y, (Q, C, H, W), and returns (Q, K, H, W). The head of this module shows the scaling
    that all networks share.

    Args:
        channels: channels C of z, from 1 to 256.
        patch_size: P, odd, at most 255: the side of the receptive field in pixels.
        size: how many weights at most: "tiny" (0.03 M), "small" (0.13 M), "medium" (0.5 M) or "paper" (4.2 M).
        padding: "circular", where the network commutes with circular translations, or "zeros", where an output pixel
            whose window leaves the image also knows where the border is.
        blind: True for a network that does not get sigma; its `forward` ignores the sigma that it is given.
        target_channels: channels K of the output, from 1 to 256; None means as many as z has.

    Raises:
        ValueError: for any other value, and in `forward` for a z of another shape or type, or for a bad sigma.

    Source: arXiv 2601.10334, section on experiments; scaling after arXiv 2206.00364.

    Example:
        >>> import torch, lemmse
        >>> net = lemmse.PatchMLP(channels=1, patch_size=5, size="tiny").eval()
        >>> net(torch.zeros(2, 1, 8, 8), sigma=0.1).shape
        torch.Size([2, 1, 8, 8])
        >>> lemmse.probe(net).receptive_field
        5
    """

    body_type = _PatchMLPBody


class _ResNetBody(nn.Module):
    """A lift, then residual blocks: 3 x 3 while the field grows, pointwise for the rest."""

    blocks = 3  # at least

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        lift, *rest = _kernel_sizes(shape.patch_size, 1 + self.blocks)
        self.lift = Layer(shape.channels, width, lift, shape.padding)
        self.layers = nn.ModuleList(Layer(width, width, k, shape.padding) for k in rest)
        self.mix = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in rest)
        self.out = nn.Conv2d(width, shape.target_channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.lift(x, embedding)
        for layer, mix in zip(self.layers, self.mix, strict=True):
            x = x + mix(layer(x, embedding))
        return self.out(x)


class ResNet(Solver):
    """ResNet is a 3 x 3 lift, (P - 3)/2 residual 3 x 3 blocks, and a 1 x 1 output.

    The blocks are filled up to three with pointwise ones. `net(z, sigma)` takes z = B y, (Q, C, H, W), and returns
    (Q, K, H, W). The head of this module shows the scaling that all networks share.

    Args:
        channels: channels C of z, from 1 to 256.
        patch_size: P, odd, at most 255: the side of the receptive field in pixels.
        size: how many weights at most: "tiny" (0.03 M), "small" (0.13 M), "medium" (0.5 M) or "paper" (4.2 M).
        padding: "circular", where the network commutes with circular translations, or "zeros", where an output pixel
            whose window leaves the image also knows where the border is.
        blind: True for a network that does not get sigma; its `forward` ignores the sigma that it is given.
        target_channels: channels K of the output, from 1 to 256; None means as many as z has.

    Raises:
        ValueError: for any other value, and in `forward` for a z of another shape or type, or for a bad sigma.

    Source: arXiv 2601.10334, section on experiments; scaling after arXiv 2206.00364.

    Example:
        >>> import torch, lemmse
        >>> net = lemmse.ResNet(channels=1, patch_size=5, size="tiny").eval()
        >>> net(torch.zeros(2, 1, 8, 8), sigma=0.1).shape
        torch.Size([2, 1, 8, 8])
        >>> lemmse.probe(net).receptive_field
        5
    """

    body_type = _ResNetBody


class _UNetBody(nn.Module):
    """Three stages down in channels and two up, with skip connections, all at full resolution."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        stages: list[list[int]] = [[], [], [], [], []]
        order = (0, 4, 1, 3, 2)  # the outer stages grow the field first
        for i, k in enumerate(_kernel_sizes(shape.patch_size, len(stages))):
            stages[order[i % len(stages)]].append(k)
        w = shape.width
        sizes = [(shape.channels, w), (w, 2 * w), (2 * w, 4 * w), (6 * w, 2 * w), (3 * w, w)]
        self.stages = nn.ModuleList(
            nn.ModuleList(Layer(a if i == 0 else b, b, k, shape.padding) for i, k in enumerate(kernels))
            for (a, b), kernels in zip(sizes, stages, strict=True)
        )
        self.out = nn.Conv2d(w, shape.target_channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        def run(stage: nn.Module, x: Tensor) -> Tensor:
            for layer in stage.children():
                x = layer(x, embedding)
            return x

        wide = run(self.stages[0], x)
        deep = run(self.stages[1], wide)
        x = run(self.stages[3], torch.cat([run(self.stages[2], deep), deep], 1))
        return self.out(run(self.stages[4], torch.cat([x, wide], 1)))


class UNet(Solver):
    """UNet is like a U-Net: channels grow and shrink, and skip connections join them, but the resolution stays.

    The kernels add up to P. `net(z, sigma)` takes z = B y, (Q, C, H, W), and returns (Q, K, H, W). The head of this
    module shows the scaling that all networks share.

    Args:
        channels: channels C of z, from 1 to 256.
        patch_size: P, odd, at most 255: the side of the receptive field in pixels.
        size: how many weights at most: "tiny" (0.03 M), "small" (0.13 M), "medium" (0.5 M) or "paper" (4.2 M).
        padding: "circular", where the network commutes with circular translations, or "zeros", where an output pixel
            whose window leaves the image also knows where the border is.
        blind: True for a network that does not get sigma; its `forward` ignores the sigma that it is given.
        target_channels: channels K of the output, from 1 to 256; None means as many as z has.

    Raises:
        ValueError: for any other value, and in `forward` for a z of another shape or type, or for a bad sigma.

    Source: arXiv 2601.10334, section on experiments; scaling after arXiv 2206.00364.

    Example:
        >>> import torch, lemmse
        >>> net = lemmse.UNet(channels=1, patch_size=5, size="tiny").eval()
        >>> net(torch.zeros(2, 1, 8, 8), sigma=0.1).shape
        torch.Size([2, 1, 8, 8])
        >>> lemmse.probe(net).receptive_field
        5
    """

    body_type = _UNetBody


ARCHITECTURES: dict[str, type[Solver]] = {"UNet": UNet, "ResNet": ResNet, "PatchMLP": PatchMLP}


def _kernel_sizes(patch_size: int, least: int) -> list[int]:
    """(P - 1)/2 kernels of 3, whose field is P, filled up with pointwise ones to at least `least` layers."""
    grow = (patch_size - 1) // 2
    return [3] * grow + [1] * (least - grow)
