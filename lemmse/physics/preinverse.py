"""The pre-inverse B: what turns a measurement y into the image `z = B y` that the network sees.

Given x, `z ~ N(B A x, sigma^2 B B^T)`. With `t` the spectrum of `A^T A` and g a spectrum of our choice:

    identity    B = I                             physics-agnostic (`Re F^H` for Fourier measurements)
    adjoint     B = A^T                           g = 1
    pinv        B = A^+                           g = 1[t > 0] / t
    tikhonov    B = A^T (A A^T + lambda I)^-1     g = 1 / (t + lambda)

For a circulant `A^T A`, `B = G A^T`: B A has the spectrum g t, and B B^T has g^2 t. For a mask, B = c diag(mask).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lemmse.checks import check_choice, check_positive
from lemmse.physics.operators import (
    CirculantPhysics,
    DiagonalPhysics,
    FourierSampling,
    Linear,
    Physics,
    filter_images,
    invert_matrix,
    invert_spectrum,
)

PRE_INVERSES = ("identity", "pinv", "tikhonov", "adjoint")


@dataclass(frozen=True)
class PreInverse:
    """B as a map and the structure of its noise; one of the subclasses says which structure."""

    apply: Callable[[Tensor], Tensor]
    A: Callable[[Tensor], Tensor]

    def __call__(self, y: Tensor) -> Tensor:
        """`z = B y`: measurements to images (Q, C, H, W), computed in float64, in the real dtype of y."""
        return self.apply(y)

    def signal(self, x: Tensor) -> Tensor:
        """`B A x`: images to images (Q, C, H, W)."""
        return self(self.A(x))

    @property
    def noise_variance(self) -> float:
        """Mean of `diag(B B^T)`: the variance of `B e` for sigma = 1."""
        raise NotImplementedError


@dataclass(frozen=True)
class DiagonalPreInverse(PreInverse):
    """`B B^T = c^2 diag(mask)`: `scale` c > 0 and `mask` (H, W) float64 of zeros and ones."""

    scale: float
    mask: Tensor

    @property
    def noise_variance(self) -> float:
        """`c^2 mean(mask)`."""
        return self.scale**2 * float(self.mask.mean())


@dataclass(frozen=True)
class CirculantPreInverse(PreInverse):
    """`B B^T = F^H diag(spectrum) F`: `spectrum` (H, W) float64, not negative."""

    spectrum: Tensor

    @property
    def noise_variance(self) -> float:
        """`mean(spectrum)`."""
        return float(self.spectrum.mean())


@dataclass(frozen=True)
class DensePreInverse(PreInverse):
    """B as a `matrix` (H*W, M) float64, for each channel."""

    matrix: Tensor

    @property
    def noise_variance(self) -> float:
        """Mean squared norm of the rows of B."""
        return float(self.matrix.square().sum(1).mean())


def pre_inverse(
    physics: Physics, name: str, shape: tuple[int, int], *, tikhonov_lambda: float = 1e-2, rtol: float = 1e-6
) -> PreInverse:
    """The pre-inverse `name` of `physics` for images of `shape` (H, W).

    name: one of `PRE_INVERSES`. rtol: singular values of A below rtol of the largest count as zero in `pinv`; one
    within a factor 3 of that cut gives a warning. Raises ValueError for an unknown name, a lambda that is not
    positive, a mask or kernel that does not fit `shape`, and for a nonlinear map with any name but "identity".
    """
    if not isinstance(physics, Physics):
        raise ValueError(f"physics must be a lemmse.Physics (Denoising, Blur, ...), got {type(physics).__name__}")
    check_choice(name, PRE_INVERSES, "pre_inverse")
    lam = check_positive(tikhonov_lambda, "tikhonov_lambda")
    check_positive(rtol, "rtol")
    if name == "identity":
        return _identity(physics, shape)
    if isinstance(physics, DiagonalPhysics):
        return _diagonal(physics, shape, 1 / (1 + lam) if name == "tikhonov" else 1.0)
    if isinstance(physics, CirculantPhysics):
        t = physics.normal_spectrum(*shape)
        g = {
            "adjoint": lambda: torch.ones_like(t),
            "pinv": lambda: invert_spectrum(t, rtol),
            "tikhonov": lambda: 1 / (t + lam),
        }[name]()
        return _circulant(physics, g, g.square() * t)
    if isinstance(physics, Linear):
        matrix = physics.matrix_on(*shape)
        inverse = {
            "adjoint": lambda: matrix.T,
            "pinv": lambda: invert_matrix(matrix, rtol),
            "tikhonov": lambda: torch.linalg.solve(
                matrix.T @ matrix + lam * torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device), matrix.T
            ),
        }[name]()
        return _dense(physics, inverse, shape)
    raise ValueError(f"pre_inverse {name!r} needs a linear physics, {type(physics).__name__} allows only 'identity'")


def _identity(physics: Physics, shape: tuple[int, int]) -> DiagonalPreInverse:
    if isinstance(physics, Linear) and physics.matrix_on(*shape).shape[0] != shape[0] * shape[1]:
        raise ValueError(
            f"pre_inverse 'identity' needs measurements of image size, got a matrix {tuple(physics.matrix.shape)}"
        )
    apply = physics.to_image if isinstance(physics, FourierSampling) else _unchanged
    return DiagonalPreInverse(apply, physics.A, scale=1.0, mask=torch.ones(shape, dtype=torch.float64))


def _unchanged(y: Tensor) -> Tensor:
    return y


def _diagonal(physics: DiagonalPhysics, shape: tuple[int, int], scale: float) -> DiagonalPreInverse:
    return DiagonalPreInverse(lambda y: scale * physics.A_adjoint(y), physics.A, scale, physics.mask_on(*shape))


def _circulant(physics: CirculantPhysics, g: Tensor, spectrum: Tensor) -> CirculantPreInverse:
    def apply(y: Tensor) -> Tensor:
        wide = y.to(torch.complex128 if y.is_complex() else torch.float64)
        return filter_images(physics.A_adjoint(wide), g).to(y.real.dtype)

    return CirculantPreInverse(apply, physics.A, spectrum)


def _dense(physics: Linear, matrix: Tensor, shape: tuple[int, int]) -> DensePreInverse:
    def apply(y: Tensor) -> Tensor:
        return (y.flatten(2).double() @ matrix.to(y.device).T).to(y.dtype).reshape(*y.shape[:2], *shape)

    return DensePreInverse(apply, physics.A, matrix)
