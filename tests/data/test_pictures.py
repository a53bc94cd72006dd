"""One picture in a file, read and written."""

from __future__ import annotations

import pytest
import torch

from lemmse.data.pictures import read_picture, write_picture
from tests.conftest import random_images


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("ending", [".png", ".tif", ".PNG"])
def test_what_is_written_is_read(tmp_path, channels, ending):
    x = random_images(1, channels, 9, 14, torch.float32)
    write_picture(x, tmp_path / f"a{ending}")
    found = read_picture(str(tmp_path / f"a{ending}"))
    assert found.shape == x.shape
    assert (found - x).abs().max() <= 0.5 / 255 + 1e-6
    assert read_picture(tmp_path / f"a{ending}", 4 - channels).shape == (1, 4 - channels, 9, 14)


def test_values_outside_the_range_are_clipped(tmp_path):
    write_picture(torch.tensor([[[[-0.5, 1.7]]]]), tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").tolist() == [[[[0.0, 1.0]]]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda folder: read_picture(folder / "nothing.png"), "cannot read the picture .*No such file"),
        (lambda folder: read_picture(folder), "cannot read the picture .*directory"),
        (lambda folder: read_picture(3), "a picture is the path of an image file, got 3"),
        (lambda folder: read_picture(__file__), "it is no image"),
        (lambda folder: write_picture(torch.zeros(2, 1, 3, 3), folder / "a.png"), r"a picture must be \(1, C, H, W\)"),
        (lambda folder: write_picture(torch.zeros(1, 1, 3, 3), folder / "a.jpg"), "unknown ending of a picture '.jpg'"),
        (lambda folder: write_picture(torch.full((1, 1, 3, 3), torch.nan), folder / "a.png"), "must be finite"),
    ],
)
def test_bad_pictures(tmp_path, call, message):
    with pytest.raises(ValueError, match=message) as error:
        call(tmp_path)
    assert "\n" not in str(error.value)
