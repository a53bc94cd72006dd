"""Chapters that take Fashion-MNIST where it is at hand: their claims hold with it and without it.

They run at the size of the book, on weights that come with the project.
"""

from __future__ import annotations

import jupytext
import papermill
import pytest

from lemmse.data.sets import is_here
from tests.conftest import PROJECT

pytestmark = pytest.mark.usefixtures("cache")
CHOOSING = ["05_data_and_patch_size", "13_floor"]


def test_these_are_the_chapters_that_choose():
    assert [path.stem for path in PROJECT.sources if "is_here(" in path.read_text(encoding="utf-8")] == CHOOSING


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("data", ["photos", "fashion_mnist"])
@pytest.mark.parametrize("stem", CHOOSING)
def test_claims_hold(stem, data, tmp_path):
    if not is_here(data):
        pytest.skip(f"{data} is not on this machine: lemmse data fetch {data}")
    source, made = PROJECT.source(stem), tmp_path / "made.ipynb"
    jupytext.write(jupytext.read(source), made)
    parameters = PROJECT.preset("quick", source) | {"data": data, "strict": True}
    papermill.execute_notebook(made, tmp_path / "ran.ipynb", parameters, cwd=PROJECT.root, progress_bar=False)
