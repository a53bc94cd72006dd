"""How images lie in memory for the kernels: 16 lanes side by side.

With 16 images or more a lane is an image, which walks through all row shifts. The images that are left over are cut
into runs of row shifts, so that one image fills 16 lanes: each lane holds the image, rolled by the first shift of its
run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lemmse.engines.cpu.vectors import IMAGES


@dataclass(frozen=True)
class Lanes:
    """Groups of 16 lanes that walk through equally many row shifts.

    Attributes:
        images: (groups, 16) int64, the number of the image in each lane, -1 for none.
        rows: (groups, 16) int64, the first row shift of each lane.
        length: how many row shifts each lane walks through.
    """

    images: Tensor
    rows: Tensor
    length: int

    @classmethod
    def of_runs(cls, images: range, first_rows: range, length: int) -> Lanes:
        """All images from all these first row shifts on; the last group is filled up with absent lanes."""
        pairs = torch.cartesian_prod(*(torch.tensor(n, dtype=torch.int64, device="cpu") for n in (images, first_rows)))
        absent = torch.tensor([[-1, 0]], dtype=torch.int64, device="cpu").expand(-len(pairs) % IMAGES, 2)
        groups = torch.cat([pairs, absent]).reshape(-1, IMAGES, 2)
        return cls(groups[..., 0], groups[..., 1], length)


def arrange(count: int, height: int) -> list[Lanes]:
    """Lanes that hold every pair of `count` images and `height` row shifts once, few of them empty."""
    left = count % IMAGES
    found = [Lanes.of_runs(range(count - left), range(1), height)] if count > left else []
    if left:
        images = range(count - left, count)
        length = min(range(height, 0, -1), key=lambda length: _steps(left, height, length))
        whole = height - height % length
        found.append(Lanes.of_runs(images, range(0, whole, length), length))
        if whole < height:
            found.append(Lanes.of_runs(images, range(whole, whole + 1), height - whole))
    return found


def _steps(count: int, height: int, length: int) -> int:
    """How many row shifts of groups it takes to walk through `count` images in runs of `length`."""
    runs, rest = divmod(height, length)
    return -(-count * runs // IMAGES) * length + -(-count // IMAGES) * rest


def interleaved(images: Tensor, lanes: Lanes, columns: int, absent: float | Tensor) -> np.ndarray:
    """Images side by side, each rolled by the first row shift of its lane, and periodic in its columns.

    Args:
        images: (N, C, H, W).
        lanes: where they go.
        columns: how many columns to store.
        absent: what fills a lane without an image, a number or (C, 1).

    Returns:
        (groups, H * C * columns * 16), the lanes fastest, then the columns.
    """
    height, width = images.shape[2:]
    image, row = lanes.images[..., None], lanes.rows[..., None]
    filled = images[
        image.clamp_min(0), :, (torch.arange(height, dtype=torch.int64, device="cpu") + row) % height
    ]  # (groups, 16, H, C, W)
    filled[lanes.images < 0] = absent
    lane_last = filled.permute(0, 2, 3, 4, 1)
    return (
        lane_last[..., torch.arange(columns, dtype=torch.int64, device="cpu") % width, :]
        .flatten(1)
        .contiguous()
        .numpy()
    )


def replaced(array: np.ndarray, lanes: np.ndarray, values: Tensor, height: int) -> np.ndarray:
    """A copy of interleaved images (groups, numbers) of this height in which the marked `lanes` (groups, 16) hold, in
    each channel, one of the values (C, 1).
    """
    copy = array.copy()
    pixels = copy.reshape(len(copy), height, len(values), -1, IMAGES)
    for group, lane in np.argwhere(lanes):
        pixels[group, ..., lane] = values.numpy()
    return copy
