"""Fewer pixels than the image: `A x` is the mean of each block of s x s pixels, for super-resolution.

With U the up-sampling that repeats every pixel s x s times, `A^T = U / s^2` and `A A^T = I / s^2`, so that U is the
pseudo-inverse of A. It depends on no kernel and no mask: it is also what a physics-agnostic network sees.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from lemmse.checks import check_batch, check_count
from lemmse.physics.base import Physics


class Downsampling(Physics):
    """Downsampling takes the mean over each block of `factor` x `factor` pixels, as for super-resolution.

    It is `(A x)[i, j] = sum_{a,b < s} x[s i + a, s j + b] / s^2` with s the factor: (Q, C, H, W) -> (Q, C, H/s, W/s).
    It is for small images: the estimators treat every position apart, because a pixel's place in its block decides what
    its window sees.

    Args:
        factor: s, an integer of at least 2. The sides of the images must be multiples of it.

    Raises:
        ValueError: for another factor, and in its methods for images whose sides are no multiples of it.

    Source: linear algebra; the head of this module derives the pseudo-inverse from `A A^T = I / s^2`.

    Example:
        >>> import lemmse, torch
        >>> physics = lemmse.Downsampling(2)
        >>> y = physics.A(torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]]]))
        >>> y
        tensor([[[[0.5000]]]])
        >>> physics.A_dagger(y).shape
        torch.Size([1, 1, 2, 2])
    """

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = check_count(factor, "factor", minimum=2)

    def matrix_on(self, height: int, width: int) -> Tensor:
        """A as a matrix (M, H*W) float64, for images of H x W pixels."""
        self.check_sides(height, width)
        pixels = torch.eye(height * width, dtype=torch.float64, device="cpu").reshape(-1, 1, height, width)
        return avg_pool2d(pixels, self.factor).flatten(1).T

    def upsampling_on(self, height: int, width: int) -> Tensor:
        """U as a matrix (H*W, M) float64, for images of H x W pixels."""
        return self.factor**2 * self.matrix_on(height, width).T

    def A(self, x: Tensor) -> Tensor:
        """Means over blocks."""
        check_batch(x, "images")
        self.check_sides(*x.shape[-2:])
        return avg_pool2d(x, self.factor)

    def A_adjoint(self, y: Tensor) -> Tensor:
        """`U y / s^2`."""
        return self.to_image(y) / self.factor**2

    def A_dagger(self, y: Tensor) -> Tensor:
        """`U y`: every pixel repeated."""
        return self.to_image(y)

    def to_image(self, y: Tensor) -> Tensor:
        """`U y`."""
        check_batch(y, "measurements")
        return y.repeat_interleave(self.factor, -2).repeat_interleave(self.factor, -1)

    def check_sides(self, height: int, width: int) -> None:
        """Raise ValueError unless the sides of images of H x W pixels are multiples of the factor."""
        if height % self.factor or width % self.factor:
            raise ValueError(
                f"images must have sides that are multiples of the factor {self.factor}, got {height} x {width}"
            )
