"""The data set of an estimator: which orders are safe, which warn by name, what is refused."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler

import lemmse
from tests.conftest import random_images

X = random_images(6, 1, 5, 4, torch.float32)
DENOISE = lemmse.Denoising()


class Reversed(Sampler):
    def __iter__(self):
        return iter(range(len(X) - 1, -1, -1))

    def __len__(self):
        return len(X)


class Permuted(Reversed):
    def __iter__(self):
        return iter(torch.randperm(len(X)).tolist())


class Stream(IterableDataset):
    def __iter__(self):
        return iter(X)


def distributed(shuffle):
    return DistributedSampler(X, num_replicas=1, rank=0, shuffle=shuffle)


SHUFFLING = {
    "RandomSampler": lambda: DataLoader(X, batch_size=2, shuffle=True),
    "SubsetRandomSampler": lambda: DataLoader(X, batch_size=2, sampler=SubsetRandomSampler(range(6))),
    "WeightedRandomSampler": lambda: DataLoader(X, batch_size=2, sampler=WeightedRandomSampler(torch.ones(6), 6)),
    "DistributedSampler": lambda: DataLoader(X, batch_size=2, sampler=distributed(shuffle=True)),
    "Permuted": lambda: DataLoader(X, batch_size=2, sampler=Permuted()),
    "RandomSampler, in batches": lambda: DataLoader(X, batch_sampler=BatchSampler(RandomSampler(X), 2, False)),
    "Permuted, in batches": lambda: DataLoader(X, batch_sampler=BatchSampler(Permuted(), 2, False)),
}
IN_ORDER = {
    "none": lambda: DataLoader(X, batch_size=2),
    "sequential, in batches": lambda: DataLoader(X, batch_sampler=BatchSampler(SequentialSampler(X), 2, False)),
    "reversed": lambda: DataLoader(X, batch_size=2, sampler=Reversed()),
    "list": lambda: DataLoader(X, batch_size=2, sampler=[1, 0, 2, 3, 5, 4]),
    "stream": lambda: DataLoader(Stream(), batch_size=2),
    "distributed": lambda: DataLoader(X, batch_size=2, sampler=distributed(shuffle=False)),
}


@pytest.mark.parametrize("kind", SHUFFLING)
def test_a_loader_that_shuffles_warns_by_name(kind):
    with pytest.warns(UserWarning, match=rf"DataLoader that shuffles \({kind.partition(',')[0]}\).*shuffle=False"):
        lemmse.LocalEquivariantMMSE(SHUFFLING[kind](), DENOISE, patch_size=3)


@pytest.mark.parametrize("kind", IN_ORDER)
def test_a_loader_in_a_fixed_order_is_silent_and_numbers_its_images(kind):
    loader = IN_ORDER[kind]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator = lemmse.LocalEquivariantMMSE(loader, DENOISE, patch_size=3)
    stacked = torch.cat(list(loader))
    posterior = estimator.posterior(stacked[2:3], 0.01, top_k=1)
    assert (posterior.indices[..., 0, 0] == 2).all()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (X.numpy(), "got ndarray: make it a tensor with torch.from_numpy"),
        ([X.numpy()], "got ndarray: make it one with torch.from_numpy"),
        ([[X]], "got list"),
        (Stream(), "must be 4-D"),
        (iter([X]), "DataLoader with shuffle=False"),
        ("photos", "got str"),
        ({"a": X}, "got dict"),
        (None, "got NoneType"),
        (X.to_sparse(), "must be a dense tensor"),
        (X.to("meta"), "meta device"),
        (X.half(), "torch.float32 or torch.float64"),
        ([], "must not be empty"),
    ],
)
def test_what_are_no_images(images, message):
    with pytest.raises(ValueError, match=message):
        lemmse.MMSE(images, DENOISE)


@pytest.mark.parametrize(
    "images",
    [
        TensorDataset(X, torch.arange(6)),
        TensorDataset(X),
        Subset(TensorDataset(X), range(6)),
        DataLoader(TensorDataset(X, torch.arange(6)), batch_size=4),
        DataLoader(Subset(TensorDataset(X), range(6)), batch_size=2),
    ],
)
@pytest.mark.parametrize("make", [lemmse.LocalEquivariantMMSE, lemmse.AffineMMSE])
def test_data_sets_and_loaders_with_labels_give_their_images(images, make):
    found, expected = (make(given, DENOISE, patch_size=3)(X[:2] + 0.1, 0.2) for given in (images, X))
    torch.testing.assert_close(found, expected)


def test_a_data_set_numbers_its_images():
    estimator = lemmse.LocalEquivariantMMSE(TensorDataset(X), DENOISE, patch_size=3)
    assert (estimator.posterior(X[4:5], 0.01, top_k=1).indices[..., 0, 0] == 4).all()
    assert "a stream of images of 1 x 5 x 4" in repr(estimator)
