"""Forward operators: adjoints, pseudo-inverses, the definition of the convolution, the noise, bad input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lemmse
from lemmse.physics.gallery import (
    FOURIER,
    HIDDEN,
    OPERATORS,
    disk_kernel,
    gaussian_kernel,
    make_operator,
    motion_kernel,
)
from lemmse.physics.preinverse import pre_inverse
from tests import oracle
from tests.conftest import random_images


def linear(name: str, height: int, width: int, seed: int):
    g = torch.Generator().manual_seed(seed)
    mask = torch.rand(height, width, generator=g) < 0.6
    return {
        "denoising": lambda: lemmse.Denoising(),
        "inpainting": lambda: lemmse.Inpainting(mask),
        "blur": lambda: lemmse.Blur(torch.randn(min(3, height), min(4, width), generator=g, dtype=torch.float64)),
        "fourier": lambda: lemmse.FourierSampling(mask),
        "linear": lambda: lemmse.Linear(torch.randn(height * width, height * width, generator=g).double()),
        "motion": lambda: lemmse.Blur(motion_kernel(min(7, (min(height, width) - 1) // 2 * 2 + 1), seed % 360)),
        "defocus": lambda: lemmse.Blur(disk_kernel(min(2.5, (min(height, width) - 1) / 2 or 0.5))),
        "tall matrix": lambda: lemmse.Linear(
            torch.randn(height * width + 3, height * width, generator=g).double(), (height, width)
        ),
    }[name]()


NAMES = ["denoising", "inpainting", "blur", "fourier", "linear", "motion", "defocus"]
LINEAR = [*NAMES, "tall matrix"]


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(LINEAR),
    height=st.integers(2, 8),
    width=st.integers(2, 8),
    seed=st.integers(0, 10**6),
)
def test_adjoint(name, height, width, seed):
    physics = linear(name, height, width, seed)
    x = random_images(2, 3, height, width, seed=seed)
    y = physics.measure(random_images(2, 3, height, width, seed=seed + 1), 1.0)
    left = (physics.A(x) * y.conj()).real.sum()
    torch.testing.assert_close(left, (x * physics.A_adjoint(y)).sum(), rtol=1e-9, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(LINEAR),
    height=st.integers(2, 8),
    width=st.integers(2, 8),
    seed=st.integers(0, 10**6),
)
def test_pseudo_inverse(name, height, width, seed):
    """A A+ A = A, A+ A A+ = A+, and A+ A is symmetric."""
    physics = linear(name, height, width, seed)
    x, u = random_images(2, 1, height, width, seed=seed)[:1], random_images(2, 1, height, width, seed=seed + 1)[1:]
    y = physics.A(x)
    torch.testing.assert_close(physics.A(physics.A_dagger(y)), y, rtol=0, atol=1e-6)
    back = physics.A_dagger(y)
    torch.testing.assert_close(physics.A_dagger(physics.A(back)), back, rtol=1e-6, atol=1e-6)
    projected = physics.A_dagger(physics.A(u))
    torch.testing.assert_close((projected * x).sum(), (u * back).sum(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (1, 5), (6, 7)])
def test_blur_is_the_convolution_of_the_contract(shape):
    kernel = torch.rand(shape, dtype=torch.float64)
    x = random_images(2, 2, 6, 7)
    expected = (x.flatten(2).numpy() @ oracle.blur_matrix(kernel.numpy(), 6, 7).T).reshape(x.shape)
    torch.testing.assert_close(lemmse.Blur(kernel).A(x), torch.from_numpy(expected))


def test_fourier_is_the_transform_of_the_contract():
    mask = torch.rand(5, 6) < 0.5
    x = random_images(1, 1, 5, 6)
    found = lemmse.FourierSampling(mask).A(x).flatten()
    expected = oracle.fourier_matrix(mask.double().numpy()) @ x.flatten().numpy()
    torch.testing.assert_close(torch.cat([found.real, found.imag]), torch.from_numpy(expected))


@pytest.mark.parametrize("name", NAMES)
def test_noise_is_white_everywhere_and_repeats(name):
    physics, x = linear(name, 8, 8, 1), random_images(400, 1, 8, 8)
    y = physics.measure(x, 0.3, generator=torch.Generator().manual_seed(4))
    assert torch.equal(y, physics.measure(x, 0.3, generator=torch.Generator().manual_seed(4)))
    noise = y - physics.A(x)
    for part in (noise.real, noise.imag) if noise.is_complex() else (noise,):
        assert ((part.std(0) / 0.3 - 1).abs() < 0.25).all()  # each measurement, unseen ones too


def test_sigma_for_each_image():
    x = random_images(2, 1, 40, 40)
    noise = lemmse.Denoising().measure(x, torch.tensor([0.1, 0.4])) - x
    torch.testing.assert_close(noise.std((1, 2, 3)), torch.tensor([0.1, 0.4]).double(), rtol=0.1, atol=0)


@pytest.mark.parametrize("name", ["pinv", "tikhonov", "adjoint"])
@pytest.mark.parametrize("family", ["inpainting", "blur", "fourier", "linear"])
def test_noise_variance_of_the_pre_inverse(family, name):
    physics = linear(family, 6, 6, 2)
    B = pre_inverse(physics, name, (6, 6))
    zero = torch.zeros(4000, 1, 6, 6, dtype=torch.float64)
    measured = B(physics.measure(zero, 1.0, generator=torch.Generator().manual_seed(0))).square().mean()
    torch.testing.assert_close(float(measured), B.noise_variance, rtol=0.1, atol=1e-9)


@pytest.mark.parametrize("device", ["cuda"])
def test_on_a_gpu(device):
    if not torch.cuda.is_available():
        pytest.skip("no GPU on this machine")
    x = random_images(3, 1, 8, 8).to(device)
    for name in NAMES:
        physics = linear(name, 8, 8, 0)
        y = physics.measure(x, 0.1)
        for pre in ("identity", "pinv"):
            est = lemmse.LocalEquivariantMMSE(x, physics, patch_size=3, pre_inverse=pre)
            cpu = lemmse.LocalEquivariantMMSE(x.cpu(), physics, patch_size=3, pre_inverse=pre)
            torch.testing.assert_close(est(y, 0.1).cpu(), cpu(y.cpu(), 0.1), rtol=0, atol=1e-9)


def test_ambiguous_rank_warns_with_the_value():
    matrix = torch.diag(torch.tensor([1.0, 1.5e-6, 0.0, 1.0], dtype=torch.float64))
    with pytest.warns(UserWarning, match=r"ambiguous rank: singular value 1\.5e-06"):
        lemmse.Linear(matrix).A_dagger(torch.ones(1, 1, 2, 2, dtype=torch.float64))
    kernel = gaussian_kernel(2.0, 6)
    with pytest.warns(UserWarning, match="ambiguous rank"):
        lemmse.LocalEquivariantMMSE(random_images(2, 1, 32, 32), lemmse.Blur(kernel), patch_size=3, pre_inverse="pinv")


def test_blur_of_one_pixel_is_not_ambiguous(recwarn):
    physics = lemmse.Blur(gaussian_kernel(1.0, 3))
    lemmse.LocalEquivariantMMSE(random_images(2, 1, 32, 32), physics, patch_size=5, pre_inverse="pinv")
    assert not recwarn.list


@pytest.mark.parametrize("kind", [lemmse.Inpainting, lemmse.FourierSampling])
@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.full((4, 4), 0.5), "only 0 and 1"),
        (torch.full((4, 4), torch.nan), "only 0 and 1"),
        (torch.ones(3, 4, 4), "same for all channels"),
        (torch.ones(2, 1, 4, 4), "shape"),
        (torch.ones(4), "shape"),
        (torch.ones(0, 4), "shape"),
        ([[1, 0]], "torch tensor"),
    ],
)
def test_bad_masks(kind, mask, message):
    with pytest.raises(ValueError, match=message):
        kind(mask)


@pytest.mark.parametrize("shape", [(4, 5), (1, 4, 5), (1, 1, 4, 5)])
def test_good_masks(shape):
    assert lemmse.Inpainting(torch.ones(shape, dtype=torch.bool)).mask.shape == (4, 5)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (torch.zeros(3, 3), "all zero"),
        (torch.full((3, 3), torch.nan), "finite"),
        (torch.ones(3), "shape"),
        (torch.ones(1, 1, 3, 3), "shape"),
        (torch.ones(0, 3), "shape"),
        ("gauss", "tensor"),
    ],
)
def test_bad_kernels(kernel, message):
    with pytest.raises(ValueError, match=message):
        lemmse.Blur(kernel)


def test_what_a_nonlinear_map_lacks():
    physics, x = lemmse.Nonlinear(lambda v: v[..., ::2]), random_images(1, 1, 4, 4)
    for call in (physics.A_adjoint, physics.A_dagger):
        with pytest.raises(ValueError, match="nonlinear map has no"):
            call(x)
    with pytest.raises(ValueError, match="must keep the batch, height and width"):
        physics.A(x)
    with pytest.raises(ValueError, match="callable"):
        lemmse.Nonlinear(3)


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), torch.ones(3)])
def test_measure_refuses_bad_sigma(sigma):
    with pytest.raises(ValueError, match="sigma must be"):
        lemmse.Denoising().measure(random_images(2, 1, 4, 4), sigma)


def test_bad_matrices():
    for matrix, message in ((torch.ones(3), "shape"), (torch.full((2, 4), torch.inf), "finite"), (None, "tensor")):
        with pytest.raises(ValueError, match=message):
            lemmse.Linear(matrix)
    rectangular = lemmse.Linear(torch.randn(6, 16, dtype=torch.float64))
    x = random_images(3, 1, 4, 4)
    assert rectangular.A(x).shape == (3, 1, 6)
    with pytest.raises(ValueError, match="'identity' needs measurements of image size"):
        lemmse.LocalEquivariantMMSE(x, rectangular, patch_size=3)
    y = rectangular.measure(x, 0.1)
    assert lemmse.LocalEquivariantMMSE(x, rectangular, patch_size=3, pre_inverse="pinv")(y, 0.1).shape == x.shape
    with pytest.raises(ValueError, match="pass Linear"):
        lemmse.Linear(torch.randn(3, 15)).A_adjoint(torch.ones(1, 1, 3))


def test_named_operators():
    g = torch.Generator().manual_seed(0)
    masks = {name: make_operator(name, 32, 40, g) for name in OPERATORS}
    assert int((masks["centre inpainting"].mask == 0).sum()) == 15 * 15
    assert int((masks["random inpainting"].mask == 0).sum()) == round(HIDDEN * 32 * 40)
    torch.testing.assert_close(float(masks["Gaussian blur"].kernel.sum()), 1.0)
    with pytest.raises(ValueError, match="'denoising', 'centre inpainting'"):
        make_operator("sharpening", 8, 8, g)


@pytest.mark.parametrize("width", [1, 2, 7, 28, 40])
def test_fourier_columns_are_sampled_in_pairs_so_that_no_frequency_is_half_seen(width):
    physics = make_operator(FOURIER, 6, width, torch.Generator().manual_seed(0))
    t = physics.normal_spectrum(6, width)
    assert set(t.unique().tolist()) <= {0.0, 1.0}
    assert t[0, 0] == 1
    assert (t == t[:1]).all()
    if width == 28:
        assert int(t[0].sum()) in (7 + 2 * 3, 7 + 2 * 3 - 1)  # the highest frequency is its own mirror image
