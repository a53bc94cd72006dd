"""Data sets: order, splits, sizes, channels, broken files, downloads, and what bad input says."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lemmse
from lemmse import checks
from lemmse.data import fashion_mnist
from lemmse.data import sets as datasets

LOCAL = os.environ.get("LEMMSE_DATA", "")


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """No local data, and a cache of its own."""
    monkeypatch.delenv("LEMMSE_DATA", raising=False)
    monkeypatch.setenv("LEMMSE_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "val"}, "'train', 'test'"),
        ({"count": 0}, "count must be"),
        ({"count": -1}, "count must be"),
        ({"count": 2.0}, "count must be"),
        ({"size": 0}, "size must be"),
        ({"size": "28"}, "size must be"),
        ({"channels": 2}, "channels must be 1 or 3"),
        ({"channels": True}, "channels must be 1 or 3"),
        ({"size": 1}, "crops of 8 to 256"),
        ({"name_or_path": ""}, "unknown data set ''"),
        ({"name_or_path": "x" * 5000}, "unknown data set"),
        ({"name_or_path": "imagenet"}, "'photos', 'fashion_mnist', 'cifar10', or the path"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        lemmse.load_images(**{"name_or_path": "photos", **arguments})


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


def test_kinds_of_images(tmp_path):
    Image.fromarray(np.full((4, 4), 65535, np.uint16)).save(tmp_path / "0.png")
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "1.png")
    Image.new("P", (4, 4)).save(tmp_path / "2.png")
    Image.new("1", (4, 4), 1).save(tmp_path / "3.png")
    x = lemmse.load_images(tmp_path, channels=3)
    torch.testing.assert_close(x.mean((1, 2, 3)), torch.tensor([1.0, 1.0, 0.0, 1.0]), rtol=0, atol=1e-3)
    assert lemmse.load_images(tmp_path, count=1).shape[1] == 1  # the set is as its first file


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


def test_channels_of_a_mixed_folder_are_those_of_its_first_file(tmp_path):
    for i in range(10):
        save(tmp_path / f"{i}.png", mode="L" if i == 9 else "RGB")
    assert lemmse.load_images(tmp_path, split="test").shape == (1, 3, 6, 8)
    (tmp_path / "9.png").unlink()
    with pytest.raises(ValueError, match=r"\(test\) has no images"):
        lemmse.load_images(tmp_path, split="test")


def test_float_images_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / "0.tif")
    with pytest.raises(ValueError, match="convert them to 8 or 16 bits"):
        lemmse.load_images(tmp_path)


def test_local_folder_that_is_not_there(alone, monkeypatch):
    monkeypatch.setenv("LEMMSE_DATA", str(alone / "absent"))
    with pytest.raises(ValueError, match="LEMMSE_DATA must name a folder"):
        lemmse.load_images("fashion_mnist")


def idx(images: np.ndarray) -> bytes:
    return gzip.compress(np.array([0x803, *images.shape], ">i4").tobytes() + images.tobytes())


def test_fashion_mnist_from_a_local_folder(alone, monkeypatch):
    monkeypatch.setenv("LEMMSE_DATA", str(alone))
    folder = alone / "fashion-mnist"
    folder.mkdir()
    pixels = np.arange(3 * 28 * 28, dtype=np.uint8).reshape(3, 28, 28)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(idx(pixels))
    x = lemmse.load_images("fashion_mnist", count=2)
    assert torch.equal(x[:, 0], torch.from_numpy(pixels[:2]).float() / 255)
    assert lemmse.load_images("fashion_mnist", size=14, channels=3).shape == (3, 3, 14, 14)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(idx(pixels)[:200])
    with pytest.raises(ValueError, match="is broken"):
        lemmse.load_images("fashion_mnist")


def cifar(folder: Path, count: int = 4):
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        data = np.random.default_rng(0).integers(0, 256, (count, 3072), dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({b"data": data, b"labels": [0] * count}, protocol=4))


def test_cifar_from_a_local_folder(alone, monkeypatch, recwarn):
    monkeypatch.setenv("LEMMSE_DATA", str(alone))
    cifar(alone / "cifar-10-subset-py")
    monkeypatch.setattr(checks, "_warned", set())
    for _ in range(2):
        assert lemmse.load_images("cifar10").shape == (20, 3, 32, 32)
    assert ["a local subset of 20 images" in str(w.message) for w in recwarn] == [True]
    cifar(alone / "cifar-10-batches-py", 5)
    assert lemmse.load_images("cifar10", split="test").shape == (5, 3, 32, 32)


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


@pytest.mark.parametrize("content", [pickle.dumps({b"data": Evil()}), b"nonsense", b"", pickle.dumps([1])])
def test_a_pickle_cannot_run_code(alone, monkeypatch, content):
    monkeypatch.setenv("LEMMSE_DATA", str(alone))
    monkeypatch.chdir(alone)
    cifar(alone / "cifar-10-batches-py")
    (alone / "cifar-10-batches-py" / "test_batch").write_bytes(content)
    with pytest.raises(ValueError, match="is no batch of CIFAR-10"):
        lemmse.load_images("cifar10", split="test")
    assert not Path("evil").exists()


def test_downloads_are_checked_and_broken_ones_never_kept(alone, monkeypatch):
    """The real downloader, from a folder of this machine."""
    server = alone / "server"
    server.mkdir()
    good = idx(np.random.default_rng(0).integers(0, 256, (2, 28, 28), dtype=np.uint8))
    file = "train-images-idx3-ubyte.gz"
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(server))

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        monkeypatch.setattr(fashion_mnist, "ADDRESS", f"http://127.0.0.1:{http.server_port}/")
        monkeypatch.setitem(fashion_mnist.FILES, "train", (file, "md5:" + hashlib.md5(good).hexdigest()))
        cache = alone / "cache" / "data" / "fashion_mnist"
        for broken in (good[: len(good) // 2], b"an error page"):
            (server / file).write_bytes(broken)
            with pytest.raises(ValueError, match="set LEMMSE_DATA"):
                lemmse.load_images("fashion_mnist")
            assert [path for path in cache.iterdir() if path.suffix != ".lock"] == []
        (server / file).write_bytes(good)
        assert len(lemmse.load_images("fashion_mnist")) == 2
        (cache / file).write_bytes(good[:50])  # damaged on disk: fetched again
        assert len(lemmse.load_images("fashion_mnist")) == 2
        http.shutdown()
    assert len(lemmse.load_images("fashion_mnist")) == 2  # from the cache
    with pytest.raises(ValueError, match="use 'photos'"):
        lemmse.load_images("fashion_mnist", split="test")


def test_fetch(alone):
    with pytest.raises(ValueError, match="needs no download"):
        datasets.fetch("photos")
    with pytest.raises(ValueError, match="'photos', 'fashion_mnist', 'cifar10'"):
        datasets.fetch("mnist")


@pytest.mark.skipif(not Path(LOCAL, "fashion-mnist").is_dir() or not LOCAL, reason="LEMMSE_DATA has no fashion-mnist")
def test_the_real_fashion_mnist():
    assert lemmse.load_images("fashion_mnist").shape == (60000, 1, 28, 28)
    assert lemmse.load_images("fashion_mnist", split="test").shape == (10000, 1, 28, 28)


@pytest.mark.skipif(not Path(LOCAL, "cifar-10-subset-py").is_dir() or not LOCAL, reason="LEMMSE_DATA has no CIFAR-10")
@pytest.mark.filterwarnings("ignore:cifar10")
def test_the_real_cifar_subset():
    assert lemmse.load_images("cifar10").shape == (8068, 3, 32, 32)
    assert lemmse.load_images("cifar10", split="test", channels=1).shape == (1017, 1, 32, 32)


@pytest.mark.skipif(not Path(LOCAL, "lfw-32").is_dir() or not LOCAL, reason="LEMMSE_DATA has no lfw-32")
def test_a_real_zip_of_faces():
    path = Path(LOCAL, "lfw-32", "lfw-32.zip")
    assert lemmse.load_images(path, count=20).shape == (20, 3, 32, 32)
    assert lemmse.load_images(path, split="test").shape == (500, 3, 32, 32)
