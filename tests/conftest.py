"""What the tests share: examples that repeat in CI, Triton interpreted where there is no GPU, small images, and the
book at smoke size, which is built once."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from lemmse.book.build import build_html, publish
from lemmse.book.notebooks import Project, execute

PROJECT = Project(Path(__file__).parent.parent)

settings.register_profile("ci", derandomize=True)  # the same examples on every machine; elsewhere, new ones each time
if os.environ.get("CI"):
    settings.load_profile("ci")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in the background, and children inherit
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is imported


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz-examples", type=int, default=120, help="random calls of each kind in tests/test_fuzz.py")


def random_images(
    count: int, channels: int, height: int, width: int, dtype=torch.float64, seed: int = 0
) -> torch.Tensor:
    """Smooth random images in [0, 1]: neighbors correlate, as in photographs."""
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(count, channels, height, width, generator=g, dtype=torch.float64)
    x = (x + x.roll(1, -1) + x.roll(1, -2)) / 3
    return x.to(dtype)


@pytest.fixture(scope="module")
def environment():
    """Puts the environment back: a cluster of distributed leaves OMP_NUM_THREADS=1 there, which changes bits later."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def shown(monkeypatch) -> list[tuple[dict, str]]:
    """What a cell displays: for each output what the book is told about it, and its Markdown."""
    outputs = []

    def display(data, raw=False, metadata=None):
        text = (data.get("text/markdown") or data["text/plain"]) if raw else data.data
        outputs.append(((metadata or {}).get("lemmse", {}), text))

    monkeypatch.setattr("IPython.display.display", display)
    return outputs


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Weights of the tests stay out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEMMSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def executed(cache) -> dict[str, Path]:
    """Every notebook executed at smoke, in build/executed/smoke."""
    paths = {source: PROJECT.executed("smoke", source) for source in PROJECT.sources}
    for source, path in paths.items():
        execute(PROJECT, source, PROJECT.preset("smoke", source), path, progress=False)
    return {source.stem: path for source, path in paths.items()}


@pytest.fixture(scope="session")
def html(executed, tmp_path_factory) -> Path:
    """The folder of the book built from `executed`, with warnings as errors."""
    book = tmp_path_factory.mktemp("site") / "book"
    shutil.copytree(PROJECT.root / "book", book, ignore=shutil.ignore_patterns("_build", "notebooks", "_generated"))
    (book.parent / "lemmse").symlink_to(PROJECT.root / "lemmse")  # pages show lines of the library
    publish(PROJECT, "smoke", book)
    return build_html(book, book / "_build" / "html")
