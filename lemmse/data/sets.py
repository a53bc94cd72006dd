"""Real images as tensors (N, C, H, W) float32 in [0, 1]: embedded photographs, two benchmark sets, any folder or zip.

Every set has a fixed order, and `count` takes its beginning, so smaller sets are prefixes of larger ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from lemmse.checks import check_choice
from lemmse.data import brain, cifar10, fashion_mnist
from lemmse.data.arguments import check_arguments
from lemmse.data.crops import load_photos, sources
from lemmse.data.datasets import load_dataset
from lemmse.data.folder_crops import load_folder_crops
from lemmse.data.folders import load_folder
from lemmse.data.pixels import in_channels

_SHOWN = 80  # characters of an unknown name in a message


@dataclass(frozen=True)
class DataSet:
    """A named set.

    Attributes:
        description: what it is, for `lemmse data list`.
        load: `load(split, count, size, channels)` gives (N, 1 or 3, H, W) in [0, 1].
        fetch: makes sure that it is on this machine and returns where; None if it cannot be downloaded.
        is_here: whether it can be loaded without a download.
        groups: `groups(split, count, size, channels)` gives the origin of each image where several share one, for
            instance their photograph; None where the images are independent.
    """

    description: str
    load: Callable[[str, int | None, int | None, int | None], Tensor]
    fetch: Callable[[], Path] | None
    is_here: Callable[[], bool]
    groups: Callable[[str, int | None, int | None, int | None], tuple[Hashable, ...]] | None = None


DATASETS: dict[str, DataSet] = {
    "photos": DataSet(
        "crops of 15 photographs that come with the installed packages",
        load_photos,
        fetch=None,
        is_here=lambda: True,
        groups=sources,
    ),
    "fashion_mnist": DataSet(
        "70,000 gray 28 x 28 pictures of clothes, MIT license",
        fashion_mnist.load,
        fetch=fashion_mnist.fetch,
        is_here=fashion_mnist.is_here,
    ),
    "cifar10": DataSet(
        "60,000 color 32 x 32 pictures of ten classes",
        cifar10.load,
        fetch=cifar10.fetch,
        is_here=cifar10.is_here,
    ),
    "brain": DataSet(
        "slices of an average brain (MNI152, T1) that comes with nilearn",
        brain.load_brain,
        fetch=None,
        is_here=brain.is_brain_here,
        groups=partial(brain.slice_runs, "brain"),
    ),
    "mri_t1": DataSet(
        "T1 slices of one brain, where LEMMSE_DATA has them",
        brain.load_mri_t1,
        fetch=None,
        is_here=partial(brain.is_mri_here, "mri_t1"),
        groups=partial(brain.slice_runs, "mri_t1"),
    ),
    "mri_pd": DataSet(
        "proton density slices of one brain, where LEMMSE_DATA has them",
        brain.load_mri_pd,
        fetch=None,
        is_here=partial(brain.is_mri_here, "mri_pd"),
        groups=partial(brain.slice_runs, "mri_pd"),
    ),
}


def load_images(
    name_or_path: str | PathLike[str] | Dataset[Any],
    *,
    split: str = "train",
    count: int | None = None,
    size: int | None = None,
    channels: int | None = None,
    crops: bool = False,
) -> Tensor:
    """Load the first `count` images of a split of a set, a folder, a zip or a `torch.utils.data.Dataset`.

    The order is fixed, so a smaller count gives a prefix of a larger one.

    Args:
        name_or_path: one of
            "photos", crops of the photographs that come with the installed packages, no photograph in both splits, in
            color unless `channels=1` (which takes the gray photographs too);
            "fashion_mnist" or "cifar10";
            "brain", slices of an average brain, or "mri_t1" and "mri_pd", slices of one (see `lemmse.data.brain`);
            the path of a folder or zip of image files, with its sub-folders, in sorted order, every tenth of which is a
            test image; it is in color if any file is;
            a Dataset with a length, whose items are images or tuples that start with one (it has no test split).
        split: "train" or "test".
        count: number of images, or None for all that there are.
        size: side in pixels, or None for the set's own (32 for photos). Other sizes come by averaging over areas; files
            that are not square are cropped about their center first.
        channels: 1 (Rec. 601 gray), 3 (gray repeated), or None for the set's own.
        crops: for a folder or zip: cut crops of `size` pixels from the files at full resolution, as many as they hold,
            instead of resizing whole files. The files take turns, and no test crop shares a file with a training crop.

    Returns:
        (count, channels, size, size) float32 in [0, 1], on the CPU.

    Raises:
        ValueError: for an unknown name, a bad number, more images than there are, a broken file, or a download that
            fails.

    Source: `lemmse.data.photographs` names the source and license of each photograph; every other named set has a
    module in `lemmse.data`.

    Example:
        >>> load_images("photos", count=4, size=28, channels=1).shape
        torch.Size([4, 1, 28, 28])
    """
    check_arguments(split, count, size, channels)
    if not isinstance(crops, bool):
        raise ValueError(f"crops must be True or False, got {type(crops).__name__}")
    if crops:
        images, _ = load_folder_crops(path_to_crop(name_or_path), split, count, size, channels)
    elif isinstance(name_or_path, str) and name_or_path in DATASETS:
        images = DATASETS[name_or_path].load(split, count, size, channels)
    elif isinstance(name_or_path, Dataset):
        images = load_dataset(name_or_path, split, count, size, channels)
    else:
        images = load_folder(existing_path(name_or_path), split, count, size, channels)
    return in_channels(images, channels)


def existing_path(name_or_path: object) -> Path:
    """The path of a folder or file that exists, `~` expanded.

    Args:
        name_or_path: what a user gave as a path.

    Raises:
        ValueError: if nothing is there; the message lists the named sets.

    Example:
        >>> existing_path(".")
        PosixPath('.')
    """
    if not isinstance(name_or_path, (str, PathLike)):
        raise ValueError(
            "images come from the name of a set, the path of a folder or zip, or a torch.utils.data.Dataset, "
            f"got {type(name_or_path).__name__}"
        )
    name = os.fsdecode(name_or_path)
    path = os.path.expanduser(name)
    if not name or not os.path.exists(path):
        known = ", ".join(map(repr, DATASETS))
        shown = repr(name if len(name) <= _SHOWN else name[:_SHOWN] + "...")
        raise ValueError(f"unknown data set {shown}: choose one of {known}, or the path of a folder or zip of images")
    return Path(path)


def path_to_crop(name_or_path: object) -> Path:
    """The path of a folder or zip whose files are to be cropped.

    Args:
        name_or_path: what a user gave together with `crops=True`.

    Raises:
        ValueError: for a named set, a Dataset, or a path where nothing is.
    """
    if isinstance(name_or_path, Dataset) or (isinstance(name_or_path, str) and name_or_path in DATASETS):
        what = repr(name_or_path) if isinstance(name_or_path, str) else "a Dataset"
        raise ValueError(f"crops=True cuts the files of a folder or zip, got {what}")
    return existing_path(name_or_path)


def is_here(name: str) -> bool:
    """Whether a named set can be loaded without a download."""
    check_choice(name, DATASETS, "data set")
    return DATASETS[name].is_here()


def fetch(name: str) -> Path:
    """Make sure that a named set is on this machine, downloading what is missing, and return where it is."""
    check_choice(name, DATASETS, "data set")
    fetched = DATASETS[name].fetch
    if fetched is not None:
        return fetched()
    if is_here(name):
        raise ValueError(f"{name!r} needs no download: it is on this machine")
    raise ValueError(f"{name!r} cannot be downloaded by lemmse: load_images({name!r}) says what it needs")
