"""Networks against the formula and the truth, on the same measurements: the evidence that the chapters share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .checks import check_sigma
from .estimators import LocalEquivariantMMSE
from .metrics import psnr
from .networks import Solver
from .patches import extract_patches
from .physics import Physics
from .weights import trained

if TYPE_CHECKING:
    import pandas as pd

DISTANCES = ("network_formula", "network_truth", "formula_truth")
EQUAL = 100.0  # dB, about the rounding of float32: what averages take for an infinite PSNR


def experiment(
    images: Tensor, physics: Physics, architectures: Iterable[str], *, patch_size: int, seed: int, **training: Any
) -> tuple[LocalEquivariantMMSE, dict[str, Solver]]:
    """The formula and the trained networks that share images, operator and receptive field.

    training: what `weights.trained` takes. Networks come from its cache where they can. Raises ValueError as it does.
    """
    B = {name: training[name] for name in ("pre_inverse", "tikhonov_lambda") if name in training}
    formula = LocalEquivariantMMSE(images, physics, patch_size=patch_size, **B)
    nets = {
        name: trained(name, images, physics, patch_size=patch_size, seed=seed, **training) for name in architectures
    }
    return formula, nets


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
    same noise. Raises ValueError without a network or a sigma.
    """
    import pandas as pd
    from tqdm import tqdm

    rows, sigmas = [], list(sigmas)
    if not nets or not sigmas:
        raise ValueError(f"compare needs a network and a sigma, got {len(nets)} and {len(sigmas)}")
    for sigma in tqdm(sigmas, desc="formula against networks", disable=not progress):
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
    """Mean and standard deviation over images of each distance, as text "mean ± std" in dB, a row for each of `by`.

    Images that agree to the bit, at infinite dB, count as `EQUAL`.
    """
    values = frame[list(DISTANCES)].clip(upper=EQUAL)
    groups = values.groupby([frame[name] for name in by], sort=False)
    mean, std = groups.mean(), groups.std(ddof=0)
    return mean.round(1).astype(str) + " ± " + std.round(1).astype(str)


def brute_force(
    images: Tensor, physics: Physics, y: Tensor, sigma: float, patch_size: int, pixels: Iterable[tuple[int, int]]
) -> Tensor:
    """LE-MMSE with B = I at a few pixels, straight from the formula in float64: (Q, C, len(pixels)).

    Every distance is a sum of squared differences over a patch, every weight is kept: the check of what the engines do.
    """
    sigma = float(check_sigma(sigma, 1, y)[0])
    height, width = images.shape[-2:]
    values = images.double().flatten(2).transpose(1, 2).flatten(0, 1)
    queries = extract_patches(y.double(), patch_size)
    found = []
    for row, col in pixels:
        if not (0 <= row < height and 0 <= col < width):
            raise ValueError(f"pixel ({row}, {col}) is outside the image of {height} x {width}")
        query = queries[:, :, None, row * width + col]
        distances = [
            (query - extract_patches(physics.A(x[None].double()), patch_size)).square().sum((1, 3)) for x in images
        ]
        found.append(torch.softmax(-torch.cat(distances, 1) / (2 * sigma**2), -1) @ values)
    return torch.stack(found, -1)
