"""The table that `lemmse bench` prints and writes: rows of cells, checks of the whole, and the machine they ran on.

A file starts with lines `# key: value`, the machine, the roofline and the checks; CSV follows. What was measured before
an interruption is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from lemmse.bench.cells import (
    BASELINE,
    PATCH_SIZES,
    SIGMAS,
    Case,
    in_fresh_process,
    least_seconds,
    load,
    make_estimator,
    measure,
)
from lemmse.bench.machine import describe, exponentials_per_second, peak_megabytes
from lemmse.estimators.lemmse import LocalEquivariantMMSE
from lemmse.files import writable_folder, write_atomically
from lemmse.physics.operators import Denoising

TOP_K = 10
_BATCH = 500  # images of a stream


@dataclass(frozen=True)
class Check:
    """A ratio that should be at most `most`."""

    name: str
    value: float
    most: float

    def __str__(self) -> str:
        return f"{self.value:.2f} (at most {self.most:g}{'' if self.value <= self.most else ', MISSED'})"


def run(cases: list[Case], output: Path, *, full: bool, device: torch.device) -> tuple[pd.DataFrame, dict[str, str]]:
    """Measure the cells, then the checks, with a progress bar, and write the table; returns what `read` does.

    Raises ValueError before anything is measured: more images than there are, a folder that cannot be written.
    """
    writable_folder(output.parent, "folder of the table")
    for case in cases:
        load(case)
    about = describe(device)
    roofline = exponentials_per_second(device)
    about["roofline"] = f"{roofline / 1e9:.3g} G exponentials/s"
    rows: list[dict[str, Any]] = []
    checks = _checks(cases, full=full)
    try:
        with tqdm(total=len(cases) + len(checks), desc="bench") as bar:
            for case in cases:
                side = f"{case.side or case.size} x {case.side or case.size} x {case.channels}"
                bar.set_postfix_str(f"{case.family}, {side}, P = {case.patch_size}, sigma = {case.sigma:g}")
                rows += measure(case, roofline)
                bar.update()
            for name, check in checks.items():
                bar.set_postfix_str(name)
                about |= {f"check, {found.name}": str(found) for found in check()}
                bar.update()
    finally:
        table = pd.DataFrame(rows)
        if rows:
            write(output, table, about)
    return table, about


def _checks(cases: list[Case], *, full: bool) -> dict[str, Callable[[], Iterable[Check]]]:
    """What is checked: each family in one of its cells, and of the identity cost against P and memory against N."""
    first = {case.family: case for case in reversed(cases)}
    found: dict[str, Callable[[], Iterable[Check]]] = {
        f"posterior, {family}": partial(cost_of_sources, case) for family, case in first.items()
    }
    if "identity" in first:
        many = 60_000 if full else 10_000
        found["cost against P"] = lambda: [independence_of_patch_size(cases)]
        found["memory against N"] = lambda: [memory_of_stream(1_000, many, first["identity"].device)]
    return found


def write(path: Path, table: pd.DataFrame, about: dict[str, str]) -> None:
    """Write the table and what is known about it, atomically."""
    header = "".join(f"# {key}: {value}\n" for key, value in about.items())
    write_atomically(
        path, lambda to: to.write_text(header + table.to_csv(index=False, float_format="%.6g"), encoding="utf-8")
    )


def read(path: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """The table and what is known about it. Raises ValueError for a file that `write` did not make."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
        return pd.read_csv(path, comment="#"), dict(line[2:].split(": ", 1) for line in lines)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read the table {str(path)!r}: {error}") from None


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """The table for the eye: columns with units, numbers with the digits that mean something."""
    side, depth = table["size"].astype(str), table["channels"].astype(str)
    asked = table["side"].astype(str) if "side" in table else pd.Series("0", table.index)  # tables of earlier versions
    asked = (" for " + asked + "x" + asked).where(asked != "0", "")

    def text(numbers: pd.Series, form: str) -> pd.Series:
        return numbers.astype(float).map(lambda x: "-" if pd.isna(x) else form.format(x))

    shown = {
        "family": table["family"],
        "images": table["data"] + " " + side + "x" + side + "x" + depth + asked,
        "P": table["patch_size"].astype(str).where(table["patch_size"] > 0, "-"),
        "sigma": text(table["sigma"], "{:g}"),
        "Q": table["queries"],
        "N": table["count"],
        "engine": table["engine"],
        "G pairs/s": text(table["pairs_per_second"] / 1e9, "{:.3g}"),
        "ratio": text(table["ratio"], "{:.1f}"),
        "of roofline": text(100 * table["share"].astype(float), "{:.1f} %"),
        "first call (s)": text(table["first_s"], "{:.2f}"),
        "memory (MB)": text(table["memory_mb"], "{:.0f}"),
        "dB": text(table["db"], "{:.0f}"),
    }
    return pd.DataFrame(shown)


