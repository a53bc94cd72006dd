"""A checkout with one light notebook, for the tests of sweeps: it imports little, and says that it is alive."""

from __future__ import annotations

from pathlib import Path

from lemmse.book.notebooks import Project

LIGHT = """# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% tags=["parameters"]
preset: str = "quick"  # which sizes
n: int = 2  # how many
x: float = 0.5  # how much
names: list[str] = ["a"]  # which
levels: list[float] = [0.5]  # how much each
data: str = "photos"  # from where
claim: str = "Holds: a and b"  # the line of the claim
fail: bool = False  # whether to
seed: int = 0  # of the numbers

# %%
import math, os, random, time

from myst_nb import glue

if fail:
    raise ValueError("told to fail")
rng = random.Random(seed)
for beat in range(SLEEP):
    with open(f"beats-{os.getpid()}", "a") as file:
        file.write("alive")
    time.sleep(0.02)

# %%
total = math.fsum(rng.random() for _ in range(n)) * math.sqrt(x)
glue("total", total, display=False)
glue("n", n, display=False)
glue("parts", [total, n], display=False)
print(claim)
glue("threads", int(os.environ.get("OMP_NUM_THREADS", 0)), display=False)
"""


def light_project(root: Path, beats: int = 1) -> Project:
    """A checkout under `root`; the notebook takes 0.02 seconds a beat."""
    (root / "notebooks" / "presets").mkdir(parents=True)
    (root / "_config.yml").write_text("title: A book\n")
    for preset in ("smoke", "quick", "paper"):
        (root / "notebooks" / "presets" / f"{preset}.yaml").write_text("01_light: {x: 2}\n")
    (root / "notebooks" / "01_light.py").write_text(LIGHT.replace("SLEEP", str(beats)))
    return Project(root)
