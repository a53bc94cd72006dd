"""Operators with the names of deepinv, which is not imported: they give what the operators of the library give."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, conv2d, pad

import lemmse
from lemmse.physics.foreign import adopted, noise_level
from lemmse.physics.gallery import gaussian_kernel
from tests.conftest import random_images

X = random_images(8, 2, 8, 10)
MASK = (torch.rand(8, 10, generator=torch.Generator().manual_seed(0)) > 0.3).double()
KERNEL = gaussian_kernel(0.8, 1) + torch.tensor([[0.0, 0, 0], [0, 0, 0.3], [0, 0, 0]], dtype=torch.float64)


class GaussianNoise(nn.Module):
    def __init__(self, sigma):
        super().__init__()
        self.register_buffer("sigma", torch.tensor([sigma]))

    def forward(self, x):
        return x + self.sigma * torch.randn_like(x)


class ZeroNoise(nn.Module):
    pass


class PoissonGaussianNoise(nn.Module):
    pass


class LinearPhysics(nn.Module):
    """The names of deepinv: A, A_adjoint, A_dagger, noise_model, and a call that measures."""

    def __init__(self, A, A_adjoint, sigma=0.2):
        super().__init__()
        self._A, self._A_adjoint, self.noise_model = A, A_adjoint, GaussianNoise(sigma)

    def A(self, x, **kwargs):
        return self._A(x)

    def A_adjoint(self, y, **kwargs):
        return self._A_adjoint(y)

    def A_dagger(self, y, **kwargs):
        return self._A_adjoint(y)

    def forward(self, x, **kwargs):
        return self.noise_model(self.A(x))


def circular(x):
    flipped = KERNEL.flip(0, 1).to(x)[None, None].expand(x.shape[1], 1, -1, -1)
    return conv2d(pad(x, (1, 1, 1, 1), "circular"), flipped, groups=x.shape[1])


MATRIX = torch.randn(80, 80, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
PAIRS = {
    "denoising": (LinearPhysics(lambda x: x, lambda y: y), lemmse.Denoising(), ["identity"]),
    "inpainting": (
        LinearPhysics(lambda x: MASK.to(x) * x, lambda y: MASK.to(y) * y),
        lemmse.Inpainting(MASK),
        ["identity", "pinv"],
    ),
    "blur": (LinearPhysics(circular, circular), lemmse.Blur(KERNEL), ["identity", "tikhonov", "adjoint"]),
    "matrix": (
        LinearPhysics(
            lambda x: (x.flatten(2) @ MATRIX.T.to(x)).reshape(x.shape),
            lambda y: (y.flatten(2) @ MATRIX.to(y)).reshape(y.shape),
        ),
        lemmse.Linear(MATRIX),
        ["identity", "tikhonov"],
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_estimators_take_them_for_what_they_are(name):
    foreign, ours, pre_inverses = PAIRS[name]
    y = ours.measure(X[:2], 0.2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(foreign.A(X), ours.A(X))
    for pre_inverse in pre_inverses:
        for make in (lemmse.LocalEquivariantMMSE, lemmse.AffineMMSE):
            found, expected = (make(X, A, patch_size=3, pre_inverse=pre_inverse) for A in (foreign, ours))
            assert type(found.physics) is type(ours)
            torch.testing.assert_close(found(y, 0.2), expected(y, 0.2))
    for make in (lemmse.MMSE, lemmse.EquivariantMMSE):
        torch.testing.assert_close(make(X, foreign)(y, 0.2), make(X, ours)(y, 0.2))


def test_a_kernel_is_no_larger_than_it_has_to_be():
    found = adopted(PAIRS["blur"][0], X)
    assert found.kernel.shape == (3, 3)
    torch.testing.assert_close(found.kernel, KERNEL)


def test_measurements_of_another_size_go_through_a_matrix():
    halve = LinearPhysics(lambda x: avg_pool2d(x, 2), lambda y: y.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4)
    est = lemmse.LocalEquivariantMMSE(X, halve, patch_size=3, pre_inverse="pinv")
    y = est.physics.measure(X[:2], 0.05, generator=torch.Generator().manual_seed(0))
    assert y.shape == (2, 2, 4, 5)
    torch.testing.assert_close(est.physics.A(X), halve.A(X))
    torch.testing.assert_close(est.physics.A_adjoint(y), halve.A_adjoint(y))
    assert est(y, 0.05).shape == (2, 2, 8, 10)


def test_what_is_not_linear_is_asked_as_it_is():
    saturating = LinearPhysics(lambda x: (2 * x).clamp(max=1), lambda y: y)
    assert isinstance(adopted(saturating, X), lemmse.Nonlinear)
    with pytest.raises(ValueError, match="needs a linear physics"):
        lemmse.LocalEquivariantMMSE(X, saturating, patch_size=3, pre_inverse="pinv")
    mixing = LinearPhysics(lambda x: x.flip(1) + x, lambda y: y)  # linear, but channels are not alike
    assert isinstance(adopted(mixing, X), lemmse.Nonlinear)


def test_one_channel_may_be_hidden_where_another_is_seen():
    """A color filter before the sensor, each pixel seen in one color: linear, but channels are not alike."""
    filters = torch.zeros(2, 8, 10, dtype=torch.float64)
    filters[0, ::2], filters[1, 1::2] = 1, 1
    demosaicing = LinearPhysics(lambda x: filters.to(x) * x, lambda y: filters.to(y) * y)
    found = adopted(demosaicing, X)
    torch.testing.assert_close(found.A(X), filters * X)
    assert lemmse.LocalEquivariantMMSE(X, demosaicing, patch_size=3)(filters * X[:2], 0.2).shape == X[:2].shape


def test_a_network_trains_behind_them():
    foreign, ours, _ = PAIRS["inpainting"]
    images = X.float()
    torch.manual_seed(0)
    net = lemmse.PatchMLP(2, 3, "tiny")
    options = {"steps": 2, "progress": False}
    trained = [
        lemmse.train(net, images, A, generator=torch.Generator().manual_seed(0), **options) for A in (foreign, ours)
    ]
    assert torch.equal(*(n(images, 0.1) for n in trained))


@pytest.mark.parametrize("make", [lemmse.LocalEquivariantMMSE, lemmse.AffineMMSE])
def test_estimators_are_denoisers_and_reconstructors(make):
    """deepinv calls a denoiser with a sigma of shape (1,), and a reconstructor with the physics."""
    physics = PAIRS["inpainting"][0]
    est = make(X, physics, patch_size=3)
    y = physics.A(X[:2])
    expected = est(y, 0.2)
    torch.testing.assert_close(est(y, torch.tensor([0.2])), expected)
    torch.testing.assert_close(est(y, torch.tensor([0.2, 0.2])), expected)
    torch.testing.assert_close(est(y, physics), expected)


def test_plug_and_play_with_le_mmse_fills_what_is_not_seen():
    images = lemmse.load_images("photos", count=40, size=24, channels=1)
    x = lemmse.load_images("photos", split="test", count=1, size=32, channels=1)
    g = torch.Generator().manual_seed(0)
    mask = torch.rand(32, 32, generator=g) < 0.5
    physics = LinearPhysics(lambda x: mask * x, lambda y: mask * y, sigma=0.02)
    y = physics.A(x) + 0.02 * torch.randn(x.shape, generator=g)
    denoiser = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=5)
    gray = x_hat = torch.where(mask, y, y[..., mask].mean())
    for sigma in torch.linspace(0.4, 0.05, 8).tolist():
        x_hat = denoiser(x_hat - physics.A_adjoint(physics.A(x_hat) - y), torch.tensor([sigma]))
    assert lemmse.psnr(x_hat, x) > lemmse.psnr(gray, x) + 5


class Broken(LinearPhysics):
    def __init__(self):
        super().__init__(None, None)

    def A(self, x, **kwargs):
        raise RuntimeError("size mismatch\nand more")


def with_noise(model):
    physics = LinearPhysics(lambda x: x, lambda y: y)
    physics.noise_model = model
    return physics


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lemmse.MMSE(X, "denoising"), r"physics must be a lemmse.Physics .* or an object with a function A"),
        (lambda: lemmse.MMSE(X, Broken()), r"A of Broken raises RuntimeError .*: size mismatch$"),
        (lambda: lemmse.MMSE(X, with_noise(PoissonGaussianNoise())), "is PoissonGaussianNoise, but the formulas hold"),
        (lambda: lemmse.MMSE(X, LinearPhysics(lambda x: 3, None)), "must return a measurement for each image"),
        (lambda: noise_level(with_noise(ZeroNoise())), "is ZeroNoise, which has no sigma: pass a number"),
        (
            lambda: lemmse.MMSE(X, LinearPhysics(lambda x: x[..., 1:].exp(), None)),
            "it must keep height and width, or be lin",
        ),
        (
            lambda: lemmse.MMSE(X, LinearPhysics(lambda x: x.flatten(1)[:, :5], lambda y: y)),
            r"A of LinearPhysics returns measurements of shape \(1, 5\) for images of shape \(1, 2, 8, 10\)",
        ),
    ],
)
def test_what_cannot_be_used_is_named(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_an_operator_without_noise_is_taken():
    assert isinstance(adopted(with_noise(ZeroNoise()), X), lemmse.Denoising)


class OnlyA:
    """An operator of which nothing is known but what it measures."""

    def __init__(self, A):
        self.A = A

    def A_adjoint(self, y):
        return y


def hidden_in_place(x):
    x[..., :5] = 0
    return x


def test_an_operator_that_works_in_place_changes_no_image():
    images = X.clone()
    found = adopted(OnlyA(hidden_in_place), images)
    assert isinstance(found, lemmse.Inpainting)
    assert torch.equal(images, X)
    nonlinear = lemmse.Nonlinear(lambda z: z.clamp_(max=0.5))
    assert float(nonlinear.A(images).max()) <= 0.5
    assert torch.equal(images, X)


@pytest.mark.parametrize("A", [torch.abs, lambda z: z.clamp(0, 1)])
def test_an_operator_that_differs_outside_0_to_1_is_not_taken_for_the_identity(A):
    assert isinstance(adopted(OnlyA(A), 2 * X - 1), lemmse.Nonlinear)


def test_an_operator_that_draws_random_numbers_is_refused():
    with pytest.raises(ValueError, match="measures one image in two ways"):
        adopted(OnlyA(lambda z: z + 0.1 * torch.rand_like(z)), X)


def test_an_operator_for_positive_images_only_is_accepted():
    def roots(x):
        if float(x.min()) < 0:
            raise RuntimeError("negative light")
        return x.sqrt()

    assert isinstance(adopted(OnlyA(roots), X), lemmse.Nonlinear)
    with pytest.raises(ValueError, match=r"A of OnlyA raises RuntimeError for images of shape .*: negative light"):
        adopted(OnlyA(roots), X - 1)
