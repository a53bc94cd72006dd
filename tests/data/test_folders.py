"""Folders and zips: order, splits, channels, links, names, crops, and what bad ones say."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lemmse
from lemmse import checks
from lemmse.data.decoding import is_color
from lemmse.data.groups import image_groups


def save(path: Path, size=(8, 6), mode="RGB", value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), value, np.uint8)).convert(mode).save(path)


def test_a_folder_in_sorted_order_with_every_tenth_for_test(tmp_path):
    for i in range(23):
        save(tmp_path / "a" / f"{i:03}.png", value=10 * i)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_text("no image")
    train = lemmse.load_images(tmp_path, size=4)
    test = lemmse.load_images(str(tmp_path), split="test", size=4)
    kept = [i for i in range(23) if i % 10 != 9]
    torch.testing.assert_close(train[:, 0, 0, 0] * 25.5, torch.tensor(kept).float())
    torch.testing.assert_close(test[:, 0, 0, 0] * 25.5, torch.tensor([9.0, 19.0]))
    assert lemmse.load_images(tmp_path, count=2).shape == (2, 3, 6, 8)
    with pytest.raises(ValueError, match="has 2 images"):
        lemmse.load_images(tmp_path, split="test", count=3)


def test_a_zip_equals_its_folder(tmp_path):
    for i in range(5):
        save(tmp_path / "pics" / f"{i}.png", value=20 * i)
    with zipfile.ZipFile(tmp_path / "pics.zip", "w") as archive:
        for i in (3, 1, 4, 0, 2):
            archive.write(tmp_path / "pics" / f"{i}.png", f"pics/{i}.png")
    assert torch.equal(lemmse.load_images(tmp_path / "pics.zip"), lemmse.load_images(tmp_path / "pics"))


def test_area_resize_of_a_non_square_image(tmp_path):
    pixels = np.zeros((4, 12, 3), np.uint8)
    pixels[:, 4:8] = np.arange(16).reshape(4, 4, 1) * 10
    Image.fromarray(pixels).save(tmp_path / "0.png")
    expected = torch.from_numpy(pixels[:, 4:8, 0]).float().reshape(2, 2, 2, 2).mean((1, 3)) / 255
    torch.testing.assert_close(lemmse.load_images(tmp_path, size=2)[0, 0], expected, rtol=0, atol=0.003)


def test_broken_folders(tmp_path):
    with pytest.raises(ValueError, match="holds no image files"):
        lemmse.load_images(tmp_path)
    save(tmp_path / "a" / "0.png")
    save(tmp_path / "a" / "1.png", size=(5, 5))
    with pytest.raises(ValueError, match="different sizes"):
        lemmse.load_images(tmp_path / "a")
    (tmp_path / "a" / "2.png").write_bytes((tmp_path / "a" / "1.png").read_bytes()[:40])
    with pytest.raises(ValueError, match=r"cannot read the image '.*2\.png'"):
        lemmse.load_images(tmp_path / "a", size=4)
    (tmp_path / "x.zip").write_bytes(b"PK no zip")
    with pytest.raises(ValueError, match="neither a folder nor a readable zip"):
        lemmse.load_images(tmp_path / "x.zip")


@pytest.mark.parametrize("first_is_gray", [True, False])
def test_a_set_is_in_color_if_any_file_is(tmp_path, first_is_gray):
    """One gray file first does not make the set gray, nor does a split that is gray alone."""
    for i in range(10):
        gray = i == 0 if first_is_gray else i > 0
        save(tmp_path / f"{i}.png", mode="L" if gray else "RGB")
    assert lemmse.load_images(tmp_path).shape == (9, 3, 6, 8)
    assert lemmse.load_images(tmp_path, count=1).shape == (1, 3, 6, 8)
    assert lemmse.load_images(tmp_path, split="test").shape == (1, 3, 6, 8)
    for path in tmp_path.iterdir():
        if not is_color(path.read_bytes()):
            continue
        save(path, mode="L")
    assert lemmse.load_images(tmp_path).shape == (9, 1, 6, 8)
    (tmp_path / "9.png").unlink()
    with pytest.raises(ValueError, match=r"\(test: every tenth file\) has no images"):
        lemmse.load_images(tmp_path, split="test")


def warned(recwarn) -> str:
    return "; ".join(str(warning.message) for warning in recwarn)


def test_links_are_followed_and_loops_end(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(checks, "_warned", set())
    for i in range(3):
        save(tmp_path / "elsewhere" / f"{i}.png", value=20 * i)
    save(tmp_path / "set" / "real" / "0.png", value=200)
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "real" / "file.png").symlink_to(tmp_path / "elsewhere" / "2.png")
    x = lemmse.load_images(tmp_path / "set")
    torch.testing.assert_close(255 * x[:, 0, 0, 0], torch.tensor([0.0, 20, 40, 200, 40]))
    assert warned(recwarn) == ""
    (tmp_path / "top").symlink_to(tmp_path / "set")
    assert torch.equal(lemmse.load_images(tmp_path / "top"), x)
    (tmp_path / "set" / "loop").symlink_to(tmp_path / "set")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "self").symlink_to(tmp_path / "set" / "self")
    (tmp_path / "set" / "lost.png").symlink_to(tmp_path / "nothing.png")
    assert torch.equal(lemmse.load_images(tmp_path / "set"), x)
    for part in ("'loop/' is a link to a folder around it", "'lost.png' is a link to nothing", "and 1 more"):
        assert part in warned(recwarn)


def test_what_is_left_out_is_said_once(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(checks, "_warned", set())
    save(tmp_path / "0.png")
    save(tmp_path / ".hidden" / "1.png")
    (tmp_path / "photo.heic").write_bytes(b"")
    for _ in range(2):
        assert len(lemmse.load_images(tmp_path)) == 1
    assert warned(recwarn).count("'photo.heic' has no ending of an image file") == 1
    assert "hidden" not in warned(recwarn)


def test_zip_members_above_or_beside_it_are_read(tmp_path):
    """Nothing is unpacked, so a name like ../x is harmless, and it is an image like any other."""
    names = ("../0.png", "../../a/1.png", "./2.png", "/3.png", ".hidden/4.png", "__MACOSX/5.png")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for i, name in enumerate(names):
            save(tmp_path / "image.png", value=10 * i)
            archive.writestr(zipfile.ZipInfo(name), (tmp_path / "image.png").read_bytes())
    assert tuple(zipfile.ZipFile(tmp_path / "x.zip").namelist()) == names
    x = lemmse.load_images(tmp_path / "x.zip")
    assert sorted((255 * x[:, 0, 0, 0]).round().int().tolist()) == [0, 10, 20, 30]


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_file_names_that_are_not_utf_8(tmp_path):
    folder = os.fsencode(tmp_path) + b"/\xff\xe4"
    os.mkdir(folder)
    save(tmp_path / "0.png", value=50)
    os.rename(tmp_path / "0.png", folder + b"/\xfc.png")
    for path in (os.fsdecode(folder), Path(os.fsdecode(folder))):
        assert lemmse.load_images(path).shape == (1, 3, 6, 8)
    with open(folder + b"/\xfd.png", "wb") as file:
        file.write(b"broken")
    with pytest.raises(ValueError, match=r"cannot read the image '.*udcfd\.png'") as error:
        lemmse.load_images(os.fsdecode(folder))
    str(error.value).encode("utf-8")  # it can be printed


def test_an_encrypted_or_damaged_member_is_named(tmp_path):
    save(tmp_path / "0.png")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(tmp_path / "0.png", "0.png")
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[40] ^= 255
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(ValueError, match=r"cannot read '.*x\.zip: 0\.png': Bad CRC"):
        lemmse.load_images(tmp_path / "x.zip")


def photographs(folder: Path) -> None:
    """Twenty images of noise, of different sizes; each has a level of its own."""
    rng = np.random.default_rng(0)
    for i in range(20):
        pixels = rng.integers(0, 60, (20 + i, 40 - i), dtype=np.uint8) + np.uint8(9 * i)
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")


def test_crops_of_files_of_different_sizes(tmp_path):
    photographs(tmp_path)
    with pytest.raises(ValueError, match=r"different sizes.*crops=True"):
        lemmse.load_images(tmp_path)
    split = {s: lemmse.load_images(tmp_path, size=16, crops=True, split=s) for s in ("train", "test")}
    for name, chosen in (("train", [i for i in range(20) if i % 10 != 9]), ("test", [9, 19])):
        x = split[name]
        assert x.shape[1:] == (1, 16, 16)
        assert torch.equal(x[:5], lemmse.load_images(tmp_path, size=16, crops=True, split=name, count=5))
        files = [chosen[g] for g in image_groups(tmp_path, size=16, crops=True, split=name)]
        assert files[: len(chosen)] == chosen  # they take turns
        for crop, i in zip(x, files, strict=True):
            whole = torch.from_numpy(np.array(Image.open(tmp_path / f"{i:02}.png")) / np.float32(255))
            windows = whole.unfold(0, 16, 1).unfold(1, 16, 1)
            assert (windows == crop[0]).all(-1).all(-1).any()


def test_crops_need_files_that_are_large_enough(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(checks, "_warned", set())
    photographs(tmp_path)
    x = lemmse.load_images(tmp_path, size=28, crops=True)
    assert set(image_groups(tmp_path, size=28, crops=True)) == {0, 1, 2, 3}  # 08, 10, 11, 12
    assert len(x) > 4
    assert "14 images" in warned(recwarn)
    for arguments, message in (
        ({"size": 100}, "no crop of 100 x 100 pixels .* choose a smaller size"),
        ({}, "needs the size of a crop"),
        ({"size": 4}, "at least 8"),
        ({"size": 16, "count": 10**6}, "more than there are"),
    ):
        with pytest.raises(ValueError, match=message):
            lemmse.load_images(tmp_path, crops=True, **arguments)
