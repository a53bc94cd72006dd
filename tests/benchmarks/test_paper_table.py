"""The command that makes the GPU table, at smoke size: complete, resumable, within its budget, with its provenance."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd

from lemmse.book.results import committed_table

ROOT = Path(__file__).parents[2]


def run(out: Path, cache: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "benchmarks/paper_table.py", "--preset", "smoke", "--out", str(out), *arguments]
    environment = {"LEMMSE_CACHE": str(cache), "PATH": "/usr/bin:/bin", "HOME": str(cache)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_table(tmp_path):
    out = tmp_path / "results"
    spent = run(out, tmp_path, "--budget-minutes", "0")
    assert spent.returncode == 0, spent.stderr
    assert "0 of 18 cells" in spent.stdout
    assert run(out, tmp_path).returncode == 0
    table = pd.read_csv(out / "network_vs_formula.csv")
    assert len(table) == 18 * 2 * 2
    assert table.psnr_mean.notna().all()
    about = json.loads((out / "network_vs_formula.json").read_text())
    assert {"command", "commit", "device", "date", "seed", "versions", "settings"} <= set(about)
    (out / "network_vs_formula.csv").write_text(table[:-4].to_csv(index=False))
    again = run(out, tmp_path)
    assert again.stdout.count("cell ") == 1
    assert "re-used" in again.stderr
    pd.testing.assert_frame_equal(pd.read_csv(out / "network_vs_formula.csv"), table)
    other = run(out, tmp_path, "--seed", "1")
    assert other.returncode == 2
    assert "of another seed" in other.stderr
    assert "Committed, not live" in committed_table("network_vs_formula", tmp_path).to_html()
    assert "No run at the paper's scale" in committed_table("absent", tmp_path).data
