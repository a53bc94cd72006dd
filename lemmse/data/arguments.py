"""What every set of images is asked for: a split, a count, a size and a number of channels."""

from __future__ import annotations

from numbers import Integral

from lemmse.checks import check_choice, check_count, shown

SPLITS = ("train", "test")
LARGEST_SIZE = 16384  # pixels along a side


def check_arguments(split: str, count: int | None, size: int | None, channels: int | None) -> None:
    """Raise a `ValueError` unless the split, count, size and number of channels can be asked of a set.

    Args:
        split: "train" or "test".
        count: number of images, at least 1, or None for all.
        size: side of the square images in pixels, from 1 to 16384, or None for the set's own.
        channels: 1 (gray), 3 (color), or None for the set's own.

    Raises:
        ValueError: if one of them is something else; the message names the value and what is allowed.

    Example:
        >>> check_arguments("train", None, 32, 3)
    """
    if not isinstance(split, str):
        raise ValueError(f"split must be 'train' or 'test', got {type(split).__name__}")
    check_choice(split, SPLITS, "split")
    if count is not None:
        check_count(count, "count")
    if size is not None:
        check_count(size, "size", maximum=LARGEST_SIZE)
    if channels is not None and (
        isinstance(channels, bool) or not isinstance(channels, Integral) or channels not in (1, 3)
    ):
        raise ValueError(f"channels must be 1 or 3, got {shown(channels)}")


def checked_count(count: int | None, available: int, what: str) -> int:
    """Return the number of images to take: `count`, or all that are `available` if it is None.

    Args:
        count: number of images that was asked for, or None.
        available: number of images that the set holds.
        what: the set and split, as the message names them.

    Raises:
        ValueError: if the set is empty or holds fewer images; the message says how many there are.

    Example:
        >>> checked_count(None, 60000, "fashion_mnist (train)")
        60000
    """
    if available == 0:
        raise ValueError(f"{what} has no images")
    if count is not None and count > available:
        raise ValueError(f"count {shown(count)} is more than there are: {what} has {available} images")
    return available if count is None else count
