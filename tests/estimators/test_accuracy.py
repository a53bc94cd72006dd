"""Float32 results on real images against the brute-force oracle, in dB: the accuracy that the library promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lemmse
from lemmse.physics.gallery import gaussian_kernel
from lemmse.physics.preinverse import pre_inverse
from tests import oracle

SHAPES = [(1, 28, 28), (3, 16, 20)]
PATCHES = [1, 3, 5, 11, 21]


def setting(kind: str, height: int, width: int):
    """Physics, pre-inverse, and dense B A and B B^T from definitions of their own."""
    n = height * width
    g = torch.Generator().manual_seed(0)
    if kind == "identity":
        return lemmse.Denoising(), "identity", np.eye(n), np.eye(n)
    if kind == "inpainting":
        mask = torch.ones(height, width)
        mask[5:11, 6:12] = 0
        m = np.diag(mask.double().flatten().numpy())
        return lemmse.Inpainting(mask), "pinv", m, m
    if kind == "blur":
        kernel = gaussian_kernel(1.0, 3)
        a = oracle.blur_matrix(kernel.numpy(), height, width)
        b = oracle.pre_inverse_matrix(a, "pinv")
        return lemmse.Blur(kernel), "pinv", b @ a, b @ b.T
    mask = torch.rand(height, width, generator=g) < 0.4
    a = oracle.fourier_matrix(mask.double().numpy())
    b = oracle.pre_inverse_matrix(a, "pinv")
    return lemmse.FourierSampling(mask), "pinv", b @ a, b @ b.T


@pytest.mark.parametrize("kind", ["identity", "inpainting", "blur", "fourier"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_float32_accuracy_on_photographs(kind, shape):
    channels, height, width = shape
    crops = lemmse.load_images("photos", count=4, size=32, channels=channels)[..., :height, :width].contiguous()
    test = lemmse.load_images("photos", split="test", count=1, size=32, channels=channels)[..., :height, :width]
    physics, name, ba, bbt = setting(kind, height, width)
    signal = (crops.double().flatten(2).numpy() @ ba.T).reshape(crops.shape)
    pixels = [0, 7 * width + 8, 9 * width + 3]
    rows, cols = np.divmod(pixels, width)
    exact = kind in ("identity", "inpainting")
    for patch_size in PATCHES:
        solved = oracle.metrics(bbt, patch_size, height, width)
        estimator = lemmse.LocalEquivariantMMSE(crops, physics, patch_size=patch_size, pre_inverse=name)
        for sigma in (0.01, 0.05, 1.0):
            query = torch.cat([test, crops[:1]])
            y = physics.measure(query, sigma, generator=torch.Generator().manual_seed(1))
            post = estimator.posterior(y, sigma)
            z = pre_inverse(physics, name, (height, width))(y.to(torch.complex128 if y.is_complex() else torch.float64))
            least = (100 if sigma >= 0.05 else 80) if exact else (80 if sigma >= 0.05 else 65)
            for q in range(2):
                truth = oracle.le_mmse(
                    crops.double().numpy(), z[q].numpy(), signal, bbt, sigma, patch_size, pixels, solved=solved
                )
                found = post.mean[q][:, rows, cols].double().numpy()
                mse = np.mean((found - truth["mean"]) ** 2)
                where = f"{kind} {shape} P={patch_size} sigma={sigma} query {q}"
                assert -10 * np.log10(max(mse, 1e-30)) >= least, where
                assert np.abs(post.variance[q][:, rows, cols].numpy() - truth["variance"]).max() < 1e-6, where
                log_density = post.log_density[q][rows, cols].numpy()
                error = np.abs(log_density - truth["log_density"]) / np.maximum(1, np.abs(truth["log_density"]))
                assert error.max() < 1e-3, where
