"""The photographs: what the table says is true of the files, and whole ones come out as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lemmse.data import photographs
from lemmse.data.photographs import PHOTOGRAPHS, photograph
from lemmse.data.unseen import _TEXTURES


@pytest.mark.parametrize("entry", PHOTOGRAPHS, ids=lambda entry: entry.name)
def test_the_table_says_what_the_file_is(entry):
    image = photograph(entry.name)
    assert image.shape == (1, 3 if entry.color else 1, entry.height, entry.width)
    assert image.dtype == torch.float32
    assert 0 <= image.min() < 0.1
    assert 0.8 < image.max() <= 1
    if entry.color:
        assert (image[:, 0] - image[:, 2]).abs().mean() > 0.01


def test_the_table_is_of_different_photographs():
    assert len({entry.name for entry in PHOTOGRAPHS}) == len({entry.file for entry in PHOTOGRAPHS}) == len(PHOTOGRAPHS)
    assert len(PHOTOGRAPHS) >= 15
    assert sum(entry.color for entry in PHOTOGRAPHS) >= 10
    small = [photograph(entry.name, channels=1, short_side=64)[0, 0, :64, :64].flatten() for entry in PHOTOGRAPHS]
    alike = torch.corrcoef(torch.stack(small)) - torch.eye(len(small))
    assert alike.max() < 0.9  # two views of one scene would be near 1
    assert not {entry.file for entry in PHOTOGRAPHS} & {*_TEXTURES, "page.png"}


@pytest.mark.parametrize("color", [True, False])
def test_each_split_holds_several(color):
    for split in ("train", "test"):
        assert sum(entry.split == split and entry.color >= color for entry in PHOTOGRAPHS) >= 4


def test_a_photograph_is_averaged_over_blocks():
    whole, small = photograph("coffee"), photograph("coffee", short_side=100)
    assert small.shape == (1, 3, 100, 150)
    torch.testing.assert_close(small, whole.reshape(1, 3, 100, 4, 150, 4).mean((3, 5)))
    assert photograph("chelsea", short_side=10**6).shape == (1, 3, 300, 451)
    pixels = np.array(Image.open(next(e for e in PHOTOGRAPHS if e.name == "coffee").path))
    assert torch.equal(whole[0], torch.from_numpy(pixels).permute(2, 0, 1) / 255)


def test_a_photograph_in_gray_and_a_gray_one_in_color():
    color, gray = photograph("coffee")[0], photograph("coffee", channels=1)[0, 0]
    torch.testing.assert_close(gray, 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2])
    assert torch.equal(photograph("coins", channels=3), photograph("coins").expand(-1, 3, -1, -1))


def test_changing_a_photograph_leaves_the_next_call_alone():
    photograph("coins").zero_()
    assert photograph("coins").max() > 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "lena"}, "unknown photograph 'lena'"),
        ({"short_side": 0}, "short_side must be"),
        ({"short_side": 1.5}, "short_side must be"),
        ({"channels": 2}, "channels must be 1 or 3"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        photograph(**{"name": "coffee", **arguments})


@pytest.mark.parametrize("changed", [{"file": "absent.png"}, {"wheel": "absent"}])
def test_a_wheel_without_the_file(monkeypatch, changed):
    entry = replace(PHOTOGRAPHS[0], name="lost", **changed)
    monkeypatch.setitem(photographs._BY_NAME, "lost", entry)
    monkeypatch.setitem(photographs._DATA_FOLDERS, "absent", ("no_such_package", "data"))
    with pytest.raises(ValueError, match=r"cannot read the photograph 'lost'|needs the package absent"):
        photograph("lost")
