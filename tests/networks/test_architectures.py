"""Networks: the receptive field is exactly P x P, they commute with translations, and bad input is refused."""

from __future__ import annotations

import pytest
import torch

from lemmse.networks.architectures import ARCHITECTURES

BUILT = [(name, p) for name in ARCHITECTURES for p in (1, 3, 5, 7, 9, 11, 17)]


def build(name: str, patch_size: int, channels: int = 2) -> torch.nn.Module:
    torch.manual_seed(0)
    return ARCHITECTURES[name](channels, patch_size).double()


@pytest.mark.parametrize(("name", "patch_size"), BUILT)
def test_receptive_field_is_exactly_the_patch(name, patch_size):
    net, size = build(name, patch_size), patch_size + 4
    middle = size // 2
    z = torch.rand(1, 2, size, size, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(z, 0.3)[0, :, middle, middle].sum(), z)
    seen = gradient[0].abs().sum(0) != 0
    inside = torch.zeros_like(seen)
    half = patch_size // 2
    inside[middle - half : middle + half + 1, middle - half : middle + half + 1] = True
    assert not (seen & ~inside).any()
    for edge in (seen[middle - half], seen[middle + half], seen[:, middle - half], seen[:, middle + half]):
        assert edge.any()


@pytest.mark.parametrize(("name", "patch_size"), BUILT)
def test_equivariance(name, patch_size):
    net = build(name, patch_size)
    z = torch.rand(2, 2, 9, 8, dtype=torch.float64)
    sigma = torch.tensor([0.1, 0.7], dtype=torch.float64)
    moved = net(z.roll((2, 5), (2, 3)), sigma)
    torch.testing.assert_close(moved, net(z, sigma).roll((2, 5), (2, 3)), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_images_smaller_than_the_patch_wrap_around(name):
    """An image and its periodic tiling are one thing to a circular network, however often the patch wraps."""
    net = build(name, 11)
    z = torch.rand(1, 2, 3, 4, dtype=torch.float64)
    tiled = net(z.repeat(1, 1, 5, 5), 0.2)
    torch.testing.assert_close(net(z, 0.2).repeat(1, 1, 5, 5), tiled, rtol=0, atol=1e-12)


@pytest.mark.parametrize("patch_size", [5, 11])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_sizes(name, patch_size):
    def count(size: str) -> int:
        return sum(p.numel() for p in ARCHITECTURES[name](3, patch_size, size).parameters())

    assert 3.5e6 < count("paper") < 4.5e6
    assert 0.08e6 < count("small") < 0.15e6


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_image_has_its_sigma(name):
    net, z = build(name, 5), torch.rand(2, 2, 8, 8, dtype=torch.float64)
    both = net(z, torch.tensor([0.1, 0.8], dtype=torch.float64))
    torch.testing.assert_close(both[0], net(z[:1], 0.1)[0])
    torch.testing.assert_close(both[1], net(z[1:], 0.8)[0])
    assert (net(z, 0.1) - net(z, 0.8)).abs().max() > 1e-3


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_large_inputs_are_scaled(name):
    """A physics-aware input can be 10^4 times the image scale."""
    net = build(name, 5, 1)
    x = torch.rand(4, 1, 8, 8, dtype=torch.float64)
    net.set_scale(x, 1e4 * x, 1e8)
    assert net(1e4 * x + 1e3 * torch.randn_like(x), 0.1).abs().max() < 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 5), "channels"),
        ((1.5, 5), "channels"),
        ((1, 4), "odd and positive, got 4"),
        ((1, -5), "odd and positive"),
        ((1, 5, "huge"), "'small', 'paper'"),
    ],
)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_bad_arguments(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        ARCHITECTURES[name](*arguments)


def test_bad_inputs():
    net, z = ARCHITECTURES["ResNet"](2, 5), torch.rand(2, 2, 8, 8)
    for bad, sigma, message in (
        (z[:, :1], 0.1, "must have 2 channels"),
        (z.double(), 0.1, "must be torch.float32"),
        (z[0], 0.1, "4-D"),
        (z, 0.0, "finite and positive"),
        (z, torch.ones(3), "shape"),
        (z / 0, 0.1, "finite"),
    ):
        with pytest.raises(ValueError, match=message):
            net(bad, sigma)
