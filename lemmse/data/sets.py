"""Real images as tensors (N, C, H, W) float32 in [0, 1]: embedded photographs, two benchmark sets, any folder or zip.

Every set has a fixed order, and `count` takes its beginning, so smaller sets are prefixes of larger ones.
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lemmse.checks import check_choice, check_count, warn_once
from lemmse.data.photographs import photo_crops
from lemmse.files import cache_folder, one_at_a_time

SPLITS = ("train", "test")
LUMA = (0.299, 0.587, 0.114)  # Rec. 601
_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_FASHION_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    "test": ("t10k-images-idx3-ubyte.gz", "md5:bef4ecab320f06d8554ea6380940ec79"),
}
_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_CIFAR_FILE = ("cifar-10-python.tar.gz", "md5:c58f30108f718f92721af3b95e74349a")
_CIFAR_BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}


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
    check_choice(split, SPLITS, "split")
    for value, what in ((count, "count"), (size, "size")):
        if value is not None:
            check_count(value, what)
    if channels is not None and (isinstance(channels, bool) or channels not in (1, 3)):
        raise ValueError(f"channels must be 1 or 3, got {channels!r}")
    name, path = str(name_or_path), Path(name_or_path).expanduser()
    if name in DATASETS and not isinstance(name_or_path, Path):
        images = DATASETS[name].load(split, count, size)
    elif name and len(name) < 4096 and path.exists():
        images = _load_folder(path, split, count, size, channels)
    else:
        known = ", ".join(map(repr, DATASETS))
        raise ValueError(f"unknown data set {name!r}: choose one of {known}, or the path of a folder or zip of images")
    return _in_channels(images, channels)


@dataclass(frozen=True)
class DataSet:
    """A named set: what it is, `load(split, count, size)` -> (N, C, H, W) in [0, 1], and how it is fetched."""

    description: str
    load: Callable[[str, int | None, int | None], Tensor]
    fetch: Callable[[], Path] | None


def is_here(name: str) -> bool:
    """Whether a named set can be loaded without a download."""
    check_choice(name, DATASETS, "data set")
    if name == "fashion_mnist":
        folders = (_local_folder("fashion-mnist"), cache_folder("data", name))
        return all(any(f and (f / file).exists() for f in folders) for file, _ in _FASHION_FILES.values())
    if name == "cifar10":
        return _local_cifar() is not None or (cache_folder("data", name) / _CIFAR_FILE[0]).exists()
    return True


def fetch(name: str) -> Path:
    """Make sure that a named set is on this machine, downloading what is missing, and return where it is."""
    check_choice(name, DATASETS, "data set")
    found = DATASETS[name].fetch
    if found is None:
        raise ValueError(f"{name!r} needs no download: it comes with the installed packages")
    return found()


def _load_photos(split: str, count: int | None, size: int | None) -> Tensor:
    size = 32 if size is None else size
    if not 8 <= size <= 256:
        raise ValueError(f"photos have crops of 8 to 256 pixels, got size {size}")
    crops = photo_crops(split, size)
    return torch.stack([crops[i] for i in range(_checked_count(count, len(crops), f"photos ({split})"))])


def _load_fashion(split: str, count: int | None, size: int | None) -> Tensor:
    path = _fashion_path(split)
    packed = _read(path)
    try:
        data = gzip.decompress(packed)
        magic, number, height, width = np.frombuffer(data, ">i4", 4)
        pixels = np.frombuffer(data, np.uint8, offset=16).reshape(number, 1, height, width)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(f"{str(path)!r} is broken ({error}): delete it and fetch it again") from None
    if magic != 0x803:
        raise ValueError(f"{str(path)!r} is no IDX file of images (magic {magic:#x})")
    return _resized(pixels[: _checked_count(count, len(pixels), f"fashion_mnist ({split})")], size)


def _fashion_path(split: str) -> Path:
    file, checksum = _FASHION_FILES[split]
    local = _local_folder("fashion-mnist")
    return local / file if local and (local / file).exists() else _download(_FASHION, file, checksum, "fashion_mnist")


def _fetch_fashion() -> Path:
    for split in SPLITS:
        path = _fashion_path(split)
    return path.parent


def _load_cifar(split: str, count: int | None, size: int | None) -> Tensor:
    batches = [_cifar_batch(data, name) for name, data in _cifar_files(split)]
    pixels = np.concatenate(batches)
    if (_local_cifar() or Path()).name == "cifar-10-subset-py":
        warn_once("cifar-10 subset", f"cifar10 ({split}): a local subset of {len(pixels)} images, not all of CIFAR-10")
    return _resized(pixels[: _checked_count(count, len(pixels), f"cifar10 ({split})")], size)


def _cifar_files(split: str) -> list[tuple[str, bytes]]:
    """Names and bytes of the pickled batches of a split."""
    names = _CIFAR_BATCHES[split]
    local = _local_cifar()
    if local:
        return [(str(local / name), _read(local / name)) for name in names]
    path = _download(_CIFAR, *_CIFAR_FILE, "cifar10")
    try:
        with tarfile.open(path) as archive:
            return [(name, archive.extractfile(f"cifar-10-batches-py/{name}").read()) for name in names]
    except (tarfile.TarError, OSError, EOFError, KeyError, zlib.error) as error:
        raise ValueError(f"{str(path)!r} is broken ({error}): delete it and fetch it again") from None


def _local_cifar() -> Path | None:
    """The folder of `LEMMSE_DATA` that holds all batches, the whole set before the subset."""
    for folder in ("cifar-10-batches-py", "cifar-10-subset-py"):
        local = _local_folder(folder)
        if local and all((local / name).is_file() for names in _CIFAR_BATCHES.values() for name in names):
            return local
    return None


def _fetch_cifar() -> Path:
    return _local_cifar() or _download(_CIFAR, *_CIFAR_FILE, "cifar10")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {str(path)!r}: {error.strerror}") from None


def _cifar_batch(data: bytes, name: str) -> np.ndarray:
    """The images (n, 3, 32, 32) uint8 of a pickled batch."""
    try:
        batch = _ArraysOnly(io.BytesIO(data), encoding="bytes").load()
        return np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32)
    except Exception as error:  # a pickle can fail in any way
        raise ValueError(f"{name!r} is no batch of CIFAR-10: {error}") from None


class _ArraysOnly(pickle.Unpickler):
    """Unpickles plain containers and numpy arrays, nothing that could run code."""

    _ALLOWED = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"refused to load {module}.{name}")
        return self._ALLOWED[module, name]


DATASETS: dict[str, DataSet] = {
    "photos": DataSet("crops of seven photographs in the scikit-image and scikit-learn wheels", _load_photos, None),
    "fashion_mnist": DataSet("70,000 grey 28 x 28 pictures of clothes, MIT licence", _load_fashion, _fetch_fashion),
    "cifar10": DataSet("60,000 colour 32 x 32 pictures of ten classes", _load_cifar, _fetch_cifar),
}


def _local_folder(name: str) -> Path | None:
    root = os.environ.get("LEMMSE_DATA")
    if root and not Path(root).is_dir():
        raise ValueError(f"LEMMSE_DATA must name a folder, got {root!r}")
    return Path(root, name) if root and Path(root, name).is_dir() else None


def _download(base: str, file: str, checksum: str, name: str) -> Path:
    """The file in the cache, fetched if it is missing or damaged, by one process at a time.

    One that fails its checksum is never kept.
    """
    import pooch

    folder = cache_folder("data", name)
    pooch.get_logger().setLevel("WARNING")
    try:
        with one_at_a_time(folder / file):
            return Path(pooch.retrieve(base + file, checksum, fname=file, path=folder, progressbar=True))
    except Exception as error:  # network, checksum, proxy, TLS
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"cannot download {file} of {name!r} ({reason}). Offline, set LEMMSE_DATA to a folder that holds the set's "
            "own folder, or use 'photos', or the path of a folder of images"
        ) from None


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
    names = names[: _checked_count(count, len(names), f"{path} ({split})")]
    images = [_in_channels(_decode(files[n], f"{path}: {n}", size)[None], channels)[0] for n in names]
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


def _checked_count(count: int | None, available: int, what: str) -> int:
    if available == 0:
        raise ValueError(f"{what} has no images (of a folder every tenth file, in sorted order, is test)")
    if count is not None and count > available:
        raise ValueError(f"count {count} is more than there are: {what} has {available} images")
    return available if count is None else count


def _resized(pixels: np.ndarray, size: int | None) -> Tensor:
    """uint8 (N, C, H, W) to [0, 1], area-averaged to size x size."""
    images = torch.from_numpy(pixels.copy()).float() / 255
    if size is None or images.shape[-2:] == (size, size):
        return images
    return torch.nn.functional.interpolate(images, (size, size), mode="area")


def _in_channels(images: Tensor, channels: int | None) -> Tensor:
    if channels == 1 and images.shape[1] == 3:
        return torch.einsum("nchw,c->nhw", images, torch.tensor(LUMA, dtype=images.dtype, device=images.device))[
            :, None
        ].clamp(0, 1)
    if channels == 3 and images.shape[1] == 1:
        return images.expand(-1, 3, -1, -1).contiguous()
    return images
