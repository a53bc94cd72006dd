"""The table of a sweep: no name hides another, and no value breaks it."""

from __future__ import annotations

import pandas as pd
import pytest

from lemmse.sweep import Plan, collect, read_table


def stored(folder, annotations, *runs):
    """A sweep whose runs, (parameters, glued values), lie in a folder."""
    plan = Plan(folder, "01_light", "quick", annotations, {str(i): run[0] for i, run in enumerate(runs)})
    with plan.lock():
        plan.write()
        for key, (parameters, values) in zip(plan.runs, runs, strict=True):
            record = {"status": "complete", "failure": None, "seconds": 1.5, "device": "a CPU", "values": values}
            plan.store(key, {**record, "parameters": parameters}, {"notebook.ipynb": b"{}"})
    return collect(folder)


def test_a_parameter_named_as_what_is_said_of_a_run(tmp_path):
    annotations = {"device": "str", "seconds": "int"}
    runs = [({"device": device, "seconds": 3}, {"total": 1.0, "status": "fine"}) for device in ("cpu", "cuda")]
    table = stored(tmp_path, annotations, *runs)
    assert list(table.device_parameter) == ["cpu", "cuda"]
    assert list(table.device) == ["a CPU"] * 2
    assert list(table.seconds_parameter) == [3, 3]
    assert list(table.seconds) == [1.5, 1.5]
    assert list(table.status_glued) == ["fine"] * 2
    summary = (tmp_path / "results.md").read_text()
    assert "device_parameter" in summary
    assert "seconds_parameter" not in summary  # it does not vary


@pytest.mark.parametrize(
    ("first", "second", "column"),
    [
        (1, 2, [1, 2]),
        (1, 2.5, [1.0, 2.5]),
        (True, False, [True, False]),
        (1, True, ["1", "True"]),
        (2**70, 1, [2.0**70, 1.0]),
        pytest.param(10**400, 1, [str(10**400), "1"], id="beyond all floats"),
        ("a, b\n", "é", ["a, b\n", "é"]),
    ],
)
def test_types_of_glued_values(tmp_path, first, second, column):
    table = stored(tmp_path, {"n": "int"}, ({"n": 2**64 - 1}, {"y": first}), ({"n": 0}, {"y": second}), ({"n": 1}, {}))
    assert list(table.y[:2]) == column
    assert pd.isna(table.y[2])
    assert list(table.n) == [2.0**64, 0, 1]
    for name in ("results.csv", "results.parquet"):
        assert list(read_table(tmp_path / name).y[:2].astype(table.y.dtype)) == column
