"""The set `photos`: crops of the photographs of `lemmse.data.photographs`, which take turns.

Each photograph is averaged over square blocks first, so that its short side is four crops long or a little more, and a
crop holds structure. Crops that are nearly flat (plain sky) are left out. Crops of one photograph overlap as their
number grows; `sources` names the photograph of each crop, so that standard errors can resample photographs first.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from lemmse.data.arguments import check_arguments, checked_count
from lemmse.data.photographs import PHOTOGRAPHS, photograph
from lemmse.data.pixels import in_channels

DEFAULT_SIZE = 32  # pixels
LARGEST_SIZE = 256
CROPS_ALONG_SHORT_SIDE = 4
LEAST_CONTRAST = 0.06  # standard deviation of the gray values of a crop
_STRIDES_PER_CROP = 8  # there are as many places as on a grid whose step is an eighth of a crop
_PLASTIC = 1.324717957244746  # the root of x^3 = x + 1


class Crops:
    """Crops of several photographs, in a fixed order: the photographs take turns.

    One that has no crop left is passed over. The places within a photograph follow the plane's low-discrepancy sequence
    `((1/2 + n/p) mod 1, (1/2 + n/p^2) mod 1)`, p the plastic number, so that any number of first crops is spread
    evenly. There are at most as many as on a grid whose step is an eighth of a crop, and flat crops are left out.

    Args:
        photographs: images (C, H, W) by name, none smaller than a crop.
        size: side of a crop in pixels, at least 8.

    Attributes:
        places: name of the photograph, row and column of the upper left corner, for each crop.
        names: name of the photograph of each crop.

    Source:
        The sequence is R2 of M. Roberts, "The unreasonable effectiveness of quasirandom sequences" (2018).

    Example:
        >>> stripes = (torch.arange(16, dtype=torch.float32, device="cpu") % 2).expand(1, 16, 16)
        >>> crops = Crops({"stripes": stripes, "flat": 0 * stripes}, 8)
        >>> set(crops.names), crops.images(3).shape
        ({'stripes'}, torch.Size([3, 1, 8, 8]))
    """

    LEAST_SIZE = 8

    def __init__(self, photographs: dict[str, Tensor], size: int) -> None:
        self.photographs = photographs
        self.size = size
        turns = [
            (turn, order, name, row, column)
            for order, (name, image) in enumerate(photographs.items())
            for turn, (row, column) in enumerate(_places(image, size))
        ]
        self.places = [(name, row, column) for _, _, name, row, column in sorted(turns)]
        self.names = tuple(name for name, _, _ in self.places)

    def images(self, count: int) -> Tensor:
        """The first `count` crops, (count, C, size, size)."""
        return torch.stack(
            [
                self.photographs[name][:, row : row + self.size, column : column + self.size]
                for name, row, column in self.places[:count]
            ]
        )


@cache
def photo_crops(split: str, size: int, channels: int) -> Crops:
    """All crops of the photographs of a split; they are found once a process.

    Args:
        split: "train" or "test".
        size: side of a crop in pixels.
        channels: 1 takes the gray photographs too, 3 those in color.

    Example:
        >>> photo_crops("test", 32, 3).names[:5]
        ('coffee', 'grace_hopper', 'flower', 'rocket', 'coffee')
    """
    used = [entry.name for entry in PHOTOGRAPHS if entry.split == split and (entry.color or channels == 1)]
    short_side = CROPS_ALONG_SHORT_SIDE * size
    return Crops({name: photograph(name, short_side=short_side, channels=channels)[0] for name in used}, size)


def load_photos(split: str, count: int | None, size: int | None, channels: int | None) -> Tensor:
    """The first `count` crops of a split, as `load_images("photos", ...)` returns them.

    Args:
        split: "train" or "test".
        count: number of crops, or None for all.
        size: side in pixels, from 8 to 256, or None for 32.
        channels: 1 takes the gray photographs too, 3 or None those in color.

    Returns:
        (count, channels, size, size) float32 in [0, 1].

    Raises:
        ValueError: if there are fewer crops, or for a size out of range.

    Example:
        >>> load_photos("train", 4, 28, 1).shape
        torch.Size([4, 1, 28, 28])
    """
    crops, count = _first(split, count, size, channels)
    return crops.images(count)


def sources(
    split: str = "train", count: int | None = None, size: int | None = None, channels: int | None = None
) -> tuple[str, ...]:
    """The name of the photograph that each crop of `load_images("photos", ...)` was cut from, in the same order.

    Args:
        split: "train" or "test".
        count: number of crops, or None for all.
        size: side in pixels, from 8 to 256, or None for 32.
        channels: 1, 3, or None for 3, as in `load_images`.

    Returns:
        `count` names of entries of `PHOTOGRAPHS`.

    Raises:
        ValueError: for the arguments that `load_images` refuses.

    Example:
        >>> sources("train", 3, 28, 1)
        ('astronaut', 'china', 'chelsea')
    """
    check_arguments(split, count, size, channels)
    crops, count = _first(split, count, size, channels)
    return crops.names[:count]


def _first(split: str, count: int | None, size: int | None, channels: int | None) -> tuple[Crops, int]:
    """The crops of a split and how many of them are asked for."""
    size = DEFAULT_SIZE if size is None else size
    if not Crops.LEAST_SIZE <= size <= LARGEST_SIZE:
        raise ValueError(f"photos have crops of {Crops.LEAST_SIZE} to {LARGEST_SIZE} pixels, got size {size}")
    crops = photo_crops(split, int(size), 3 if channels is None else int(channels))
    return crops, checked_count(count, len(crops.places), f"photos ({split})")


def _places(image: Tensor, size: int) -> list[tuple[int, int]]:
    """Upper left corners of the crops of a photograph (C, H, W) that are not flat, evenly spread in every prefix."""
    free_rows, free_columns = (length - size for length in image.shape[1:])
    stride = max(1, size // _STRIDES_PER_CROP)
    n = torch.arange((free_rows // stride + 1) * (free_columns // stride + 1), dtype=torch.float64, device="cpu")
    rows = (((0.5 + n / _PLASTIC) % 1) * (free_rows + 1)).long()
    columns = (((0.5 + n / _PLASTIC**2) % 1) * (free_columns + 1)).long()
    contrasts = _contrasts(in_channels(image[None], 1)[0, 0], rows, columns, size)
    seen = zip(rows.tolist(), columns.tolist(), (contrasts >= LEAST_CONTRAST).tolist(), strict=True)
    return list(dict.fromkeys((row, column) for row, column, structured in seen if structured))


def _contrasts(gray: Tensor, rows: Tensor, columns: Tensor, size: int) -> Tensor:
    """Standard deviation of the crops of `gray` (H, W) with these corners, from sums over rectangles."""

    def mean(values: Tensor) -> Tensor:
        total = torch.nn.functional.pad(values.cumsum(0).cumsum(1), (1, 0, 1, 0))
        below, right = rows + size, columns + size
        return (total[below, right] - total[rows, right] - total[below, columns] + total[rows, columns]) / size**2

    gray = gray.to(torch.float64)
    return (mean(gray**2) - mean(gray) ** 2).clamp(min=0).sqrt()
