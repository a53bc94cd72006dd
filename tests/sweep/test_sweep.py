"""Sweeps: the grid is checked first, runs are processes with their share of threads, what is done stays done."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmse import cli
from lemmse.bench.cores import cores
from lemmse.book.notebooks import library_digest
from lemmse.book.values import glued_values
from lemmse.sweep import Plan, collect, grid_points, read_grid, read_table, sweep
from lemmse.sweep.process import Job, Run, run_job
from tests.light import light_project

LARGE = f"{{product: {{n: {[*range(101)]}, seed: {[*range(100)]}}}}}"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return light_project(tmp_path_factory.mktemp("light") / "checkout")


def points_of(project, tmp_path, grid: str, preset="quick", **options):
    path = tmp_path / "grid.yaml"
    path.write_text(grid)
    named, points = read_grid(path, **options)
    return grid_points(project, project.source("01"), points, named or preset, **options)


def test_a_grid_is_product_and_points_over_fixed_over_preset_over_defaults(project, tmp_path):
    points = points_of(
        project, tmp_path, "{preset: smoke, fixed: {seed: 4}, product: {n: [1, 2], x: [1.0, 2]}, points: [{n: 9}]}"
    )
    assert [(p["n"], p["x"]) for p in points] == [(1, 1), (1, 2), (2, 1), (2, 2), (9, 2)]
    assert all(p["seed"] == 4 and p["preset"] == "smoke" and p["names"] == ["a"] for p in points)
    assert all(isinstance(p["x"], float) for p in points)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("{product: {m: [1]}}", "run 1 of the grid: 01_light.py has no parameter 'm': it has preset, n, x"),
        ("{product: {n: [1, 1.5]}}", "run 2 of the grid: 01_light.py: n must be int, got 1.5"),
        ("{points: [{x: 1e-3}]}", "x must be float, got '1e-3' .YAML reads 1e-3 as text"),
        ("{points: [{names: a}]}", r"names must be list\[str\], got 'a'"),
        ("{product: {n: [1, 2, 1]}}", "runs 1 and 3 of the grid are the same: {'n': 1}"),
        ("{product: {x: [1, 1.0]}}", "runs 1 and 2 of the grid are the same"),
        ("{product: {levels: [[1], [1.0]]}}", "runs 1 and 2 of the grid are the same"),
        ("{product: {n: [1]}, fixed: {seed: 0}, product: {n: [2]}}", "'product' comes twice"),
        ("{product: {n: [1], n: [2]}}", "'n' comes twice"),
        ("{product: {n: [010]}}", "'010' is no plain decimal number"),
        ("{product: {n: [1:30]}}", "'1:30' is no plain decimal number"),
        ("{points: [{x: 1:30.5}]}", "'1:30.5' is no plain decimal number"),
        ("{points: [{data: 2024-13-45}]}", "cannot read the grid .*month"),
        pytest.param(f"{{points: [{{x: 1{'0' * 400}}}]}}", "x must be float, got 10", id="beyond all floats"),
        ("{product: {n: [1]}, points: [{n: 1, seed: 0}]}", "runs 1 and 2 of the grid are the same"),
        ("{}", "the grid is empty"),
        ("{product: {n: [1], seed: []}}", "the grid is empty"),
        ("{product: {n: 3}}", "product must map parameters to lists of values"),
        ("{points: {n: 3}}", "points must be a list"),
        ("{fixed: [n]}", "fixed must map"),
        ("{fixed: {n: 1}, product: {n: [2]}}", "'n' cannot be fixed and vary"),
        ("{grid: {n: [2]}}", "unknown key in grid.yaml 'grid'"),
        ("{preset: huge, points: [{n: 3}]}", "unknown preset in grid.yaml 'huge'"),
        ("[n, x]", "must be a mapping"),
        ("{", "cannot read the grid"),
        (LARGE, "10,100 runs, more than 10,000"),
    ],
)
def test_bad_grids(project, tmp_path, grid, message):
    with pytest.raises(ValueError, match=message):
        points_of(project, tmp_path, grid)


def test_a_large_grid_needs_a_yes(project, tmp_path):
    assert len(points_of(project, tmp_path, LARGE, yes=True)) == 10_100


@given(st.one_of(st.integers(), st.floats(), st.booleans(), st.text()))
def test_a_glued_value_comes_back(value):
    kept = glued_values(glued(repr(value)))["v"]
    assert kept == value or (math.isnan(kept) and math.isnan(value))
    assert type(kept) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("np.float64(0.1)", 0.1),
        ("np.float32(-1e-07)", -1e-7),
        ("np.int64(3)", 3),
        ("np.True_", True),
        ("np.float64(inf)", math.inf),
        ("np.str_('a')", "a"),
        ("tensor(0.5000, dtype=torch.float64)", 0.5),
        ("tensor(2., device='cuda:0')", 2.0),
        ("tensor(1.23, grad_fn=<SumBackward0>)", 1.23),
        ("tensor(1.23, requires_grad=True)", 1.23),
        ("array(1.23456789)", 1.23456789),
        ("Fraction(-1, 4)", -0.25),
        ("Decimal('1.25')", 1.25),
        ("[1, 2]", None),
        ("tensor([1, 2])", None),
        ("<Figure size 640x480>", None),
        ("__import__('os')", None),
    ],
)
def test_glued_numbers_of_numpy_and_torch(text, value):
    assert glued_values(glued(text)).get("v") == value


def glued(text: str):
    output = nbformat.v4.new_output(
        "display_data",
        data={"application/papermill.record/text/plain": text},
        metadata={"scrapbook": {"name": "v", "mime_prefix": "application/papermill.record/"}},
    )
    return SimpleNamespace(cells=[nbformat.v4.new_code_cell(outputs=[output])])


def test_a_sweep_names_the_claims_that_fail_and_what_no_column_holds(project, tmp_path, capsys):
    points = [{"n": 1}, {"n": 2, "claim": "FAILS: the number is one"}]
    table = sweep(project, project.source("01"), points, tmp_path / "sweep")
    assert list(table.status) == ["complete"] * 2
    assert "parts" not in table
    claim = "the claim fails for these parameters: the number is one"
    summary = (tmp_path / "sweep" / "results.md").read_text()
    for text in (capsys.readouterr().err, summary):
        assert text.count(claim) == 1
        assert f"n=2, claim=FAILS: the number is one: {claim}" in text
    assert "in no column: parts." in summary


def test_a_sweep_runs_fails_resumes_and_collects(project, tmp_path):
    """One after the other, for each sweep builds on the one before."""
    source, folder = project.source("01"), tmp_path / "sweep"
    first = sweep(
        project, source, [{"n": 1}, {"n": 2, "fail": True}, {"n": 3}], folder, jobs=2, threads=3, progress=False
    )
    assert list(first.status) == ["complete", "failed", "complete"]
    assert list(first.n) == [1, 2, 3]
    assert "n_glued" not in first  # it only repeats the parameter
    assert list(first.threads_glued.dropna()) == [3, 3]
    assert list(first.threads) == [3, 3, 3]
    assert first.total.isna().tolist() == [False, True, False]
    assert "code cell 2, line 6 ('raise ValueError(" in first.failure[1]
    assert "told to fail" in first.failure[1]
    complete = first[first.status == "complete"]
    assert (complete.seconds > 0).all()
    assert complete.peak_mb.between(20, 2000).all()
    assert complete.lemmse.str.startswith("0.").all()
    assert not complete.device.isna().any()
    failed = json.loads((folder / "failed" / first.key[1] / "notebook.ipynb").read_text())
    assert any(o["output_type"] == "error" for cell in failed["cells"] for o in cell.get("outputs", []))
    assert "told to fail" in (folder / "results.md").read_text()
    assert not (folder / ".running").exists() or not list((folder / ".running").iterdir())

    kept = {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*")}
    (folder / "failed" / first.key[1] / "run.json").unlink()
    again = sweep(project, source, [{"n": 3}, {"n": 4}, {"n": 1}], folder, jobs=2, progress=False)
    assert list(again.n) == [3, 4, 1]  # the table is of this grid, not of what else lies there
    assert list(again.status) == ["complete"] * 3
    assert list(again.threads) == [3, max(1, cores() // 2), 3]
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*")}.items()

    (folder / "runs" / again.key[0] / "run.json").write_text("{")  # as a power cut may leave it
    for path in folder.glob("results.*"):
        path.unlink()
    table = collect(folder)
    assert list(table.status) == ["missing", "complete", "complete"]
    for name in ("results.csv", "results.parquet"):
        found = read_table(folder / name)
        assert list(found) == list(table)
        pd.testing.assert_series_equal(found.total.astype(float), table.total, check_exact=True)
        assert list(found.names) == ['["a"]'] * 3
    pd.testing.assert_frame_equal(read_table(folder), table)

    source.write_text(source.read_text() + "\n# %%\nprint('another notebook')\n")
    plan = Plan.make(project, source, [{"n": 1}], folder)
    assert not plan.complete()


def test_a_sweep_does_not_write_where_its_keys_read(project, tmp_path, monkeypatch):
    """Its own files would change the keys, and nothing would ever be done."""
    (tmp_path / "images").mkdir()
    (tmp_path / "sets").mkdir()
    monkeypatch.setenv("LEMMSE_DATA", str(tmp_path / "sets"))
    source, point = project.source("01"), {"data": str(tmp_path / "images")}
    for place in (project.root / "results", project.root / "notebooks", tmp_path / "images", tmp_path / "sets"):
        with pytest.raises(ValueError, match=r"a sweep cannot write to .*: its runs depend on what lies in"):
            Plan.make(project, source, [point], place / "sweep")
    assert Plan.make(project, source, [point], project.root / "build" / "sweep")


def test_paths_are_of_the_current_folder_and_part_of_the_key(project, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    image = tmp_path / "images" / "ü 1.png"
    image.parent.mkdir()
    image.write_bytes(b"1")

    def keys():
        points = [{"data": "images"}, {"data": "~/images", "seed": 1}, {"data": "no" * 200}, {"data": "photos"}]
        plan = Plan.make(project, project.source("01"), points, tmp_path / "sweep")
        assert [run["data"] for run in plan.runs.values()] == [str(image.parent)] * 2 + ["no" * 200, "photos"]
        return list(plan.runs)

    before = keys()
    image.write_bytes(b"22")
    assert [a == b for a, b in zip(before, keys(), strict=True)] == [False, False, True, True]


def test_a_large_grid_is_described_at_once(project, tmp_path):
    plan = Plan.make(project, project.source("01"), [{"n": n} for n in range(10_000)], tmp_path)
    started = time.monotonic()
    assert len({plan.describe(key) for key in plan.runs}) == 10_000
    assert time.monotonic() - started < 5


def test_two_sweeps_in_one_folder(project, tmp_path):
    plan = Plan.make(project, project.source("01"), [{"n": 1}], tmp_path)
    with plan.lock(), pytest.raises(ValueError, match="another sweep is running in"):
        sweep(project, project.source("01"), [{"n": 1}], tmp_path, progress=False)


def test_the_partial_notebook_of_a_killed_run_is_kept(tmp_path):
    project = light_project(tmp_path / "checkout", beats=10_000)
    source = project.source("01")
    run = Run(Job("k", source.name, source.read_text(), {"n": 1}, library_digest(), str(project.root), 1, None))
    wait_until(lambda: list(project.root.glob("beats-*")))
    run.process.kill()
    outcome = run.outcome()
    assert outcome.record["failure"] == "its process ended with -9: no word"
    cells = json.loads(outcome.files["notebook.ipynb"])["cells"]
    assert any("told to fail" in "".join(cell["source"]) for cell in cells)


def test_a_run_that_takes_too_long_or_loses_its_kernel(tmp_path):
    project = light_project(tmp_path / "checkout", beats=10_000)
    table = sweep(project, project.source("01"), [{"n": 1}], tmp_path / "s", timeout=4, progress=False)
    assert "took longer than the limit of 4 s" in table.failure[0]
    assert "code cell 2" in table.failure[0]
    assert table.seconds[0] < 30
    assert (tmp_path / "s" / "failed" / table.key[0] / "notebook.ipynb").exists()
    beats = [path.stat().st_size for path in project.root.glob("beats-*")]
    time.sleep(0.3)
    assert beats == [path.stat().st_size for path in project.root.glob("beats-*")]


def test_an_interrupted_sweep_stops_its_runs(tmp_path):
    project = light_project(tmp_path / "checkout", beats=10_000)
    plan = Plan.make(project, project.source("01"), [{"n": 1}], tmp_path / "s")
    command = "import os, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    command += "import lemmse.cli; sys.argv = ['lemmse', 'sweep', '01', 'grid.yaml', '-o', 's']; lemmse.cli.main()"
    (project.root / "grid.yaml").write_text("{points: [{n: 1}]}")
    process = subprocess.Popen([sys.executable, "-c", command], cwd=project.root, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: list(project.root.glob("beats-*")))
    process.send_signal(2)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "interrupted: what was complete is kept" in said.splitlines()[-1]
    pid = int(next(project.root.glob("beats-*")).name.split("-")[1])
    wait_until(lambda: not Path(f"/proc/{pid}").exists() if Path("/proc").exists() else True)
    assert not plan.complete()


def wait_until(true, seconds=30):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


def test_a_kernel_that_does_not_start_is_started_again(project, tmp_path, monkeypatch):
    import papermill

    from lemmse.book.notebooks import NotebookFailed, run_notebook

    run, calls = papermill.execute_notebook, []

    def racing(*args, **options):
        calls.append(1)
        if len(calls) < 3:
            raise RuntimeError("Kernel died before replying to kernel_info")
        return run(*args, **options)

    monkeypatch.setattr(papermill, "execute_notebook", racing)
    notebook = run_notebook(project.source("01"), {"n": 1}, "key", tmp_path, project.root)
    assert len(calls) == 3
    assert notebook.metadata["lemmse"]["key"] == "key"
    with pytest.raises(NotebookFailed, match="told to fail"):
        run_notebook(project.source("01"), {"fail": True}, "key", tmp_path, project.root)
    assert len(calls) == 4  # what a notebook raises is no race


def test_kernels_have_sockets_of_their_own(tmp_path, monkeypatch):
    """All had the same names in the same folder, and hung if two started at once."""
    from lemmse.book.kernel import LoggedKernelManager

    monkeypatch.chdir(tmp_path)
    a, b = (LoggedKernelManager(transport="ipc") for _ in range(2))
    assert a.ip != b.ip
    assert Path(a.ip).is_absolute()


def test_jobs_times_threads_is_the_machine(project, tmp_path, monkeypatch):
    from lemmse.sweep import execute

    seen = []
    monkeypatch.setattr(execute, "cores", lambda: 8)
    monkeypatch.setattr(execute, "run_here", lambda jobs, at_once: (seen.extend(jobs), (x for x in ()))[1])
    for jobs in (1, 2, 3, 16):
        sweep(project, project.source("01"), [{"n": 1}], tmp_path, jobs=jobs, progress=False)
    assert [job.threads for job in seen] == [8, 4, 2, 1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"library": "another"}, "this worker's lemmse is another"),
        ({"name": "no/folder.py"}, "its process ended with 1"),
    ],
)
def test_a_run_that_cannot_be_done_says_why(project, change, said):
    source = project.source("01")
    job = Job("k", source.name, source.read_text(), {"n": 1}, library_digest(), str(project.root), 1, None)
    outcome = run_job(replace(job, **change))
    assert outcome.record["status"] == "failed"
    assert said in outcome.record["failure"]


def lemmse(project, *arguments):
    command = [sys.executable, "-m", "lemmse", *arguments]
    return subprocess.run(command, cwd=project.root, capture_output=True, text=True, check=False)


def test_command_line(tmp_path):
    project = light_project(tmp_path / "checkout")
    grid = project.root / "grid.yaml"
    grid.write_text("{product: {n: [1, 2]}, points: [{n: 3, fail: true}]}")
    out = ["-o", "out"]
    done = lemmse(project, "sweep", "01", "grid.yaml", "--dry-run", *out)
    assert done.returncode == 0, done.stderr
    assert "n=1, fail=False" in done.stdout
    assert "0 of 3 runs done, 3 to run; how long that takes is known after the first" in done.stdout
    assert not (project.root / "out").exists()
    done = lemmse(project, "sweep", "01", "grid.yaml", "--jobs", "2", *out)
    assert done.returncode == 1
    assert "failed: n=3, fail=True: code cell 2" in done.stderr
    assert "2 runs complete, 1 failed" in done.stderr.splitlines()[-1]
    done = lemmse(project, "sweep", "01", "grid.yaml", "--dry-run", *out)
    assert "failed, to run again" in done.stdout
    assert "2 of 3 runs done, 1 to run: about" in done.stdout
    grid.write_text("{product: {n: [1, 2]}}")
    assert lemmse(project, "sweep", "01", "grid.yaml", *out).returncode == 0
    assert "2 runs at preset quick: 2 complete" in lemmse(project, "collect", "out").stdout
    assert lemmse(project, "plot", "out", "--x", "n", "--y", "total", "--by", "seed", "-o", "a.png").returncode == 0
    assert (project.root / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sweep", "01", "none.yaml"], "cannot read the grid"),
        (["sweep", "99", "grid.yaml"], "unknown notebook '99'"),
        (["sweep", "01", "grid.yaml", "--jobs", "0"], "--jobs"),
        (["sweep", "01", "grid.yaml", "--scheduler", "nowhere"], "tcp://host:8786 or tls://host:8786, got 'nowhere'"),
        (["sweep", "01", "grid.yaml", "--scheduler", "tcp://127.0.0.1:9"], "no Dask scheduler answers at"),
        (["collect", "nowhere"], "is no folder of a sweep"),
        (["plot", "nowhere.csv", "--x", "n", "--y", "total"], "cannot read the table"),
        (["plot", "table.csv", "--x", "n", "--y", "m"], "unknown column 'm': choose one of 'n', 'text', 'low'"),
        (["plot", "table.csv", "--x", "n", "--y", "text"], "'text' holds no numbers"),
        (["plot", "table.csv", "--x", "n", "--y", "low", "--log", "y"], "needs positive numbers, 'low'"),
        (["plot", "table.csv", "--x", "n", "--y", "low", "-o", "a.txt"], "unknown ending of a picture '.txt'"),
    ],
)
def test_bad_command_lines_say_one_line_and_exit_with_2(project, arguments, said, monkeypatch, capsys):
    (project.root / "grid.yaml").write_text("{points: [{n: 1}]}")
    (project.root / "table.csv").write_text("n,text,low\n1,a,-1\n")
    monkeypatch.chdir(project.root)
    monkeypatch.setattr(sys, "argv", ["lemmse", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    error = capsys.readouterr().err
    assert ended.value.code == 2, error
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_a_line_is_the_mean_over_the_rest():
    from lemmse.figures import sweep_lines

    table = pd.DataFrame({"n": [1, 1, 2, 2], "by": ["a"] * 4, "y": [1.0, 3.0, 5.0, None], "seed": [0, 1, 0, 1]})
    (container,) = sweep_lines(table, "n", "y", "by").axes[0].containers
    assert container.lines[0].get_xydata().tolist() == [[1, 2], [2, 5]]
    named = sweep_lines(table.assign(n=["few", "few", "many", "many"]), "n", "y").axes[0]
    assert [text.get_text() for text in named.get_xticklabels()] == ["few", "many"]
