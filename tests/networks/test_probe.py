"""`probe` on networks whose receptive field, border rule and window are known by construction."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate

import lemmse
from lemmse.networks.borders import EQUAL
from lemmse.networks.calling import accepts_sigma


def conv_stack(kernels: list[int], padding_mode: str, channels: int = 1, seed: int = 0) -> nn.Module:
    """Convolutions with rectifiers between them: a receptive field of 1 + sum (k - 1)."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    sizes = [channels, *[8] * (len(kernels) - 1), channels]
    for i, kernel in enumerate(kernels):
        layers += [nn.Conv2d(sizes[i], sizes[i + 1], kernel, padding=kernel // 2, padding_mode=padding_mode), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


@pytest.mark.parametrize("padding_mode", ["circular", "zeros", "reflect", "replicate"])
@pytest.mark.parametrize("kernels", [[3], [3, 3, 1], [5, 3], [3, 3, 3, 3, 3]])
def test_field_and_border_of_stacked_convolutions(kernels, padding_mode):
    measured = lemmse.probe(conv_stack(kernels, padding_mode))
    field = 1 + sum(k - 1 for k in kernels)
    assert measured.receptive_field == field
    assert measured.rows == measured.columns == (-(field // 2), field // 2)
    assert measured.border == padding_mode
    assert measured.equivariance_inside < EQUAL
    assert (measured.equivariance_border < EQUAL) == (padding_mode == "circular")
    assert not measured.takes_sigma
    assert measured.statistics == ()
    assert measured.is_local_equivariant


@pytest.mark.parametrize("architecture", ["UNet", "ResNet", "PatchMLP"])
@pytest.mark.parametrize("patch_size", [5, 11])
def test_our_own_networks_are_what_they_promise(architecture, patch_size):
    torch.manual_seed(0)
    measured = lemmse.probe(getattr(lemmse, architecture)(2, patch_size).eval(), channels=2)
    assert measured.receptive_field == patch_size
    assert measured.border == "circular"
    assert measured.takes_sigma
    assert measured.depends_on_sigma
    assert measured.is_local_equivariant


def test_an_off_center_field_is_seen_as_it_is():
    measured = lemmse.probe(lambda z: z.roll((2, -1), (-2, -1)))
    assert (measured.rows, measured.columns) == ((-2, -2), (1, 1))
    assert measured.receptive_field == 5


def test_a_pointwise_network_sees_no_border():
    measured = lemmse.probe(nn.Conv2d(3, 3, 1).eval(), channels=3)
    assert (measured.receptive_field, measured.border) == (1, "none")


def test_statistics_of_the_image_break_locality():
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Conv2d(4, 1, 1)).eval()
    measured = lemmse.probe(net)
    assert measured.receptive_field is None
    assert measured.statistics == ("1 (GroupNorm)",)
    assert not measured.is_local_equivariant


def test_a_network_with_pooling_is_not_equivariant():
    measured = lemmse.probe(lambda z: interpolate(avg_pool2d(z, 2), scale_factor=2, mode="nearest"))
    assert measured.receptive_field == 3  # the union over output pixels of both parities
    assert measured.equivariance_inside > 0.1


def test_dependence_on_the_batch_is_seen():
    assert lemmse.probe(lambda z: z - z.mean(0, keepdim=True)).depends_on_batch
    assert not lemmse.probe(lambda z: 2 * z).depends_on_batch


def test_an_ignored_sigma_is_seen():
    measured = lemmse.probe(lambda z, sigma: z)
    assert measured.takes_sigma
    assert not measured.depends_on_sigma


def test_a_function_without_derivative_is_asked_by_replacing_pixels():
    kernel = torch.ones(1, 1, 5, 3) / 15

    @torch.no_grad()
    def box(z):
        return nn.functional.conv2d(z, kernel, padding=(2, 1))

    measured = lemmse.probe(box)
    assert (measured.rows, measured.columns) == ((-2, 2), (-1, 1))
    assert measured.effective_window is None
    with pytest.raises(ValueError, match="cannot differentiate"):
        measured.effective_radius(0.1)


def test_the_effective_window_of_a_known_filter():
    """A filter whose 3 x 3 ring has energy 8 a^2 and whose center has 1: the shares follow."""
    weights = torch.zeros(1, 1, 5, 5)
    weights[..., 1:4, 1:4] = 0.1
    weights[..., 2, 2] = 1.0
    weights[..., 0, 0] = 0.01
    net = nn.Conv2d(1, 1, 5, padding=2, padding_mode="circular", bias=False).eval()
    with torch.no_grad():
        net.weight.copy_(weights)
    table = lemmse.probe(net, sigmas=[0.2]).effective_window
    total = 1 + 8 * 0.01 + 1e-4
    expected = [1 / total, 1.08 / total, 1.0]
    assert table.share[:3].tolist() == pytest.approx(expected, abs=1e-6)
    assert lemmse.probe(net, sigmas=[0.2]).effective_radius(0.2) == 1


def test_torchscript_is_probed_too():
    measured = lemmse.probe(torch.jit.script(conv_stack([3, 3], "zeros")))
    assert measured.receptive_field == 5


def test_double_precision_networks():
    assert lemmse.probe(conv_stack([3, 3], "reflect").double()).receptive_field == 5


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (lambda z: z[..., 1:-1, 1:-1], "keep the batch, height and width"),
        (lambda z: z * float("nan"), "returns NaN or infinity"),
        (lambda z: "no tensor", "must return a tensor"),
        (lambda z: 1 / 0, "raises ZeroDivisionError"),
        (nn.Conv2d(3, 3, 1).eval(), "raises RuntimeError"),
        (nn.Sequential(nn.BatchNorm2d(1)), "training mode"),
        (7, "must be a torch.nn.Module or a function"),
    ],
)
def test_bad_networks_are_refused_in_one_line(net, message):
    with pytest.raises(ValueError, match=message) as error:
        lemmse.probe(net)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "arguments", [{"channels": 0}, {"sigma": -1}, {"sigmas": [0.0]}, {"images": torch.zeros(2, 3, 8, 8)}]
)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="must"):
        lemmse.probe(lambda z: z, **arguments)


