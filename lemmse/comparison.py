"""Networks against the formula and the truth, on the same measurements: the evidence that the chapters share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .checks import check_sigma
from .estimators import LocalEquivariantMMSE
from .metrics import psnr
from .networks import Solver
from .patches import extract_patches
from .physics import Physics

if TYPE_CHECKING:
    import pandas as pd

DISTANCES = ("network_formula", "network_truth", "formula_truth")


@torch.no_grad()
def restore(
    nets: dict[str, Solver], formula: LocalEquivariantMMSE, images: Tensor, sigma: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """Measure the images once and restore them by every network and by the formula.

    Returns "measurement" (what the network sees, B y), "formula", "truth" and each network by name, all (Q, C, H, W).
    """
    y = formula.physics.measure(images, sigma, generator=generator)
    z = formula.pre_inverse(y)
    restored = {name: net(z, sigma) for name, net in nets.items()}
    return {"measurement": z, **restored, "formula": formula(y, sigma), "truth": images}


def compare(
    nets: dict[str, Solver],
    formula: LocalEquivariantMMSE,
    images: Tensor,
    sigmas: Iterable[float],
    *,
    generator: torch.Generator,
    progress: bool = True,
) -> pd.DataFrame:
    """One row for each sigma, network and image: PSNR in dB between network, formula and truth.

    Columns: sigma, network, image, network_formula, network_truth, formula_truth. Every network and the formula see the
    same noise.
    """
    import pandas as pd
    from tqdm import tqdm

    rows = []
    for sigma in tqdm(list(sigmas), desc="formula against networks", disable=not progress):
        found = restore(nets, formula, images, sigma, generator)
        formula_truth = psnr(found["formula"], images)
        for name in nets:
            pairs = (psnr(found[name], found["formula"]), psnr(found[name], images), formula_truth)
            for image, values in enumerate(zip(*(p.tolist() for p in pairs), strict=True)):
                rows.append(
                    {"sigma": sigma, "network": name, "image": image, **dict(zip(DISTANCES, values, strict=True))}
                )
    return pd.DataFrame(rows)


def summarise(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Mean and standard deviation over images of each distance, as text "mean ± std" in dB, a row for each of `by`."""
    groups = frame.groupby(by, sort=False)[list(DISTANCES)]
    mean, std = groups.mean(), groups.std(ddof=0)
    return mean.round(1).astype(str) + " ± " + std.round(1).astype(str)


def brute_force(
    images: Tensor, physics: Physics, y: Tensor, sigma: float, patch_size: int, pixels: Iterable[tuple[int, int]]
) -> Tensor:
    """LE-MMSE with B = I at a few pixels, straight from the formula in float64: (Q, C, len(pixels)).

    Every distance is a sum of squared differences over a patch, every weight is kept: the check of what the engines do.
    """
    sigma = float(check_sigma(sigma, 1, y)[0])
    width = images.shape[-1]
    keys = extract_patches(physics.A(images.double()), patch_size).transpose(1, 2).flatten(2)
    values = images.double().flatten(2).transpose(1, 2).flatten(0, 1)
    queries = extract_patches(y.double(), patch_size).transpose(1, 2).flatten(2)
    found = []
    for row, col in pixels:
        d = torch.stack([(q[row * width + col] - keys).square().sum(-1).flatten() for q in queries])
        found.append(torch.softmax(-d / (2 * sigma**2), -1) @ values)
    return torch.stack(found, -1)
