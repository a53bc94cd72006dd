"""Complex images: the complex whitening against the real matrix of the same operator."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import lemmse
from lemmse.physics.gallery import cartesian_mask
from lemmse.physics.preinverse import pre_inverse
from tests import oracle
from tests.conftest import random_images

HEIGHT, WIDTH = 5, 6
NAMES = ("identity", "adjoint", "pinv", "tikhonov")


def mask(seed=0):
    drawn = torch.rand(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed)) < 0.5
    drawn[0, 0] = True
    return drawn  # not symmetric, so that the images are complex


def complex_images(count=6, seed=0):
    x = random_images(count, 2, HEIGHT, WIDTH, seed=seed)
    return torch.cat([x[:, :1] * torch.cos(x[:, 1:] * 3), x[:, :1] * torch.sin(x[:, 1:] * 3)], 1)


def stacked_matrix(seen):
    """Real (2n, 2n) matrix of `mask * F` on stacked real and imaginary parts, from its definition."""
    f = oracle.fourier_matrix(seen.double().numpy())
    n = f.shape[1]
    real, imag = f[:n], f[n:]
    return np.block([[real, -imag], [imag, real]])


def brute_force(images, y, sigma, name, seen, patch_size):
    """Mean and log density of LE-MMSE with stacked real patches and the real matrix B."""
    a, n = stacked_matrix(seen), HEIGHT * WIDTH
    b = stacked_matrix(torch.ones_like(seen)).T if name == "identity" else oracle.pre_inverse_matrix(a, name)
    x = images.reshape(len(images), 2 * n)
    z = np.concatenate([y.real.reshape(len(y), n), y.imag.reshape(len(y), n)], 1) @ b.T
    signal, bbt = x @ a.T @ b.T, b @ b.T
    windows = [oracle.window(k, patch_size, HEIGHT, WIDTH) for k in range(n)]
    both = [[*w, *(n + p for p in w)] for w in windows]
    cov = bbt[np.ix_(both[0], both[0])]
    values, vectors = np.linalg.eigh(cov)
    kept = values > 1e-10 * values.max()
    white = vectors[:, kept] / np.sqrt(values[kept])
    keys = np.concatenate([signal[:, both[k]] @ white for k in range(n)])
    clean = np.concatenate([np.stack([x[:, k], x[:, n + k]], 1) for k in range(n)])
    mean, density = np.zeros((len(y), 2, n)), np.zeros((len(y), n))
    for q in range(len(y)):
        for m in range(n):
            logits = -np.square(z[q, both[m]] @ white - keys).sum(1) / (2 * sigma**2)
            total = np.logaddexp.reduce(logits)
            mean[q, :, m] = np.exp(logits - total) @ clean
            normal = kept.sum() / 2 * math.log(2 * math.pi * sigma**2) + np.log(values[kept]).sum() / 2
            density[q, m] = total - math.log(len(keys)) - normal
    return mean.reshape(len(y), 2, HEIGHT, WIDTH), density.reshape(len(y), HEIGHT, WIDTH)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("patch_size", [1, 3, 7])
def test_it_is_the_formula_of_the_real_matrix(name, patch_size):
    images, sigma = complex_images(), 0.2
    physics = lemmse.FourierSampling(mask(), complex_images=True)
    y = physics.measure(images[:2], sigma, generator=torch.Generator().manual_seed(0))
    assert y.shape == (2, 1, HEIGHT, WIDTH)
    assert y.is_complex()
    estimator = lemmse.LocalEquivariantMMSE(images, physics, patch_size=patch_size, pre_inverse=name)
    posterior = estimator.posterior(y, sigma)
    mean, density = brute_force(images.numpy(), y.numpy(), sigma, name, mask(), patch_size)
    assert np.allclose(posterior.mean.numpy(), mean, atol=1e-8)
    assert np.allclose(posterior.log_density.numpy(), density, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_operator_and_pre_inverse_are_their_matrices(name):
    x, seen = complex_images(3), mask()
    a = stacked_matrix(seen)
    physics = lemmse.FourierSampling(seen, complex_images=True)
    y = physics.A(x)
    flat = torch.cat([y.real, y.imag], 1).flatten(1).numpy()
    assert np.allclose(flat, x.flatten(1).numpy() @ a.T)
    b = stacked_matrix(torch.ones_like(seen)).T if name == "identity" else oracle.pre_inverse_matrix(a, name)
    B = pre_inverse(physics, name, (HEIGHT, WIDTH))
    assert np.allclose(B(y).flatten(1).numpy(), flat @ b.T, atol=1e-10)
    assert B.noise_variance == pytest.approx(np.trace(b @ b.T) / len(b))
    w = physics.measure(x, 1.0, generator=torch.Generator().manual_seed(0))
    inner = (y.conj() * w).real.sum()
    assert float(inner) == pytest.approx(float((x * physics.A_adjoint(w)).sum()))
    assert torch.allclose(physics.A_dagger(y), torch.as_tensor(flat @ np.linalg.pinv(a).T).reshape(x.shape), atol=1e-10)


@pytest.mark.parametrize("kind", [lemmse.MMSE, lemmse.EquivariantMMSE])
def test_whole_images(kind):
    """A patch that covers the image gives E-MMSE; MMSE brings the nearest image back at small noise."""
    images = complex_images()
    physics = lemmse.FourierSampling(mask(), complex_images=True)
    y = physics.measure(images[:2], 0.3, generator=torch.Generator().manual_seed(0))
    found = kind(images, physics, pre_inverse="adjoint")
    if kind is lemmse.EquivariantMMSE:
        covering = lemmse.LocalEquivariantMMSE(images, physics, patch_size=7, pre_inverse="adjoint")
        assert torch.allclose(found(y, 0.3), covering(y, 0.3), atol=1e-8)
    low = physics.measure(images[:2], 1e-4, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(found(low, 1e-4), images[:2], atol=1e-6)


def test_a_phase_turns_with_the_image():
    """Images and measurements times exp(i phi): the estimate turns, too, for the law of the noise does not change."""
    images = complex_images()
    turn = torch.tensor([[math.cos(1.0), -math.sin(1.0)], [math.sin(1.0), math.cos(1.0)]], dtype=torch.float64)

    def turned(x):
        return torch.einsum("dc,qchw->qdhw", turn, x)

    physics = lemmse.FourierSampling(mask(), complex_images=True)
    y = physics.measure(images[:1], 0.2, generator=torch.Generator().manual_seed(0))
    options = {"patch_size": 3, "pre_inverse": "pinv"}
    one = lemmse.LocalEquivariantMMSE(images, physics, **options)(y, 0.2)
    other = lemmse.LocalEquivariantMMSE(turned(images), physics, **options)(
        y * complex(math.cos(1.0), math.sin(1.0)), 0.2
    )
    assert torch.allclose(turned(one), other, atol=1e-8)


@pytest.mark.parametrize("name", ["identity", "pinv"])
def test_the_affine_filter_is_the_least_squares_fit(name):
    """The control of complex images against the normal equations of the stacked real patches, at every position."""
    images, sigma, patch_size, n = complex_images(8), 0.3, 3, HEIGHT * WIDTH
    physics = lemmse.FourierSampling(mask(), complex_images=True)
    y = physics.measure(images[:2], sigma, generator=torch.Generator().manual_seed(0))
    a = stacked_matrix(mask())
    b = stacked_matrix(torch.ones(HEIGHT, WIDTH)).T if name == "identity" else oracle.pre_inverse_matrix(a, name)
    x = images.flatten(1).numpy()
    z = np.concatenate([y.real.flatten(1), y.imag.flatten(1)], 1) @ b.T
    both = [[*w, *(n + p for p in w)] for w in (oracle.window(k, patch_size, HEIGHT, WIDTH) for k in range(n))]
    patches = np.concatenate([(x @ a.T @ b.T)[:, w] for w in both])
    clean = np.concatenate([x[:, [k, n + k]] for k in range(n)])
    v, u = patches - patches.mean(0), clean - clean.mean(0)
    noise = (b @ b.T)[np.ix_(both[0], both[0])]
    gain = u.T @ v / len(v) @ np.linalg.pinv(v.T @ v / len(v) + sigma**2 * noise, rcond=1e-11)
    exact = np.stack([clean.mean(0) + (z[:, w] - patches.mean(0)) @ gain.T for w in both], -1)
    found = lemmse.AffineMMSE(images, physics, patch_size=patch_size, pre_inverse=name)(y, sigma)
    assert np.allclose(found.flatten(2).numpy(), exact, atol=1e-7)


def test_networks_see_both_parts(tmp_path, monkeypatch):
    from lemmse.networks.weights import trained, weights_key

    monkeypatch.setenv("LEMMSE_WEIGHTS", str(tmp_path))
    images = complex_images().float()
    physics = lemmse.FourierSampling(mask(), complex_images=True)
    options = {"patch_size": 3, "steps": 2, "seed": 0, "size": "tiny", "pre_inverse": "pinv", "progress": False}
    net = trained("PatchMLP", images, physics, **options)
    assert (net.channels, net.target_channels) == (2, 2)
    real = lemmse.FourierSampling(mask())
    keys = [weights_key("PatchMLP", images, p, patch_size=3, seed=0, steps=2) for p in (physics, real)]
    assert keys[0] != keys[1]


def test_bad_input():
    with pytest.raises(ValueError, match="complex images must be"):
        lemmse.FourierSampling(mask(), complex_images=True).A(torch.zeros(1, 1, HEIGHT, WIDTH))
    with pytest.raises(ValueError, match="complex_images must be True or False"):
        lemmse.FourierSampling(mask(), complex_images=1)
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match="center must be an integer of at least 1"):
        cartesian_mask(8, 8, 4, 0, generator)
    with pytest.raises(ValueError, match="center must be at most 2"):
        cartesian_mask(8, 8, 4, 3, generator)


@pytest.mark.parametrize("acceleration", [4, 8])
def test_cartesian_masks(acceleration):
    drawn = cartesian_mask(20, 64, acceleration, 4, torch.Generator().manual_seed(0))
    assert (drawn == drawn[:1]).all()
    assert int(drawn[0].sum()) == 64 // acceleration
    assert drawn[0, [0, 1, -1, -2]].all()


def test_several_coils_break_equivariance():
    """`A^H A = sum_c S_c^H F^H M F S_c` is circulant for one coil of constant sensitivity, not for two that vary."""
    n, sigma = HEIGHT * WIDTH, 0.3
    seen, images = torch.ones(HEIGHT, WIDTH), random_images(5, 1, HEIGHT, WIDTH)
    seen[:, 2::2] = 0
    column = np.arange(n) % WIDTH
    smooth = [0.6 + 0.4 * np.cos(2 * np.pi * (column - c) / WIDTH) for c in (0, 3)]
    errors = {}
    for name, coils in {"one": [np.ones(n)], "two": smooth}.items():
        matrix = np.concatenate([oracle.fourier_matrix(seen.numpy()) * s for s in coils])
        physics = lemmse.Linear(torch.as_tensor(matrix), shape=(HEIGHT, WIDTH))
        options = {"patch_size": 3, "pre_inverse": "adjoint"}
        estimator = lemmse.LocalEquivariantMMSE(images, physics, **options)
        shifted_set = lemmse.LocalEquivariantMMSE(images.roll(1, -1), physics, **options)
        y = physics.A(images[:1].roll(1, -1))
        one, other = estimator(physics.A(images[:1]), sigma).roll(1, -1), shifted_set(y, sigma)
        errors[name] = float((one - other).abs().max())
    assert errors["one"] < 1e-9
    assert errors["two"] > 1e-3
