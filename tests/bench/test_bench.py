"""`lemmse bench`: baselines that compute the same estimators, complete rows, a table that survives, bad input."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from lemmse.analysis.metrics import psnr
from lemmse.bench import cells as bench
from lemmse.bench import table as bench_table
from lemmse.bench.cells import BASELINE, FAMILIES, cells, load, make_case, make_estimator, measure, solver
from lemmse.bench.machine import describe, exponentials_per_second, peak_megabytes
from lemmse.book.results import show_bench
from lemmse.cli import cli
from lemmse.data.sets import is_here

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def tiny(family: str, **options):
    patch_size = 5 if FAMILIES[family].power == 2 else 0
    return make_case(family, "photos", 12, options.pop("channels", 1), patch_size, 0.3, count=20, **options)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_baseline_computes_the_same_estimator(family, channels):
    case = tiny(family, channels=channels, queries=2)
    images, y = load(case)
    exact = make_estimator(case, images.double())(y.double(), case.sigma)
    assert psnr(solver(case, BASELINE, images)(y).double(), exact).min() > 80


def test_rows_are_complete():
    case = tiny("identity")
    engine, baseline = measure(case, roofline=1e9, repeats=1)
    assert baseline["engine"] == BASELINE != engine["engine"]
    assert (engine["count"], baseline["count"]) == (20, 16)
    assert baseline["ratio"] == 1
    for row in (engine, baseline):
        assert row["pairs_per_second"] == pytest.approx(row["count"] * 12**4 / row["seconds"])
        assert row["share"] == row["pairs_per_second"] / 1e9
        assert row["first_s"] > 0
        assert row["memory_mb"] >= 0
    assert engine["db"] > 100
    assert engine["compared"] == 16


@pytest.mark.parametrize(("family", "pairs"), [("identity", 2 * 7 * 144**2), ("E-MMSE", 2 * 7 * 144), ("MMSE", 2 * 7)])
def test_pairs_are_what_the_formula_sums_over(family, pairs):
    assert tiny(family, queries=2).pairs(7) == pairs


def test_all_cells_of_the_full_table():
    full = cells(FAMILIES, full=True)
    assert len(set(full)) == len(full)
    for family in ("identity", "inpainting", "blur"):
        own = [c for c in full if c.family == family and not c.side]
        assert {(c.size, c.channels) for c in own} == {(28, 1), (32, 3)}
        assert len(own) == 2 * 3 * 2 * 2
    assert {c.queries for c in full} == {1, 16}
    quick = cells(FAMILIES, full=False, count=30)
    assert {c.family for c in quick} == set(FAMILIES)
    assert {c.count for c in quick} == {30}
    assert all(c.baseline_count <= c.count for c in full + quick)


def test_the_command_writes_a_table_with_its_machine(tmp_path):
    path = tmp_path / "new" / "table.csv"
    command = [sys.executable, "-m", "lemmse", "bench", "--family", "MMSE", "--count", "20", "-o", str(path)]
    done = subprocess.run([*command, "--threads", "1"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "G pairs/s" in done.stdout
    assert "100%" in done.stderr
    table, about = bench_table.read(path)
    assert len(table) == 2 * 2
    assert {"family", "patch_size", "sigma", "engine", "pairs_per_second", "ratio", "memory_mb", "db"} <= set(table)
    assert {"cpu", "threads", "gpu", "lemmse", "versions", "date", "roofline"} <= set(about)
    assert about["threads"] == "1"
    assert any(name.startswith("check, ") for name in about)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--family", "nothing"], "unknown family 'nothing'"),
        (["--count", "0"], "0 is not in the range"),
        (["--threads", "-1"], "-1 is not in the range"),
        (["--device", "tpu"], "'tpu' is not one of"),
        (["--count", "100000000"], "more than there are"),
        pytest.param(
            ["--device", "cuda"],
            "choose 'cpu'",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
        ),
    ],
)
def test_bad_input_is_one_line(arguments, said, tmp_path):
    command = [sys.executable, "-m", "lemmse", "bench", *arguments, "-o", str(tmp_path / "table.csv")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_outside_a_checkout_it_says_so(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["bench"])
    assert isinstance(result.exception, ValueError)
    assert "is in no checkout" in str(result.exception)


def test_an_interruption_keeps_what_was_measured(monkeypatch, tmp_path):
    calls = []

    def interrupted(case, roofline):
        calls.append(case)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(case, roofline, repeats=1, fresh=False)

    monkeypatch.setattr(bench_table, "measure", interrupted)
    path = tmp_path / "table.csv"
    with pytest.raises(KeyboardInterrupt):
        bench_table.run([tiny("MMSE"), tiny("E-MMSE")], path, full=False, device=CPU)
    table, _ = bench_table.read(path)
    assert list(table["family"]) == ["MMSE", "MMSE"]


def test_checks_are_ratios_and_say_when_they_miss():
    assert str(bench_table.Check("a", 1.23, 1.4)) == "1.23 (at most 1.4)"
    assert str(bench_table.Check("a", 1.5, 1.4)).endswith("MISSED)")
    assert [c.most for c in bench_table.cost_of_sources(tiny("identity"))] == [1.5, 2.0]
    assert bench_table.independence_of_patch_size([tiny("identity")]).value > 0
    assert bench_table.memory_of_stream(20, 40, "cpu").value > 0


def test_a_table_reads_back_and_shows_dashes_for_what_is_missing(tmp_path, shown):
    rows = measure(tiny("MMSE"), 1e9, repeats=1, fresh=False)
    table, path = pd.DataFrame(rows), tmp_path / "results" / "bench_cuda.csv"
    show_bench(tmp_path)
    assert shown == [], "no placeholder for a table that nobody has measured"
    bench_table.write(path, table, {"cpu": "a: b", "date": "today"})
    again, about = bench_table.read(path)
    assert about == {"cpu": "a: b", "date": "today"}
    assert list(again) == list(table)
    summary = bench_table.summary(again)
    assert (summary[["P", "of roofline", "memory (MB)"]] == "-").all(axis=None)
    show_bench(tmp_path)
    [(about, text)] = [output for output in shown if output[0].get("kind") == "table"]
    assert "Committed, not measured in this build. cpu: a: b; date: today." in about["caption"]
    assert len(text.splitlines()) == 2 + 1, "the baseline has no line of its own"
    assert list(bench_table.start_table(again)["program"]) == list(again["engine"])
    path.write_text("")
    with pytest.raises(ValueError, match="cannot read the table"):
        bench_table.read(path)


def test_an_unknown_family_raises():
    with pytest.raises(ValueError, match="unknown family 'x': choose one of 'identity'"):
        make_case("x", "photos", 12, 1, 5, 0.1)
    with pytest.raises(ValueError, match="count must be an integer of at least 1"):
        make_case("MMSE", "photos", 12, 1, 0, 0.1, count=0)


def _allocate() -> tuple[float, float]:
    return peak_megabytes(lambda: torch.ones(50_000_000), CPU)


def test_peak_memory_sees_an_allocation():
    before, peak = bench.in_fresh_process(_allocate)
    assert 150 < peak - before < 250
    assert before > 50


def test_exponentials_are_summed_and_counted():
    from lemmse.engines.cpu.exponentials import BUFFER, sum_exponentials

    x = np.linspace(-30, 0, BUFFER, dtype=np.float32)
    assert sum_exponentials(x, 3) == pytest.approx(3 * np.exp2(x.astype(float)).sum(), rel=1e-5)
    rate = exponentials_per_second(CPU)
    assert math.isfinite(rate)
    assert rate > 0


def test_the_machine_is_described():
    about = describe(CPU)
    assert all(about.values())
    assert about["threads"] == str(torch.get_num_threads())


def test_what_is_on_this_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("LEMMSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LEMMSE_DATA", raising=False)
    assert is_here("photos")
    assert not is_here("fashion_mnist")
    assert not is_here("cifar10")
    folder = tmp_path / "cache" / "data" / "fashion_mnist"
    for file in ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"):
        assert not is_here("fashion_mnist")
        (folder / file).touch()
    assert is_here("fashion_mnist")


def test_a_fresh_process_has_the_threads_of_this_one():
    threads = torch.get_num_threads()
    assert bench.in_fresh_process(torch.get_num_threads) == threads


@pytest.mark.parametrize("channels", [1, 3])
def test_a_photograph_is_measured_against_crops(monkeypatch, channels):
    found = [case for case in cells(["identity"], full=True) if case.side]
    assert {(c.side, c.size, c.count, c.channels) for c in found} == {(512, 32, 1000, 1), (512, 32, 1000, 3)}
    assert found[0].pairs(1000) == 512**2 * 32**2 * 1000
    assert all(c.count == 16 for c in cells(["identity"], full=False) if c.side)
    (case,) = [c for c in cells(["identity"], full=False, count=2) if c.side and c.channels == channels]
    small = bench.replace(case, side=72, patch_size=5)
    _, y = load(small)
    assert y.shape == (1, channels, 72, 72)
    engine, baseline = measure(small, 1e9, fresh=False)
    assert engine["db"] > 90
    assert baseline["db"] > 60
    assert engine["pairs_per_second"] == pytest.approx(2 * 32**2 * 72**2 / engine["seconds"])
    assert baseline["pairs_per_second"] == pytest.approx(2 * 32**2 * 64**2 / baseline["seconds"])
    shown = bench_table.summary(pd.DataFrame([engine, baseline]))
    assert shown["images"][0] == f"photos 32x32x{channels} for 72x72"
