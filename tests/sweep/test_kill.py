"""A sweep that is killed again and again ends as one that was left alone, and no run outlives it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from lemmse.sweep import read_table
from tests.light import light_project

GRID = "{product: {n: [3, 5, 8], x: [0.1, 0.7], seed: [0, 1]}}"
GROUP_KILLS, PARENT_KILLS = 20, 3


def start(project, folder: Path, scratch: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "lemmse", "sweep", "01", "grid.yaml", "--jobs", "2", "-o", str(folder)]
    return subprocess.Popen(
        command,
        cwd=project.root,
        env=os.environ | {"TMPDIR": scratch},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def alive(scratch: str) -> list[psutil.Process]:
    """The processes of runs and kernels: all name a file in the scratch folder."""
    found = psutil.process_iter(["cmdline"])
    return [process for process in found if any(scratch in word for word in process.info["cmdline"] or [])]


def files(*folders: Path) -> dict[Path, tuple[int, int]]:
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


@pytest.mark.skipif(os.name != "posix", reason="kills as POSIX systems do")
def test_killed_again_and_again(tmp_path):
    project = light_project(tmp_path / "checkout", beats=10)
    (project.root / "grid.yaml").write_text(GRID)
    disturbed, undisturbed = tmp_path / "disturbed", tmp_path / "undisturbed"
    fractions = random.Random(os.environ.get("SEED", "0"))
    kills = [os.killpg] * GROUP_KILLS + [os.kill] * PARENT_KILLS
    seen_running = 0
    with tempfile.TemporaryDirectory(prefix="kill-") as scratch:
        sweep, started = start(project, undisturbed, scratch), time.monotonic()
        while not list(undisturbed.glob("runs/*")):
            time.sleep(0.02)
        first = time.monotonic() - started  # seconds to the first result, on this machine
        assert sweep.wait(timeout=120) == 0
        for kill in kills:
            few = len(list(disturbed.glob("runs/*"))) > 7  # left to do
            sweep = start(project, disturbed, scratch)
            time.sleep(first * fractions.uniform(0.1, 0.8 if few else 1.15))
            assert sweep.poll() is None, "there must be something left to kill"
            seen_running += bool(alive(scratch))
            kill(sweep.pid, signal.SIGKILL)
            sweep.wait()
            deadline = time.monotonic() + 3
            while alive(scratch):
                assert time.monotonic() < deadline, "a run outlived its sweep"
                time.sleep(0.02)
            left = files(disturbed, project.root)
            time.sleep(0.1)
            assert files(disturbed, project.root) == left, "an orphan went on writing"
        assert start(project, disturbed, scratch).wait(timeout=120) == 0
        assert not alive(scratch)
    assert seen_running > len(kills) // 3  # or the kills hit little but starting sweeps
    found, expected = read_table(disturbed), read_table(undisturbed)
    assert list(expected.status) == ["complete"] * 12
    assert expected.key.is_unique
    measured = ["seconds", "peak_mb"]
    pd.testing.assert_frame_equal(found.drop(columns=measured), expected.drop(columns=measured), check_exact=True)
    assert not list(disturbed.glob(".running/*"))
