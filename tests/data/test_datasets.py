"""Images from a `torch.utils.data.Dataset`, and groups of images of every kind of set."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

import lemmse
from lemmse.data.crops import sources
from lemmse.data.datasets import DatasetBatches
from lemmse.data.groups import image_groups


class Items(Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class Stream(IterableDataset):
    def __iter__(self):
        yield torch.zeros(1, 4, 4)


IMAGES = torch.rand(7, 3, 6, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "dataset", [TensorDataset(IMAGES, torch.arange(7)), Items(list(IMAGES)), Items([[x, 0] for x in IMAGES])]
)
def test_a_dataset_gives_its_images_in_order(dataset):
    assert torch.equal(lemmse.load_images(dataset), IMAGES)
    assert torch.equal(lemmse.load_images(dataset, count=2), IMAGES[:2])
    for _ in range(2):  # it can be read again
        assert torch.equal(torch.cat(list(DatasetBatches(dataset, batch_size=3))), IMAGES)
    gray = lemmse.load_images(dataset, size=3, channels=1)
    weights = torch.tensor([0.299, 0.587, 0.114])
    middle = torch.einsum("nchw,c->nhw", IMAGES[..., 1:7], weights).reshape(7, 3, 2, 3, 2).mean((2, 4))
    torch.testing.assert_close(gray[:, 0], middle)


def test_an_estimator_takes_the_batches_of_a_dataset():
    y = IMAGES[:2] + 0.1
    options = {"physics": lemmse.Denoising(), "patch_size": 3}
    stream = lemmse.LocalEquivariantMMSE(DatasetBatches(Items(list(IMAGES)), 3), **options)
    torch.testing.assert_close(stream(y, 0.2), lemmse.LocalEquivariantMMSE(IMAGES, **options)(y, 0.2))


def test_bytes_and_pil_images():
    pixels = (IMAGES * 255).round().to(torch.uint8)
    pictures = [Image.fromarray(np.moveaxis(p.numpy(), 0, -1)) for p in pixels]
    for items in (list(pixels), pictures, [(picture, 3) for picture in pictures]):
        assert torch.equal(lemmse.load_images(Items(items)), pixels / 255)
    mixed = Items([pictures[0].convert("L"), pictures[1]])
    assert lemmse.load_images(mixed).shape == (2, 3, 6, 8)
    assert lemmse.load_images(Items([pictures[0].convert("L")])).shape == (1, 1, 6, 8)


@pytest.mark.parametrize(
    ("dataset", "arguments", "message"),
    [
        (Stream(), {}, "must have a length"),
        (Items([]), {}, "Items has no images"),
        (Items([torch.zeros(1, 4, 4)]), {"split": "test"}, "no 'test' split of its own"),
        (Items([torch.zeros(1, 4, 4)]), {"count": 2}, "Items has 1 images"),
        (Items([torch.zeros(4, 4)]), {}, r"item 0 has the shape \(4, 4\)"),
        (Items([torch.zeros(2, 4, 4)]), {}, r"item 0 has the shape \(2, 4, 4\)"),
        (Items([torch.zeros(1, 4, 4, dtype=torch.int64)]), {}, "item 0 is of torch.int64"),
        (Items([{"image": 1}]), {}, "item 0 is of type dict"),
        (Items([()]), {}, "item 0 is of type tuple"),
        (Items([torch.full((1, 4, 4), 255.0)]), {}, r"spans \[255, 255\]"),
        (Items([torch.full((1, 4, 4), float("nan"))]), {}, "spans"),
        (Items([torch.zeros(1, 4, 4), torch.zeros(1, 5, 4)]), {}, "differ in shape"),
        (Items([torch.zeros(1, 4, 4)]), {"crops": True}, "crops=True cuts the files of a folder or zip, got a Dataset"),
    ],
)
def test_bad_datasets(dataset, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        lemmse.load_images(dataset, **arguments)
    assert "\n" not in str(error.value)


def test_groups_are_photographs_or_single_images():
    groups = image_groups("photos", split="test", count=30, size=28, channels=1)
    names = sources("test", 30, 28, 1)
    assert all((groups[i] == groups[j]) == (names[i] == names[j]) for i in range(30) for j in range(30))
    assert image_groups(Items(list(IMAGES)), count=4) == (0, 1, 2, 3)
    with pytest.raises(ValueError, match="got NoneType"):
        image_groups(None)
