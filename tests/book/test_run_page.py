"""The Python code of the page on running does what the page says."""

from __future__ import annotations

import re

import pytest
import torch

import lemmse
from tests.conftest import PROJECT

BLOCKS = re.findall(r"```python\n(.*?)```", (PROJECT.root / "book" / "run.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_the_code_runs(code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict[str, object] = {}
    exec(code, names)
    if "found" in names:
        assert capsys.readouterr().out.count("At sigma") == 1
        assert (tmp_path / "report" / "report.html").is_file()
    if "plug_and_play" in names:
        assert lemmse.psnr(names["x_hat"], names["picture"]) > lemmse.psnr(names["start"], names["picture"]) + 5


def test_there_is_an_example_of_a_network_and_of_plug_and_play():
    assert any("lemmse.explain" in code for code in BLOCKS)
    (loop,) = (code for code in BLOCKS if "plug_and_play" in code)
    assert len(re.search(r"def plug_and_play.*?\n\n\n", loop, re.DOTALL)[0].splitlines()) < 20
