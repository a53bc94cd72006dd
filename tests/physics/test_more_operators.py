"""Fewer pixels, defocus, motion and tomography: what they are, their adjoints, pseudo-inverses, and the formula."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import radon

import lemmse
from lemmse.physics.gallery import MORE, disk_kernel, make_operator, motion_kernel, radon_matrix
from tests.conftest import random_images


@settings(max_examples=30, deadline=None)
@given(
    factor=st.integers(2, 4),
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    channels=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_fewer_pixels(factor, rows, columns, channels, seed):
    """Means of blocks; <A x, y> = <x, A^T y>; A A+ = I and A+ A is a symmetric projection; the matrix is the map."""
    physics = lemmse.Downsampling(factor)
    x, u = (random_images(1, channels, factor * rows, factor * columns, seed=seed + i) for i in range(2))
    y = physics.A(x)
    blocks = x.reshape(1, channels, rows, factor, columns, factor)
    torch.testing.assert_close(y, blocks.mean((3, 5)))
    v = random_images(1, channels, rows, columns, seed=seed)
    torch.testing.assert_close((y * v).sum(), (x * physics.A_adjoint(v)).sum())
    torch.testing.assert_close(physics.A(physics.A_dagger(v)), v)
    projected = physics.A_dagger(physics.A(u))
    torch.testing.assert_close((projected * x).sum(), (u * physics.A_dagger(y)).sum())
    matrix = physics.matrix_on(*x.shape[2:])
    torch.testing.assert_close((x.flatten(2) @ matrix.T).reshape(y.shape), y)
    torch.testing.assert_close(physics.upsampling_on(*x.shape[2:]), torch.linalg.pinv(matrix))


@pytest.mark.parametrize("name", ["identity", "pinv", "tikhonov", "adjoint"])
@pytest.mark.parametrize("patch_size", [1, 3, 5])
def test_super_resolution_is_the_formula_of_the_matrix(name, patch_size):
    """Aware and agnostic: the up-sampled measurement is what both see, and the oracle gets the matrices."""
    x = random_images(4, 1, 6, 4)
    physics = lemmse.Downsampling(2)
    y = physics.measure(x[:2], 0.2, generator=torch.Generator().manual_seed(0))
    est = lemmse.LocalEquivariantMMSE(x, physics, patch_size=patch_size, pre_inverse=name)
    A = physics.matrix_on(6, 4)
    B = {
        "identity": physics.upsampling_on(6, 4),
        "pinv": torch.linalg.pinv(A),
        "adjoint": A.T,
        "tikhonov": A.T @ torch.linalg.inv(A @ A.T + 1e-2 * torch.eye(6, dtype=torch.float64)),
    }[name]
    torch.testing.assert_close(est.pre_inverse(y).flatten(1), y.flatten(1) @ B.T)
    expected = written_out(x, y, A, B, 0.2, patch_size)
    torch.testing.assert_close(est(y, 0.2), expected, rtol=0, atol=1e-8)


def written_out(images, y, A, B, sigma, patch_size):
    """LE-MMSE from its definition with plain matrices, one position at a time; one channel."""
    height, width = images.shape[2:]
    reach = range(-(patch_size // 2), patch_size // 2 + 1)
    pixels = range(height * width)
    ordered = [
        list(dict.fromkeys((m // width + r) % height * width + (m % width + c) % width for r in reach for c in reach))
        for m in pixels
    ]
    Q = [B[w] for w in ordered]
    projectors = [q @ torch.linalg.pinv(q) for q in Q]
    x, keys = images.flatten(1), images.flatten(1) @ A.T @ B.T
    z = y.flatten(1) @ B.T
    out = torch.zeros(len(y), len(pixels), dtype=torch.float64)
    for m in range(height * width):
        rivals = [
            k for k in range(height * width) if Q[k].shape == Q[m].shape and projectors[k].allclose(projectors[m])
        ]
        logits, values = [], []
        for k in rivals:
            inverse = torch.linalg.pinv(Q[k])
            s = torch.linalg.svdvals(Q[k])
            log_pdet = s[s > 1e-9].log().sum()
            d = (z[:, None, ordered[m]] - keys[None][:, :, ordered[k]]) @ inverse.T
            logits.append(-d.square().sum(-1) / (2 * sigma**2) - log_pdet)
            values.append(x[:, k])
        weights = torch.softmax(torch.cat(logits, 1), 1)
        out[:, m] = weights @ torch.cat(values)
    return out.reshape(len(y), 1, height, width)


def test_a_disk_is_covered_as_geometry_says():
    for radius in (0.5, 1.0, 2.5, 3.2):
        kernel = disk_kernel(radius)
        assert kernel.sum() == pytest.approx(1)
        assert torch.equal(kernel, kernel.T)
        assert torch.equal(kernel, kernel.flip(0))
        center = kernel.shape[0] // 2
        if radius > math.sqrt(0.5):
            assert kernel[center, center] == pytest.approx(1 / (math.pi * radius**2), rel=1e-2)
        assert kernel.shape[0] / 2 >= radius > kernel.shape[0] / 2 - 1


def test_a_path_has_its_length_and_direction():
    for length in (1, 3, 7, 11):
        kernel = motion_kernel(length, 0.0)
        expected = torch.zeros(length, length, dtype=torch.float64)
        expected[length // 2] = 1 / length
        torch.testing.assert_close(kernel, expected)
        torch.testing.assert_close(motion_kernel(length, 90.0), kernel.T)
        torch.testing.assert_close(motion_kernel(length, 210.0), motion_kernel(length, 30.0))
    rising = motion_kernel(5, 45.0)
    assert rising[0, 4] < rising[1, 3] / 4  # the path of 5 pixels ends before the corner of the square
    assert rising[0, 0] == rising[1, 1] == 0
    assert rising.sum() == pytest.approx(1)


def test_the_matrix_of_scikit_image_is_its_transform():
    x = random_images(1, 1, 16, 16)
    matrix = radon_matrix(16, 16, 12)
    theta = [15.0 * turn for turn in range(12)]
    expected = torch.from_numpy(radon(x[0, 0].numpy(), theta=theta, circle=False)).T.flatten()
    torch.testing.assert_close(matrix @ x.flatten(), expected)


@pytest.mark.parametrize("name", MORE)
def test_the_gallery_has_adjoints_and_pseudo_inverses(name):
    physics = make_operator(name, 16, 16, torch.Generator())
    x, u = (random_images(1, 2, 16, 16, seed=seed) for seed in range(2))
    y = physics.measure(x, 0.5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close((physics.A(u) * y).sum(), (u * physics.A_adjoint(y)).sum())
    clean = physics.A(x)
    torch.testing.assert_close(physics.A(physics.A_dagger(clean)), clean, rtol=0, atol=1e-6)
    back = physics.A_dagger(clean)
    torch.testing.assert_close(physics.A_dagger(physics.A(back)), back, rtol=0, atol=1e-6)
    torch.testing.assert_close((physics.A_dagger(physics.A(u)) * x).sum(), (u * back).sum(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", MORE)
def test_estimators_take_the_gallery(name):
    images = random_images(6, 1, 16, 16)
    physics = make_operator(name, 16, 16, torch.Generator())
    y = physics.measure(images[:1], 0.005, generator=torch.Generator().manual_seed(0))
    agnostic = [] if name == "tomography" else ["identity"]
    for pre_inverse in (*agnostic, "tikhonov"):
        est = lemmse.LocalEquivariantMMSE(images, physics, patch_size=5, pre_inverse=pre_inverse)
        affine = lemmse.AffineMMSE(images, physics, patch_size=3, pre_inverse=pre_inverse)
        assert lemmse.psnr(est(y, 0.005), images[:1]) > 30  # a training image comes back
        assert lemmse.psnr(affine(y, 0.005), images[:1]) > 15


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lemmse.Downsampling(1), "factor must be an integer of at least 2"),
        (lambda: lemmse.Downsampling(2).A(torch.zeros(1, 1, 4, 5)), "multiples of the factor 2, got 4 x 5"),
        (lambda: lemmse.MMSE(torch.zeros(2, 1, 4, 5), lemmse.Downsampling(2)), "multiples of the factor 2"),
        (
            lambda: lemmse.LocalEquivariantMMSE(
                torch.zeros(2, 1, 4, 4), lemmse.Downsampling(2), patch_size=3, padding="zeros"
            ),
            "padding 'zeros' needs measurements that are images",
        ),
        (lambda: disk_kernel(0.0), "radius must be a finite positive number"),
        (lambda: motion_kernel(4, 0.0), "length must be an odd positive number of pixels, got 4"),
        (lambda: motion_kernel(5, float("nan")), "angle must be a finite number of degrees, got nan"),
        (lambda: motion_kernel(5, "a"), "angle must be a finite number of degrees, got 'a'"),
        (lambda: lemmse.Linear(torch.eye(4), measured=4), "measured must be the shape of a measurement"),
        (lambda: radon_matrix(8, 9, 3), "square images of at most 32 pixels a side, got 8 x 9"),
        (lambda: make_operator("tomography", 64, 64, torch.Generator()), "got 64 x 64"),
        (lambda: make_operator("super-resolution", 7, 7, torch.Generator()), "multiples of the factor 2, got 7 x 7"),
        (lambda: lemmse.Linear(torch.eye(4), measured=(3,)), "measured must hold the 4 rows"),
    ],
)
def test_what_they_refuse(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
