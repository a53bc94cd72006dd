"""The real notebooks at smoke size, again under nbval, and the book that they make, with warnings as errors."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections import Counter
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import jupytext
import nbformat
import papermill
import pytest
import torch
from nbconvert import HTMLExporter

import lemmse
from lemmse.book.chapter import COLUMNS
from lemmse.book.parameters import PRESETS, check_parameters, read_notebook
from lemmse.book.results import show_campaign, show_floor, show_windows
from lemmse.data.photographs import PHOTOGRAPHS
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
    found = r'^(?:# )?(?::name: (\S+)|\(([\w-]+)\)=)$|^    name="([\w-]+)"'
    labels = ["".join(names) for page in pages for names in re.findall(found, page.read_text(), re.M)]
    assert "fig-patchwork" in labels
    assert "fig-controls" in labels
    assert [label for label, times in Counter(labels).items() if times > 1] == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_notebook_repeats_under_nbval(executed, source):
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, executed[source.stem]], cwd=PROJECT.root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\d+ passed", done.stdout)


REWRITTEN = [
    "00_one_pixel",
    "01_theory_predicts_network",
    "02_what_it_costs",
    "03_physics_aware",
    "04_high_density",
    "05_data_and_patch_size",
    "06_patchwork",
    "07_three_degrees",
    "08_architectures",
    "09_out_of_distribution",
    "10_sweep_it",
    "11_your_network",
    "12_any_target",
    "13_floor",
    "14_error_bars",
    "15_blind",
    "16_attribution",
    "17_photons",
    "18_mri",
    "19_border",
    "20_generator",
    "21_small_noise",
]


@pytest.mark.parametrize("stem", REWRITTEN)
def test_a_notebook_shows_what_it_finds_outside_the_book(stem, tmp_path):
    """What Binder does: the notebook that postBuild makes, run by papermill alone, as a reader of it sees it."""
    source, made, ran = PROJECT.source(stem), tmp_path / "made.ipynb", tmp_path / "ran.ipynb"
    jupytext.write(jupytext.read(source), made)
    papermill.execute_notebook(made, ran, PROJECT.preset("smoke", source), cwd=PROJECT.root, progress_bar=False)
    notebook = nbformat.read(ran, as_version=4)
    about = [o.get("metadata", {}).get("lemmse", {}) for cell in notebook.cells for o in cell.get("outputs", [])]
    kinds = Counter(one.get("kind") for one in about)
    assert kinds["figure"] >= 1
    assert kinds["table"] >= 1
    assert kinds["answer"] == 1
    body, _ = HTMLExporter(exclude_input=True).from_notebook_node(notebook)
    seen = re.sub(r"<(script|style).*?</\1>", "", body, flags=re.S)
    assert seen.count("<svg") + seen.count("<img") >= kinds["figure"]
    assert seen.count("<table") == kinds["table"]
    assert seen.count("<strong>Figure.</strong>") == kinds["figure"]
    assert seen.count("<strong>Table.</strong>") == kinds["table"]
    assert not re.search(r"\{(glue|doc|eq|cite|numref|ref)\b", seen), "a reader of the notebook sees a raw role"


@pytest.mark.parametrize("stem", REWRITTEN)
def test_visible_code_fits_the_page(stem):
    """Code that neither the book nor JupyterLab folds has lines that need no scrolling."""
    folded = {"hide-input", "remove-input", "remove-cell"}
    cells = [c for c in read_notebook(PROJECT.source(stem)).cells if c.cell_type == "code"]
    shown = [c.source for c in cells if not folded & set(c.metadata.get("tags", []))]
    assert shown
    assert [line for source in shown for line in source.splitlines() if len(line) > COLUMNS] == []


@pytest.mark.parametrize("stem", REWRITTEN)
def test_the_book_shows_each_figure_and_table_once(html, stem):
    page = (html / "notebooks" / f"{stem}.html").read_text(encoding="utf-8")
    source = PROJECT.source(stem).read_text(encoding="utf-8")
    committed = [show for show in (show_campaign, show_windows, show_floor) if f"{show.__name__}()" in source]
    texts = [source, *map(inspect.getsource, committed)]
    names = [name for text in texts for name in re.findall(r'name="((?:fig|tab)-[\w-]+)"', text)]
    assert names
    for name in names:
        assert page.count(f'id="{name}"') == 1, name
    assert len(re.findall(r'<img[^>]* src="[^"]*_images/fig-[\w-]+\.svg"', page)) == sum(n[0] == "f" for n in names)
    assert page.count("This notebook computes the answer") == 0
    assert page.count('class="admonition-title">Answer') == 1


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
    assert 'folder / f"{source.stem}.ipynb"' in (PROJECT.root / "postBuild").read_text()  # see test_packaging.py


@pytest.mark.parametrize("page", ["README.md", "book/run.md"])
def test_examples_run_as_printed(page):
    code = re.search(r"```python\n(.*?)```", (PROJECT.root / page).read_text(), re.S)[1]
    names: dict = {}
    exec(compile(code, page, "exec"), names)
    x_hat = names.get("x_hat", names["estimator"](names["y"], 0.1))
    assert torch.isfinite(x_hat).all()
    assert len([line for line in code.splitlines() if line]) == 5 or page != "README.md"


def test_the_theory_page_computes_the_affine_control():
    code = re.search(r"```python\n(.*?)```", (PROJECT.root / "book" / "theory.md").read_text(encoding="utf-8"), re.S)[1]
    names: dict = {}
    exec(compile(code, "theory.md", "exec"), names)
    control = lemmse.AffineMMSE(names["images"], lemmse.Denoising(), patch_size=5)
    expected = control(names["noisy"], names["sigma"])[0, 0, 0, 0]
    torch.testing.assert_close(names["output"], expected, rtol=0, atol=1e-9)


def test_the_opening_page_lists_every_photograph_with_its_license(html):
    page = (html / "index.html").read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", unescape(re.sub("<[^>]+>", " ", page)))
    for entry in PHOTOGRAPHS:
        assert entry.shows in text, entry.name
        assert entry.license in text, entry.name
