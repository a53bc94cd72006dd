"""Fashion-MNIST: 70,000 gray pictures of clothes, 28 x 28, from the official IDX files."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from torch import Tensor

from lemmse.data.arguments import SPLITS, checked_count
from lemmse.data.downloads import download, local_folder, read_bytes
from lemmse.data.pixels import resized
from lemmse.files import cache_folder

ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
FILES = {  # split: (file, checksum)
    "train": ("train-images-idx3-ubyte.gz", "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    "test": ("t10k-images-idx3-ubyte.gz", "md5:bef4ecab320f06d8554ea6380940ec79"),
}
_MAGIC = 0x803  # unsigned bytes in three dimensions


def load(split: str, count: int | None, size: int | None, channels: int | None) -> Tensor:
    """The first `count` pictures of a split, as `load_images("fashion_mnist", ...)` returns them, still gray.

    Args:
        split: "train" (60,000) or "test" (10,000).
        count: number of pictures, or None for all.
        size: side in pixels, or None for 28.
        channels: not used here; gray is repeated later.

    Returns:
        (count, 1, size, size) float32 in [0, 1].

    Raises:
        ValueError: if the file is broken or cannot be fetched, or there are fewer pictures.
    """
    path = _path(split)
    packed = read_bytes(path)
    try:
        data = gzip.decompress(packed)
        magic, number, height, width = np.frombuffer(data, ">i4", 4)
        pixels = np.frombuffer(data, np.uint8, offset=16).reshape(number, 1, height, width)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(f"{str(path)!r} is broken ({error}): delete it and fetch it again") from None
    if magic != _MAGIC:
        raise ValueError(f"{str(path)!r} is no IDX file of images (magic {magic:#x})")
    return resized(pixels[: checked_count(count, len(pixels), f"fashion_mnist ({split})")], size)


def fetch() -> Path:
    """Make sure that both files are on this machine, and return their folder."""
    return [_path(split) for split in SPLITS][-1].parent


def is_here() -> bool:
    """Whether both files are on this machine."""
    folders = (local_folder("fashion-mnist"), cache_folder("data", "fashion_mnist"))
    return all(any(folder and (folder / file).exists() for folder in folders) for file, _ in FILES.values())


def _path(split: str) -> Path:
    file, checksum = FILES[split]
    local = local_folder("fashion-mnist")
    return local / file if local and (local / file).exists() else download(ADDRESS, file, checksum, "fashion_mnist")
