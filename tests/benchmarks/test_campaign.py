"""The campaign at smoke size: complete, resumable, within its budget, with provenance; rows follow from the weights."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

import lemmse
from lemmse.analysis import campaign
from lemmse.analysis.campaign import (
    Remembered,
    Schedule,
    last_gain,
    last_gains,
    margin_table,
    read_cells,
    window_table,
)
from lemmse.analysis.evaluate import FORMULA, NETWORK, TRUTH, compare
from lemmse.book.results import show_campaign, show_windows
from lemmse.data.sets import is_here

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
FACES = Path(os.environ.get("LEMMSE_DATA", "."), "lfw-32", "lfw-32.zip")


def script():
    """The module `benchmarks/campaign.py`."""
    spec = importlib.util.spec_from_file_location("campaign_script", ROOT / "benchmarks" / "campaign.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(out: Path, cache: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "benchmarks/campaign.py", "--preset", "smoke", "--out", str(out), *arguments]
    environment = os.environ | {"LEMMSE_CACHE": str(cache)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def recomputed(
    cell: campaign.Cell, record: dict, results: Path, image_size: int | None, sigma: float
) -> dict[str, float]:
    """The distances of the first test image at a noise level, from the weights and the images of a cell."""
    load, device = script().load, torch.device("cpu")
    images = load(cell.data, "train", image_size, cell.channels, device)[: cell.count]
    test = load(cell.data, "test", image_size, cell.channels, device)[: record["tested"]]
    return campaign.measured_again(results, cell, record, images, test, sigma)


def row_of(results: Path, cell: campaign.Cell, sigma: float) -> pd.Series:
    """The same distances from the table."""
    table = pd.read_csv(results / "campaign" / f"{cell.name}.csv")
    part = table[(table.split == "test") & (table.sigma == sigma) & (table.image == 0) & (table.one == NETWORK)]
    return part.set_index("other").psnr[[FORMULA, TRUTH]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A campaign at smoke size, first without a budget, then to its end."""
    folder = tmp_path_factory.mktemp("campaign")
    out = folder / "results"
    spent = run(out, folder, "--budget-minutes", "0")
    assert spent.returncode == 0, spent.stderr
    assert "0 of 3 cells are finished; the budget is spent" in spent.stdout
    assert not out.exists()
    done = run(out, folder)
    assert done.returncode == 0, done.stderr
    return out, folder


def test_every_cell_has_its_table_record_and_weights(finished):
    out, _ = finished
    cells = {cell.name: (cell, frame, record) for cell, frame, record in read_cells(out)}
    assert len(cells) == 3
    for cell, frame, record in cells.values():
        assert frame.psnr.notna().all()
        assert set(frame.split) == {"training", "test"}
        assert frame.image.nunique() == 3
        assert record["status"] == "finished"
        assert [entry["steps"] for entry in record["path"]] == [2, 3]
        assert {"command", "commit", "device", "date", "seed", "versions", "hours", "license"} <= set(record)
        others = set(frame[frame.one == NETWORK].other)
        expected = {"affine filter", "formula, P = 1", "formula, P = 5"}
        expected |= {"measurement", "formula of 4 images"} if cell.kind == "agreement" else {"formula, P = 9"}
        assert expected | {FORMULA, TRUTH} <= others
    table = pd.read_csv(out / "network_vs_formula.csv")
    assert len(table) == 2 * 2 * 2  # cells of agreement, splits, sigmas


def test_a_chapter_shows_the_finished_cells_and_nothing_where_there_are_none(finished, tmp_path, shown):
    out, _ = finished
    assert show_campaign(tmp_path) == ""
    assert shown == []
    said = show_campaign(out.parent)
    assert "There are 2 networks that were trained for longer on pictures of photos (N = 12)" in said
    assert [about["name"] for about, _ in shown if about.get("kind") == "figure"] == ["fig-campaign"]
    table, distances = (text for about, text in shown if about.get("kind") == "table")
    assert len(table.splitlines()) == 2 + 2  # a line for each cell of agreement, on test images
    assert distances.count("affine filter") == distances.count("formula of 4 images") == 2
    assert distances.count("**") == 2 * 2 * 2  # the nearest of each cell at each noise level
    about = next(about for about, _ in shown if about.get("kind") == "table")
    assert "Committed, not computed in this build" in about["caption"]
    assert "license" in about["caption"]


def test_a_chapter_shows_the_effective_windows_of_the_finished_cells(finished, tmp_path, shown):
    out, _ = finished
    show_windows(tmp_path)
    assert shown == []
    show_windows(out.parent)
    [table] = [text for about, text in shown if about.get("kind") == "table"]
    assert len(table.splitlines()) == 2 + 1  # the two cells of denoising trained the same network
    assert "P = 3, small, uniform weights, 3 steps" in table


def test_a_row_follows_from_the_weights(finished):
    out, _ = finished
    for cell, _, record in read_cells(out):
        found, expected = recomputed(cell, record, out, 12, 0.5), row_of(out, cell, 0.5)
        assert found == pytest.approx(expected.to_dict(), abs=0.01)


