"""The package deepinv itself, where it is installed: its operators are taken, and estimators serve as its denoisers."""

from __future__ import annotations

import pytest
import torch

import lemmse
from lemmse.physics.foreign import adopted
from lemmse.physics.gallery import gaussian_kernel
from tests.conftest import random_images

deepinv = pytest.importorskip("deepinv", reason="needs the package deepinv")
X = random_images(20, 1, 16, 16).float()
MASK = (torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.3).float()


def operators():
    physics = deepinv.physics
    kernel = gaussian_kernel(1.0, 2)[None, None].float()
    noise = {"noise_model": physics.GaussianNoise(0.1)}
    return {
        "denoising": (physics.Denoising(**noise), lemmse.Denoising),
        "inpainting": (physics.Inpainting((1, 16, 16), mask=MASK, **noise), lemmse.Inpainting),
        "blur by FFT": (physics.BlurFFT((1, 16, 16), filter=kernel, **noise), lemmse.Blur),
        "circular blur": (physics.Blur(filter=kernel, padding="circular", **noise), lemmse.Blur),
        "reflecting blur": (physics.Blur(filter=kernel, padding="reflect", **noise), lemmse.Linear),
        "down-sampling": (physics.Downsampling((1, 16, 16), factor=2, filter="gaussian", **noise), lemmse.Linear),
        "tomography": (physics.Tomography(8, 16, normalize=False, **noise), lemmse.Linear),
    }


@pytest.mark.parametrize("name", operators())
def test_operators_are_taken_for_what_they_are(name):
    physics, kind = operators()[name]
    found = adopted(physics, X)
    assert type(found) is kind
    torch.testing.assert_close(found.A(X), physics.A(X), atol=1e-4, rtol=1e-4)
    pre_inverse = "identity" if physics.A(X[:1]).shape == X[:1].shape else "pinv"
    est = lemmse.LocalEquivariantMMSE(X, physics, patch_size=3, pre_inverse=pre_inverse)
    assert est(physics(X[:2]), physics).shape == X[:2].shape


def test_the_estimator_is_a_denoiser_for_plug_and_play():
    physics = deepinv.physics.Inpainting((1, 16, 16), mask=MASK, noise_model=deepinv.physics.GaussianNoise(0.02))
    denoiser = lemmse.LocalEquivariantMMSE(X, lemmse.Denoising(), patch_size=5)
    model = deepinv.optim.optim_builder(
        iteration="PGD",
        prior=deepinv.optim.prior.PnP(denoiser=denoiser),
        data_fidelity=deepinv.optim.L2(),
        max_iter=3,
        params_algo={"stepsize": 1.0, "g_param": 0.1},
    )
    assert model(physics(X[:2]), physics).shape == X[:2].shape


def test_a_denoiser_of_the_package_is_explained():
    torch.manual_seed(0)
    net = deepinv.models.DnCNN(in_channels=1, out_channels=1, depth=3, nf=4, pretrained=None).eval()
    est = lemmse.LocalEquivariantMMSE(X, lemmse.Denoising(), patch_size=7)
    assert lemmse.probe(net).receptive_field == 7
    assert lemmse.explain(net, est, X[:1], 0.1, progress=False).answer
