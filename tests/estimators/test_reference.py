"""The formulas written out, against the oracle that shares no code with them, and against the estimators."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lemmse
from lemmse.estimators import reference
from tests import oracle
from tests.conftest import random_images

DENOISE = lemmse.Denoising()


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    channels=st.sampled_from([1, 3]),
    patch_size=st.sampled_from([1, 3, 5, 9]),
    sigma=st.sampled_from([0.05, 0.4]),
    seed=st.integers(0, 10**6),
)
def test_the_reference_equals_the_oracle(height, width, channels, patch_size, sigma, seed):
    x = random_images(4, channels, height, width, seed=seed)
    y = DENOISE.measure(x[:2], sigma, generator=torch.Generator().manual_seed(seed))
    pixels = [(0, 0), (height - 1, width // 2)]
    local, some = (reference.le_mmse(x, y, sigma, patch_size, pixels=given) for given in (None, pixels))
    rows, cols = zip(*pixels, strict=True)
    assert torch.equal(some, local[:, :, rows, cols])
    signal, eye = x.numpy(), np.eye(height * width)
    for q in range(2):
        truth = oracle.le_mmse(signal, y[q].numpy(), signal, eye, sigma, patch_size)["mean"]
        assert np.abs(local[q].flatten(1).numpy() - truth).max() < 1e-12
        for found, equivariant in ((reference.mmse, False), (reference.e_mmse, True)):
            truth = oracle.mmse(signal, y[q].numpy(), signal, eye, sigma, equivariant)
            assert np.abs(found(x, y, sigma)[q].numpy() - truth).max() < 1e-12


def test_the_reference_takes_a_map_and_a_noise_level_for_each_query():
    x, sigma = random_images(5, 3, 5, 6), torch.tensor([0.1, 0.4], dtype=torch.float64)
    physics = lemmse.Nonlinear(lambda v: v.mean(1, keepdim=True) ** 2)
    y = physics.measure(x[:2], sigma, generator=torch.Generator().manual_seed(0))
    for written, estimator in (
        (reference.le_mmse(x, y, sigma, 3, physics=physics), lemmse.LocalEquivariantMMSE(x, physics, patch_size=3)),
        (reference.e_mmse(x, y, sigma, physics=physics), lemmse.EquivariantMMSE(x, physics)),
        (reference.mmse(x, y, sigma, physics=physics), lemmse.MMSE(x, physics)),
    ):
        torch.testing.assert_close(estimator(y, sigma), written, rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", [(5, 9), (7, 3), (4, 4)])
def test_queries_of_another_size_have_patches_of_their_own_torus(size):
    x, y = random_images(3, 1, 6, 5), random_images(1, 1, *size, seed=1)
    found = reference.le_mmse(x, y, 0.3, 3)
    assert found.shape == y.shape
    row, col = 0, size[1] - 1
    window = y[0, 0].roll((1 - row, 1 - col), (0, 1))[:3, :3]
    logits, values = [], []
    for image in x[:, 0]:
        for k in range(30):
            patch = image.roll((1 - k // 5, 1 - k % 5), (0, 1))[:3, :3]
            logits.append(-(window - patch).square().sum() / (2 * 0.3**2))
            values.append(image[k // 5, k % 5])
    expected = torch.softmax(torch.stack(logits), 0) @ torch.stack(values)
    torch.testing.assert_close(found[0, 0, row, col], expected, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="patch_size must be at most the sides"):
        reference.le_mmse(x, y, 0.3, 7)


X = random_images(3, 1, 5, 6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reference.le_mmse(X, X, 0.1, 2), "patch_size must be odd"),
        (lambda: reference.le_mmse(X, X, 0.1, 3, pixels=[(5, 0)]), r"pixel \(5, 0\) is outside the image of 5 x 6"),
        (lambda: reference.le_mmse(X, X.repeat(1, 3, 1, 1), 0.1, 3), "y must be real, of 1 channels"),
        (lambda: reference.le_mmse(X, X, -1.0, 3), "sigma must be finite and positive"),
        (lambda: reference.mmse(X, X[..., :5], 0.1), "y must be of the size of A x"),
        (lambda: reference.e_mmse(X, X[..., :5], 0.1), "y must be of the size of A x"),
        (lambda: reference.mmse(X, X.numpy(), 0.1), "y must be a torch tensor"),
    ],
)
def test_the_reference_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
