"""From the pixels of a set to the numbers, channels and size that were asked for."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # Rec. 601: weights of red, green and blue


def in_channels(images: Tensor, channels: int | None) -> Tensor:
    """Return the images with the number of channels that was asked for.

    Gray is the luma of Rec. 601, `0.299 R + 0.587 G + 0.114 B`; color from gray repeats the gray values.

    Args:
        images: (N, 1 or 3, H, W) in [0, 1].
        channels: 1, 3, or None to change nothing.

    Returns:
        (N, channels, H, W) in [0, 1], of the dtype and on the device of `images`.

    Example:
        >>> in_channels(torch.ones(1, 3, 2, 2, dtype=torch.float32, device="cpu"), 1).shape
        torch.Size([1, 1, 2, 2])
    """
    if channels == 1 and images.shape[1] == 3:
        weights = torch.tensor(LUMA, dtype=images.dtype, device=images.device)
        return torch.einsum("nchw,c->nhw", images, weights)[:, None].clamp(0, 1)
    if channels == 3 and images.shape[1] == 1:
        return images.expand(-1, 3, -1, -1).contiguous()
    return images


def resized(pixels: np.ndarray, size: int | None) -> Tensor:
    """Pixels of 8 bits as numbers in [0, 1], averaged over areas to `size` x `size`.

    Args:
        pixels: (N, C, H, W) uint8.
        size: side in pixels, or None to keep H and W.

    Returns:
        (N, C, size, size) float32 in [0, 1].

    Example:
        >>> resized(np.full((1, 1, 4, 4), 255, np.uint8), 2).mean().item()
        1.0
    """
    images = torch.from_numpy(pixels.copy()).to(torch.float32) / 255
    if size is None or images.shape[-2:] == (size, size):
        return images
    return torch.nn.functional.interpolate(images, (size, size), mode="area")
