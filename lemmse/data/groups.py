"""Which images of a set belong together because they were cut from one photograph: the unit that errors resample."""

from __future__ import annotations

from collections.abc import Hashable
from os import PathLike
from typing import Any

from torch.utils.data import Dataset

from lemmse.data.arguments import check_arguments
from lemmse.data.folder_crops import load_folder_crops
from lemmse.data.sets import DATASETS, load_images, path_to_crop


def image_groups(
    name_or_path: str | PathLike[str] | Dataset[Any],
    *,
    split: str = "train",
    count: int | None = None,
    size: int | None = None,
    channels: int | None = None,
    crops: bool = False,
) -> tuple[int, ...]:
    """Number the independent source of each image of `load_images` with the same arguments.

    Crops of one photograph share a number, and so do slices of one run of a brain. The images of the other sets were
    taken one by one, and each has its own.
    Standard errors resample these groups, then their members: see `lemmse.analysis.uncertainty.bootstrap_by_group`.

    Args:
        name_or_path: as in `load_images`, and so are the other arguments.
        split: "train" or "test".
        count: number of images, or None for all.
        size: side in pixels, or None for the set's own.
        channels: 1, 3, or None for the set's own.
        crops: whether the images are crops of the files of a folder or zip.

    Returns:
        `count` numbers, from 0 in the order of appearance.

    Raises:
        ValueError: for the arguments that `load_images` refuses.

    Example:
        >>> image_groups("photos", split="test", count=6, size=28)
        (0, 1, 2, 3, 0, 1)
    """
    check_arguments(split, count, size, channels)
    named = DATASETS.get(name_or_path) if isinstance(name_or_path, str) else None
    groups = named.groups if named else None
    origins: tuple[Hashable, ...]
    if crops:
        _, origins = load_folder_crops(path_to_crop(name_or_path), split, count, size, channels)
    elif groups is not None:
        origins = groups(split, count, size, channels)
    else:
        images = load_images(name_or_path, split=split, count=count, size=size, channels=channels)
        origins = tuple(range(len(images)))
    numbers = {origin: number for number, origin in enumerate(dict.fromkeys(origins))}
    return tuple(numbers[origin] for origin in origins)
