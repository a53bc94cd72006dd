"""The pre-inverse B: what turns a measurement y into the image `z = B y` that the network sees.

Given x, `z ~ N(B A x, sigma^2 B B^T)`. With `t` the spectrum of `A^T A` and g a spectrum of our choice:

    identity    B = I                             physics-agnostic (`Re F^H` for spectra, U for fewer pixels)
    adjoint     B = A^T                           g = 1
    pinv        B = A^+                           g = 1[t > 0] / t
    tikhonov    B = A^T (A A^T + lambda I)^-1     g = 1 / (t + lambda)

For a circulant `A^T A`, `B = G A^T`: B A has the spectrum g t, and B B^T has g^2 t. For a mask, B = c diag(mask). Every
structure answers the same calls: `B(y)`, `B.signal(x)`, and the noise of z by `noise_variance`, `whiten`, `rank` and
`log_pdet`, each for one channel.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from lemmse.checks import check_choice, check_positive, shown
from lemmse.physics.base import Physics
from lemmse.physics.downsampling import Downsampling
from lemmse.physics.general import Linear
from lemmse.physics.operators import CirculantPhysics, DiagonalPhysics
from lemmse.physics.spectra import RANGE_RTOL, filter_images, invert_matrix, invert_spectrum, kept_values

PRE_INVERSES = ("identity", "pinv", "tikhonov", "adjoint")


@dataclass(frozen=True, eq=False)
class PreInverse(ABC):
    """B behind a `physics`, as a map and by the noise that it leaves; the subclasses are its structures.

    amplifies: whether B may amplify, so that `B A x` needs float64.
    """

    physics: Physics
    amplifies: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, y: Tensor) -> Tensor:
        """`z = B y`: measurements to images (Q, C, H, W), computed in float64, in the real dtype of y."""

    def signal(self, x: Tensor) -> Tensor:
        """`B A x`: images to images (Q, C, H, W)."""
        return self(self.physics.A(x))

    @property
    @abstractmethod
    def noise_variance(self) -> float:
        """Mean of `diag(B B^T)`: the variance of `B e` for sigma = 1."""

    @abstractmethod
    def whiten(self, z: Tensor) -> Tensor:
        """`B^+ z` up to a rotation: numbers (Q, C, ...) of z (Q, C, H, W) whose noise is white, of deviation sigma."""

    @property
    @abstractmethod
    def rank(self) -> int:
        """The rank of B."""

    @property
    @abstractmethod
    def log_pdet(self) -> float:
        """The logarithm of the product of the non-zero singular values of B."""


@dataclass(frozen=True, eq=False)
class DiagonalPreInverse(PreInverse):
    """`B = scale diag(mask)`: scale c > 0, and mask (H, W) float64 of zeros and ones."""

    scale: float
    mask: Tensor
    amplifies: ClassVar[bool] = False

    def __call__(self, y: Tensor) -> Tensor:
        """`scale mask y`."""
        return self.scale * self.physics.A_adjoint(y)

    @property
    def noise_variance(self) -> float:
        """`scale^2 mean(mask)`."""
        return self.scale**2 * float(self.mask.mean())

    def whiten(self, z: Tensor) -> Tensor:
        """`mask z / scale`, in float64; z itself where B is the identity."""
        if self.scale == 1 and self.rank == self.mask.numel():
            return z
        return z.double() / self.scale * self.mask.to(z.device)

    @cached_property
    def rank(self) -> int:
        """How many pixels are seen."""
        return int(self.mask.sum())

    @property
    def log_pdet(self) -> float:
        """`rank log(scale)`."""
        return self.rank * math.log(self.scale)

    @property
    def translations(self) -> Tensor:
        """Which translations (H, W) bool map the mask, and so the range of B, to itself."""
        overlap = torch.fft.irfft2(torch.fft.rfft2(self.mask).abs().square(), s=tuple(self.mask.shape))
        return overlap.round() == self.mask.sum()


class IdentityPreInverse(DiagonalPreInverse):
    """`B = I`: the network sees the measurements (`Re F^H y` where they are a spectrum); A may be any map."""

    def __call__(self, y: Tensor) -> Tensor:
        """`y`, as an image."""
        return self.physics.to_image(y)


@dataclass(frozen=True, eq=False)
class CirculantPreInverse(PreInverse):
    """`B = G A^T`, `B B^T = F^H diag(spectrum) F`: `gain` g and `spectrum` g^2 t (H, W) float64, not negative.

    complex_images: whether B makes complex images, (Q, 2, H, W), and `B B^H` acts on them. Each of the two parts counts
    as a channel: the noise has the density of 2 rank real numbers.
    """

    gain: Tensor
    spectrum: Tensor
    complex_images: bool = False

    def __call__(self, y: Tensor) -> Tensor:
        """`F^-1 [g F A^T y]`."""
        wide = y.to(torch.complex128 if y.is_complex() else torch.float64)
        back = self.physics.A_adjoint(wide)
        return filter_images(back, self.gain, complex_images=self.complex_images).to(y.real.dtype)

    @property
    def noise_variance(self) -> float:
        """`mean(spectrum)`."""
        return float(self.spectrum.mean())

    def whiten(self, z: Tensor) -> Tensor:
        """`F^-1 [spectrum^(-1/2) F z]` on the range of B, float64."""
        positive = self.spectrum.where(self._kept, torch.ones_like(self.spectrum))
        root = torch.where(self._kept, positive.rsqrt(), 0.0)
        return filter_images(z.double(), root, complex_images=self.complex_images)

    @cached_property
    def _kept(self) -> Tensor:
        """Which frequencies B passes."""
        return kept_values(self.spectrum, RANGE_RTOL, "eigenvalue of B B^T")

    @property
    def rank(self) -> int:
        """How many frequencies B passes."""
        return int(self._kept.sum())

    @property
    def log_pdet(self) -> float:
        """`sum log(spectrum) / 2` over the frequencies that B passes."""
        return float(self.spectrum[self._kept].log().sum()) / 2

    @property
    def translations(self) -> Tensor:
        """Which translations (H, W) bool map the range of B to itself: all."""
        return torch.ones_like(self.spectrum, dtype=torch.bool)


@dataclass(frozen=True, eq=False)
class DensePreInverse(PreInverse):
    """B as a `matrix` (H*W, M) float64, for images of `shape` (H, W)."""

    matrix: Tensor
    shape: tuple[int, int]

    def __call__(self, y: Tensor) -> Tensor:
        """`matrix @ y`."""
        z = (y.flatten(2).double() @ self.matrix.to(y.device).T).to(y.dtype)
        return z.reshape(*y.shape[:2], *self.shape)

    @property
    def noise_variance(self) -> float:
        """Mean squared norm of the rows of B."""
        return float(self.matrix.square().sum(1).mean())

    def whiten(self, z: Tensor) -> Tensor:
        """`U^T z / s`, (Q, C, rank) float64, with the singular vectors U and values s of B."""
        left, values = self._range
        if self.rank == 0:  # nothing is seen: one number that is always 0
            return torch.zeros_like(z[..., 0, :1], dtype=torch.float64)
        return z.double().flatten(2) @ (left / values).to(z.device)

    @cached_property
    def _range(self) -> tuple[Tensor, Tensor]:
        """The left singular vectors (H*W, rank) and the singular values (rank,) of B that are not zero."""
        left, values, _ = torch.linalg.svd(self.matrix, full_matrices=False)
        kept = kept_values(values, RANGE_RTOL**0.5, "singular value of B")
        return left[:, kept], values[kept]

    @property
    def rank(self) -> int:
        """The rank of the matrix."""
        return len(self._range[1])

    @property
    def log_pdet(self) -> float:
        """Sum of the logarithms of the singular values that are not zero."""
        return float(self._range[1].log().sum())


@torch.inference_mode(False)
@torch.no_grad()
def pre_inverse(
    physics: Physics, name: str, shape: tuple[int, int], *, tikhonov_lambda: float = 1e-2, rtol: float = 1e-6
) -> PreInverse:
    """The pre-inverse `name` of `physics` for images of `shape` (H, W).

    Args:
        physics: the forward operator A.
        name: one of `PRE_INVERSES`.
        shape: height and width of the images.
        tikhonov_lambda: lambda of "tikhonov", positive.
        rtol: singular values of A below rtol of the largest count as zero in "pinv"; one within a factor 3 of that cut
            gives a warning.

    Raises:
        ValueError: for an unknown name, a lambda that is not positive, a mask or kernel that does not fit `shape`, and
            for a nonlinear map with any name but "identity".

    Example:
        >>> import lemmse, torch
        >>> B = pre_inverse(lemmse.Inpainting(torch.tensor([[1, 0, 1, 1]])), "pinv", (1, 4))
        >>> B.noise_variance, B.rank
        (0.75, 3)
    """
    if not isinstance(physics, Physics):
        raise ValueError(f"physics must be a lemmse.Physics (Denoising, Blur, ...), got {type(physics).__name__}")
    check_choice(name, PRE_INVERSES, "pre_inverse")
    lam = check_positive(tikhonov_lambda, "tikhonov_lambda")
    if check_positive(rtol, "rtol") >= 1:
        raise ValueError(f"rtol must be less than 1, a part of the largest singular value, got {shown(rtol)}")
    if name == "identity":
        return _identity(physics, shape)
    if isinstance(physics, DiagonalPhysics):
        return DiagonalPreInverse(physics, 1 / (1 + lam) if name == "tikhonov" else 1.0, physics.mask_on(*shape))
    if isinstance(physics, CirculantPhysics):
        t = physics.normal_spectrum(*shape)
        gain = {
            "adjoint": lambda: torch.ones_like(t),
            "pinv": lambda: invert_spectrum(t, rtol),
            "tikhonov": lambda: 1 / (t + lam),
        }[name]()
        return CirculantPreInverse(physics, gain, gain.square() * t, physics.complex_images)
    if isinstance(physics, (Linear, Downsampling)):
        matrix = physics.matrix_on(*shape)
        inverse = {
            "adjoint": lambda: matrix.T,
            "pinv": lambda: invert_matrix(matrix, rtol),
            "tikhonov": lambda: torch.linalg.solve(
                matrix.T @ matrix + lam * torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device), matrix.T
            ),
        }[name]()
        return DensePreInverse(physics, inverse, shape)
    raise ValueError(f"pre_inverse {name!r} needs a linear physics, {type(physics).__name__} allows only 'identity'")


def _identity(physics: Physics, shape: tuple[int, int]) -> PreInverse:
    if isinstance(physics, Downsampling):
        return DensePreInverse(physics, physics.upsampling_on(*shape), shape)
    if isinstance(physics, Linear) and physics.matrix_on(*shape).shape[0] != shape[0] * shape[1]:
        raise ValueError(
            f"pre_inverse 'identity' needs measurements of image size, got a matrix {tuple(physics.matrix.shape)}"
        )
    return IdentityPreInverse(physics, scale=1.0, mask=torch.ones(shape, dtype=torch.float64, device="cpu"))
