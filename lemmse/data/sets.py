"""Real images as tensors (N, C, H, W) float32 in [0, 1]: embedded photographs, two benchmark sets, any folder or zip.

Every set has a fixed order, and `count` takes its beginning, so smaller sets are prefixes of larger ones.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lemmse.checks import check_choice
from lemmse.data import cifar10, crops, fashion_mnist
from lemmse.data.arguments import check_arguments, checked_count
from lemmse.data.pixels import in_channels

_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}


@dataclass(frozen=True)
class DataSet:
    """A named set.

    Attributes:
        description: what it is, for `lemmse data list`.
        load: `load(split, count, size, channels)` gives (N, 1 or 3, H, W) in [0, 1].
        fetch: makes sure that it is on this machine and returns where; None if it comes with the installation.
        is_here: whether it can be loaded without a download.
    """

    description: str
    load: Callable[[str, int | None, int | None, int | None], Tensor]
    fetch: Callable[[], Path] | None
    is_here: Callable[[], bool]


DATASETS: dict[str, DataSet] = {
    "photos": DataSet(
        "crops of 15 photographs that come with the installed packages", crops.load_photos, None, lambda: True
    ),
    "fashion_mnist": DataSet(
        "70,000 gray 28 x 28 pictures of clothes, MIT license",
        fashion_mnist.load,
        fashion_mnist.fetch,
        fashion_mnist.is_here,
    ),
    "cifar10": DataSet("60,000 color 32 x 32 pictures of ten classes", cifar10.load, cifar10.fetch, cifar10.is_here),
}


def load_images(
    name_or_path: str | Path,
    *,
    split: str = "train",
    count: int | None = None,
    size: int | None = None,
    channels: int | None = None,
) -> Tensor:
    """The first `count` images of a split, (N, C, size, size) float32 in [0, 1].

    name_or_path: "photos" (crops of the photographs in the scikit-image and scikit-learn wheels, train and test from
    disjoint regions; offline), "fashion_mnist", "cifar10", or a folder or zip of image files (every tenth in sorted
    order is test; sub-folders are read; images are centre-cropped to a square where `size` is given). count: default
    all; more than there are raises. size: default the set's own, 32 for photos; others by area averaging. channels: 1
    (Rec. 601 grey) or 3 (grey repeated), default the set's own. Raises ValueError for unknown names, bad numbers,
    broken files, and downloads that fail.
    """
    check_arguments(split, count, size, channels)
    name, path = str(name_or_path), Path(name_or_path).expanduser()
    if name in DATASETS and not isinstance(name_or_path, Path):
        images = DATASETS[name].load(split, count, size, channels)
    elif name and len(name) < 4096 and path.exists():
        images = _load_folder(path, split, count, size, channels)
    else:
        known = ", ".join(map(repr, DATASETS))
        raise ValueError(f"unknown data set {name!r}: choose one of {known}, or the path of a folder or zip of images")
    return in_channels(images, channels)


def is_here(name: str) -> bool:
    """Whether a named set can be loaded without a download."""
    check_choice(name, DATASETS, "data set")
    return DATASETS[name].is_here()


def fetch(name: str) -> Path:
    """Make sure that a named set is on this machine, downloading what is missing, and return where it is."""
    check_choice(name, DATASETS, "data set")
    found = DATASETS[name].fetch
    if found is None:
        raise ValueError(f"{name!r} needs no download: it comes with the installed packages")
    return found()


def _load_folder(path: Path, split: str, count: int | None, size: int | None, channels: int | None) -> Tensor:
    """Images of a folder (with its sub-folders) or zip, in sorted order; the 10th, 20th, ... are the test split."""
    if path.is_dir():
        files = {p.relative_to(path).as_posix(): p.read_bytes for p in path.rglob("*") if p.is_file()}
        return _decode_files(files, path, split, count, size, channels)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{str(path)!r} is neither a folder nor a readable zip of images: {error}") from None
    with archive:
        members = [m for m in archive.namelist() if not m.endswith("/")]
        files = {m: (lambda m=m: archive.read(m)) for m in members}
        return _decode_files(files, path, split, count, size, channels)


def _decode_files(
    files: dict[str, Callable[[], bytes]],
    path: Path,
    split: str,
    count: int | None,
    size: int | None,
    channels: int | None,
) -> Tensor:
    visible = [n for n in files if not any(part.startswith((".", "__MACOSX")) for part in Path(n).parts)]
    names = sorted(n for n in visible if Path(n).suffix.lower() in _IMAGE_SUFFIXES)
    if not names:
        raise ValueError(f"{str(path)!r} holds no image files ({', '.join(sorted(_IMAGE_SUFFIXES))})")
    if channels is None:  # both splits are as the first file of the set
        channels = _decode(files[names[0]], f"{path}: {names[0]}", size).shape[0]
    names = [n for i, n in enumerate(names) if (i % 10 == 9) == (split == "test")]
    names = names[: checked_count(count, len(names), f"{path} ({split})")]
    images = [in_channels(_decode(files[n], f"{path}: {n}", size)[None], channels)[0] for n in names]
    shapes = {tuple(image.shape[1:]) for image in images}
    if len(shapes) > 1:
        raise ValueError(f"the images of {str(path)!r} are of different sizes, as {sorted(shapes)[:2]}: pass size")
    return torch.stack(images)


def _decode(read: Callable[[], bytes], name: str, size: int | None) -> Tensor:
    """One image file as (1 or 3, H, W) in [0, 1]; transparency lies on white."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        opened = Image.open(io.BytesIO(read()))
        if opened.mode == "F" or (opened.mode == "I" and opened.format != "PNG"):
            raise ValueError(f"pixels of mode {opened.mode} have no range of their own: convert them to 8 or 16 bits")
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):  # 16 bits
            image = Image.fromarray((np.asarray(image, np.float64) / 257).clip(0, 255).astype(np.uint8))
        if "A" in image.getbands() or "transparency" in image.info:
            grey = image.mode == "LA"
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            image = image.convert("L") if grey else image
        image = image.convert("L" if image.mode in ("1", "L") else "RGB")
        if size is not None:
            image = ImageOps.fit(image, (size, size), Image.Resampling.BOX)
    except Exception as error:  # Pillow raises what it likes on broken files
        what = "it is no image" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(f"cannot read the image {name!r}: {what}") from None
    pixels = torch.from_numpy(np.array(image)).float() / 255
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
