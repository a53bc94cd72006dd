"""The compiled engine against the plain one, both exact, on the CPU: `python benchmarks/engines.py`.

Prints, for one query image against `COUNT` crops of photographs, the median of three runs after a warm-up (which
compiles): pairs of patches per second and the ratio of the two in this run.
"""

from __future__ import annotations

import statistics
import time

import torch

from lemmse import Denoising, LocalEquivariantMMSE, load_images

COUNT = 200
RUNS = 3


def seconds(images: torch.Tensor, y: torch.Tensor, patch_size: int, sigma: float, engine: str) -> float:
    """Median time of one estimate."""
    estimator = LocalEquivariantMMSE(images, Denoising(), patch_size=patch_size, engine=engine)
    estimator(y, sigma)
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        estimator(y, sigma)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Print the table."""
    print(f"{torch.get_num_threads()} threads, {COUNT} training images, float32")
    print("image        P  sigma   numba Gpairs/s   torch Gpairs/s   ratio")
    for channels, size in ((1, 28), (3, 32)):
        images = load_images("photos", count=COUNT, size=size, channels=channels)
        query = load_images("photos", split="test", count=1, size=size, channels=channels)
        for patch_size in (5, 21):
            for sigma in (0.1, 0.8):
                y = Denoising().measure(query, sigma, generator=torch.Generator().manual_seed(0))
                fast, plain = (seconds(images, y, patch_size, sigma, engine) for engine in ("numba", "torch"))
                pairs = COUNT * size**4 / 1e9
                print(
                    f"{size}x{size}x{channels} {patch_size:6} {sigma:6.1f} {pairs / fast:16.2f} "
                    f"{pairs / plain:16.3f} {plain / fast:7.1f}"
                )


if __name__ == "__main__":
    main()
