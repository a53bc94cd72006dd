"""The derivative of the formula: against automatic differentiation and finite differences."""

from __future__ import annotations

import pytest
import torch

import lemmse
from lemmse.analysis.jacobian import filter_at, formula_jacobian, network_jacobian
from lemmse.physics.gallery import gaussian_kernel
from tests.conftest import random_images

OPERATORS = {"denoising": lemmse.Denoising(), "blur": lemmse.Blur(gaussian_kernel(0.7, 1))}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("sides", "patch_size"), [((6, 5), 3), ((8, 7), 3), ((6, 5), 7)])
def test_the_covariance_is_the_derivative(operator, channels, sides, patch_size):
    x = random_images(5, channels, 6, 5)
    formula = lemmse.LocalEquivariantMMSE(x, OPERATORS[operator], patch_size=patch_size, engine="torch")
    y = random_images(2, channels, *sides, seed=1)
    sigma = torch.tensor([0.2, 0.5], dtype=torch.float64)
    found = formula_jacobian(formula, y, sigma)
    for n in range(2):
        expected = network_jacobian(formula, y[n : n + 1], float(sigma[n]))
        torch.testing.assert_close(found[n : n + 1], expected, rtol=0, atol=1e-9)


def test_it_is_what_finite_differences_find():
    x, step = random_images(5, 1, 6, 5), 1e-5
    formula, y = lemmse.LocalEquivariantMMSE(x, lemmse.Denoising(), patch_size=3), random_images(1, 1, 6, 5, seed=1)
    shifts = step * torch.eye(30, dtype=torch.float64).reshape(30, 1, 6, 5)
    slopes = (formula(y + shifts, 0.3) - formula(y - shifts, 0.3)).flatten(1) / (2 * step)
    torch.testing.assert_close(formula_jacobian(formula, y, 0.3)[0], slopes.T, rtol=0, atol=1e-8)


def test_in_float32_it_is_near():
    x = random_images(20, 1, 12, 12)
    y = lemmse.Denoising().measure(x[:1], 0.2, generator=torch.Generator().manual_seed(0))
    exact, rounded = (
        formula_jacobian(lemmse.LocalEquivariantMMSE(x.to(d), lemmse.Denoising(), patch_size=5), y.to(d), 0.2)
        for d in (torch.float64, torch.float32)
    )
    assert (exact - rounded).abs().max() < 1e-4 * exact.abs().max()


def test_a_filter_is_the_window_of_a_row():
    matrix = torch.arange(900.0).reshape(30, 30)
    row = matrix[7].reshape(6, 5)  # of pixel (1, 2)
    assert torch.equal(filter_at(matrix, (1, 2), (6, 5), 3)[0], row[0:3, 1:4])
    corner = filter_at(matrix, (0, 0), (6, 5), 3)[0]
    assert corner[0, 0] == matrix[0].reshape(6, 5)[-1, -1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: formula_jacobian(lemmse.MMSE(x, lemmse.Denoising()), x, 0.1), "formula must be LE-MMSE"),
        (
            lambda x: formula_jacobian(
                lemmse.LocalEquivariantMMSE(x, lemmse.Denoising(), patch_size=3, padding="zeros"), x, 0.1
            ),
            "circular padding",
        ),
        (lambda x: filter_at(torch.eye(30), (6, 0), (6, 5), 3), r"pixel \(6, 0\) must lie in 6 x 5"),
        (lambda x: filter_at(torch.eye(9), (0, 0), (6, 5), 3), "30 rows and columns"),
    ],
)
def test_bad_input_is_one_line(call, message):
    with pytest.raises(ValueError, match=message):
        call(random_images(3, 1, 6, 5))
