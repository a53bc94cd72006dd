"""Images of a `torch.utils.data.Dataset`, such as those of torchvision, in the order of its indices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset, IterableDataset

from lemmse.checks import check_count
from lemmse.data.arguments import checked_count
from lemmse.data.pixels import in_channels

_ALLOWED = (
    "items of a Dataset must be images, or tuples that start with one: floating-point tensors (C, H, W), uint8 tensors "
    "(C, H, W), or PIL images, with 1 or 3 channels"
)


class DatasetBatches:
    """The images of a dataset in batches, in the order of its indices, as often as one asks: memory stays flat in N.

    Estimators take it where they take images, and number the images as the dataset does.

    Args:
        dataset: with `len` and items as `load_dataset` takes them.
        batch_size: images in memory at once, at least 1.

    Yields:
        (batch_size, C, H, W) float32 in [0, 1]; the last batch may be shorter.

    Raises:
        ValueError: for a dataset without length or with other items.

    Example:
        >>> dataset = torch.utils.data.TensorDataset(torch.zeros(5, 1, 8, 8, dtype=torch.float32, device="cpu"))
        >>> [len(batch) for batch in DatasetBatches(dataset, batch_size=3)]
        [3, 2]
    """

    def __init__(self, dataset: Dataset[Any], batch_size: int = 256) -> None:
        self.dataset = dataset
        self.length = _length(dataset)
        self.batch_size = check_count(batch_size, "batch_size")

    def __iter__(self) -> Iterator[Tensor]:
        for start in range(0, self.length, self.batch_size):
            stop = min(start + self.batch_size, self.length)
            yield _stacked([image_of(self.dataset[i], i) for i in range(start, stop)])


def load_dataset(
    dataset: Dataset[Any], split: str, count: int | None, size: int | None, channels: int | None
) -> Tensor:
    """The first `count` images of a dataset, as `load_images(dataset, ...)` returns them.

    Args:
        dataset: a `torch.utils.data.Dataset` with a length, whose items are images or tuples that start with one.
        split: must be "train": a dataset has no split of its own, so pass another one for the test images.
        count: number of images, or None for all.
        size: side in pixels: images are cropped to a square about their center and averaged over areas; None keeps
            their size.
        channels: 1, 3, or None for 3 if any of the images that are taken is in color.

    Returns:
        (count, channels, H, W) float32 in [0, 1].

    Raises:
        ValueError: for a dataset without length, with other items, or with too few of them.
    """
    if split != "train":
        raise ValueError(f"a Dataset has no {split!r} split of its own: pass the Dataset of the {split} images instead")
    count = checked_count(count, _length(dataset), type(dataset).__name__)
    images = [image_of(dataset[i], i) for i in range(count)]
    if size is not None:
        images = [_square(image, size) for image in images]
    channels = max(len(image) for image in images) if channels is None else channels
    return _stacked([in_channels(image[None], channels)[0] for image in images])


def image_of(item: object, index: int) -> Tensor:
    """The image (C, H, W) float32 of one item of a dataset.

    Args:
        item: a tensor, a PIL image, or a tuple or list that starts with one.
        index: of the item, for messages.

    Raises:
        ValueError: for other items, and for numbers that leave [0, 1].

    Example:
        >>> image_of((torch.full((1, 2, 2), 255, dtype=torch.uint8, device="cpu"), "label"), 0).max().item()
        1.0
    """
    image: Any = item[0] if isinstance(item, (tuple, list)) and item else item
    if hasattr(image, "getbands"):  # PIL
        pixels = np.array(image.convert("L" if image.mode in ("1", "L") else "RGB"))
        image = torch.from_numpy(pixels).reshape(*pixels.shape[:2], -1).permute(2, 0, 1)
    if not isinstance(image, Tensor):
        raise ValueError(f"{_ALLOWED}; item {index} is of type {type(image).__name__}")
    if image.ndim != 3 or image.shape[0] not in (1, 3) or image.numel() == 0:
        raise ValueError(f"{_ALLOWED}; item {index} has the shape {tuple(image.shape)}")
    if image.dtype == torch.uint8:
        return image.to(torch.float32) / 255
    if not image.is_floating_point():
        raise ValueError(f"{_ALLOWED}; item {index} is of {image.dtype}")
    image = image.detach().to(torch.float32)
    low, high = image.aminmax()
    if not (low >= 0 and high <= 1):  # NaN too
        raise ValueError(f"images must lie in [0, 1], but item {index} spans [{low:.4g}, {high:.4g}]")
    return image


def _length(dataset: Dataset[Any]) -> int:
    try:
        length = len(dataset)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        length = None
    if length is None or isinstance(dataset, IterableDataset):
        raise ValueError(f"the Dataset must have a length and fixed indices, which {type(dataset).__name__} lacks")
    return length


def _square(image: Tensor, size: int) -> Tensor:
    """The central square, averaged over areas."""
    side = min(image.shape[1:])
    row, column = ((length - side) // 2 for length in image.shape[1:])
    square = image[None, :, row : row + side, column : column + side]
    return interpolate(square, (size, size), mode="area")[0]


def _stacked(images: list[Tensor]) -> Tensor:
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        raise ValueError(f"the images of the Dataset differ in shape, as {sorted(shapes)[:2]}: pass size and channels")
    return torch.stack(images)
