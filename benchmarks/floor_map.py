"""The map of floor and ceiling of chapter 13 at many data set sizes and patch sizes: `results/floor.csv`.

    python benchmarks/floor_map.py            # some four minutes on one idle core; needs Fashion-MNIST

The first lines of the file say what made it.
"""

from __future__ import annotations

import argparse
import datetime
import subprocess
from pathlib import Path

import torch

from lemmse import load_images
from lemmse.analysis.floor import risk_map
from lemmse.book.notebooks import Project
from lemmse.files import write_atomically

COUNTS = [25, 50, 100, 200, 400]
PATCH_SIZES = [3, 5, 7, 9, 11]
SIGMAS = [0.1, 0.2, 0.4, 0.8]
QUERIES, SIZE, SEED = 100, 14, 0


def main() -> None:
    """Compute the map and write it."""
    root = Project.find().root
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=root / "results" / "floor.csv")
    out = parser.parse_args().out
    images = load_images("fashion_mnist", count=max(COUNTS), size=SIZE, channels=1)
    test = load_images("fashion_mnist", split="test", count=QUERIES, size=SIZE, channels=1)
    table = risk_map(images, test, COUNTS, PATCH_SIZES, SIGMAS, queries=QUERIES, seed=SEED)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
    about = {
        "command": "python benchmarks/floor_map.py",
        "commit": commit.stdout.strip()[:12],
        "device": f"CPU, float32, torch {torch.__version__}",
        "date": datetime.date.today().isoformat(),
        "seed": SEED,
        "images": f"Fashion-MNIST, {SIZE} x {SIZE} pixels",
        "queries": f"{QUERIES} training images (all of 25 and of 50), {QUERIES} test images",
    }
    text = "".join(f"# {key}: {value}\n" for key, value in about.items()) + table.to_csv(index=False)
    write_atomically(out, lambda temporary: temporary.write_text(text))


if __name__ == "__main__":
    main()