COMMITTED = [(cell, record) for cell, _, record in read_cells(RESULTS)]


@pytest.mark.parametrize(("cell", "record"), COMMITTED, ids=[cell.name for cell, _ in COMMITTED])
def test_a_committed_row_follows_from_its_weights(cell, record):
    if not (FACES.exists() if cell.data == "lfw" else is_here(cell.data)):
        pytest.skip(f"the images of {cell.data} are not on this machine: set LEMMSE_DATA")
    found, expected = recomputed(cell, record, RESULTS, None, 0.4), row_of(RESULTS, cell, 0.4)
    assert found == pytest.approx(expected.to_dict(), abs=0.05)


@pytest.mark.parametrize(("cell", "record"), COMMITTED, ids=[cell.name for cell, _ in COMMITTED])
def test_committed_trainings_are_flat(cell, record):
    assert record["status"] == "finished"
    assert record["gained_in_last_third"] < campaign.FLAT
    assert record["license"]


def test_a_finished_cell_is_left_alone_and_a_missing_one_is_resumed(finished):
    out, folder = finished
    paths = sorted((out / "campaign").glob("*.csv"))
    before = {path: path.read_bytes() for path in paths}
    paths[0].unlink()
    again = run(out, folder)
    assert again.stdout.count("cell ") == 1
    assert {path: path.read_bytes() for path in paths} == before, "from the cache, to the bit"
    listed = run(out, folder, "--list", "--only", "blur")
    assert listed.stdout.split() == ["finished", next(p.stem for p in paths if "blur" in p.stem)]


def test_tables_of_margins_and_windows(finished):
    out, _ = finished
    table = margin_table(out)
    assert set(table.operator) == {"denoising", "Gaussian blur"}
    assert (table.margin == table.to_formula - table.to_control).all()
    assert not table.control.isin([FORMULA, TRUTH]).any()
    windows = window_table(out)
    assert windows[windows.kind == "small noise"].nearest.isin([1, 3, 5, 7, 9]).all()
    assert (windows.to_nearest >= windows.to_formula).all()
    assert margin_table(out / "nothing").empty


def test_a_table_without_its_record_is_named(finished, tmp_path):
    (tmp_path / "campaign").mkdir()
    (tmp_path / "campaign" / "lonely.csv").write_text("a\n1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"lonely\.csv has no readable record"):
        list(read_cells(tmp_path))


def test_the_cells_differ_and_the_most_telling_come_first():
    benchmark = script()
    for preset in benchmark.PRESETS.values():
        names = [cell.name for cell in preset.cells]
        assert len(set(names)) == len(names)
    first = benchmark.PRESETS["cpu"].cells[:7]
    assert [cell.data for cell in first] == ["fashion_mnist"] * 3 + ["cifar10", "lfw"] + ["fashion_mnist"] * 2
    small = [cell for cell in benchmark.PRESETS["cpu"].cells if cell.kind == "small noise"]
    assert {cell.weighting for cell in small} == {"uniform", "inverse_error"}
    assert len({cell.size for cell in small}) == len({cell.count for cell in small}) == 3


def test_rounds_make_the_training_longer_by_half():
    ends = Schedule(first_steps=4000, most_rounds=4).ends
    assert ends == [4000, 6000, 9000, 13500]
    path = [{"steps": s, "agreement": {"0.1": a, "0.2": b}} for s, a, b in ((2, 20, 30), (3, 20.5, 30.1))]
    assert last_gain(path) == pytest.approx(0.3)
    assert last_gains(path) == pytest.approx({"0.1": 0.5, "0.2": 0.1})
    assert last_gains(path[:1]) == {}
    assert last_gain(path[:1]) is None


def test_what_is_remembered_depends_on_measurement_noise_and_name(tmp_path):
    calls = []

    def restorer(y, sigma):
        calls.append(sigma)
        return y * sigma

    y = torch.rand(2, 1, 4, 4)
    one = Remembered(restorer, "one", tmp_path)
    torch.testing.assert_close(one(y, 0.1), y * 0.1)
    torch.testing.assert_close(one(y, 0.1), y * 0.1)
    assert calls == [0.1]
    one(y, 0.2), one(y + 1, 0.1), Remembered(restorer, "two", tmp_path)(y, 0.1)
    assert len(calls) == 4


def test_remembered_restorers_give_the_same_comparison(tmp_path):
    x = torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    formula = lemmse.LocalEquivariantMMSE(x, lemmse.Denoising(), patch_size=3)
    frames = [
        compare({"f": solver}, lemmse.Denoising(), {"x": x}, [0.1, 0.3], seed=0, progress=False)
        for solver in (formula, Remembered(formula, "f", tmp_path), Remembered(formula, "f", tmp_path))
    ]
    pd.testing.assert_frame_equal(frames[0], frames[1])
    pd.testing.assert_frame_equal(frames[1], frames[2])
