"""Forward operators `y = A x + e`, `e ~ N(0, sigma^2 I)`, on images (Q, C, H, W), alike and apart for each channel.

Every operator offers `A`, its adjoint `A_adjoint` (`<A x, y> = <x, A_adjoint y>`), its pseudo-inverse `A_dagger`, and
`measure`. The linear ones also say what `A^T A` looks like, which is all that the pre-inverses need:

    diagonal    A = diag(mask)                          Denoising, Inpainting
    circulant   A^T A has the real spectrum t(f) >= 0   Blur, FourierSampling
    dense       A is a matrix                           Linear
    nonlinear   no structure, physics-agnostic only     Nonlinear
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lemmse.checks import check_batch, check_count, check_tensor, shown
from lemmse.physics.noise import add_noise, check_gaussian_model, check_noise, draw
from lemmse.physics.spectra import RTOL, as_complex, as_parts, filter_images, invert_matrix, invert_spectrum

FLOATS = (torch.float32, torch.float64)
COMPLEX = (torch.complex64, torch.complex128)


class Physics(nn.Module):
    """A forward operator A says how an image x is measured, `y = A x + e`; all operators share this class.

    It takes no parameters. A subclass defines `A` and, where A is linear, `A_adjoint` and `A_dagger`; all of them take
    and return batches. The noise e is white, real, and complex where the measurements are.

    Raises:
        ValueError: in a method that the subclass does not define.

    Source: arXiv 2601.10334; the page on the theory, "The setting".

    Example:
        >>> import lemmse, torch
        >>> class Half(lemmse.Physics):
        ...     def A(self, x):
        ...         return x / 2
        >>> y = Half().measure(torch.ones(2, 1, 4, 4), 0.1, generator=torch.Generator().manual_seed(0))
        >>> y.shape
        torch.Size([2, 1, 4, 4])
    """

    def A(self, x: Tensor) -> Tensor:
        """Noiseless measurement of the images x (Q, C, H, W)."""
        raise ValueError(_lacks(self, "A"))

    def A_adjoint(self, y: Tensor) -> Tensor:
        """Adjoint: `Re <A x, y> = <x, A_adjoint(y)>`, measurements to images (Q, C, H, W)."""
        raise ValueError(_lacks(self, "A_adjoint"))

    def A_dagger(self, y: Tensor) -> Tensor:
        """Moore-Penrose pseudo-inverse, measurements to images (Q, C, H, W)."""
        raise ValueError(_lacks(self, "A_dagger"))

    def measure(
        self,
        x: Tensor,
        sigma: float | Tensor,
        generator: torch.Generator | None = None,
        *,
        noise: str = "gaussian",
        background: float = 0.0,
    ) -> Tensor:
        """Measure images with noise, `y = A x + e`, e ~ N(0, sigma^2 I), while `A` gives the noiseless measurement.

        The noise is on every measurement, unseen pixels and both complex parts included.

        Args:
            x: clean images (Q, C, H, W), float32 or float64.
            sigma: standard deviation of the noise, in units of the image range: a number, (Q,) or a map (Q, 1, H, W),
                positive.
            generator: the source of the noise, on any device; without one, torch's own.
            noise: "gaussian", or another law of `physics.noise`: "poisson" gives counts
                y ~ Poisson(sigma (A x + background)), sigma being the rate.
            background: the mean count of the background per unit rate, at least 0, for "poisson" only.

        Returns:
            The measurements, of the shape of `A(x)`.

        Raises:
            ValueError: for a sigma that is not positive and finite, for means that the law does not have, and for a
                background without "poisson".
        """
        noise, background = check_noise(noise, background)
        if noise == "gaussian":
            return add_noise(self.A(x), sigma, generator)
        return draw(self.A(x), sigma, noise, background, generator)

    def to_image(self, y: Tensor) -> Tensor:
        """The physics-agnostic input of a network: the measurements y themselves, where they are images."""
        return y


class DiagonalPhysics(Physics):
    """`A = diag(m)`, a mask m of zeros and ones: self-adjoint and its own pseudo-inverse."""

    def mask_on(self, height: int, width: int) -> Tensor:
        """The mask (H, W) as float64; raises ValueError if it is of another size."""
        raise NotImplementedError

    def A(self, x: Tensor) -> Tensor:
        """`m * x`."""
        check_batch(x, "images")
        return x * self.mask_on(*x.shape[-2:]).to(x)

    def A_adjoint(self, y: Tensor) -> Tensor:
        """`m * y`."""
        return self.A(y)

    def A_dagger(self, y: Tensor) -> Tensor:
        """`m * y`."""
        return self.A(y)


class Denoising(DiagonalPhysics):
    """Denoising measures the image itself, `A x = x`, so that the noise is all that has to be removed.

    It takes no parameters, and images of any size. A is its own adjoint and its own pseudo-inverse.

    Raises:
        ValueError: in its methods, for what is no finite batch (Q, C, H, W) of float32 or float64.

    Source: arXiv 2601.10334, section on experiments.

    Example:
        >>> import lemmse, torch
        >>> physics, x = lemmse.Denoising(), torch.ones(2, 1, 8, 8)
        >>> torch.equal(physics.A(x), x)
        True
        >>> physics.measure(x, 0.1, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([2, 1, 8, 8])
    """

    def mask_on(self, height: int, width: int) -> Tensor:
        """All ones."""
        return torch.ones(height, width, dtype=torch.float64, device="cpu")

    def A(self, x: Tensor) -> Tensor:
        """x itself."""
        return check_batch(x, "images")


class Inpainting(DiagonalPhysics):
    """Inpainting hides pixels of the image, `A x = m * x`, the same pixels for all channels.

    A is its own adjoint and its own pseudo-inverse. A wholly masked image is allowed: the answer is then the mean clean
    pixel.

    Args:
        mask: m, 0/1 or bool, (H, W), (1, H, W) or (1, 1, H, W), 1 = seen, of the height and width of the images.

    Raises:
        ValueError: for other values, for a mask per channel, and in its methods for images of another size.

    Source: arXiv 2601.10334, section on experiments.

    Example:
        >>> import lemmse, torch
        >>> physics = lemmse.Inpainting(torch.tensor([[1, 0], [1, 1]]))
        >>> physics.A(torch.full((1, 1, 2, 2), 0.5))
        tensor([[[[0.5000, 0.0000],
                  [0.5000, 0.5000]]]])
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", check_mask(mask))

    def mask_on(self, height: int, width: int) -> Tensor:
        """The mask, for images of its own size."""
        return _of_size(self.mask, height, width)


class CirculantPhysics(Physics):
    """A for which `A^T A` is a circular convolution with the real spectrum `t(f) = normal_spectrum(H, W)`.

    `A_dagger = (A^T A)^+ A^T`: the frequencies with singular value sqrt(t) below `RTOL` of the largest count as lost.
    complex_images: whether the two channels of an image are the parts of a complex one, on which A^H A acts.
    """

    complex_images: bool = False

    def normal_spectrum(self, height: int, width: int) -> Tensor:
        """Eigenvalues t (H, W) >= 0 of `A^T A`, float64, in `fft2` order."""
        raise NotImplementedError

    def A_dagger(self, y: Tensor) -> Tensor:
        """`F^-1 [1[t > 0] / t] F A^T y`, computed in float64."""
        check_batch(y, "measurements", FLOATS + COMPLEX)
        back = self.A_adjoint(y.to(torch.complex128 if y.is_complex() else torch.float64))
        inverse = invert_spectrum(self.normal_spectrum(*back.shape[-2:]), RTOL)
        return filter_images(back, inverse, complex_images=self.complex_images).to(y.real.dtype)


class Blur(CirculantPhysics):
    """Blur convolves the image circularly with a kernel, `A(x)[i] = sum_j k[j] x[i - (j - c)]`, `c = (kh//2, kw//2)`.

    Args:
        kernel: k, (kh, kw), real, finite, not all zero, not larger than the image.

    Raises:
        ValueError: for another kernel, and in its methods for images that are smaller than the kernel.

    Source: arXiv 2601.10334, section on experiments.

    Example:
        >>> import lemmse, torch
        >>> physics = lemmse.Blur(torch.tensor([[0.25, 0.5, 0.25]]))
        >>> physics.A(torch.tensor([[[[4.0, 0.0, 0.0, 0.0]]]])).round(decimals=4)
        tensor([[[[2., 1., 0., 1.]]]])
    """

    kernel: Tensor

    def __init__(self, kernel: Tensor) -> None:
        super().__init__()
        values = _constant(kernel, "kernel", "(kh, kw)")
        if not bool((values != 0).any()):
            raise ValueError("kernel must not be all zero: it would erase every image")
        self.register_buffer("kernel", values)

    def transfer(self, height: int, width: int) -> Tensor:
        """`fft2` of the kernel centered at the origin, (H, W) complex128."""
        kh, kw = self.kernel.shape
        if kh > height or kw > width:
            raise ValueError(f"kernel of {kh} x {kw} is larger than the image of {height} x {width}")
        padded = self.kernel.new_zeros(height, width)
        padded[:kh, :kw] = self.kernel
        return torch.fft.fft2(padded.roll((-(kh // 2), -(kw // 2)), (0, 1)))

    def normal_spectrum(self, height: int, width: int) -> Tensor:
        """`|h(f)|^2`."""
        return self.transfer(height, width).abs().square()

    def A(self, x: Tensor) -> Tensor:
        """Blurred images, the convolution done in float64."""
        check_batch(x, "images")
        return filter_images(x, self.transfer(*x.shape[-2:]))

    def A_adjoint(self, y: Tensor) -> Tensor:
        """Correlation with the kernel."""
        check_batch(y, "measurements")
        return filter_images(y, self.transfer(*y.shape[-2:]).conj())


class FourierSampling(CirculantPhysics):
    """FourierSampling measures some frequencies of the image, `A x = mask * fft2(x, norm="ortho")`, DC at [0, 0].

    This is single-coil accelerated MRI. Measurements are complex, (Q, C, H, W) of real images and (Q, 1, H, W) of
    complex ones; the noise has variance sigma^2 in the real and in the imaginary part, at every frequency. `A^H A` has
    the spectrum `t(f) = (m(f) + m(-f)) / 2` on real images, and the mask itself on complex ones.

    Args:
        mask: m over the frequencies, in `fft2` order, 0/1 or bool, (H, W), (1, H, W) or (1, 1, H, W), 1 = measured.
        complex_images: whether images are complex, given as (Q, 2, H, W), real and imaginary part.

    Raises:
        ValueError: for other values, for a mask per channel, and in its methods for images of another size, real
            measurements, and complex images that do not have two channels.

    Source: arXiv 2601.10334, version 2, accelerated MRI.

    Example:
        >>> import lemmse, torch
        >>> physics, x = lemmse.FourierSampling(torch.ones(8, 8)), torch.ones(2, 1, 8, 8)
        >>> y = physics.A(x)
        >>> y.dtype, bool((physics.A_adjoint(y) - x).abs().max() < 1e-6)
        (torch.complex64, True)
    """

    mask: Tensor

    def __init__(self, mask: Tensor, *, complex_images: bool = False) -> None:
        super().__init__()
        if not isinstance(complex_images, bool):
            raise ValueError(f"complex_images must be True or False, got {shown(complex_images)}")
        self.complex_images = complex_images
        self.register_buffer("mask", check_mask(mask))

    def normal_spectrum(self, height: int, width: int) -> Tensor:
        """`(m(f) + m(-f)) / 2`, or m for complex images."""
        mask = _of_size(self.mask, height, width)
        if self.complex_images:
            return mask
        return (mask + mask.flip(0, 1).roll((1, 1), (0, 1))) / 2

    def A(self, x: Tensor) -> Tensor:
        """Sampled spectrum, complex (Q, C, H, W)."""
        check_batch(x, "images")
        mask = _of_size(self.mask, *x.shape[-2:]).to(x)
        return torch.fft.fft2(as_complex(x) if self.complex_images else x, norm="ortho") * mask

    def A_adjoint(self, y: Tensor) -> Tensor:
        """`Re F^H (mask * y)`; for complex images both parts of `F^H (mask * y)`."""
        check_batch(y, "measurements", COMPLEX)
        return self.to_image(y * _of_size(self.mask, *y.shape[-2:]).to(y.device, y.real.dtype))

    def to_image(self, y: Tensor) -> Tensor:
        """`Re F^H y`, or both parts, without the mask: the physics-agnostic input, whose noise is white."""
        image = torch.fft.ifft2(check_batch(y, "measurements", COMPLEX), norm="ortho")
        return as_parts(image) if self.complex_images else image.real


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
        self.register_buffer("matrix", _constant(matrix, "matrix", "(M, H*W)"))
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


def check_mask(mask: Tensor) -> Tensor:
    """Return a mask of zeros and ones as (H, W) float64; raises ValueError for other shapes and values."""
    check_tensor(mask, "mask")
    if mask.ndim not in (2, 3, 4) or mask.numel() == 0 or any(n != 1 for n in mask.shape[:-2]):
        raise ValueError(
            "mask must be of shape (H, W), (1, H, W) or (1, 1, H, W), the same for all channels, "
            f"got {tuple(mask.shape)}"
        )
    values = mask.detach().reshape(mask.shape[-2:])
    wrong = (values != 0) & (values != 1)
    if bool(wrong.any()):
        raise ValueError(f"mask must hold only 0 and 1 (1 = seen), got {values[wrong][0].item()}")
    return _constant(values, "mask", "(H, W)")


def check_gaussian(physics: Physics) -> None:
    """Warn or raise where an operator has noise of its own, because the theory here is that of white Gaussian noise.

    Raises ValueError for a `noise_model` that is not Gaussian by its name; warns about a `measure` that is overridden.
    """
    check_gaussian_model(physics)
    if getattr(physics.measure, "__func__", None) is not Physics.measure:
        warnings.warn(
            f"{type(physics).__name__} has a measure of its own: the formulas hold only if it adds white Gaussian "
            "noise of standard deviation sigma",
            UserWarning,
            stacklevel=4,
        )


@torch.inference_mode(False)
def _constant(values: Tensor, name: str, shape: str) -> Tensor:
    """A copy of a real, finite matrix in float64, which gradients may pass even if it was made in inference mode."""
    check_tensor(values, name)
    if values.ndim != 2 or values.numel() == 0:
        raise ValueError(f"{name} must be a tensor of shape {shape}, got {tuple(values.shape)}")
    if values.is_complex() or not bool(torch.isfinite(values).all()):
        raise ValueError(f"{name} must be real and finite, but it is complex or holds NaN or infinity")
    return values.detach().to(torch.float64, copy=True)


def _check_image_shape(shape: tuple[int, int], pixels: int) -> tuple[int, int]:
    if not isinstance(shape, (tuple, list)) or len(shape) != 2:
        raise ValueError(f"shape must be a pair (H, W), got {shown(shape)}")
    height, width = (check_count(side, "shape") for side in shape)
    if height * width != pixels:
        raise ValueError(f"shape must have the {pixels} pixels of the columns of the matrix, got {shown(shape)}")
    return height, width


def _lacks(physics: Physics, method: str) -> str:
    return (
        f"{type(physics).__name__} has no {method}: use Denoising, Inpainting, Blur, FourierSampling, Linear or "
        f"Nonlinear, or define {method} in a subclass"
    )


def _of_size(mask: Tensor, height: int, width: int) -> Tensor:
    if tuple(mask.shape) != (height, width):
        raise ValueError(f"mask is {mask.shape[0]} x {mask.shape[1]}, but the images are {height} x {width}")
    return mask
