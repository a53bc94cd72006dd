"""The table of a sweep: a row for every run of its plan, in the order of the grid.

Columns: the notebook's parameters (lists as JSON text), what it glued, then status ("complete", "failed", "missing"),
failure (why), seconds, peak_mb (of the kernel), gpu_peak_mb, device, lemmse (version), threads, key. A parameter that
has the name of one of the last gets `_parameter` appended, a glued value with the name of any other `_glued`, unless it
only says the parameter again, as prose does.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemmse.book.parameters import SCALARS
from lemmse.files import write_atomically
from lemmse.sweep.runs import Plan

if TYPE_CHECKING:
    import pandas as pd

ABOUT = dict.fromkeys(["status", "failure"], "str") | dict.fromkeys(["seconds", "peak_mb", "gpu_peak_mb"], "float64")
ABOUT |= {"device": "str", "lemmse": "str", "threads": "Int64"}  # what is said of a run, and its types
_SHOWN = 200  # rows of the summary


def collect(folder: Path) -> pd.DataFrame:
    """The table of the sweep in `folder`, from its runs; also written there as results.csv, .parquet and .md.

    Raises ValueError if no sweep lies there.
    """
    plan = Plan.read(folder)
    table = _table(plan)
    write_atomically(folder / "results.csv", lambda to: table.to_csv(to, index=False))
    write_atomically(folder / "results.md", lambda to: to.write_text(summary(plan, table), encoding="utf-8"))
    write_atomically(folder / "results.parquet", lambda to: table.to_parquet(to, index=False))
    return table


def read_table(path: Path) -> pd.DataFrame:
    """The table of a sweep's folder, or of a .csv or .parquet file. Raises ValueError if it can't be read."""
    import pandas as pd

    if path.is_dir():
        return _table(Plan.read(path))
    try:
        return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' and pyarrow's errors are ValueErrors
        raise ValueError(f"cannot read the table {str(path)!r}: {error}") from None


def _table(plan: Plan) -> pd.DataFrame:
    import pandas as pd

    complete, failed = plan.complete(), plan.failed()
    records = [complete.get(key) or failed.get(key) or {"status": "missing"} for key in plan.runs]
    columns: dict[str, Any] = {}
    for name, annotation in plan.annotations.items():
        values = [parameters[name] for parameters in plan.runs.values()]
        columns[_column(name)] = _typed(values if annotation in SCALARS else list(map(json.dumps, values)))
    glued = dict.fromkeys(name for record in records for name in record.get("values", {}))
    for name in glued:
        values = [record.get("values", {}).get(name) for record in records]
        if name in plan.annotations and all(
            value is None or value == parameters[name]
            for value, parameters in zip(values, plan.runs.values(), strict=True)
        ):
            continue
        taken = name in columns or name in ABOUT or name == "key"
        columns[f"{name}_glued" if taken else name] = _typed(values)
    for name, dtype in ABOUT.items():
        columns[name] = pd.Series([record.get(name) for record in records], dtype=dtype)
    return pd.DataFrame(columns | {"key": pd.array(list(plan.runs), "str")})


def _column(parameter: str) -> str:
    return f"{parameter}_parameter" if parameter in (*ABOUT, "key") else parameter


def _typed(values: list[Any]) -> Any:
    """Values as a column of one type: booleans, integers (of 64 bits), numbers, or text; None, and NaN, is missing."""
    import pandas as pd

    kinds = {type(value) for value in values if value is not None}
    for allowed, dtype in ((set(), "float64"), ({bool}, "boolean"), ({int}, "Int64"), ({int, float}, "float64")):
        if kinds <= allowed:
            with contextlib.suppress(OverflowError):
                return pd.Series(values, dtype=dtype)
    return pd.Series([None if value is None else str(value) for value in values], dtype="str")


def summary(plan: Plan, table: pd.DataFrame) -> str:
    """The table in Markdown: what varied, and the numbers that came out; then the failures."""
    counts = ", ".join(f"{count} {status}" for status, count in table["status"].value_counts().items())
    glued = [name for name in table.columns if name not in (*map(_column, plan.annotations), *ABOUT, "key")]
    numbers = [name for name in glued if table[name].dtype.kind in "iuf"]
    shown = table[[*map(_column, plan.varied), *numbers, "status", "seconds", "peak_mb"]].head(_SHOWN).copy()
    shown[numbers] = shown[numbers].astype("float64")  # tabulate knows no missing integer
    made = [" and ".join(table[name].dropna().unique()) for name in ("lemmse", "device")]
    lines = [f"# Sweep of {plan.notebook}", "", f"{len(table)} runs at preset {plan.preset}: {counts}."]
    lines += [f"Made by lemmse {made[0]} on {made[1]}."] * all(made)
    lines += ["", shown.to_markdown(index=False, floatfmt=".6g"), ""]
    lines += [f"The first {_SHOWN} of {len(table)} rows; all are in results.csv.", ""] * (len(table) > _SHOWN)
    failed = table[table["status"] == "failed"]
    lines += [f"- failed: {plan.describe(key)}: {why}" for key, why in zip(failed["key"], failed["failure"])]  # noqa: B905
    records = plan.complete()
    lines += [f"- {plan.describe(key)}: {record['claim']}" for key, record in records.items() if record.get("claim")]
    names = dict.fromkeys(name for record in records.values() for name in record.get("left_out", []))
    if names:
        lines += ["", f"Glued, but neither number, text nor boolean, and so in no column: {', '.join(names)}."]
    return "\n".join(lines) + "\n"
