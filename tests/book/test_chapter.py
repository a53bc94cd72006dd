"""What every chapter does: glue plain values, and judge its claim."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lemmse.book.chapter import judge, keep


def test_keep_glues_plain_values_out_of_sight(monkeypatch):
    glued = {}
    monkeypatch.setattr("myst_nb.glue", lambda name, value, display: glued.update({name: (value, display)}))
    keep(a=np.float64(0.1), b=torch.tensor(3), c="text", d=2.5)
    assert glued == {"a": (0.1, False), "b": (3, False), "c": ("text", False), "d": (2.5, False)}
    assert [type(value) for value, _ in glued.values()] == [float, int, str, float]


def test_judge_names_what_fails(capsys):
    with pytest.raises(AssertionError, match="the claim fails: the moon is cheese"):
        judge({"the sky is up": True, "the moon is cheese": False}, "quick")
    assert capsys.readouterr().out.splitlines() == ["holds: the sky is up", "FAILS: the moon is cheese"]
    judge({"the moon is cheese": False}, "paper", strict=False)
    assert "FAILS: the moon is cheese" in capsys.readouterr().out
    judge({"the sky is up": np.True_}, "quick")


def test_nothing_is_judged_at_smoke(capsys):
    judge({"the moon is cheese": False}, "smoke")
    assert "not tested at this size" in capsys.readouterr().out
    with pytest.raises(ValueError, match="unknown preset 'large'"):
        judge({}, "large")
