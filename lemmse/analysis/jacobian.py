"""The derivative of an estimate: which filter it applies at each pixel, exactly.

With B = I, for a pixel p in the window of m,

    d x_hat[m] / d y_p = Cov_w(u, a_p) / sigma^2 = (E_w[u a_p] - E_w[u] E_w[a_p]) / sigma^2,

u the clean center and a_p a measured pixel of the training patches, under the weights w of m. Both means are means of
targets, so one pass over the training images gives the derivative at all pixels. A network has its derivative by
automatic differentiation. Both are local: all pixels outside the window have the derivative 0.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lemmse.checks import check_batch, check_sigma, shown
from lemmse.estimators.features import CENTER
from lemmse.estimators.lemmse import LocalEquivariantMMSE
from lemmse.patches import extract_patches, window_indices


def formula_jacobian(formula: LocalEquivariantMMSE, y: Tensor, sigma: float | Tensor) -> Tensor:
    """`Cov_w(u, a_p) / sigma^2` at every pixel, as matrices.

    Args:
        formula: LE-MMSE with B = I, circular padding and no targets, behind an operator whose measurements are images.
        y: measurements, (Q, C', H, W), of any size that the formula takes.
        sigma: the noise level, a number or (Q,).

    Returns:
        (Q, C H W, C' H W) float64: the derivative of each pixel of the estimate with respect to each of y.

    Raises:
        ValueError: for another estimator.

    Example:
        >>> import torch, lemmse
        >>> x = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()
        >>> formula = lemmse.LocalEquivariantMMSE(x, lemmse.Denoising(), patch_size=3)
        >>> J = formula_jacobian(formula, x[:1], 0.2)
        >>> divergence = formula.posterior(x[:1], 0.2).variance.sum() / 0.2**2
        >>> bool((J[0].trace() - divergence).abs() < 1e-9)
        True
    """
    plain = isinstance(formula, LocalEquivariantMMSE) and formula.targets is None and formula.padding == "circular"
    if not plain or formula.pre_inverse_name != "identity":
        raise ValueError(
            "formula must be LE-MMSE with pre_inverse 'identity', circular padding and no targets, got "
            f"{shown(formula)}"
        )
    moments = formula.rebuilt(formula.images, _Moments(formula))(y, sigma).double()
    channels, (height, width) = formula.target_shape[0], y.shape[2:]
    u, rest = moments.split([channels, moments.shape[1] - channels], 1)
    features = rest.shape[1] // (1 + channels)
    a, products = rest.split([features, channels * features], 1)
    covariance = products.unflatten(1, (channels, features)) - u[:, :, None] * a[:, None]  # (Q, C, C' p, H, W)
    scale = check_sigma(sigma, len(y), y).double().square()[:, None, None, None, None]
    windows = (
        (covariance / scale).flatten(3).transpose(2, 3).unflatten(-1, (formula.z_channels, -1))
    )  # (Q, C, n, C', p)
    pixels = height * width
    columns = window_indices(formula.patch_size, height, width).to(y.device)  # (n, p)
    index = columns[None, None, :, None].expand_as(windows)
    matrix = windows.new_zeros(len(y), channels, pixels, formula.z_channels, pixels)
    return matrix.scatter_add(-1, index, windows).flatten(3).flatten(1, 2)


class _Moments:
    """The targets u, a_p and u a_p of all p in the window, about the center of values."""

    def __init__(self, formula: LocalEquivariantMMSE) -> None:
        self.physics, self.patch_size = formula.physics, formula.patch_size

    def __call__(self, images: Tensor) -> Tensor:
        u = images - CENTER
        patches = extract_patches(self.physics.A(images) - CENTER, self.patch_size)  # (B, C', n, p)
        a = patches.transpose(2, 3).flatten(1, 2).unflatten(-1, images.shape[2:])  # (B, C' p, H, W)
        products = (u[:, :, None] * a[:, None]).flatten(1, 2)
        return torch.cat([u, a, products], 1)


def network_jacobian(network: Callable[[Tensor, float], Tensor], y: Tensor, sigma: float) -> Tensor:
    """The derivative of any differentiable restorer by automatic differentiation, as matrices.

    Args:
        network: a map (y, sigma) -> images.
        y: measurements, (Q, C', H, W); one backward pass is made for each pixel and channel of the estimate.
        sigma: the noise level.

    Returns:
        (Q, C H W, C' H W), as `formula_jacobian`, in the dtype of y.

    Example:
        >>> twice = network_jacobian(lambda y, sigma: 2 * y, torch.zeros(1, 1, 2, 2), 0.1)
        >>> bool((twice == 2 * torch.eye(4)).all())
        True
    """
    check_batch(y, "y")
    with torch.enable_grad():
        inputs = y.detach().clone().requires_grad_()
        estimate = network(inputs, sigma).flatten(1)
        rows = [
            torch.autograd.grad(estimate[:, pixel].sum(), inputs, retain_graph=True)[0].flatten(1)
            for pixel in range(estimate.shape[1])
        ]
    return torch.stack(rows, 1)


def filter_at(matrix: Tensor, pixel: tuple[int, int], sides: tuple[int, int], patch_size: int) -> Tensor:
    """A row of the Jacobian of one gray image as a filter: the derivative of one pixel by the pixels of its window.

    Args:
        matrix: (H W, H W).
        pixel: row and column of the estimate.
        sides: H and W, each at least P.
        patch_size: P, odd.

    Returns:
        (1, P, P).

    Raises:
        ValueError: for a pixel outside, and for a matrix of another size.
    """
    height, width = sides
    row, column = pixel
    if not (0 <= row < height and 0 <= column < width) or matrix.shape != (height * width, height * width):
        raise ValueError(
            f"pixel {pixel} must lie in {height} x {width}, and matrix be of {height * width} rows and columns, got "
            f"{tuple(matrix.shape)}"
        )
    image = matrix[row * width + column].reshape(1, 1, height, width)
    return extract_patches(image, patch_size)[0, :, row * width + column].unflatten(-1, (patch_size, patch_size))
