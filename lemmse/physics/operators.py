"""Forward operators `y = A x + e`, `e ~ N(0, sigma^2 I)`, on images (Q, C, H, W), alike and apart for each channel.

Every operator offers `A`, its adjoint `A_adjoint` (`<A x, y> = <x, A_adjoint y>`), its pseudo-inverse `A_dagger`, and
`measure`. The linear ones also say what `A^T A` looks like, which is all that the pre-inverses need:

    diagonal    A = diag(mask)                          Denoising, Inpainting
    circulant   A^T A has the real spectrum t(f) >= 0   Blur, FourierSampling

`general` has those without such a structure.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lemmse.checks import check_batch, check_tensor, shown
from lemmse.physics.base import Physics, constant_matrix
from lemmse.physics.spectra import RTOL, as_complex, as_parts, filter_images, invert_spectrum

FLOATS = (torch.float32, torch.float64)
COMPLEX = (torch.complex64, torch.complex128)


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
        values = constant_matrix(kernel, "kernel", "(kh, kw)")
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
    return constant_matrix(values, "mask", "(H, W)")


def _of_size(mask: Tensor, height: int, width: int) -> Tensor:
    if tuple(mask.shape) != (height, width):
        raise ValueError(f"mask is {mask.shape[0]} x {mask.shape[1]}, but the images are {height} x {width}")
    return mask
