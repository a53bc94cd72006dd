"""The operators that the analyses share, by name, scaled to the size of the images."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import check_choice, check_count, check_positive
from .physics import Blur, Denoising, Inpainting, Physics

HIDDEN = 0.3  # of the pixels, in random inpainting
SQUARE = 15 / 32  # of the side, in centre inpainting
BLUR_STD = 1.0  # pixels

OPERATORS = ("denoising", "centre inpainting", "random inpainting", "Gaussian blur")


def make_operator(name: str, height: int, width: int, generator: torch.Generator) -> Physics:
    """The operator `name` of `OPERATORS` for images of H x W pixels.

    centre inpainting hides a square of 15/32 of the shorter side; random inpainting hides 30 % of the pixels, drawn by
    the generator; Gaussian blur has a standard deviation of 1 pixel. Raises ValueError for an unknown name.
    """
    check_choice(name, OPERATORS, "operator")
    if name == "denoising":
        return Denoising()
    if name == "Gaussian blur":
        return Blur(gaussian_kernel(BLUR_STD, radius=min(3, (min(height, width) - 1) // 2)))
    mask = torch.ones(height, width, dtype=torch.bool)
    if name == "centre inpainting":
        side = round(SQUARE * min(height, width))
        top, left = (height - side) // 2, (width - side) // 2
        mask[top : top + side, left : left + side] = False
    else:
        hidden = torch.randperm(height * width, generator=generator)[: round(HIDDEN * height * width)]
        mask.view(-1)[hidden] = False
    return Inpainting(mask)


def gaussian_kernel(std: float, radius: int) -> Tensor:
    """Samples of a Gaussian of standard deviation `std` pixels on (2 radius + 1)^2 pixels, sum 1, float64."""
    check_positive(std, "std")
    check_count(radius, "radius", minimum=0)
    axis = torch.arange(-radius, radius + 1, dtype=torch.float64)
    profile = torch.exp(-0.5 * (axis / std).square())
    kernel = profile[:, None] * profile
    return kernel / kernel.sum()
