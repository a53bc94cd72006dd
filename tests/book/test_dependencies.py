"""A notebook is executed again when something that it runs changed, and not for an edit of another chapter's figure."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lemmse.book import notebooks
from lemmse.book.dependencies import ON_IMPORT, Library, Symbol
from tests.conftest import PROJECT


def write(folder: Path, files: dict[str, str]) -> Library:
    for name, text in files.items():
        path = folder / "pack" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Library(folder / "pack")


PACK = {
    "__init__": "import lazy_loader\n"
    "__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={'figures.bars': ['bars']})\n",
    "figures/__init__": "from pack.figures.bars import bars, stacked\nfrom pack.figures.lines import lines\n",
    "figures/bars": "from pack.base import style\n\ndef bars():\n    style()\n\ndef stacked():\n    pass\n",
    "figures/lines": "WIDTH = 2\n\ndef lines():\n    return WIDTH\n",
    "base": "def style():\n    'Doc.'\n    return 1\n\ndef other():\n    pass\n",
    "engines/__init__": "",
    "engines/table": "from importlib import import_module\n\ndef load(name):\n"
    "    return import_module(f'pack.engines.{name}')\n",
    "engines/fast": "X = 1\n",
}


@pytest.mark.parametrize(
    ("code", "symbols"),
    [
        ("import pack\npack.bars()", {("figures.bars", "bars"), ("base", "style")}),
        ("from pack import bars", set()),
        ("from pack import bars\nbars()", {("figures.bars", "bars"), ("base", "style")}),
        ("from pack import figures\nfigures.lines()", {("figures.lines", "lines"), ("figures.lines", "WIDTH")}),
        ("import pack.figures.lines as l\nl.WIDTH", {("figures.lines", "WIDTH")}),
        ("from pack.figures import stacked as s\ns()", {("figures.bars", "stacked")}),
        ("def f():\n    from pack.base import other\n    other()", {("base", "other")}),
        ("from pack import base\ngetattr(base, name)", {("base", "*")}),
        ("from pack.base import absent\nabsent", {("base", "*")}),
        ("x = 'pack.base'", {("base", "*")}),
        ("import numpy\nnumpy.bars()", set()),
    ],
)
def test_names_are_followed(tmp_path, code, symbols):
    reached = write(tmp_path, PACK).reached_by(code)
    named = {symbol for symbol in reached.symbols if symbol.name != ON_IMPORT}
    assert named == {Symbol(f"pack.{module}", name) for module, name in symbols}


def test_a_module_that_is_imported_by_a_name_made_at_run_time_counts_with_its_siblings(tmp_path):
    reached = write(tmp_path, PACK).reached_by("from pack.engines.table import load\nload('fast')")
    assert Symbol("pack.engines.fast", "*") in reached.symbols
    assert reached.uses("engines")
    assert not reached.uses("figures")


def test_statements_that_act_on_import_count(tmp_path):
    pack = {**PACK, "base": PACK["base"] + "style.table = {}\n\n@style\ndef registered():\n    pass\n"}
    code = "from pack.base import other\nother()"
    before = digest(tmp_path / "1", pack, code)
    assert digest(tmp_path / "2", {**pack, "base": pack["base"].replace("{}", "{1: 2}")}, code) != before
    assert digest(tmp_path / "3", {**pack, "base": pack["base"] + "    return 5\n"}, code) != before


def digest(folder: Path, pack: dict[str, str], code: str) -> bytes:
    library = write(folder, pack)
    return library.digest(library.reached_by(code))


@pytest.mark.parametrize(
    ("module", "old", "new", "changes"),
    [
        ("base", "return 1", "return 2", True),
        ("base", "'Doc.'", "'Another.'", False),
        ("base", "return 1", "return 1  # a comment", False),
        ("base", "def other():\n    pass", "def other():\n    return 3", False),
        ("figures/bars", "def stacked():\n    pass", "def stacked():\n    return 3", False),
        ("figures/lines", "2", "3", False),
    ],
)
def test_only_code_that_runs_counts(tmp_path, module, old, new, changes):
    code = "from pack import figures\nfigures.bars()"
    changed = {**PACK, module: PACK[module].replace(old, new)}
    assert changed != PACK
    assert (digest(tmp_path / "1", PACK, code) != digest(tmp_path / "2", changed, code)) is changes


def test_docstrings_count_where_the_source_is_shown(tmp_path):
    code = "import inspect\nfrom pack import base\ninspect.getsource(base.style)"
    changed = {**PACK, "base": PACK["base"].replace("'Doc.'", "'Another.'")}
    assert digest(tmp_path / "1", PACK, code) != digest(tmp_path / "2", changed, code)


@pytest.fixture
def library(tmp_path, monkeypatch) -> Path:
    """A copy of the library that may be edited, and that the keys are made from."""
    copy = tmp_path / "lemmse"
    shutil.copytree(notebooks.LIBRARY, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(notebooks, "LIBRARY", copy)
    return copy


def key(stem: str) -> str:
    return PROJECT.key(PROJECT.source(stem), {})


def edit(path: Path, function: str, line: str) -> None:
    """Put a line at the beginning of the body of a function, after its docstring."""
    text = path.read_text(encoding="utf-8")
    start = text.index(f"def {function}(")
    end_of_docstring = text.index('"""\n', text.index('"""', start) + 3) + 4
    path.write_text(f"{text[:end_of_docstring]}    {line}\n{text[end_of_docstring:]}", encoding="utf-8")


def test_the_real_chapters(library):
    before = {stem: key(stem) for stem in ("00", "06", "08")}
    edit(library / "figures" / "lines.py", "risk_floor", "assert True")  # of chapter 8
    assert [key(stem) == before[stem] for stem in before] == [True, True, False]
    before["08"] = key("08")
    edit(library / "patches.py", "extract_patches", "assert True")  # everywhere
    assert not [stem for stem in before if key(stem) == before[stem]]


def test_docstrings_and_comments_of_the_real_library(library):
    before = key("01")
    path = library / "patches.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"""', '"""Oh. ', 1) + "# a comment\n", encoding="utf-8")
    assert key("01") == before
