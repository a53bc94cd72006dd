"""The data set of an estimator: a tensor, or batches that are read anew for every query."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from lemmse.checks import check_batch, check_images, check_size
from lemmse.data.datasets import DatasetBatches

Images = Tensor | Iterable[Tensor] | Dataset[Any]  # what an estimator takes as its data set

_RANDOM = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)


class TrainingImages:
    """Training images in batches, checked, in one fixed order.

    Attributes:
        given: what was given: a tensor, a re-iterable of batches, a DataLoader (of images, or of tuples that start with
            them), or a Dataset with a length.
        first: the first batch.
        shape: channels, height and width of an image.
        dtype: float32 or float64.
        device: where the images are.
        shuffled: whether they are a DataLoader that gives another order on every pass.
    """

    def __init__(self, images: Images) -> None:
        """Read the first batch; raises ValueError if it is no batch of images, warns if the order is random."""
        self.given = images
        self._batches = _batches(images)
        self.first = check_size(_first_batch(self._batches), "images")
        channels, height, width = self.first.shape[1:]
        self.shape = (channels, height, width)
        self.dtype, self.device = self.first.dtype, self.first.device
        sampler = shuffling_sampler(images) if isinstance(images, DataLoader) else None
        self.shuffled = sampler is not None
        if sampler is not None:
            warnings.warn(
                f"images is a DataLoader that shuffles ({sampler}): each pass numbers the images anew, so the sources "
                "of a posterior (indices) mean nothing; use a DataLoader with shuffle=False",
                UserWarning,
                stacklevel=5,
            )

    @property
    def count(self) -> int | None:
        """How many images there are, None for a stream of batches."""
        if isinstance(self._batches, DatasetBatches):
            return self._batches.length
        return len(self._batches) if isinstance(self._batches, Tensor) else None

    @property
    def requires_grad(self) -> bool:
        """Whether gradients go to the images: where they are a tensor that requires them."""
        return isinstance(self.given, Tensor) and self.given.requires_grad

    def __iter__(self) -> Iterator[Tensor]:
        """The batches of one pass; raises ValueError if one is not like the first, or if there is none."""
        if isinstance(self._batches, Tensor):
            yield self._batches
            return
        empty = True
        for batch in self._batches:
            empty = False
            check_batch(batch, "images")
            if (tuple(batch.shape[1:]), batch.dtype, batch.device) != (self.shape, self.dtype, self.device):
                raise ValueError(
                    f"every batch of images must be {self.shape}, {self.dtype}, on {self.device}, "
                    f"got {tuple(batch.shape[1:])}, {batch.dtype}, on {batch.device}"
                )
            yield check_size(batch, "images")
        if empty:
            raise ValueError("images must be re-iterable, but this time the iterable yields no batch")

    def __repr__(self) -> str:
        count = len(self.given) if isinstance(self.given, Tensor) else "a stream of"
        return f"{count} images of {' x '.join(map(str, self.shape))}"


def shuffling_sampler(loader: DataLoader[Any]) -> str | None:
    """The name of the sampler that gives the items of a DataLoader in another order on every pass, or None.

    A sampler of an unknown class is asked twice for its order, and the state of torch's generator is put back.
    """
    sampler = loader.batch_sampler if loader.batch_sampler is not None else loader.sampler
    if type(sampler) is BatchSampler:
        sampler = sampler.sampler
    if isinstance(sampler, SequentialSampler):
        return None
    if isinstance(sampler, _RANDOM) or getattr(sampler, "shuffle", False) is True:
        return type(sampler).__name__
    if isinstance(loader.dataset, torch.utils.data.IterableDataset) or not isinstance(sampler, (Sampler, list, tuple)):
        return None  # the order is that of the data set, or of a sampler that may not end
    with torch.random.fork_rng(devices=[]):
        same = list(sampler) == list(sampler)
    return None if same else type(sampler).__name__


@dataclass(frozen=True)
class _FirstOfTuples:
    """The batches of a DataLoader whose items are tuples, such as (image, label): what they start with."""

    loader: DataLoader[Any]

    def __iter__(self) -> Iterator[Tensor]:
        return (batch[0] if isinstance(batch, (list, tuple)) and batch else batch for batch in self.loader)


def _batches(images: Images) -> Tensor | Iterable[Tensor]:
    """The images as a tensor or a re-iterable of batches; raises ValueError for anything else."""
    if isinstance(images, Tensor):
        return images
    if isinstance(images, DataLoader):
        return _FirstOfTuples(images)
    if isinstance(images, Dataset) and not isinstance(images, IterableDataset):
        return DatasetBatches(images)
    if not isinstance(images, Iterable) or isinstance(images, (Iterator, str, bytes, dict)) or hasattr(images, "dtype"):
        numpy = type(images).__module__.partition(".")[0] == "numpy"
        hint = ": make it a tensor with torch.from_numpy" if numpy else ""
        raise ValueError(
            "images must be a tensor, a torch.utils.data.Dataset or a re-iterable of batches (a list of tensors, or a "
            f"DataLoader with shuffle=False), got {type(images).__name__}{hint}"
        )
    return images


def _first_batch(batches: Tensor | Iterable[Tensor]) -> Tensor:
    """The first batch, checked; raises ValueError if there is none."""
    if isinstance(batches, Tensor):
        return check_images(batches)
    first = next(iter(batches), None)
    if first is None:
        raise ValueError("images must not be empty, but the iterable yields no batch")
    return check_images(first)
