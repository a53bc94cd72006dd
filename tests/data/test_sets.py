"""Data sets: order, splits, sizes, channels, broken files, downloads, and what bad input says."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

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
        ({"name_or_path": None}, "got NoneType"),
        ({"name_or_path": 3}, "got int"),
        ({"name_or_path": b"photos"}, "got bytes"),
        ({"name_or_path": ["photos"]}, "got list"),
        ({"name_or_path": "~nobody/x"}, "unknown data set '~nobody/x'"),
        ({"name_or_path": "a\0b"}, "unknown data set"),
        ({"name_or_path": "x" * 300}, "unknown data set"),
        ({"split": None}, "split must be"),
        ({"split": ["train"]}, "split must be"),
        ({"size": 10**9}, "size must be at most 16384"),
        ({"size": float("nan")}, "size must be"),
        ({"channels": [1]}, "channels must be 1 or 3"),
        ({"channels": np.array([1, 3])}, "channels must be 1 or 3"),
        ({"channels": "3"}, "channels must be 1 or 3"),
        ({"crops": 1}, "crops must be True or False"),
        ({"crops": True}, "crops=True cuts the files of a folder or zip, got 'photos'"),
        ({"name_or_path": "imagenet"}, "'photos', 'fashion_mnist', .*, or the path"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        lemmse.load_images(**{"name_or_path": "photos", **arguments})
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


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
