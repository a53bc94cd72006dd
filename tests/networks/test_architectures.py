"""Networks: the receptive field is exactly P x P, they commute with translations, and bad input is refused."""

from __future__ import annotations

import pytest
import torch

from lemmse.networks.architectures import ARCHITECTURES, PADDINGS

BUILT = [(name, p) for name in ARCHITECTURES for p in (1, 3, 5, 7, 9, 11, 17)]


def build(name: str, patch_size: int, channels: int = 2, **options) -> torch.nn.Module:
    torch.manual_seed(0)
    return ARCHITECTURES[name](channels, patch_size, **options).double()


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("name", "patch_size"), BUILT)
def test_receptive_field_is_exactly_the_patch(name, patch_size, padding):
    net, size = build(name, patch_size, padding=padding), patch_size + 4
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


@pytest.mark.parametrize(("name", "patch_size"), BUILT)
def test_zero_padding_sees_the_window_and_the_border_and_nothing_else(name, patch_size):
    """Output pixels are equal where the patches are equal and leave the image at the same pixels, and only there."""
    net, half = build(name, patch_size, padding="zeros"), patch_size // 2
    generator = torch.Generator().manual_seed(0)
    z = torch.rand(1, 2, patch_size + 6, patch_size + 5, dtype=torch.float64, generator=generator)
    whole = net(z, 0.3)
    cut = net(z[:, :, :-2, 1:], 0.3)  # two rows fewer below, one column fewer at the left
    rows, columns = z.shape[2] - 2 - half, slice(half, None)  # windows that meet neither cut
    torch.testing.assert_close(cut[:, :, :rows, columns], whole[:, :, :rows, 1:][:, :, :, columns], rtol=0, atol=1e-12)
    if patch_size > 1:
        assert (cut - whole[:, :, :-2, 1:])[:, :, rows:].abs().max() > 1e-6
        assert (cut - whole[:, :, :-2, 1:])[:, :, :, :half].abs().max() > 1e-6


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_zero_padding_with_an_image_smaller_than_the_patch(name):
    """A pixel knows how far all borders are: a constant image gives a picture with the symmetry of its frame only."""
    net = build(name, 11, 1, padding="zeros")
    assert net(torch.full((1, 1, 3, 4), 0.2, dtype=torch.float64), 0.3).unique().numel() > 1
    assert build(name, 11, 1)(torch.full((1, 1, 3, 4), 0.2, dtype=torch.float64), 0.3).std() < 1e-12


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_blind_network_ignores_sigma(name):
    net, z = build(name, 5, blind=True), torch.rand(2, 2, 8, 8, dtype=torch.float64)
    assert torch.equal(net(z, 0.1), net(z, torch.tensor([0.5, 0.9], dtype=torch.float64)))
    assert torch.equal(net(z), net(z, 0.1))
    with pytest.raises(ValueError, match="sigma is missing"):
        build(name, 5)(z)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(("channels", "target_channels"), [(1, 3), (3, 1), (2, 5)])
def test_other_channels_out_than_in(name, channels, target_channels):
    net = build(name, 3, channels, target_channels=target_channels)
    z = torch.rand(2, channels, 8, 8, dtype=torch.float64)
    net.set_scale(torch.rand(2, target_channels, 8, 8, dtype=torch.float64), z, 1.0)
    assert net(z, 0.1).shape == (2, target_channels, 8, 8)


def test_the_scales_are_those_of_the_best_affine_gain():
    """a minimizes E (t - mu_t - a (z - mu_z))^2, and s^2 is that minimum; by brute force on a large sample."""
    g = torch.Generator().manual_seed(0)
    t = torch.rand(4000, 1, 5, 5, generator=g, dtype=torch.float64)
    signal = 3 * t + 0.1 * torch.randn(t.shape, generator=g, dtype=torch.float64)
    net = build("PatchMLP", 3, 1)
    net.set_scale(t, signal, 4.0)
    z = signal + 2 * 0.3 * torch.randn(t.shape, generator=g, dtype=torch.float64)
    gain, input_scale, spread = (v.item() for v in net.scales(torch.tensor([0.3], dtype=torch.float64)))
    centered_z, centered_t = z - z.mean(), t - t.mean()
    best = float((centered_z * centered_t).mean() / centered_z.square().mean())
    assert gain == pytest.approx(best, rel=0.01)
    assert spread == pytest.approx(float((centered_t - best * centered_z).square().mean().sqrt()), rel=0.01)
    assert input_scale == pytest.approx(float(1 / centered_z.std()), rel=0.01)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_network_is_built_again_from_its_config(name):
    for options in ({}, {"padding": "zeros", "blind": True, "target_channels": 4}):
        net = build(name, 5, 1, size="tiny", **options)
        again = ARCHITECTURES[name](**net.config()).double()
        again.load_state_dict(net.state_dict())
        z = torch.rand(1, 1, 6, 6, dtype=torch.float64)
        assert torch.equal(net(z, 0.2), again(z, 0.2))


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
    assert 0.3e6 < count("medium") < 0.55e6
    assert 0.08e6 < count("small") < 0.15e6
    assert 0.01e6 < count("tiny") < 0.04e6


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
        ((1, 5, "huge"), "'tiny', 'small', 'medium', 'paper'"),
    ],
)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_bad_arguments(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        ARCHITECTURES[name](*arguments)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"padding": "reflect"}, "unknown padding 'reflect': choose one of 'circular', 'zeros'"),
        ({"blind": 1}, "blind must be True or False"),
        ({"target_channels": 0}, "target_channels must be"),
    ],
)
def test_bad_options(option, message):
    with pytest.raises(ValueError, match=message):
        ARCHITECTURES["UNet"](1, 5, **option)


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
