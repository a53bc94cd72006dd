"""Random calls of the public API: valid input gives what the formula says, invalid input a ValueError of one line.

`pytest tests/test_fuzz.py --fuzz-examples 3000` is the long form. A call with one strange argument must either raise a
ValueError of one line or give a finite result; any other exception is a fault of the library.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import lemmse
from lemmse.estimators import reference
from lemmse.physics.gallery import FOURIER, OPERATORS, gaussian_kernel, make_operator
from tests import oracle
from tests.conftest import random_images
from tests.estimators.test_oracle import FAMILIES, PRE_INVERSES, make, oracle_setting

pytestmark = pytest.mark.filterwarnings("ignore")
SHAPE = (1, 5, 4)
X = random_images(3, *SHAPE)
MASK = torch.ones(5, 4)
MASK[1:3, 2] = 0
KERNEL = gaussian_kernel(0.7, 1)
LINEAR = lemmse.Linear(torch.eye(20) + 0.1)
ESTIMATORS = [lemmse.LocalEquivariantMMSE, lemmse.EquivariantMMSE, lemmse.MMSE]
BUILT = [
    lemmse.LocalEquivariantMMSE(X, lemmse.Denoising(), patch_size=3, engine="torch"),
    lemmse.MMSE(X, LINEAR, pre_inverse="pinv"),
]
BUILT += [lemmse.EquivariantMMSE(X, lemmse.FourierSampling(MASK), pre_inverse="adjoint")]
NETS = [lemmse.PatchMLP(1, 3), lemmse.ResNet(1, 3)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def examples(request) -> int:
    return request.config.getoption("--fuzz-examples")


def run(test: Callable[..., None], examples: int, **strategies: Any) -> None:
    """The hypothesis test of a function, with the number of examples of the command line."""
    options = {"max_examples": examples, "deadline": None, "suppress_health_check": list(HealthCheck)}
    settings(**options)(given(**strategies)(test))()


STRANGE: list[Callable[[], Any]] = [
    lambda: None,
    lambda: True,
    lambda: 0,
    lambda: -1,
    lambda: 2,
    lambda: 3,
    lambda: 1.5,
    lambda: float("nan"),
    lambda: float("inf"),
    lambda: -1e-300,
    lambda: 1e-300,
    lambda: 1e300,
    lambda: 2**31 + 1,
    lambda: 10**400,
    lambda: 10**5000 + 1,
    lambda: -(10**400),
    lambda: 1 + 2j,
    lambda: Fraction(1, 3),
    lambda: Decimal("0.5"),
    lambda: "",
    lambda: "identity",
    lambda: "zeros\n" * 2000,
    lambda: b"bytes",
    lambda: [],
    lambda: [0.1] * 5000,
    lambda: (5, 4),
    lambda: {"a": 1},
    lambda: {1, 2},
    lambda: object(),
    lambda: len,
    lambda: int,
    lambda: iter([X]),
    lambda: [X, X],
    lambda: [X, X[..., :3]],
    lambda: [None],
    lambda: np.float32(0.5),
    lambda: np.int64(3),
    lambda: np.bool_(True),
    lambda: np.ones((2, 1, 5, 4)),
    lambda: np.array("text"),
    lambda: torch.tensor(0.5),
    lambda: torch.tensor(3),
    lambda: torch.tensor([0.1, 0.2], dtype=torch.float64),
    lambda: torch.tensor(float("nan")),
    lambda: torch.tensor([]),
    lambda: torch.tensor([0, -1, 2]),
    lambda: torch.tensor([0, 3, -5]),
    lambda: torch.rand(2, 1, 9, 7, dtype=torch.float64),
    lambda: X,
    lambda: X.float(),
    lambda: X.half(),
    lambda: X.to(torch.complex64),
    lambda: X.to(torch.complex128),
    lambda: X > 0.5,
    lambda: (255 * X).to(torch.uint8),
    lambda: X * torch.nan,
    lambda: X / 0,
    lambda: 1e20 * X,
    lambda: X[:0],
    lambda: X[0],
    lambda: X[None],
    lambda: X[..., :3],
    lambda: X.repeat(1, 3, 1, 1),
    lambda: X.flatten(2),
    lambda: X.to_sparse(),
    lambda: X.to("meta"),
    lambda: torch.nested.nested_tensor([X[0], X[1, :, :3]]),
    lambda: X.clone().requires_grad_(),
    lambda: X.transpose(2, 3),
    lambda: X.expand(3, 1, 5, 4)[:, :, ::1],
    lambda: MASK,
    lambda: MASK.bool(),
    lambda: torch.zeros(5, 4),
    lambda: torch.eye(20),
    lambda: torch.ones(7, 20),
    lambda: torch.ones(9, 9),
    lambda: seeded(),
    lambda: lemmse.Denoising(),
    lambda: lemmse.Physics(),
    lambda: lemmse.Nonlinear(lambda x: x[..., :2]),
    lambda: lemmse.Nonlinear(lambda x: x.to(torch.int64)),
    lambda: lemmse.Nonlinear(lambda x: None),
    lambda: lemmse.Inpainting(torch.zeros(5, 4)),
    lambda: lemmse.FourierSampling(torch.zeros(5, 4)),
    lambda: lemmse.Inpainting(torch.ones(9, 9)),
    lambda: torch.nn.Identity(),
    lambda: BUILT[0],
    lambda: BUILT[0].partial(X, 0.1),
]


PLAIN = {lemmse.LocalEquivariantMMSE: "torch", lemmse.EquivariantMMSE: "correlation", lemmse.MMSE: "gemm"}


def estimator_call(kind: type) -> dict[str, Any]:
    given = {"images": X, "physics": lemmse.Inpainting(MASK), "pre_inverse": "tikhonov", "tikhonov_lambda": 0.1}
    given |= {"rtol": 1e-6, "engine": PLAIN[kind], "chunk_size": 2}
    return given | ({"patch_size": 3, "padding": "circular"} if kind is lemmse.LocalEquivariantMMSE else {})


def built_and_asked(kind: type) -> Callable[..., Any]:
    def call(images: Any, physics: Any, **options: Any) -> Any:
        estimator = kind(images, physics, **options)
        with torch.no_grad():
            probe = images if isinstance(images, Tensor) else images[0]
            return estimator.posterior(physics.measure(probe[:1], 0.1, generator=seeded()), 0.1, top_k=1)

    return call


CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    **{kind.__name__: (built_and_asked(kind), estimator_call(kind)) for kind in ESTIMATORS},
    "LE-MMSE, padding": (
        built_and_asked(lemmse.LocalEquivariantMMSE),
        {"images": X, "physics": lemmse.Denoising(), "patch_size": 3, "padding": "zeros", "engine": "torch"},
    ),
    "posterior": (BUILT[0].posterior, {"y": X, "sigma": 0.1, "top_k": 2, "exclude": None}),
    "posterior, matrix": (BUILT[1].posterior, {"y": X, "sigma": 0.1, "top_k": 2, "exclude": None}),
    "posterior, Fourier": (BUILT[2].posterior, {"y": X.to(torch.complex128), "sigma": 0.1, "top_k": 2}),
    "partial": (BUILT[0].partial, {"y": X, "sigma": 0.1, "top_k": 2}),
    "finish": (BUILT[0].finish, {"partial": BUILT[0].partial(X, 0.1)}),
    "merge": (BUILT[0].partial(X, 0.1).merge, {"other": BUILT[0].partial(X, 0.1)}),
    "Inpainting": (lambda mask: lemmse.Inpainting(mask).A(X), {"mask": MASK}),
    "FourierSampling": (lambda mask: lemmse.FourierSampling(mask).A(X), {"mask": MASK}),
    "Blur": (lambda kernel: lemmse.Blur(kernel).A(X), {"kernel": KERNEL}),
    "Linear": (lambda matrix, shape: lemmse.Linear(matrix, shape).A(X), {"matrix": torch.eye(20), "shape": (5, 4)}),
    "Nonlinear": (lambda fn: lemmse.Nonlinear(fn).A(X), {"fn": lambda x: x**2}),
    "psnr": (lemmse.psnr, {"a": X, "b": X + 0.1}),
    "le_mmse": (reference.le_mmse, {"images": X, "y": X, "sigma": 0.1, "patch_size": 3}),
    "e_mmse": (reference.e_mmse, {"images": X, "y": X, "sigma": 0.1}),
    "mmse": (reference.mmse, {"images": X, "y": X, "sigma": 0.1}),
    "make_operator": (
        lambda name, height, width, generator: make_operator(name, height, width, generator).A(X),
        {"name": "random inpainting", "height": 5, "width": 4, "generator": seeded()},
    ),
    "load_images": (
        lemmse.load_images,
        {"name_or_path": "photos", "split": "test", "count": 2, "size": 12, "channels": 1},
    ),
    **{
        f"{type(net).__name__}, forward": (lambda z, sigma, net=net: net(z, sigma), {"z": X.float(), "sigma": 0.1})
        for net in NETS
    },
    "ResNet": (
        lambda channels, patch_size, size: lemmse.ResNet(channels, patch_size, size)(X.float(), 0.1),
        {"channels": 1, "patch_size": 3, "size": "small"},
    ),
}
for name, physics, y in (
    ("denoising", lemmse.Denoising(), X),
    ("inpainting", lemmse.Inpainting(MASK), X),
    ("blur", lemmse.Blur(KERNEL), X),
    ("Fourier", lemmse.FourierSampling(MASK), X.to(torch.complex128)),
    ("linear", LINEAR, X),
    ("nonlinear", lemmse.Nonlinear(torch.sin), X),
):
    CALLS[f"measure, {name}"] = (physics.measure, {"x": X, "sigma": 0.1, "generator": seeded()})
    CALLS[f"A, {name}"] = (physics.A, {"x": X})
    CALLS[f"A_adjoint, {name}"] = (physics.A_adjoint, {"y": y})
    CALLS[f"A_dagger, {name}"] = (physics.A_dagger, {"y": y})


def tensors(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, lemmse.Posterior):
        return [value for value in vars(result).values() if value is not None]
    return []


def fault_of(name: str, call: Callable[[], Any]) -> str:
    """What is wrong with the outcome of a call; empty if it is a clear ValueError or a finite result."""
    try:
        result = call()
    except ValueError as error:
        clear = "\n" not in str(error) and 0 < len(str(error)) < 300
        return "" if clear else f"a message of {len(str(error))} characters: {error}"
    values = [torch.view_as_real(v) if v.is_complex() else v for v in tensors(result)]
    finite = all(torch.isfinite(value).all() for value in values)
    return "" if finite or name == "psnr" else "values that are not finite"  # PSNR is infinite where images are equal


def test_a_strange_argument_gives_one_line_or_a_finite_result(examples):
    def call(data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(CALLS)), label="call")
        function, arguments = CALLS[name]
        changed = data.draw(st.sampled_from(sorted(arguments)), label="argument")
        number = data.draw(st.integers(0, len(STRANGE) - 1), label="strange value")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = STRANGE[number]()
            if changed == "fn" and isinstance(value, (torch.nn.Module, type(len))):
                return  # what a map of the user raises is not ours
            fault = fault_of(name, lambda: function(**(arguments | {changed: value})))
        assert not fault

    run(call, 4 * examples, data=st.data())


def noise_levels(count: int) -> st.SearchStrategy:
    """sigma in every form that is allowed."""
    number = st.sampled_from([0.05, 0.2, 1.0])
    return st.one_of(
        number,
        number.map(np.float64),
        number.map(Fraction),
        number.map(lambda s: torch.tensor(s, dtype=torch.float32)),
        st.lists(number, min_size=count, max_size=count).map(lambda s: torch.tensor(s, dtype=torch.float64)),
    )


def test_a_valid_posterior_is_what_the_formula_says(examples):
    def call(family, name, height, width, channels, patch_size, sigma, kind, chunk_size, streamed, top_k, seed):
        physics, a = make(family, height, width, seed)
        x = random_images(5, channels, height, width, seed=seed)
        y = physics.measure(random_images(2, channels, height, width, seed=seed + 1), sigma, generator=seeded(seed))
        options = {"pre_inverse": name, "chunk_size": chunk_size}
        options |= {"patch_size": patch_size} if kind is lemmse.LocalEquivariantMMSE else {}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            estimator = kind(list(x.split(2)) if streamed else x, physics, **options)
            posterior = estimator.posterior(y, sigma, top_k=top_k)
        if any("ambiguous rank" in str(warning.message) for warning in caught):
            return
        z, signal, bbt = oracle_setting(physics, a, name, x, y)
        levels = torch.as_tensor(float(sigma) if not isinstance(sigma, Tensor) else sigma).double().expand(2)
        for q, level in enumerate(levels.tolist()):
            if kind is lemmse.LocalEquivariantMMSE:
                truth = oracle.le_mmse(x.numpy(), z[q], signal, bbt, level, patch_size)["mean"].reshape(x.shape[1:])
            else:
                truth = oracle.mmse(x.numpy(), z[q], signal, bbt, level, kind is lemmse.EquivariantMMSE)
            assert np.abs(posterior.mean[q].numpy() - truth).max() < (1e-5 if name == "pinv" else 1e-8)
        assert (posterior.indices is None) == (top_k == 0)

    run(
        call,
        examples // 2,
        family=st.sampled_from(FAMILIES),
        name=st.sampled_from(PRE_INVERSES),
        height=st.integers(2, 5),
        width=st.integers(2, 5),
        channels=st.sampled_from([1, 3]),
        patch_size=st.sampled_from([1, 3, 5, 9]),
        sigma=noise_levels(2),
        kind=st.sampled_from(ESTIMATORS),
        chunk_size=st.sampled_from([None, 1, 3]),
        streamed=st.booleans(),
        top_k=st.sampled_from([0, 1, 7]),
        seed=st.integers(0, 10**6),
    )


def test_operators_of_the_gallery_are_adjoint_and_invertible(examples):
    def call(name, height, width, seed):
        physics = make_operator(name, height, width, seeded(seed))
        x, other = random_images(2, 2, height, width, seed=seed).chunk(2)
        y = physics.measure(other, 0.1, generator=seeded(seed))
        inner = (physics.A(x) * y.conj()).real.sum()
        torch.testing.assert_close(inner, (x * physics.A_adjoint(y)).sum(), rtol=1e-9, atol=1e-9)
        seen = physics.A(x)
        torch.testing.assert_close(physics.A(physics.A_dagger(seen)), seen, rtol=0, atol=1e-5)

    sides = st.integers(1, 12)
    run(
        call,
        examples // 2,
        name=st.sampled_from([*OPERATORS, FOURIER]),
        height=sides,
        width=sides,
        seed=st.integers(0, 10**6),
    )
