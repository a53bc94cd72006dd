"""Crops of the images of a folder or zip, whose sizes may differ: training images from one's own photographs.

The rules are those of `photos`: whole files are held out, files take turns, and flat crops are left out. The pixels are
the file's own, at full resolution.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from lemmse.checks import warn_once
from lemmse.data.arguments import checked_count
from lemmse.data.crops import Crops
from lemmse.data.folders import opened


def load_folder_crops(
    path: Path, split: str, count: int | None, size: int | None, channels: int | None
) -> tuple[Tensor, tuple[str, ...]]:
    """The first `count` crops of a split of a folder or zip, and the name of the file that each was cut from.

    Where fewer crops are asked for than there are files, only the first files are decoded.

    Args:
        path: of the folder or zip.
        split: "train" or "test"; every tenth file is a test file.
        count: number of crops, or None for all.
        size: side of a crop in pixels, at least 8.
        channels: 1, 3, or None for 3 if any file of the set is in color.

    Returns:
        (count, channels, size, size) float32 in [0, 1], and `count` names.

    Raises:
        ValueError: for fewer crops, broken files, or a size that is missing or too small.
    """
    if size is None or size < Crops.LEAST_SIZE:
        raise ValueError(f"crops=True needs the size of a crop, at least {Crops.LEAST_SIZE} pixels, got size={size}")
    whole: dict[str, Tensor] = {}
    small: list[str] = []
    with opened(path) as files:
        names = files.of_split(split)
        channels = files.channels() if channels is None else channels
        for name in names:
            image = files.image(name, None, channels)
            if min(image.shape[1:]) < size:
                small.append(name)
            elif Crops({name: image}, size).places:
                whole[name] = image
            if count is not None and len(whole) == count:
                break
    cut = Crops(whole, size)
    if not cut.places:
        raise ValueError(
            f"no crop of {size} x {size} pixels of the {split} images of {str(path)!r} fits and shows more than a flat "
            "area: choose a smaller size"
        )
    if small:
        warn_once(
            f"too small {path} {split} {size}",
            f"{len(small)} images of {str(path)!r} are smaller than {size} x {size} and give no crop, as {small[0]!r}",
        )
    count = checked_count(count, len(cut.places), f"{str(path)!r} ({split}, crops of {size} pixels)")
    return cut.images(count), cut.names[:count]
