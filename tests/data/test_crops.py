"""The set photos: whole photographs held out, turns, prefixes, structure, and where each crop comes from."""

from __future__ import annotations

import pytest
import torch

import lemmse
from lemmse.data import crops
from lemmse.data.crops import photo_crops, sources
from lemmse.data.photographs import PHOTOGRAPHS, photograph

SPLIT_OF = {entry.name: entry.split for entry in PHOTOGRAPHS}
COLOR = {entry.name for entry in PHOTOGRAPHS if entry.color}


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("size", [16, 28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_photos(split, size, channels):
    x = lemmse.load_images("photos", split=split, count=40, size=size, channels=channels)
    assert x.shape == (40, channels, size, size)
    assert x.dtype == torch.float32
    assert x.min() >= 0
    assert x.max() <= 1
    luma = x[:, 0] if channels == 1 else torch.einsum("nchw,c->nhw", x, torch.tensor([0.299, 0.587, 0.114]))
    assert (luma.double().std((1, 2), correction=0) >= crops.LEAST_CONTRAST - 1e-6).all()  # each holds structure
    assert len({image.numpy().tobytes() for image in x}) == 40
    assert torch.equal(x[:7], lemmse.load_images("photos", split=split, count=7, size=size, channels=channels))
    assert len(photo_crops(split, size, channels).places) >= 1000


@pytest.mark.parametrize("size", [8, 28, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_whole_photographs_are_held_out(size, channels):
    """No test crop shares a photograph with a training crop, whatever the size and the number of channels."""
    names = {split: set(sources(split, size=size, channels=channels)) for split in ("train", "test")}
    used = set(SPLIT_OF) if channels == 1 else COLOR
    assert names["train"] | names["test"] == used
    assert all(SPLIT_OF[name] == split for split in names for name in names[split])


def test_each_crop_lies_in_the_photograph_that_sources_names():
    count, size = 24, 32
    x = lemmse.load_images("photos", count=count, size=size, channels=1)
    for crop, name in zip(x, sources("train", count, size, 1), strict=True):
        whole = photograph(name, short_side=4 * size, channels=1)
        windows = whole[0, 0].unfold(0, size, 1).unfold(1, size, 1)
        assert (windows == crop[0]).all(-1).all(-1).any()


def test_photographs_take_turns():
    names = sources("test", 12, 28, 1)
    assert names[:6] == names[6:] == tuple(entry.name for entry in PHOTOGRAPHS if entry.split == "test")
    assert sources("test", 4) == tuple(name for name in names[:6] if name in COLOR)


def test_the_first_crops_of_a_photograph_are_spread():
    """Twenty crops of 28 x 28 cover two thirds of 128 x 128 pixels: random ones cover half."""
    places = [place for place in photo_crops("train", 28, 3).places if place[0] == "astronaut"][:20]
    covered = torch.zeros(128, 128, dtype=torch.bool)
    for _, row, column in places:
        covered[row : row + 28, column : column + 28] = True
    assert covered.double().mean() > 0.65


def test_flat_crops_are_left_out(monkeypatch):
    """What is left out is exactly what has too little contrast: with no threshold all places come."""
    kept = photo_crops("test", 32, 1)
    monkeypatch.setattr(crops, "LEAST_CONTRAST", 0.0)
    everything = crops.Crops(kept.photographs, 32)
    images = everything.images(len(everything.places)).double()
    contrast = images.std((1, 2, 3), correction=0)
    assert {p for p, c in zip(everything.places, contrast, strict=True) if c > 0.06 + 1e-6} <= set(kept.places)
    assert not {p for p, c in zip(everything.places, contrast, strict=True) if c < 0.06 - 1e-6} & set(kept.places)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 7}, "crops of 8 to 256"),
        ({"size": 257}, "crops of 8 to 256"),
        ({"count": 10**7}, r"photos \(train\) has \d+ images"),
        ({"split": "val"}, "unknown split 'val'"),
        ({"channels": 2}, "channels must be 1 or 3"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        sources(**arguments)
    with pytest.raises(ValueError, match=message):
        lemmse.load_images("photos", **arguments)
