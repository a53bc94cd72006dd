"""The image files of a folder or zip in sorted order: every tenth is a test image, the others are for training."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from lemmse.checks import warn_once
from lemmse.data.arguments import checked_count
from lemmse.data.decoding import decode, is_color
from lemmse.data.pixels import in_channels

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm"}
_NAMED = 3  # names that a warning lists


class DifferentSizes(ValueError):
    """The images of a folder are of different sizes, and no size was asked for."""


@dataclass(frozen=True)
class ImageFiles:
    """What a folder or zip holds.

    Attributes:
        path: of the folder or zip.
        readers: name of each image file, sorted, with the function that reads it.
        left_out: names of what is not read, with the reason.
    """

    path: Path
    readers: dict[str, Callable[[], bytes]]
    left_out: dict[str, str]

    def of_split(self, split: str) -> list[str]:
        """The names of one split: the tenth, twentieth, ... file for "test", the others for "train"."""
        return [name for i, name in enumerate(self.readers) if (i % 10 == 9) == (split == "test")]

    def channels(self) -> int:
        """3 if any file of the whole set is in color, else 1, so that no split and no order changes it."""
        return 3 if any(is_color(self._read(name)) for name in self.readers) else 1

    def image(self, name: str, size: int | None, channels: int) -> Tensor:
        """One image (channels, H, W) in [0, 1]; see `decode`."""
        return in_channels(decode(self._read(name), f"{self.path}: {name}", size)[None], channels)[0]

    def _read(self, name: str) -> bytes:
        try:
            return self.readers[name]()
        except Exception as error:  # the file system, a damaged or an encrypted zip
            raise ValueError(f"cannot read {f'{self.path}: {name}'!r}: {error}") from None


@contextmanager
def opened(path: Path) -> Iterator[ImageFiles]:
    """The image files of a folder, with its sub-folders and what links lead to, or of a zip.

    Hidden files are passed over. One warning for each folder says what else was left out and why.

    Args:
        path: of the folder or zip.

    Yields:
        Its `ImageFiles`, which can be read inside the `with` block.

    Raises:
        ValueError: if it is neither a folder nor a zip, or holds no image file.
    """
    if path.is_dir():
        yield _sorted(path, *_in_folder(path))
        return
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{str(path)!r} is neither a folder nor a readable zip of images: {error}") from None
    with archive:
        members = [member for member in archive.namelist() if not member.endswith("/")]
        yield _sorted(path, {member: partial(archive.read, member) for member in members}, {})


def load_folder(path: Path, split: str, count: int | None, size: int | None, channels: int | None) -> Tensor:
    """The first `count` images of a split of a folder or zip, as `load_images(path, ...)` returns them.

    Args:
        path: of the folder or zip.
        split: "train" or "test".
        count: number of images, or None for all.
        size: side in pixels: images are cropped to a square about their center and averaged; None keeps their size.
        channels: 1, 3, or None for 3 if any image of the set is in color.

    Returns:
        (count, channels, H, W) float32 in [0, 1].

    Raises:
        ValueError: for fewer images, broken files, or images of different sizes where `size` is None.
    """
    with opened(path) as files:
        names = files.of_split(split)
        names = names[: checked_count(count, len(names), f"{str(path)!r} ({split}: {_RULE[split]})")]
        channels = files.channels() if channels is None else channels
        images = [files.image(name, size, channels) for name in names]
    shapes = {tuple(image.shape[1:]) for image in images}
    if len(shapes) > 1:
        raise DifferentSizes(
            f"the images of {str(path)!r} are of different sizes, as {sorted(shapes)[:2]}: pass size to resize them, "
            "and crops=True as well to cut crops of that size instead"
        )
    return torch.stack(images)


_RULE = {"train": "all but every tenth file", "test": "every tenth file"}


def _in_folder(top: Path) -> tuple[dict[str, Callable[[], bytes]], dict[str, str]]:
    """Readers of all files, and what cannot be read: links are followed, and a loop of links ends where it closes."""
    readers: dict[str, Callable[[], bytes]] = {}
    left_out: dict[str, str] = {}

    def visit(folder: Path, prefix: str, above: tuple[str, ...]) -> None:
        real = os.path.realpath(folder)
        if real in above:
            left_out[prefix] = "is a link to a folder around it"
            return
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            left_out[prefix] = f"cannot be read ({error.strerror})"
            return
        for path in entries:
            name = prefix + path.name
            if os.path.isdir(path):
                if not _is_hidden(path.name):
                    visit(path, name + "/", (*above, real))
            elif os.path.isfile(path):
                readers[name] = path.read_bytes
            elif path.is_symlink():
                left_out[name] = "is a link to nothing"

    visit(top, "", ())
    return readers, left_out


def _sorted(path: Path, readers: dict[str, Callable[[], bytes]], left_out: dict[str, str]) -> ImageFiles:
    """The image files among all files, and one warning about the others."""
    visible = [name for name in sorted(readers) if not any(_is_hidden(part) for part in PurePosixPath(name).parts)]
    images = [name for name in visible if _has_image_suffix(name)]
    others = {name: "has no ending of an image file" for name in visible if not _has_image_suffix(name)}
    files = ImageFiles(path, {name: readers[name] for name in images}, left_out | others)
    if not images:
        raise ValueError(f"{str(path)!r} holds no image files ({', '.join(sorted(IMAGE_SUFFIXES))})")
    if files.left_out:
        shown = "; ".join(f"{name[-80:]!r} {reason}" for name, reason in list(files.left_out.items())[:_NAMED])
        more = f"; and {len(files.left_out) - _NAMED} more" if len(files.left_out) > _NAMED else ""
        warn_once(
            f"left out of {path}",
            f"{len(images)} images of {str(path)!r} are read, and some files are left out: {shown}{more}",
        )
    return files


def _has_image_suffix(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def _is_hidden(part: str) -> bool:
    """Whether a part of a path is hidden; ".." of a zip member is not, and nothing is ever written to its place."""
    return part.startswith((".", "__MACOSX")) and part not in (".", "..")
