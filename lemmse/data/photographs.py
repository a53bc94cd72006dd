"""Crops of the photographs that the scikit-image and scikit-learn wheels carry: real images without a download.

Each photograph is averaged over blocks first, so that a crop holds structure: its short side becomes about 4 crops. The
last 40 % of its columns give the test crops, the rest the training crops: the two share no pixel. Flat crops (plain
sky) are left out.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

PHOTOGRAPHS = {
    "skimage": ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png"),
    "sklearn": ("china.jpg", "flower.jpg"),
}
_FOLDERS = {"skimage": "data", "sklearn": "datasets/images"}
TEST_PART = 0.4
CROPS_A_SIDE = 4.0
LEAST_CONTRAST = 0.06  # standard deviation of the grey values
_GOLDEN = (5**0.5 - 1) / 2


class PhotoCrops:
    """A sequence of crops (3, size, size), the photographs taking turns, each at well-spread places of a grid."""

    def __init__(self, photographs: list[Tensor], size: int) -> None:
        self.photographs, self.size = photographs, size
        step = max(1, size // 8)  # neighbours on the grid overlap
        places = []
        for p, photo in enumerate(photographs):
            rows, cols = (range(0, n - size + 1, step) for n in photo.shape[1:])
            grid = [(row, col) for row in rows for col in cols]
            grid = [at for at in grid if self._crop(p, *at).mean(0).std() >= LEAST_CONTRAST]
            order = sorted(range(len(grid)), key=lambda i: (i * _GOLDEN) % 1)
            places += [(turn, p, *grid[i]) for turn, i in enumerate(order)]
        self.places = sorted(places)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, i: int) -> Tensor:
        return self._crop(*self.places[i][1:])

    def _crop(self, p: int, row: int, col: int) -> Tensor:
        return self.photographs[p][:, row : row + self.size, col : col + self.size]


@cache
def photo_crops(split: str, size: int) -> PhotoCrops:
    """All crops of `size` pixels of a split, "train" or "test"; there may be none where `size` is large."""
    parts = []
    for package, names in PHOTOGRAPHS.items():
        root = Path(find_spec(package).submodule_search_locations[0], _FOLDERS[package])
        for name in names:
            photo = _averaged(root / name, size)
            border = round(photo.shape[2] * (1 - TEST_PART))
            parts.append(photo[:, :, border:] if split == "test" else photo[:, :, :border])
    return PhotoCrops(parts, size)


def _averaged(path: Path, size: int) -> Tensor:
    """The photograph (3, H, W) in [0, 1], averaged over square blocks."""
    from PIL import Image

    pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).float().permute(2, 0, 1) / 255
    block = max(1, int(min(pixels.shape[1:]) / (CROPS_A_SIDE * size)))
    return torch.nn.functional.avg_pool2d(pixels, block)
