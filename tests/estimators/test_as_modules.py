"""Estimators as objects: copies, pickles, parts of other modules, made in inference mode."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

import lemmse
from lemmse.physics.gallery import gaussian_kernel
from tests.conftest import random_images

X = random_images(6, 1, 6, 5)
MASK = torch.ones(6, 5)
MASK[2:4, 1:3] = 0
SETTINGS = {
    "identity": (lemmse.Denoising(), "identity"),
    "mask": (lemmse.Inpainting(MASK), "tikhonov"),
    "blur": (lemmse.Blur(gaussian_kernel(0.7, 1)), "pinv"),
    "Fourier": (lemmse.FourierSampling(MASK), "identity"),
    "Fourier, adjoint": (lemmse.FourierSampling(MASK), "adjoint"),
    "matrix": (lemmse.Linear(torch.eye(30)[torch.arange(30) % 7 > 0]), "pinv"),
}
KINDS = {"LocalEquivariantMMSE": {"patch_size": 3}, "EquivariantMMSE": {}, "MMSE": {}}
every_setting = pytest.mark.parametrize("setting", SETTINGS)
every_kind = pytest.mark.parametrize("kind", KINDS)


def make(kind, setting, images=X):
    physics, pre_inverse = SETTINGS[setting]
    return getattr(lemmse, kind)(images, physics, pre_inverse=pre_inverse, **KINDS[kind])


def measure(setting, images=X[:2]):
    return SETTINGS[setting][0].measure(images, 0.2, generator=torch.Generator().manual_seed(0))


def pickled(estimator):
    return pickle.loads(pickle.dumps(estimator))


def saved(estimator):
    file = io.BytesIO()
    torch.save(estimator, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@every_setting
@every_kind
@pytest.mark.parametrize("copied", [pickled, saved, copy.deepcopy, copy.copy])
def test_a_copy_gives_the_same_bits(kind, setting, copied):
    estimator, y = make(kind, setting), measure(setting)
    other = copied(estimator)
    for name, value in vars(estimator.posterior(y, 0.2, top_k=2)).items():
        assert torch.equal(value, getattr(other.posterior(y, 0.2, top_k=2), name)), name


@every_kind
def test_a_parent_may_stay_where_it_is_and_not_move(kind):
    estimator = make(kind, "mask")
    y, before = measure("mask"), make(kind, "mask")(measure("mask"), 0.2)
    parent = torch.nn.ModuleDict({"denoiser": estimator, "other": torch.nn.Conv2d(1, 1, 1, dtype=torch.float64)})
    for unmoved in (parent.to("cpu"), parent.double(), parent.to(torch.float64), parent.cpu(), parent.eval()):
        assert unmoved is parent
        assert torch.equal(estimator(y, 0.2), before)
    for move in (lambda: parent.float(), lambda: parent.half(), lambda: parent.to("meta"), lambda: estimator.float()):
        with pytest.raises(ValueError, match=r"stays where its images are, torch\.float64 on cpu"):
            move()
    single = make(kind, "mask", X.float())
    torch.nn.Sequential(single).to(torch.float32)  # nor does the mask, which is float64, change its dtype
    assert single.physics.mask.dtype == torch.float64


@every_setting
@every_kind
def test_made_in_inference_mode_it_gives_gradients_later(kind, setting):
    with torch.inference_mode():
        images = X.clone()
        physics = copy.deepcopy(SETTINGS[setting][0])
        if hasattr(physics, "mask"):
            physics = type(physics)(MASK.clone())
        pre_inverse = SETTINGS[setting][1]
        estimator = getattr(lemmse, kind)(images, physics, pre_inverse=pre_inverse, **KINDS[kind])
        inside = estimator(measure(setting), 0.2)
    y = measure(setting).requires_grad_()
    sigma = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    outside = estimator(y, sigma)
    assert not inside.requires_grad
    torch.testing.assert_close(outside.detach(), inside.clone(), rtol=0, atol=1e-12)
    outside.square().sum().backward()
    expected = measure(setting).requires_grad_()
    make(kind, setting)(expected, 0.2).square().sum().backward()
    torch.testing.assert_close(y.grad, expected.grad)
    with torch.inference_mode():
        frozen = measure(setting)
    (gradient,) = torch.autograd.grad(estimator(frozen, sigma).square().sum(), sigma)
    torch.testing.assert_close(gradient, sigma.grad)


def test_gradients_reach_images_behind_operators_made_in_inference_mode():
    with torch.inference_mode():
        physics = lemmse.Inpainting(MASK.clone())
    x = X.clone().requires_grad_()
    lemmse.LocalEquivariantMMSE(x, physics, patch_size=3, pre_inverse="pinv")(measure("mask"), 0.2).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().max() > 0
