"""Files of the benchmark sets: in the folder that LEMMSE_DATA names, else in the cache, else downloaded and checked."""

from __future__ import annotations

import os
from pathlib import Path

from lemmse.files import cache_folder, one_at_a_time


def local_folder(name: str) -> Path | None:
    """The folder `$LEMMSE_DATA/name`, or None if there is none.

    Args:
        name: of the folder of one set.

    Raises:
        ValueError: if LEMMSE_DATA is set to something that is not a folder.

    Example:
        >>> local_folder("no such set") is None
        True
    """
    root = os.environ.get("LEMMSE_DATA")
    if root and not Path(root).is_dir():
        raise ValueError(f"LEMMSE_DATA must name a folder, got {root!r}")
    return Path(root, name) if root and Path(root, name).is_dir() else None


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Args:
        path: of the file.

    Raises:
        ValueError: if it cannot be read; the message names it.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {str(path)!r}: {error.strerror}") from None


def download(base: str, file: str, checksum: str, name: str) -> Path:
    """The file in the cache, fetched if it is missing or damaged, by one process at a time.

    A file that fails its checksum is never kept.

    Args:
        base: address of its folder, with the slash at the end.
        file: its name, there and in the cache.
        checksum: "md5:..." or "sha256:...".
        name: of the set that it belongs to.

    Returns:
        The path of the file in the cache.

    Raises:
        ValueError: if it cannot be fetched; the message says what to do offline.
    """
    import pooch

    folder = cache_folder("data", name)
    pooch.get_logger().setLevel("WARNING")
    try:
        with one_at_a_time(folder / file):
            return Path(pooch.retrieve(base + file, checksum, fname=file, path=folder, progressbar=True))
    except Exception as error:  # network, checksum, proxy, TLS
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(
            f"cannot download {file} of {name!r} ({reason}). Offline, set LEMMSE_DATA to a folder that holds the set's "
            "own folder, or use 'photos', or the path of a folder of images"
        ) from None