def speed_table(table: pd.DataFrame) -> pd.DataFrame:
    """The speed and the accuracy of the engines, for a page, under names that explain themselves.

    Args:
        table: rows of `measure`.

    Returns:
        One row for each cell; the rows of the baseline are left out.
    """
    from lemmse.figures.tables import rounded  # with it comes matplotlib, which only pages need

    names = {
        "family": "estimator",
        "P": "P",
        "engine": "engine",
        "M pairs/s": "million pairs a second",
        "ratio": "times the baseline",
        "of roofline": "of roofline",
        "dB": "accuracy (dB)",
    }
    engines = table[table["engine"] != BASELINE]
    millions = (engines["pairs_per_second"].astype(float) / 1e6).map(rounded)
    return summary(engines).assign(**{"M pairs/s": millions})[list(names)].rename(columns=names)


def start_table(table: pd.DataFrame) -> pd.DataFrame:
    """What the first call and the memory cost, for engines and baselines, for a page.

    Args:
        table: rows of `measure`.

    Returns:
        One row for each cell and program.
    """
    names = {
        "family": "estimator",
        "engine": "program",
        "N": "training images",
        "first call (s)": "first call (s)",
        "memory (MB)": "memory (MB)",
    }
    return summary(table)[list(names)].rename(columns=names)


def independence_of_patch_size(cases: list[Case]) -> Check:
    """Time at the largest P over that at the smallest, turn by turn, the worst of the cells of the identity."""
    least, most = PATCH_SIZES[0], PATCH_SIZES[-1]
    own = [c for c in cases if (c.family, c.patch_size, c.queries, c.side) == ("identity", least, 1, 0)]
    return Check(f"time at P = {most} over P = {least}", max(_ratio_of_patch_sizes(c, least, most) for c in own), 1.4)


def _ratio_of_patch_sizes(case: Case, least: int, most: int) -> float:
    images, y = load(case)
    few, many = (make_estimator(replace(case, patch_size=p), images) for p in (least, most))
    spent = least_seconds({"few": lambda: few(y, case.sigma), "many": lambda: many(y, case.sigma)}, y.device)
    return spent["many"] / spent["few"]


def cost_of_sources(case: Case) -> Iterator[Check]:
    """Time of the whole posterior, and of it with the nearest sources, over that of the mean: turn by turn."""
    images, y = load(case)
    estimator = make_estimator(case, images)
    calls = {
        "mean": lambda: estimator(y, case.sigma),
        "posterior": lambda: estimator.posterior(y, case.sigma),
        "sources": lambda: estimator.posterior(y, case.sigma, top_k=TOP_K),
    }
    spent = least_seconds(calls, y.device)
    yield Check(f"time of the posterior over the mean, {case.family}", spent["posterior"] / spent["mean"], 1.5)
    yield Check(f"time with top_k = {TOP_K} over the mean, {case.family}", spent["sources"] / spent["mean"], 2.0)


def memory_of_stream(few: int, many: int, device: str) -> Check:
    """Peak memory of a process over a stream of `many` training images, over that of `few`."""
    least, most = (in_fresh_process(_stream_megabytes, count, device) for count in (few, many))
    return Check(f"peak memory at N = {many:,} over N = {few:,}, from a stream", most / least, 1.1)


@dataclass(frozen=True)
class _Stream:
    """`count` images of noise, 28 x 28, made batch by batch when they are asked for."""

    count: int
    device: str

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(0)
        for start in range(0, self.count, _BATCH):
            size = min(_BATCH, self.count - start)
            yield torch.rand(size, 1, 28, 28, generator=generator, dtype=torch.float32, device="cpu").to(self.device)


def _stream_megabytes(count: int, device: str) -> float:
    estimator = LocalEquivariantMMSE(_Stream(count, device), Denoising(), patch_size=PATCH_SIZES[0])
    (y,) = _Stream(1, device)
    LocalEquivariantMMSE(y, Denoising(), patch_size=PATCH_SIZES[0])(y, SIGMAS[0])  # compiles
    return peak_megabytes(lambda: estimator(y, SIGMAS[0]), y.device)[1]
