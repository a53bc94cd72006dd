"""The operators that the analyses share, by name, scaled to the size of the images."""

from __future__ import annotations

import torch
from torch import Tensor

from lemmse.checks import check_choice, check_count, check_generator, check_positive
from lemmse.physics.operators import Blur, Denoising, FourierSampling, Inpainting, Physics

HIDDEN = 0.3  # of the pixels, in random inpainting
SQUARE = 15 / 32  # of the side, in centre inpainting
BLUR_STD = 1.0  # pixels
SAMPLED = 1 / 4  # of the columns of the spectrum, those of lowest frequency; and of the others

OPERATORS = ("denoising", "centre inpainting", "random inpainting", "Gaussian blur")
FOURIER = "Fourier sampling"

_LARGEST = 8192  # pixels along a side


def make_operator(name: str, height: int, width: int, generator: torch.Generator) -> Physics:
    """The operator `name`, of `OPERATORS` or `FOURIER`, for images of H x W pixels.

    centre inpainting hides a square of 15/32 of the shorter side; random inpainting hides 30 % of the pixels, drawn by
    the generator; Gaussian blur has a standard deviation of 1 pixel; Fourier sampling keeps the columns of the spectrum
    with `|f| <= W/8` and a quarter of the others, drawn in pairs f and -f. Raises ValueError for an unknown name.
    """
    check_choice(name, (*OPERATORS, FOURIER), "operator")
    height, width = (check_count(n, side, maximum=_LARGEST) for n, side in ((height, "height"), (width, "width")))
    check_generator(generator, optional=False)
    if name == "denoising":
        return Denoising()
    if name == FOURIER:
        return FourierSampling(column_mask(height, width, generator))
    if name == "Gaussian blur":
        return Blur(gaussian_kernel(BLUR_STD, radius=min(3, (min(height, width) - 1) // 2)))
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
    """Which frequencies (H, W), in `fft2` order, are measured: whole columns, f and -f alike, as in accelerated MRI."""
    frequency = (torch.fft.fftfreq(width, dtype=torch.float64, device="cpu") * width).abs().round()
    low = frequency <= SAMPLED * width / 2
    others = frequency[~low].unique()
    drawn = others[_shuffled(len(others), generator)[: round(SAMPLED * len(others))]]
    return (low | torch.isin(frequency, drawn)).expand(height, width).clone()


def cartesian_mask(height: int, width: int, acceleration: int, center: int, generator: torch.Generator) -> Tensor:
    """Which frequencies (H, W), in `fft2` order, an accelerated scan measures: a dense center, and random columns.

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
    """Samples of a Gaussian of standard deviation `std` pixels on (2 radius + 1)^2 pixels, sum 1, float64."""
    check_positive(std, "std")
    check_count(radius, "radius", minimum=0)
    axis = torch.arange(-radius, radius + 1, dtype=torch.float64, device="cpu")
    profile = torch.exp(-0.5 * (axis / std).square())
    kernel = profile[:, None] * profile
    return kernel / kernel.sum()
