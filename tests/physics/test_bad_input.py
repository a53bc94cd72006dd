"""What operators refuse, each in one line: other types and shapes, values that are no numbers, noise of another law."""

from __future__ import annotations

import pytest
import torch

import lemmse
from lemmse.physics.gallery import gaussian_kernel, make_operator
from lemmse.physics.preinverse import pre_inverse
from tests.conftest import random_images

X = random_images(2, 1, 4, 4)
NAN = torch.full((1, 1, 4, 4), torch.nan)
MASK = torch.ones(4, 4)
LINEAR = lemmse.Linear(0.5 * torch.eye(16))
OPERATORS = {
    "denoising": lemmse.Denoising(),
    "inpainting": lemmse.Inpainting(MASK),
    "blur": lemmse.Blur(gaussian_kernel(0.7, 1)),
    "fourier": lemmse.FourierSampling(MASK),
    "linear": LINEAR,
}


def of_kind(physics, value):
    return value.to(torch.complex64) if isinstance(physics, lemmse.FourierSampling) else value


@pytest.mark.parametrize("method", ["A", "A_adjoint", "A_dagger"])
@pytest.mark.parametrize("name", OPERATORS)
def test_values_and_shapes_that_are_no_measurements(name, method):
    physics = OPERATORS[name]
    call = getattr(physics, method)
    bad = [
        (torch.ones(1, 1, 4, 4, dtype=torch.int64), "must be of dtype"),
        (torch.ones(4, 4), "must be of dtype|must be 4-D|must be 3-D"),
        (None, "must be a torch tensor, got NoneType"),
        (X.numpy(), "torch.from_numpy"),
        (X.to_sparse(), "must be a dense tensor"),
        (X.to("meta"), "meta device"),
        (torch.ones(1, 1, 1, 4, 4), "must be of dtype|must be 4-D|must be 3-D"),
        (torch.ones(0, 1, 4, 4), "must not be empty|must be of dtype"),
    ]
    if method == "A" or name != "fourier":
        bad += [(NAN, "must be finite")]
    else:
        bad += [(NAN.to(torch.complex64), "must be finite")]
    for value, message in bad:
        with pytest.raises(ValueError, match=message) as caught:
            call(value)
        assert len(str(caught.value)) < 300


def test_an_adjoint_of_integers_is_not_zero_but_refused():
    assert torch.equal(LINEAR.A_adjoint(torch.ones(1, 1, 4, 4)), torch.full((1, 1, 4, 4), 0.5))
    with pytest.raises(ValueError, match="must be of dtype"):
        LINEAR.A_adjoint(torch.ones(1, 1, 4, 4, dtype=torch.int64))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lemmse.Denoising().measure(X, 0.1, generator=0), "generator must be a torch.Generator or None, got 0"),
        (lambda: lemmse.Denoising().measure(X, 10**400), "sigma must be finite and positive, got inf"),
        (lambda: lemmse.Denoising().measure(X, "0" * 9999), "sigma must be a number"),
        (lambda: lemmse.Denoising().measure(X, torch.ones(2).to_sparse()), "sigma must be a dense tensor"),
        (lambda: lemmse.Denoising().measure(X, torch.ones(2, device="meta")), "meta device"),
        (lambda: lemmse.Linear(MASK, shape=(3,)), r"shape must be a pair \(H, W\), got \(3,\)"),
        (lambda: lemmse.Linear(MASK, shape=(3, 3)), "shape must have the 4 pixels"),
        (lambda: lemmse.Linear(MASK, shape=("2", 2)), "shape must be an integer"),
        (lambda: lemmse.Linear(MASK.to_sparse()), "matrix must be a dense tensor"),
        (lambda: lemmse.Blur(MASK.to("meta")), "kernel must hold values"),
        (lambda: lemmse.Blur(MASK.numpy()), "torch.from_numpy"),
        (lambda: lemmse.Inpainting(MASK.to_sparse()), "mask must be a dense tensor"),
        (lambda: lemmse.Inpainting(MASK.to(torch.complex64)), "real"),
        (lambda: make_operator("denoising", "8", 8, torch.Generator()), "height must be an integer of at least 1"),
        (lambda: make_operator("denoising", 8, 8.0, torch.Generator()), "width must be an integer of at least 1"),
        (lambda: make_operator("denoising", 8, 8, None), "generator must be a torch.Generator, got None"),
        (lambda: make_operator(["denoising"] * 999, 8, 8, torch.Generator()), "unknown operator"),
        (lambda: pre_inverse(LINEAR, "tikhonov", (4, 4), tikhonov_lambda=10**400), "tikhonov_lambda must be a finite"),
        (lambda: pre_inverse(LINEAR, "pinv", (4, 4), rtol=2.0), "rtol must be less than 1"),
        (lambda: lemmse.Physics().A(X), "Physics has no A: use Denoising"),
        (lambda: lemmse.Physics().measure(X, 0.1), "Physics has no A: use Denoising"),
        (lambda: lemmse.Physics().A_adjoint(X), "Physics has no A_adjoint"),
        (lambda: lemmse.Physics().A_dagger(X), "Physics has no A_dagger"),
        (lambda: lemmse.MMSE(X, lemmse.Physics()), "Physics has no A: use Denoising"),
    ],
)
def test_one_line_that_names_the_value(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


class PoissonNoise:
    pass


class GaussianNoise:
    pass


class Counting(lemmse.Denoising):
    def measure(self, x, sigma, generator=None):
        return torch.poisson(x / sigma) * sigma


@pytest.mark.parametrize("kind", [lemmse.MMSE, lemmse.EquivariantMMSE])
def test_noise_of_another_law_is_named(kind):
    with pytest.warns(UserWarning, match="Counting has a measure of its own"):
        kind(X, Counting())
    physics = lemmse.Denoising()
    physics.noise_model = PoissonNoise()
    with pytest.raises(ValueError, match="noise model of Denoising is PoissonNoise"):
        kind(X, physics)
    physics.noise_model = GaussianNoise()
    kind(X, physics)


def test_ordinary_operators_give_no_warning(recwarn):
    for physics in OPERATORS.values():
        lemmse.MMSE(X, physics)
    assert not recwarn.list


def test_all_frequencies_lost_leave_the_mean():
    """A mask of zeros behind its pseudo-inverse: rank 0, so that every training image weighs the same."""
    physics = lemmse.FourierSampling(torch.zeros(4, 4))
    y = physics.measure(X, 0.1, generator=torch.Generator().manual_seed(0))
    for dtype in (torch.float64, torch.float32):
        x, z = X.to(dtype), y.to(torch.complex128 if dtype == torch.float64 else torch.complex64)
        mean = x.mean((0, 2, 3))[None, :, None, None].expand_as(x)
        local = lemmse.LocalEquivariantMMSE(x, physics, patch_size=3, pre_inverse="pinv").posterior(z, 0.1, top_k=1)
        torch.testing.assert_close(local.mean, mean)
        assert local.log_density.abs().max() < 1e-6  # a density on a point
        torch.testing.assert_close(lemmse.EquivariantMMSE(x, physics, pre_inverse="pinv")(z, 0.1), mean)
        torch.testing.assert_close(
            lemmse.MMSE(x, physics, pre_inverse="pinv")(z, 0.1), x.mean(0, keepdim=True).expand_as(x)
        )
