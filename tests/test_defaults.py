"""torch's default dtype and default device change neither results nor where they are: the library states its own."""

from __future__ import annotations

import contextlib

import pytest
import torch

import lemmse
from tests.conftest import random_images

X = random_images(6, 1, 6, 5, torch.float32)
MASK = torch.ones(6, 5, dtype=torch.bool)
MASK[2:4, 1:3] = False
OPERATORS = {
    "denoising": lambda: lemmse.Denoising(),
    "inpainting": lambda: lemmse.Inpainting(MASK),
    "blur": lambda: lemmse.Blur(torch.tensor([[0.1, 0.2, 0.1], [0.0, 0.5, 0.1]], dtype=torch.float32, device="cpu")),
    "fourier": lambda: lemmse.FourierSampling(MASK),
    "linear": lambda: lemmse.Linear(torch.eye(30, dtype=torch.float64, device="cpu")),
}
KINDS = {"LocalEquivariantMMSE": {"patch_size": 3}, "EquivariantMMSE": {}, "MMSE": {}}


@contextlib.contextmanager
def default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.filterwarnings("ignore:ambiguous rank")
@pytest.mark.parametrize("changed", [default_dtype, lambda: torch.device("meta")], ids=["dtype", "device"])
@pytest.mark.parametrize("pre_inverse", ["identity", "pinv"])
@pytest.mark.parametrize("name", OPERATORS)
def test_defaults_of_torch_change_nothing(name, pre_inverse, changed):
    """A tensor made without a device would be on `meta` here, and holds no values."""

    def everything():
        physics = OPERATORS[name]()
        y = physics.measure(X[:2], 0.1, generator=torch.Generator("cpu").manual_seed(0))
        yield y
        yield physics.A_adjoint(y)
        yield physics.A_dagger(y)
        for kind, options in KINDS.items():
            estimator = getattr(lemmse, kind)(X, physics, pre_inverse=pre_inverse, **options)
            yield from vars(estimator.posterior(y, 0.1, top_k=2)).values()

    usual = list(everything())
    with changed():
        other = list(everything())
    for a, b in zip(usual, other, strict=True):
        assert (a.dtype, a.device) == (b.dtype, b.device)
        assert torch.equal(a, b)
