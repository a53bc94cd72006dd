"""CIFAR-10: 60,000 color pictures of ten classes, 32 x 32, from the official pickled batches, or a subset of them."""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from pathlib import Path

import numpy as np
from numpy._core.multiarray import _reconstruct
from torch import Tensor

from lemmse.checks import warn_once
from lemmse.data.arguments import checked_count
from lemmse.data.downloads import download, local_folder, read_bytes
from lemmse.data.pixels import resized
from lemmse.files import cache_folder

ADDRESS = "https://www.cs.toronto.edu/~kriz/"
FILE = ("cifar-10-python.tar.gz", "md5:c58f30108f718f92721af3b95e74349a")
BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
_FOLDER, _SUBSET = "cifar-10-batches-py", "cifar-10-subset-py"


def load(split: str, count: int | None, size: int | None, channels: int | None) -> Tensor:
    """The first `count` pictures of a split, as `load_images("cifar10", ...)` returns them, still in color.

    A warning says so if `LEMMSE_DATA` holds only a subset.

    Args:
        split: "train" (50,000) or "test" (10,000).
        count: number of pictures, or None for all.
        size: side in pixels, or None for 32.
        channels: not used here; gray is computed later.

    Returns:
        (count, 3, size, size) float32 in [0, 1].

    Raises:
        ValueError: if a batch is broken or cannot be fetched, or there are fewer pictures.
    """
    pixels = np.concatenate([_pixels(data, name) for name, data in _batches(split)])
    if (_local() or Path()).name == _SUBSET:
        warn_once("cifar-10 subset", f"cifar10 ({split}): a local subset of {len(pixels)} images, not all of CIFAR-10")
    return resized(pixels[: checked_count(count, len(pixels), f"cifar10 ({split})")], size)


def fetch() -> Path:
    """Make sure that the set, or a local subset, is on this machine, and return where it is."""
    return _local() or download(ADDRESS, *FILE, "cifar10")


def is_here() -> bool:
    """Whether the set, or a local subset, is on this machine."""
    return _local() is not None or (cache_folder("data", "cifar10") / FILE[0]).exists()


def _local() -> Path | None:
    """The folder of `LEMMSE_DATA` that holds all batches, the whole set before the subset."""
    for name in (_FOLDER, _SUBSET):
        folder = local_folder(name)
        if folder and all((folder / batch).is_file() for batches in BATCHES.values() for batch in batches):
            return folder
    return None


def _batches(split: str) -> list[tuple[str, bytes]]:
    """Names and bytes of the pickled batches of a split."""
    names, local = BATCHES[split], _local()
    if local:
        return [(str(local / name), read_bytes(local / name)) for name in names]
    path = fetch()
    try:
        with tarfile.open(path) as archive:
            members = [(name, archive.extractfile(f"{_FOLDER}/{name}")) for name in names]
            return [(name, member.read() if member else b"") for name, member in members]
    except (tarfile.TarError, OSError, EOFError, KeyError, zlib.error) as error:
        raise ValueError(f"{str(path)!r} is broken ({error}): delete it and fetch it again") from None


def _pixels(data: bytes, name: str) -> np.ndarray:
    """The pictures (n, 3, 32, 32) uint8 of a pickled batch."""
    try:
        batch = _ArraysOnly(io.BytesIO(data), encoding="bytes").load()
        return np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32)
    except Exception as error:  # a pickle can fail in any way
        raise ValueError(f"{name!r} is no batch of CIFAR-10: {error}") from None


class _ArraysOnly(pickle.Unpickler):
    """Unpickles plain containers and numpy arrays, nothing that could run code."""

    _ALLOWED = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"refused to load {module}.{name}")
        return self._ALLOWED[module, name]
