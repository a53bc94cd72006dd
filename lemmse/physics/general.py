"""Operators without a structure that pre-inverses could use: any linear map as a matrix, and any map at all."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from lemmse.checks import check_batch, check_count, shown
from lemmse.physics.base import Physics, constant_matrix
from lemmse.physics.spectra import RTOL, invert_matrix


class Linear(Physics):
    """Linear multiplies the H*W pixels of each channel by any matrix, `A x = matrix @ x.flatten()`.

    It is for small images, because the estimators treat every position apart.

    Args:
        matrix: (M, H*W), real and finite.
        shape: (H, W); without it `A_adjoint` and `A_dagger` return square images, or, where M = H*W, images of the
            height and width of the measurements.
        measured: the shape of the M measurements of a channel; without it measurements are (Q, C, H, W) where M = H*W,
            else (Q, C, M).

    Raises:
        ValueError: for a matrix that is not 2-D, real and finite, a shape that does not have its columns, and a
            measured that does not have its rows; in its methods, for images and measurements of another number of
            values, and for pixels that make no square image where shape is missing.

    Source: arXiv 2601.10334; the page on the theory, "Strata: which patches compete", any other matrix B.

    Example:
        >>> import lemmse, torch
        >>> physics = lemmse.Linear(torch.tensor([[1.0, 1.0, 0.0, 0.0]]), shape=(2, 2))
        >>> y = physics.A(torch.tensor([[[[0.25, 0.5], [0.75, 1.0]]]]))
        >>> y
        tensor([[[0.7500]]])
        >>> physics.A_adjoint(y)
        tensor([[[[0.7500, 0.7500],
                  [0.0000, 0.0000]]]])
    """

    matrix: Tensor

    def __init__(
        self, matrix: Tensor, shape: tuple[int, int] | None = None, measured: tuple[int, ...] | None = None
    ) -> None:
        super().__init__()
        self.register_buffer("matrix", constant_matrix(matrix, "matrix", "(M, H*W)"))
        self.shape = None if shape is None else _check_image_shape(shape, self.matrix.shape[1])
        self.measured = measured
        if measured is not None and not isinstance(measured, (tuple, list)):
            raise ValueError(f"measured must be the shape of a measurement, as (M,), got {shown(measured)}")
        if measured is not None and math.prod(check_count(n, "each of measured") for n in measured) != len(self.matrix):
            raise ValueError(f"measured must hold the {len(self.matrix)} rows of the matrix, got {shown(measured)}")

    def matrix_on(self, height: int, width: int) -> Tensor:
        """The matrix (M, H*W) float64, for images of H x W pixels; raises ValueError if its width is another."""
        if self.matrix.shape[1] != height * width:
            raise ValueError(
                f"matrix has {self.matrix.shape[1]} columns, but images of {height} x {width} have {height * width}"
            )
        return self.matrix

    def A(self, x: Tensor) -> Tensor:
        """`matrix @ x`, computed in float64."""
        check_batch(x, "images")
        y = (x.flatten(2).double() @ self.matrix_on(*x.shape[-2:]).to(x.device).T).to(x.dtype)
        if self.measured is not None:
            return y.reshape(*y.shape[:2], *self.measured)
        return y.reshape(x.shape) if y.shape[-1] == x.shape[-2] * x.shape[-1] else y

    def A_adjoint(self, y: Tensor) -> Tensor:
        """`matrix.T @ y`."""
        return self._to_images(y, self.matrix.T)

    def A_dagger(self, y: Tensor) -> Tensor:
        """`pinv(matrix) @ y`, singular values below `RTOL` of the largest count as zero."""
        return self._to_images(y, invert_matrix(self.matrix, RTOL))

    def _to_images(self, y: Tensor, matrix: Tensor) -> Tensor:
        flat = check_batch(y, "measurements", dims=(3, 4)).flatten(2)
        if flat.shape[-1] != matrix.shape[1]:
            raise ValueError(f"measurements must hold {matrix.shape[1]} values a channel, got shape {tuple(y.shape)}")
        pixels = matrix.shape[0]
        side = round(pixels**0.5)
        shape = self.shape or (tuple(y.shape[2:]) if y.ndim == 4 and matrix.shape[1] == pixels else (side, side))
        if shape[0] * shape[1] != pixels:
            raise ValueError(f"{pixels} pixels are no square image: pass Linear(matrix, shape=(H, W))")
        return (flat.double() @ matrix.to(y.device).T).to(y.dtype).reshape(*y.shape[:2], *shape)


class Nonlinear(Physics):
    """Nonlinear measures with any map of images, `A x = fn(x)`; only physics-agnostic solvers, B = I, can follow it.

    Args:
        fn: a function of a batch of images (Q, C, H, W) that keeps Q, H and W.

    Raises:
        ValueError: for a fn that is not callable; in `A`, for images that are no finite batch and for a fn that does
            not keep Q, H and W; in `A_adjoint` and `A_dagger`, always, because a nonlinear map has neither.

    Source: arXiv 2601.10334; the page on the theory, "Strata: which patches compete", B = I with any A.

    Example:
        >>> import lemmse, torch
        >>> physics = lemmse.Nonlinear(lambda x: x.clamp(max=0.5))  # a sensor that saturates
        >>> physics.A(torch.tensor([[[[0.25, 0.75]]]]))
        tensor([[[[0.2500, 0.5000]]]])
    """

    def __init__(self, fn: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        if not callable(fn):
            raise ValueError(f"fn must be callable, got {type(fn).__name__}")
        self.fn = fn

    def A(self, x: Tensor) -> Tensor:
        """`fn(x)`."""
        y = self.fn(check_batch(x, "images").clone())  # fn may work in place
        if not isinstance(y, Tensor) or y.ndim != 4 or y.shape[0] != x.shape[0] or y.shape[2:] != x.shape[2:]:
            raise ValueError(f"fn must keep the batch, height and width of {tuple(x.shape)}, but returned {shown(y)}")
        return y

    def A_adjoint(self, y: Tensor) -> Tensor:
        """Raises ValueError: a nonlinear map has none."""
        raise ValueError("a nonlinear map has no adjoint: use pre_inverse='identity'")

    def A_dagger(self, y: Tensor) -> Tensor:
        """Raises ValueError: a nonlinear map has none."""
        raise ValueError("a nonlinear map has no pseudo-inverse: use pre_inverse='identity'")


def _check_image_shape(shape: tuple[int, int], pixels: int) -> tuple[int, int]:
    if not isinstance(shape, (tuple, list)) or len(shape) != 2:
        raise ValueError(f"shape must be a pair (H, W), got {shown(shape)}")
    height, width = (check_count(side, "shape") for side in shape)
    if height * width != pixels:
        raise ValueError(f"shape must have the {pixels} pixels of the columns of the matrix, got {shown(shape)}")
    return height, width
