"""The real notebooks at smoke size, again under nbval, and the book that they make, with warnings as errors."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from lemmse.book.parameters import PRESETS, check_parameters
from tests.conftest import PROJECT

pytestmark = pytest.mark.usefixtures("cache")
SOURCES = PROJECT.sources


def test_there_are_notebooks():
    assert len(SOURCES) >= 2


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_fit_the_parameters(preset, source):
    check_parameters(source, PROJECT.preset(preset, source))


def test_labels_are_unique_in_the_book():
    pages = [*SOURCES, *(PROJECT.root / "book").glob("*.md")]
    found = r"^(?:# )?(?::name: (\S+)|\(([\w-]+)\)=)$"
    labels = [a or b for page in pages for a, b in re.findall(found, page.read_text(), re.M)]
    assert "fig-closeness" in labels
    assert [label for label, times in Counter(labels).items() if times > 1] == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_notebook_repeats_under_nbval(executed, source):
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, executed[source.stem]], cwd=PROJECT.root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\d+ passed", done.stdout)


class Page(HTMLParser):
    """What a page loads, its images, and the text of its captions."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads, self.images, self.captions, self.links, self.inside = [], [], [], [], 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag in ("script", "img", "iframe") and values.get("src"):
            self.loads.append(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "preload", "icon"):
            self.loads.append(values["href"])
        if tag == "img":
            self.images.append(values)
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag == "figcaption":
            self.inside += 1
            self.captions.append("")

    def handle_endtag(self, tag):
        self.inside -= tag == "figcaption"

    def handle_data(self, data):
        if self.inside:
            self.captions[-1] += data


def test_the_book_is_complete_and_asks_no_other_host(html):
    pages = [html / "index.html", html / "theory.html", html / "run.html"]
    pages += [html / "notebooks" / f"{source.stem}.html" for source in SOURCES]
    figures = 0
    for path in pages:
        page = Page(path)
        assert not [url for url in page.loads if url.startswith(("http", "//"))], path
        for url in page.loads:
            assert (path.parent / url.split("?")[0]).exists(), f"{path} misses {url}"
        for url in page.links:
            if not url.startswith(("http", "#", "mailto")):
                assert (path.parent / url.split("#")[0].split("?")[0]).exists(), f"{path} links to {url}"
        for image in page.images:
            assert len(image.get("alt", "")) > 5 or "logo" in image.get("class", ""), f"{path}: {image} has no alt text"
        for caption in page.captions:
            assert len(caption.split()) > 8, f"{path}: caption {caption!r}"
        figures += len(page.captions)
    assert figures >= 6
    assert any("mathjax" in url for url in Page(html / "theory.html").loads)


def test_launch_buttons_point_at_what_post_build_makes(html):
    for source in SOURCES:
        links = [u for u in Page(html / "notebooks" / f"{source.stem}.html").links if "mybinder.org" in u]
        assert any(u.endswith(f"book/notebooks/{source.stem}.ipynb") for u in links), links
    assert "book/notebooks/$(basename" in (PROJECT.root / "postBuild").read_text()


@pytest.mark.parametrize("page", ["README.md", "book/run.md"])
def test_examples_run_as_printed(page):
    code = re.search(r"```python\n(.*?)```", (PROJECT.root / page).read_text(), re.S)[1]
    names: dict = {}
    exec(compile(code, page, "exec"), names)
    x_hat = names.get("x_hat", names["estimator"](names["y"], 0.1))
    assert torch.isfinite(x_hat).all()
    assert len([line for line in code.splitlines() if line]) == 5 or page != "README.md"
