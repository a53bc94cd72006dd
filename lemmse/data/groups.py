"""Which images of a set belong together because they were cut from one photograph: the unit that errors resample."""

from __future__ import annotations

from os import PathLike

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lemmse.data.arguments import check_arguments
from lemmse.data.crops import sources
from lemmse.data.folder_crops import load_folder_crops
from lemmse.data.sets import load_images, path_to_crop


def image_groups(
    name_or_path: str | PathLike[str] | Dataset,
    *,
    split: str = "train",
    count: int | None = None,
    size: int | None = None,
    channels: int | None = None,
    crops: bool = False,
) -> Tensor:
    """Number the independent source of each image of `load_images` with the same arguments.

    Crops of one photograph share a number. The images of the other sets were taken one by one, and each has its own.
    Standard errors resample these groups, then their members: see `lemmse.analysis.uncertainty.bootstrap_by_group`.

    Args:
        name_or_path: as in `load_images`, and so are the other arguments.
        split: "train" or "test".
        count: number of images, or None for all.
        size: side in pixels, or None for the set's own.
        channels: 1, 3, or None for the set's own.
        crops: whether the images are crops of the files of a folder or zip.

    Returns:
        (count,) int64, numbered from 0 in the order of appearance.

    Raises:
        ValueError: for the arguments that `load_images` refuses.

    Example:
        >>> image_groups("photos", split="test", count=6, size=28)
        tensor([0, 1, 2, 3, 0, 1])
    """
    if crops:
        check_arguments(split, count, size, channels)
        _, names = load_folder_crops(path_to_crop(name_or_path), split, count, size, channels)
    elif isinstance(name_or_path, str) and name_or_path == "photos":
        names = sources(split, count, size, channels)
    else:
        number = len(load_images(name_or_path, split=split, count=count, size=size, channels=channels))
        return torch.arange(number, dtype=torch.int64, device="cpu")
    numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([numbers[name] for name in names], dtype=torch.int64, device="cpu")
