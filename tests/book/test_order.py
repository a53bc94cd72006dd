"""The order of the chapters."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lemmse.book.order import in_reading_order, listed_files
from tests.conftest import PROJECT
from tests.light import light_project

TOC = PROJECT.root / "book" / "_toc.yml"
SOURCES = [Path("notebooks") / name for name in ("00_a.py", "01_b.py", "02_c.py", "03_d.py")]


def test_chapters_follow_the_table_of_contents_not_their_numbers(tmp_path):
    toc = tmp_path / "_toc.yml"
    parts = [
        {"caption": "First", "chapters": [{"file": "notebooks/02_c", "sections": [{"file": "notebooks/00_a"}]}]},
        {"caption": "Then", "chapters": [{"file": "theory"}, {"file": "notebooks/03_d"}]},
    ]
    toc.write_text(yaml.safe_dump({"format": "jb-book", "root": "index", "parts": parts}), encoding="utf-8")
    assert listed_files(toc) == ["notebooks/02_c", "notebooks/00_a", "theory", "notebooks/03_d"]
    assert [p.name for p in in_reading_order(SOURCES, toc)] == ["02_c.py", "00_a.py", "03_d.py", "01_b.py"]
    assert in_reading_order(SOURCES[::-1], tmp_path / "absent.yml") == SOURCES


def test_a_project_reads_in_that_order(tmp_path):
    project = light_project(tmp_path)
    (tmp_path / "notebooks" / "00_late.py").write_text("", encoding="utf-8")
    assert [p.stem for p in project.sources] == ["00_late", "01_light"]
    (tmp_path / "book").mkdir()
    chapters = "chapters: [{file: notebooks/01_light}, {file: notebooks/00_late}]"
    (tmp_path / "book" / "_toc.yml").write_text(chapters, encoding="utf-8")
    assert [p.stem for p in project.sources] == ["01_light", "00_late"]


def test_a_broken_table_of_contents_says_which(tmp_path):
    toc = tmp_path / "_toc.yml"
    toc.write_text("chapters: [", encoding="utf-8")
    with pytest.raises(ValueError, match=r"cannot read the table of contents '.*_toc\.yml'"):
        listed_files(toc)


def test_the_book_lists_every_chapter_and_every_page_once():
    listed = [*listed_files(TOC), "index"]
    pages = [p.stem for p in (PROJECT.root / "book").glob("*.md")]
    assert sorted(listed) == sorted([f"notebooks/{p.stem}" for p in PROJECT.sources] + pages)
