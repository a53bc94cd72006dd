"""The best affine map of a patch: least squares on explicit patches, orthogonality, and its place beside LE-MMSE."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lemmse
from lemmse.estimators.affine import noise_strata
from lemmse.patches import extract_patches, window_indices
from lemmse.physics.preinverse import pre_inverse
from tests.conftest import random_images

HEIGHT, WIDTH = 7, 6
MASK = torch.ones(HEIGHT, WIDTH)
MASK[2:5, 1:4] = 0
KERNEL = torch.tensor([[0.2, 0.6, 0.2]])
SPECTRUM = torch.rand(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(5)) > 0.4
MATRIX = torch.randn(30, HEIGHT * WIDTH, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
CASES = {
    "denoising": (lemmse.Denoising(), "identity"),
    "a mask, agnostic": (lemmse.Inpainting(MASK), "identity"),
    "a mask, aware": (lemmse.Inpainting(MASK), "pinv"),
    "a mask, Tikhonov": (lemmse.Inpainting(MASK), "tikhonov"),
    "a blur, agnostic": (lemmse.Blur(KERNEL), "identity"),
    "a blur, pseudo-inverse": (lemmse.Blur(KERNEL), "pinv"),
    "a blur, Tikhonov": (lemmse.Blur(KERNEL), "tikhonov"),
    "a spectrum": (lemmse.FourierSampling(SPECTRUM), "adjoint"),
    "a matrix": (lemmse.Linear(MATRIX), "tikhonov"),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def real(y: torch.Tensor) -> torch.Tensor:
    """Measurements as real numbers (Q, C * M)."""
    return (torch.view_as_real(y) if y.is_complex() else y).flatten(1)


def explicit_noise(physics, name: str) -> torch.Tensor:
    """`B B^T` (n, n) from the action of B on a basis of real measurements."""
    B = pre_inverse(physics, name, (HEIGHT, WIDTH))
    probe = physics.A(torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.float64))
    basis = torch.eye(real(probe).shape[1], dtype=torch.float64)
    shape = (len(basis), *probe.shape[1:])
    y = torch.view_as_complex(basis.reshape(*shape, 2)) if probe.is_complex() else basis.reshape(shape)
    matrix = B(y).flatten(1).T
    return matrix @ matrix.T


def least_squares(images, physics, name, patch_size, sigma, position):
    """Coefficients (C*p, C) and means of the best affine map at a position, by augmented least squares.

    `sum_j |u_j - w^T v_j|^2 + M sigma^2 w^T S w` is an ordinary least-squares problem with rows `sqrt(M) sigma S^(1/2)`
    below the patches; nothing is inverted or diagonalized.
    """
    window = window_indices(patch_size, HEIGHT, WIDTH)
    noise = explicit_noise(physics, name)
    blocks = [noise[k[:, None], k] for k in window]
    ranges = [block @ torch.linalg.pinv(block, rtol=1e-10, hermitian=True) for block in blocks]
    stratum = [k for k, P in enumerate(ranges) if (P - ranges[position]).abs().max() < 1e-6]
    S = torch.stack([blocks[k] for k in stratum]).mean(0)
    z = pre_inverse(physics, name, (HEIGHT, WIDTH)).signal(images)
    channels = images.shape[1]
    v = z.flatten(2)[:, :, window[stratum]].transpose(1, 2).flatten(2).flatten(0, 1)
    u = images.flatten(2)[:, :, stratum].transpose(1, 2).flatten(0, 1)
    values, vectors = torch.linalg.eigh(torch.block_diag(*[S] * channels))
    rows = (vectors * values.clamp_min(0).sqrt()).T * sigma * len(v) ** 0.5
    design = torch.cat([v - v.mean(0), rows])
    target = torch.cat([u - u.mean(0), torch.zeros(len(rows), channels, dtype=torch.float64)])
    return torch.linalg.lstsq(design, target, driver="gelsd")[0], v.mean(0), u.mean(0), window[position]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("sigma", [0.05, 0.8])
def test_it_is_least_squares_on_explicit_patches(case, channels, sigma):
    physics, name = case
    images = random_images(30, channels, HEIGHT, WIDTH)
    affine = lemmse.AffineMMSE(images, physics, patch_size=3, pre_inverse=name)
    y = physics.measure(images[:4], sigma, generator=torch.Generator().manual_seed(1))
    estimate, z = affine(y, sigma), pre_inverse(physics, name, (HEIGHT, WIDTH))(y)
    for position in (0, 8, 15, 22, HEIGHT * WIDTH - 1):
        w, v_mean, u_mean, pixels = least_squares(images, physics, name, 3, sigma, position)
        v = z.flatten(2)[:, :, pixels].flatten(1)
        torch.testing.assert_close(estimate.flatten(2)[:, :, position], u_mean + (v - v_mean) @ w, rtol=1e-6, atol=1e-7)


def test_the_strata_are_a_partition(case):
    physics, name = case
    strata = noise_strata(pre_inverse(physics, name, (HEIGHT, WIDTH)), 3, HEIGHT, WIDTH)
    positions = torch.cat([stratum.positions for stratum in strata])
    assert sorted(positions.tolist()) == list(range(HEIGHT * WIDTH))
    noise = explicit_noise(physics, name)
    window = window_indices(3, HEIGHT, WIDTH)
    for stratum in strata:
        blocks = torch.stack([noise[window[k][:, None], window[k]] for k in stratum.positions])
        torch.testing.assert_close(stratum.noise, blocks.mean(0), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sigma", [0.1, 0.5])
def test_the_risk_is_what_draws_say(case, sigma):
    physics, name = case
    images = random_images(12, 1, HEIGHT, WIDTH)
    affine = lemmse.AffineMMSE(images, physics, patch_size=3, pre_inverse=name)
    x = images.repeat(400, 1, 1, 1)
    errors = (affine(physics.measure(x, sigma, generator=torch.Generator().manual_seed(2)), sigma) - x).square()
    errors = errors.mean((1, 2, 3))
    assert abs(float(errors.mean()) - affine.risk(sigma)) < 4 * float(errors.std()) / len(errors) ** 0.5


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), sigma=st.floats(0.02, 2.0), size=st.floats(1e-3, 1.0))
def test_no_other_affine_map_has_a_smaller_risk(seed, sigma, size):
    """The expected risk of `f(v) = u_mean + (w + d)^T (v - v_mean) + b`, exactly, is larger by a quadratic form."""
    g = torch.Generator().manual_seed(seed)
    images = random_images(6, 1, 5, 5, seed=seed % 1000)
    affine = lemmse.AffineMMSE(images, lemmse.Denoising(), patch_size=3)
    v = extract_patches(images, 3)[:, 0].flatten(0, 1)
    u = images.flatten()

    def risk(f_weights: torch.Tensor, offset: torch.Tensor) -> float:
        return float((v @ f_weights + offset - u).square().mean() + sigma**2 * f_weights.square().sum())

    basis = torch.zeros(10, 1, 5, 5, dtype=torch.float64)
    basis.flatten(2)[torch.arange(9), 0, window_indices(3, 5, 5)[12]] = 1
    answers = affine(basis, sigma)[:, 0, 2, 2]
    weights, offset = answers[:9] - answers[9], answers[9]
    best = risk(weights, offset)
    assert best == pytest.approx(affine.risk(sigma), rel=1e-9)
    other = risk(
        weights + size * torch.randn(9, generator=g, dtype=torch.float64),
        offset + size * torch.randn((), generator=g, dtype=torch.float64),
    )
    assert other > best


def test_le_mmse_tends_to_it_as_the_noise_grows():
    """Both are `mean(u) + Cov(u, a) (v - mean(v)) / sigma^2` to first order: what is left falls as 1 / sigma^2."""
    images = random_images(5, 1, 6, 6)
    formula = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=3)
    affine = lemmse.AffineMMSE(images, lemmse.Denoising(), patch_size=3)
    noise = torch.randn(3, 1, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    apart, signal = [], []
    for sigma in (20.0, 80.0):
        y = images[:3] + sigma * noise
        apart.append(float((formula(y, sigma) - affine(y, sigma)).abs().max()))
        signal.append(float((affine(y, sigma) - images.mean()).abs().max()))
    assert apart[0] / apart[1] > 12, "four times the noise, a sixteenth of the difference"
    assert signal[0] / signal[1] < 5, "while what both say of the patch falls as 1 / sigma"


def test_le_mmse_has_no_larger_risk_on_its_images(case):
    physics, name = case
    images = random_images(6, 1, HEIGHT, WIDTH)
    formula = lemmse.LocalEquivariantMMSE(images, physics, patch_size=3, pre_inverse=name)
    affine = lemmse.AffineMMSE(images, physics, patch_size=3, pre_inverse=name)
    x = images.repeat(60, 1, 1, 1)
    y = physics.measure(x, 0.2, generator=torch.Generator().manual_seed(0))
    difference = (formula(y, 0.2) - x).square().mean((1, 2, 3)) - (affine(y, 0.2) - x).square().mean((1, 2, 3))
    assert float(difference.mean()) < 3 * float(difference.std()) / len(difference) ** 0.5


def test_batches_levels_and_dtypes_change_nothing():
    images = random_images(9, 2, 6, 5)
    affine = lemmse.AffineMMSE(images, lemmse.Denoising(), patch_size=3)
    y = images[:3] + 0.1
    streamed = lemmse.AffineMMSE(list(images.split(4)), lemmse.Denoising(), patch_size=3)
    torch.testing.assert_close(streamed(y, 0.3), affine(y, 0.3), rtol=1e-10, atol=1e-10)
    levels = torch.tensor([0.1, 0.3, 2.0], dtype=torch.float64)
    each = torch.cat([affine(y[i : i + 1], float(s)) for i, s in enumerate(levels)])
    torch.testing.assert_close(affine(y, levels), each, rtol=1e-12, atol=1e-12)
    single = lemmse.AffineMMSE(images.float(), lemmse.Denoising(), patch_size=3)(y.float(), 0.3)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), affine(y, 0.3), rtol=0, atol=1e-5)


@pytest.mark.parametrize("sigma", [1e-9, 1e-3])
def test_directions_without_signal_do_no_harm(sigma):
    """One image, repeated: fewer patches than directions; what is off the signal must not be amplified."""
    images = random_images(1, 1, 4, 4).repeat(3, 1, 1, 1)
    estimate = lemmse.AffineMMSE(images, lemmse.Denoising(), patch_size=5)(images[:1] + sigma, sigma)
    torch.testing.assert_close(estimate, images[:1], rtol=0, atol=1e-2)


def test_directions_count_the_signal():
    affine = lemmse.AffineMMSE(random_images(40, 1, 8, 8), lemmse.Denoising(), patch_size=3)
    assert affine.directions(1e-6) == 9
    assert affine.directions(1e6) == 0
    with pytest.raises(ValueError, match="sigma"):
        affine.directions(0.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lemmse.AffineMMSE(iter([]), lemmse.Denoising(), patch_size=3), "re-iterable of batches"),
        (lambda: lemmse.AffineMMSE([], lemmse.Denoising(), patch_size=3), "no batch"),
        (lambda: lemmse.AffineMMSE(random_images(2, 1, 5, 5), lemmse.Denoising(), patch_size=4), "odd"),
        (lambda: FITTED(torch.zeros(1, 2, 5, 6, dtype=torch.float64), 0.1), r"shape \(Q, 1, 5, 5\)"),
        (lambda: FITTED(torch.zeros(1, 1, 5, 5), 0.1), "y must be torch.float64"),
        (lambda: FITTED(torch.zeros(1, 1, 5, 5, dtype=torch.float64), -1.0), "sigma must be finite and positive"),
        (lambda: FITTED.risk(-1.0), "sigma must be a finite positive number"),
    ],
)
def test_it_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()


FITTED = lemmse.AffineMMSE(random_images(2, 1, 5, 5), lemmse.Denoising(), patch_size=3)


def explicit_zero_padded(images, y, patch_size, sigma):
    """The best affine map of zero-padded patches, written out: one fit for each border pattern, by plain inverses."""
    radius, channels = patch_size // 2, images.shape[1]

    def patches(x):  # (Q, C, H, W) -> values (Q, H, W, C*p), inside (H, W, p)
        framed = torch.nn.functional.pad(torch.cat([x, torch.ones_like(x[:, :1])], 1), [radius] * 4)
        cut = framed.unfold(2, patch_size, 1).unfold(3, patch_size, 1).flatten(4)
        return cut[:, :channels].permute(0, 2, 3, 1, 4).flatten(3), cut[0, channels]

    (keys, key_inside), (v, inside) = patches(images), patches(y)
    found = torch.empty_like(y)
    for m in range(y.shape[2]):
        for n in range(y.shape[3]):
            same = (key_inside == inside[m, n]).all(-1)
            seen = (inside[m, n] > 0).repeat(channels)
            a = keys[:, same][..., seen].flatten(0, 1)
            u = images.permute(0, 2, 3, 1)[:, same].flatten(0, 1)
            C = torch.cov(a.T, correction=0).reshape(a.shape[1], -1) + sigma**2 * torch.eye(
                a.shape[1], dtype=torch.float64
            )
            c = (a - a.mean(0)).T @ (u - u.mean(0)) / len(a)
            found[:, :, m, n] = u.mean(0) + (v[:, m, n][:, seen] - a.mean(0)) @ torch.linalg.solve(C, c)
    return found


@pytest.mark.parametrize("sides", [(7, 6), (9, 11), (5, 8), (3, 3)])
@pytest.mark.parametrize("channels", [1, 2])
def test_zero_padding_is_one_fit_for_each_border_pattern_at_any_size(sides, channels):
    images = random_images(9, channels, HEIGHT, WIDTH)
    y = random_images(2, channels, *sides, seed=1) + 0.1
    affine = lemmse.AffineMMSE(images, lemmse.Denoising(), patch_size=3, padding="zeros")
    torch.testing.assert_close(affine(y, 0.2), explicit_zero_padded(images, y, 3, 0.2), rtol=0, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(height=st.integers(5, 14), width=st.integers(5, 14), patch_size=st.sampled_from([1, 3, 5]))
def test_a_torus_of_any_size_is_asked_pixel_by_pixel(height, width, patch_size):
    """What a query of any size returns at a pixel is what the map returns for the patch around it."""
    images = random_images(6, 1, HEIGHT, WIDTH)
    y = random_images(1, 1, height, width, seed=2)
    affine = lemmse.AffineMMSE(images, lemmse.Denoising(), patch_size=patch_size)
    found = affine(y, 0.3)
    own, there = (window(h, w, patch_size // 2) for h, w in ((HEIGHT, WIDTH), (height, width)))
    for row, column in ((0, 0), (height // 2, width - 1)):
        alone = images[:1].clone()
        alone[..., own[0], own[1]] = y.roll((height // 2 - row, width // 2 - column), (-2, -1))[..., there[0], there[1]]
        expected = affine(alone, 0.3)[..., HEIGHT // 2, WIDTH // 2]
        torch.testing.assert_close(found[..., row, column], expected, rtol=0, atol=1e-10)


def window(height, width, radius):
    """Rows and columns around the central pixel."""
    return [slice(side // 2 - radius, side // 2 + radius + 1) for side in (height, width)]


def test_other_sizes_need_the_identity_and_a_patch_that_fits():
    images = random_images(4, 1, HEIGHT, WIDTH)
    y = random_images(1, 1, 4, 9)
    with pytest.raises(ValueError, match="patch_size at most 3"):
        lemmse.AffineMMSE(images, lemmse.Denoising(), patch_size=5)(y, 0.1)
    with pytest.raises(ValueError, match="only pre_inverse 'identity'"):
        lemmse.AffineMMSE(images, lemmse.Blur(KERNEL), patch_size=3, pre_inverse="tikhonov")(y, 0.1)
    with pytest.raises(ValueError, match="padding 'zeros' needs"):
        lemmse.AffineMMSE(images, lemmse.Blur(KERNEL), patch_size=3, pre_inverse="tikhonov", padding="zeros")
