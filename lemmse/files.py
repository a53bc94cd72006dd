"""The folder that keeps what is expensive: downloads and trained weights."""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)


def cache_folder(*parts: str) -> Path:
    """`$LEMMSE_CACHE`, else the user's cache folder of lemmse, with the sub-folder `parts`; created if missing.

    Raises ValueError if it can't be made or written.
    """
    import platformdirs

    root = os.environ.get("LEMMSE_CACHE") or platformdirs.user_cache_dir("lemmse")
    return writable_folder(Path(root, *parts), "cache folder (set LEMMSE_CACHE to another)")


def writable_folder(folder: Path, what: str) -> Path:
    """Return `folder`, created if missing; raises ValueError, naming `what`, if it can't be made or written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"cannot write to the {what} {str(folder)!r}: {error.strerror}") from None
    return folder


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it: the old file or the new, never half of it."""
    writable_folder(path.parent, "folder")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        write(temporary)
        os.replace(temporary, path)
    except IsADirectoryError:
        raise ValueError(f"{str(path)!r} is a folder, not a file to write") from None
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Let one process alone make `path`, others wait, and should then look again whether it is there.

    The system drops the lock of a process that ends, however it does. Where the file system has no locks the processes
    do not wait: each then makes the file, and renames it into its place.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("waiting for another process that makes %s", path.name)
        lock.acquire()
    except (NotImplementedError, OSError):
        log.warning("no locks on the file system of %s: another process may make it too", path)
    try:
        yield
    finally:
        lock.release()
