"""The names that modules had before still work, and say where the modules are now."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys

import pytest

import lemmse
from lemmse._moved import MOVED, MovedModules, install

NAMES = {  # of each old module, and the new module that has it
    "lemmse.comparison": {"restore_one": "lemmse.analysis.evaluate", "experiment": "lemmse.analysis.experiment"},
    "lemmse.datasets": {"load_images": "lemmse.data.sets", "fetch": "lemmse.data.sets"},
    "lemmse.operators": {"make_operator": "lemmse.physics.gallery"},
    "lemmse.patchwork": {"patchwork_table": "lemmse.analysis.sources"},
    "lemmse.pipeline": {"Project": "lemmse.book.notebooks"},
    "lemmse.shards": {"posterior_over_cluster": "lemmse.estimators.shards"},
    "lemmse.sweep.values": {"glued_values": "lemmse.book.values"},
    "lemmse.weights": {"trained": "lemmse.networks.weights"},
}


@pytest.fixture
def fresh(monkeypatch):
    """Forgets modules imported by an old name, before and after."""
    for old in MOVED:
        monkeypatch.delitem(sys.modules, old, raising=False)


@pytest.mark.parametrize("old", MOVED)
def test_an_old_name_is_importable_and_names_the_new_place(old, fresh):
    new = [importlib.import_module(name) for name in MOVED[old]]
    specs = [module.__spec__ for module in new]
    with pytest.warns(FutureWarning) as record:
        module = importlib.import_module(old)
    places = " and ".join(MOVED[old])
    message = f"{old} is now {places}: the old name will be removed in the next release"
    assert [str(warning.message) for warning in record] == [message]
    for name, place in NAMES[old].items():
        assert getattr(module, name) is getattr(importlib.import_module(place), name)
        assert name in dir(module)
    assert module not in new
    assert module.__name__ == old
    assert [m.__name__ for m in new] == list(MOVED[old])
    assert [m.__spec__ for m in new] == specs


def test_the_mapping_is_the_one_that_is_tested():
    assert {old: set(new) for old, new in MOVED.items()} == {old: set(new.values()) for old, new in NAMES.items()}


def test_the_warning_points_at_the_line_that_imports(fresh):
    with pytest.warns(FutureWarning) as record:
        from lemmse.comparison import compare  # noqa: F401
    assert record[0].filename == __file__


def test_every_form_of_import_works(fresh):
    names: dict[str, object] = {}
    with pytest.warns(FutureWarning):
        exec("import lemmse.weights; from lemmse.weights import trained; from lemmse.weights import *", names)
    assert names["trained"] is importlib.import_module("lemmse.networks.weights").trained
    assert names["load_weights"] is lemmse.weights.load_weights


def test_a_change_of_the_new_module_shows_under_the_old_name(fresh, monkeypatch):
    with pytest.warns(FutureWarning):
        old = importlib.import_module("lemmse.patchwork")
    monkeypatch.setattr("lemmse.analysis.sources.patchwork_table", 1)
    assert old.patchwork_table == 1
    with pytest.raises(AttributeError, match=r"lemmse\.analysis\.sources"):
        old.nothing  # noqa: B018


def test_objects_pickle_by_their_new_name(fresh):
    with pytest.warns(FutureWarning):
        from lemmse.datasets import load_images
    assert b"lemmse.data.sets" in pickle.dumps(load_images)


def test_an_unknown_module_stays_unknown():
    with pytest.raises(ModuleNotFoundError, match=r"lemmse\.nothing"):
        importlib.import_module("lemmse.nothing")


def test_the_finder_is_installed_once():
    install()
    assert sum(isinstance(finder, MovedModules) for finder in sys.meta_path) == 1


def test_the_library_itself_uses_no_old_name():
    code = (
        "import sys, lemmse.cli, lemmse.figures, lemmse.book.build, lemmse.sweep.execute, lemmse.analysis.evaluate;"
        "from lemmse._moved import MOVED; sys.exit(any(old in sys.modules for old in MOVED))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
