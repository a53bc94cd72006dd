"""What a sweep costs: its overhead a run against bare papermill, and the speed-up of two runs at once.

    python benchmarks/sweep_overhead.py            # some three minutes on two cores

The notebook computes for 20 seconds on one thread. Bare papermill: `papermill.execute_notebook` in a fresh interpreter,
whose start is counted as the sweep's is. Each is measured `REPEATS` times; medians are printed.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jupytext

from lemmse.book.notebooks import Project
from lemmse.sweep import sweep

REPEATS = 3
NOTEBOOK = """# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% tags=["parameters"]
iterations: int = 1  # of a loop on one thread
seed: int = 0  # tells runs apart

# %%
total = 0.0
for i in range(iterations):
    total += i**0.5
"""
BARE = """
import sys, papermill
papermill.execute_notebook(
    sys.argv[1], sys.argv[2], {"iterations": int(sys.argv[3])}, kernel_name="python3", progress_bar=False
)
"""


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "notebooks" / "presets").mkdir(parents=True)
        (root / "_config.yml").write_text("title: A book\n")
        (root / "notebooks" / "presets" / "quick.yaml").write_text("{}")
        source = root / "notebooks" / "01_busy.py"
        source.write_text(NOTEBOOK)
        project, iterations = Project(root), _iterations(20.0)
        jupytext.write(jupytext.read(source), root / "in.ipynb")
        command = [sys.executable, "-c", BARE, str(root / "in.ipynb"), str(root / "out.ipynb"), str(iterations)]

        def swept(runs: int, jobs: int, repeat: int) -> float:
            points = [{"iterations": iterations, "seed": repeat * runs + i} for i in range(runs)]
            out = root / f"{runs}-{jobs}-{repeat}"
            return _seconds(lambda: sweep(project, source, points, out, jobs=jobs, threads=1, progress=False))

        swept(1, 1, -1)  # imports pandas and the rest here, which a sweep does once
        bare, one = [], []
        for repeat in range(REPEATS):
            bare.append(_seconds(lambda: subprocess.run(command, check=True, capture_output=True)))
            one.append(swept(1, 1, repeat))
        a, b = statistics.median(bare), statistics.median(one)
        print(f"bare papermill {a:.1f} s, in a sweep {b:.1f} s: overhead {b - a:+.2f} s, {100 * (b - a) / a:+.1f} %")
        print("each:", " ".join(f"{x:.1f}" for x in bare), "/", " ".join(f"{x:.1f}" for x in one))
        in_turn, at_once = swept(2, 1, 0), swept(2, 2, 0)
        print(f"two runs: in turn {in_turn:.1f} s, at once {at_once:.1f} s: speed-up {in_turn / at_once:.2f}")


def _iterations(seconds: float) -> int:
    """How often the loop of the notebook goes round in that time, by this machine."""
    code = "n = 4_000_000\ntotal = 0.0\nfor i in range(n):\n    total += i**0.5"
    return int(4e6 * seconds / min(_seconds(lambda: exec(code, {})) for _ in range(3)))


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
