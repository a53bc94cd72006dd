"""What the commands `explain` and `restore` share: training images from a set or a folder, and a picture restored."""

from __future__ import annotations

import logging

from torch import Tensor

from lemmse.checks import check_positive
from lemmse.data.folders import DifferentSizes
from lemmse.data.sets import DATASETS, load_images
from lemmse.estimators.lemmse import LocalEquivariantMMSE
from lemmse.physics.operators import Denoising

CROP = 40  # pixels a side of the crops that are cut where images are of different sizes
_LARGEST_SIGMA = 5.0  # in units of the image range; noise levels of 8-bit images, such as 25, are above it
log = logging.getLogger(__name__)


def training_images(source: str, *, crop: int | None, count: int | None, channels: int) -> Tensor:
    """The training images of a command.

    Args:
        source: what `load_images` takes: the name of a set, or the path of a folder or zip, of whose files every tenth
            is left out.
        crop: side in pixels of the crops that are cut from the files at full resolution; None takes whole files, or
            crops of `CROP` pixels where these differ in size.
        count: at most how many images; None takes all.
        channels: 1 or 3.

    Returns:
        (N, C, H, W) float32 in [0, 1].

    Raises:
        ValueError: for what `load_images` refuses, for a single image, and for gray images where color is asked for.
    """
    own = 1 if channels == 1 else None  # None: the channels that they have
    try:
        images = _at_most(count, source, size=crop, channels=own, crops=crop is not None and source not in DATASETS)
    except DifferentSizes:
        log.info("the images of %r differ in size: crops of %d x %d pixels are cut from them", source, CROP, CROP)
        images = _at_most(count, source, size=CROP, channels=own, crops=True)
    if images.shape[1] != channels:
        raise ValueError(f"the picture is in color, but the training images of {source!r} are gray: add --gray")
    if len(images) < 2:
        raise ValueError(
            f"{source!r} holds one training image, but a formula needs at least 2: add images, or cut crops (--crop)"
        )
    return images


def _at_most(count: int | None, source: str, *, size: int | None, channels: int | None, crops: bool) -> Tensor:
    """The first `count` images of `load_images`, which then reads no more than it has to, or all if there are fewer."""
    try:
        return load_images(source, count=count, size=size, channels=channels, crops=crops)
    except DifferentSizes:
        raise
    except ValueError:  # there are fewer, or something else is wrong, which is raised again
        return load_images(source, size=size, channels=channels, crops=crops)


def check_level(sigma: float, what: str = "sigma") -> float:
    """Return a noise level if it is positive and in units of the image range.

    Args:
        sigma: the noise level.
        what: its name, for messages.

    Raises:
        ValueError: for other numbers; the message says how to convert a level of 8-bit images.

    Example:
        >>> check_level(0.1)
        0.1
    """
    level = check_positive(sigma, what)
    if level > _LARGEST_SIGMA:
        raise ValueError(
            f"{what} is in units of the image range from 0 to 1, got {level:g}: of 255 levels it is {level / 255:.3g}"
        )
    return level


def restore_picture(
    y: Tensor, images: Tensor, sigma: float, *, patch_size: int = 7, padding: str = "circular"
) -> Tensor:
    """A noisy picture of any size, restored by LE-MMSE from training images: no network, no training.

    Args:
        y: (1, C, H, W), the noisy picture, white noise on an image in [0, 1].
        images: (N, C, h, w), clean images or crops, sides of at least P.
        sigma: the standard deviation of the noise, in units of the image range.
        patch_size: P, odd.
        padding: "circular" or "zeros", what lies beyond the border.

    Returns:
        (1, C, H, W).

    Raises:
        ValueError: for bad input.

    Example:
        >>> images = load_images("photos", count=4, size=16, channels=1)
        >>> restore_picture(images[:1], images, 0.1, patch_size=3).shape
        torch.Size([1, 1, 16, 16])
    """
    estimator = LocalEquivariantMMSE(images, Denoising(), patch_size=patch_size, padding=padding)
    return estimator(y, check_level(sigma))