def test_the_words_name_what_was_measured():
    words = str(lemmse.probe(conv_stack([3, 3], "zeros")))
    assert "5 x 5 pixels" in words
    assert "'zeros'" in words


def test_what_counts_as_the_noise_level():
    """A second argument without a default, or with the name of one; and the network inside a wrapper of torch."""

    def residual(z, residual=True):
        return 0.5 * z if residual is True else 0 * z

    def told(z, sigma=0.1):
        return z * sigma

    def mapped(z, noise_level_map=None):
        return z

    def noisy(z, add_noise=False):
        return z

    net = nn.Conv2d(1, 1, 3, padding=1).eval()
    assert not accepts_sigma(residual)
    assert accepts_sigma(told)
    assert accepts_sigma(mapped)
    assert not accepts_sigma(noisy)
    assert accepts_sigma(lambda z, t: z)
    assert not accepts_sigma(nn.DataParallel(net))
    assert not accepts_sigma(torch.compile(net))
    assert accepts_sigma(torch.compile(lemmse.PatchMLP(1, 3)))
    assert not accepts_sigma(lambda *inputs: inputs[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigmas": 0.1}, "sigmas must be a list of numbers, got 0.1"),
        ({"generator": 3}, "generator must be a torch.Generator or None, got 3"),
        ({"net": lambda z: z + torch.rand_like(z)}, "net gives two different answers"),
        ({"net": nn.InstanceNorm2d(1, track_running_stats=True).train()}, "net is in training mode"),
    ],
)
def test_bad_arguments_of_probe(options, message):
    with pytest.raises(ValueError, match=message):
        lemmse.probe(**{"net": lambda z: z, **options})


def test_without_noise_levels_there_is_no_effective_window():
    found = lemmse.probe(lambda z: z, sigmas=())
    assert found.effective_window is None
    assert "receptive field is 1 x 1" in str(found)
    with pytest.raises(ValueError, match="was not measured"):
        found.effective_radius(0.1)
    with pytest.raises(ValueError, match=r"share must be in \(0, 1\), got 2"):
        lemmse.probe(lambda z: z).effective_radius(0.1, share=2)
