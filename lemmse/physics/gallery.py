"""The operators that the analyses share, by name, scaled to the size of the images."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from lemmse.checks import check_choice, check_count, check_finite, check_generator, check_positive, shown
from lemmse.physics.base import Physics
from lemmse.physics.downsampling import Downsampling
from lemmse.physics.general import Linear
from lemmse.physics.operators import Blur, Denoising, FourierSampling, Inpainting

HIDDEN = 0.3  # of the pixels, in random inpainting
SQUARE = 15 / 32  # of the side, in centre inpainting
BLUR_STD = 1.0  # pixels
MOTION = 7, 30.0  # the length of a path in pixels, and its angle in degrees
DEFOCUS_RADIUS = 2.5  # pixels
FACTOR = 2  # along each side, in super-resolution
ANGLES = 16  # of the projections in tomography, evenly spread over half a turn
SAMPLED = 1 / 4  # of the columns of the spectrum, those of lowest frequency; and of the others

OPERATORS = ("denoising", "centre inpainting", "random inpainting", "Gaussian blur")
FOURIER = "Fourier sampling"
MORE = ("motion blur", "defocus blur", "super-resolution", "tomography")

_LARGEST = 8192  # pixels along a side
_LARGEST_TOMOGRAM = 32  # pixels along a side: its matrix has a column for each pixel
_SUBPIXELS = 32  # along a side of a pixel, for the share of it that a disk covers


def make_operator(name: str, height: int, width: int, generator: torch.Generator) -> Physics:
    """Make the operator `name`, of `OPERATORS`, `FOURIER` or `MORE`, for images of H x W pixels.

    Centre inpainting hides a square of 15/32 of the shorter side; random inpainting hides 30 % of the pixels, drawn by
    the generator; Gaussian blur has a standard deviation of 1 pixel; Fourier sampling keeps the columns of the spectrum
    with `|f| <= W/8` and a quarter of the others, drawn in pairs f and -f. Motion blur follows a path of 7 pixels at 30
    degrees; defocus blur is a disk of radius 2.5 pixels; super-resolution takes means over 2 x 2 pixels; tomography
    (scikit-image's Radon transform) has 16 projections of a square of at most 32 pixels.

    Args:
        name: "denoising", "centre inpainting", "random inpainting", "Gaussian blur", "Fourier sampling", "motion blur",
            "defocus blur", "super-resolution" or "tomography".
        height: H, at most 8192 pixels; even for super-resolution.
        width: W, at most 8192 pixels; even for super-resolution, and equal to H for tomography.
        generator: the source of the hidden pixels and of the frequencies, on any device.

    Returns:
        The operator, on the CPU.

    Raises:
        ValueError: for an unknown name, and for images that the operator does not take.

    Source: arXiv 2601.10334, section on experiments, for `OPERATORS`; its version 2, accelerated MRI, for `FOURIER`.

    Example:
        >>> physics = make_operator("centre inpainting", 32, 32, torch.Generator().manual_seed(0))
        >>> int((physics.mask == 0).sum())  # a square of 15 x 15
        225
    """
    check_choice(name, (*OPERATORS, FOURIER, *MORE), "operator")
    height, width = (check_count(n, side, maximum=_LARGEST) for n, side in ((height, "height"), (width, "width")))
    check_generator(generator, optional=False)
    if name == "denoising":
        return Denoising()
    if name == FOURIER:
        return FourierSampling(column_mask(height, width, generator))
    if name == "Gaussian blur":
        return Blur(gaussian_kernel(BLUR_STD, radius=min(3, (min(height, width) - 1) // 2)))
    if name == "motion blur":
        return Blur(motion_kernel(min(MOTION[0], (min(height, width) - 1) // 2 * 2 + 1), MOTION[1]))
    if name == "defocus blur":
        return Blur(disk_kernel(min(DEFOCUS_RADIUS, (min(height, width) - 1) / 2)))
    if name == "super-resolution":
        physics = Downsampling(FACTOR)
        physics.check_sides(height, width)
        return physics
    if name == "tomography":
        return Linear(radon_matrix(height, width, ANGLES), (height, width))
    mask = torch.ones(height, width, dtype=torch.bool, device="cpu")
    if name == "centre inpainting":
        side = round(SQUARE * min(height, width))
        top, left = (height - side) // 2, (width - side) // 2
        mask[top : top + side, left : left + side] = False
    else:
        hidden = _shuffled(height * width, generator)[: round(HIDDEN * height * width)]
        mask.view(-1)[hidden] = False
    return Inpainting(mask)


def column_mask(height: int, width: int, generator: torch.Generator) -> Tensor:
    """Draw which frequencies (H, W), in `fft2` order, are measured: whole columns, as in accelerated MRI.

    They are the columns with `|f| <= W/8` and a quarter of the others, f and -f alike.

    Args:
        height: H.
        width: W.
        generator: the source of the columns.

    Returns:
        (H, W) bool.

    Source: arXiv 2601.10334, version 2, accelerated MRI.

    Example:
        >>> mask = column_mask(4, 16, torch.Generator().manual_seed(0))
        >>> mask.shape, int(mask[0].sum())
        (torch.Size([4, 16]), 8)
    """
    frequency = (torch.fft.fftfreq(width, dtype=torch.float64, device="cpu") * width).abs().round()
    low = frequency <= SAMPLED * width / 2
    others = frequency[~low].unique()
    drawn = others[_shuffled(len(others), generator)[: round(SAMPLED * len(others))]]
    return (low | torch.isin(frequency, drawn)).expand(height, width).clone()


def cartesian_mask(height: int, width: int, acceleration: int, center: int, generator: torch.Generator) -> Tensor:
    """Draw which frequencies (H, W), in `fft2` order, an accelerated scan measures: a dense center, and random columns.

    The `center` columns of lowest frequency are measured, and as many others, drawn by the generator, as bring the
    number of columns to `W / acceleration`.

    Args:
        height: H.
        width: W.
        acceleration: how many times fewer columns are measured than there are, at least 1.
        center: columns in the center, from 1 to `W / acceleration`; without them the gray level of an image is lost.
        generator: source of the columns.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: for a center or an acceleration out of range.

    Source: arXiv 2601.10334, version 2, accelerated MRI.

    Example:
        >>> mask = cartesian_mask(4, 16, acceleration=4, center=2, generator=torch.Generator().manual_seed(0))
        >>> mask.shape, int(mask[0].sum()), bool(mask[0, 0])
        (torch.Size([4, 16]), 4, True)
    """
    height, width = (check_count(n, side, maximum=_LARGEST) for n, side in ((height, "height"), (width, "width")))
    measured = width // check_count(acceleration, "acceleration", maximum=width)
    check_count(center, "center", maximum=measured)
    check_generator(generator, optional=False)
    columns = torch.zeros(width, dtype=torch.bool, device="cpu")
    columns[torch.arange(-(center // 2), center - center // 2, dtype=torch.int64, device="cpu") % width] = True
    others = (~columns).nonzero()[:, 0]
    columns[others[_shuffled(len(others), generator)[: measured - center]]] = True
    return columns.expand(height, width).clone()


def _shuffled(count: int, generator: torch.Generator) -> Tensor:
    """The numbers 0 .. count - 1 in an order drawn by the generator, on the CPU."""
    return torch.randperm(count, generator=generator, dtype=torch.int64, device=generator.device).cpu()


def gaussian_kernel(std: float, radius: int) -> Tensor:
    """Sample a Gaussian of standard deviation `std` on (2 radius + 1)^2 pixels, `k[i] ~ exp(-|i|^2 / (2 std^2))`.

    Args:
        std: in pixels, positive; the paper has 1.
        radius: in pixels, at least 0.

    Returns:
        (2 radius + 1, 2 radius + 1) float64, sum 1.

    Raises:
        ValueError: for a std that is not positive, and for a radius that is no integer of at least 0.

    Source: arXiv 2601.10334, section on experiments.

    Example:
        >>> gaussian_kernel(1.0, radius=1).round(decimals=3)[1]
        tensor([0.1240, 0.2040, 0.1240], dtype=torch.float64)
    """
    check_positive(std, "std")
    check_count(radius, "radius", minimum=0)
    axis = torch.arange(-radius, radius + 1, dtype=torch.float64, device="cpu")
    profile = torch.exp(-0.5 * (axis / std).square())
    kernel = profile[:, None] * profile
    return kernel / kernel.sum()


def disk_kernel(radius: float) -> Tensor:
    """Draw a disk of `radius` pixels as a kernel, which says how much of each pixel the disk covers.

    A lens out of focus blurs like this.

    Args:
        radius: in pixels, positive; the paper's code has 2.5.

    Returns:
        (2 r + 1, 2 r + 1) float64, sum 1, with r the radius minus 0.5, rounded up.

    Raises:
        ValueError: for a radius that is not a finite positive number.

    Source: the code of the paper, arXiv 2601.10334.

    Example:
        >>> disk_kernel(0.5).shape, disk_kernel(2.5).shape
        (torch.Size([1, 1]), torch.Size([5, 5]))
    """
    check_positive(radius, "radius")
    reach = math.ceil(radius - 0.5)
    side = 2 * reach + 1
    place = (torch.arange(side * _SUBPIXELS, dtype=torch.float64, device="cpu") + 0.5) / _SUBPIXELS - side / 2
    inside = (place[:, None].square() + place.square() <= radius**2).double()
    covered = avg_pool2d(inside[None, None], _SUBPIXELS)[0, 0]
    return covered / covered.sum()


def motion_kernel(length: int, angle: float) -> Tensor:
    """Draw a straight path of `length` pixels through the center, as a camera that moves evenly draws a point.

    Args:
        length: in pixels, odd and positive.
        angle: in degrees from the rows, counterclockwise.

    Returns:
        (length, length) float64, sum 1.

    Raises:
        ValueError: for a length that is not odd and positive, and for an angle that is not finite.

    Source: geometry; each point of the path is shared by the four pixels around it.

    Example:
        >>> motion_kernel(3, 0.0)[1]
        tensor([0.3333, 0.3333, 0.3333], dtype=torch.float64)
    """
    if check_count(length, "length") % 2 == 0:
        raise ValueError(f"length must be an odd positive number of pixels, got {shown(length)}")
    check_finite(angle, "angle", "a finite number of degrees")
    reach = length // 2
    steps = (torch.arange(64 * length, dtype=torch.float64, device="cpu") + 0.5) / 64 - length / 2
    along, turn = (
        steps.clamp(-reach, reach),
        math.radians(angle),
    )  # the half pixels at both ends count for the last ones
    rows, columns = reach - along * math.sin(turn), reach + along * math.cos(turn)
    kernel = torch.zeros(length, length, dtype=torch.float64, device="cpu")
    row, column = rows.floor(), columns.floor()
    for down in (0, 1):  # every point of the path is shared by the four pixels around it
        for right in (0, 1):
            share = (1 - (rows - row - down).abs()) * (1 - (columns - column - right).abs())
            at = ((row + down).clamp(0, length - 1).long(), (column + right).clamp(0, length - 1).long())
            kernel.index_put_(at, share, accumulate=True)
    return kernel / kernel.sum()


def radon_matrix(height: int, width: int, angles: int) -> Tensor:
    """Compute the Radon transform of scikit-image as a matrix (M, H*W) float64: sums along lines at some angles.

    Args:
        height: of the image, at most 32 pixels.
        width: the same number.
        angles: how many projections, evenly spread over half a turn.

    Returns:
        One column for each pixel; the rows are the bins of the first projection, then of the second, and so on.

    Raises:
        ValueError: for an image that is not square or larger.

    Source: `skimage.transform.radon`.

    Example:
        >>> radon_matrix(4, 4, 2).shape
        torch.Size([12, 16])
    """
    from skimage.transform import radon

    if height != width or height > _LARGEST_TOMOGRAM:
        raise ValueError(
            f"tomography needs square images of at most {_LARGEST_TOMOGRAM} pixels a side, got {height} x {width}"
        )
    theta = [180 * turn / check_count(angles, "angles") for turn in range(angles)]
    columns = []
    for pixel in range(height * width):
        image = torch.zeros(height * width, dtype=torch.float64, device="cpu")
        image[pixel] = 1
        sinogram = radon(image.reshape(height, width).numpy(), theta=theta, circle=False)
        columns.append(torch.from_numpy(sinogram).T.flatten())
    return torch.stack(columns, 1)
