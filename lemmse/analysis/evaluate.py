"""Networks against the formula and the truth, on the same measurements: the evidence that the chapters share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lemmse.analysis.metrics import psnr
from lemmse.checks import check_count
from lemmse.data.sets import load_images
from lemmse.estimators import reference
from lemmse.estimators.lemmse import LocalEquivariantMMSE
from lemmse.networks.architectures import Solver
from lemmse.networks.weights import trained
from lemmse.physics.operators import Physics

if TYPE_CHECKING:
    import pandas as pd

DISTANCES = ("network_formula", "network_truth", "formula_truth")
CLAIMED_FROM = 0.1  # the least sigma at which the chapters claim that network and formula agree
EQUAL = 100.0  # dB, about the rounding of float32: what averages take for an infinite PSNR


def claimed_psnr(sigma: float) -> float:
    """What the chapters claim between network and formula, at least, in dB, from sigma = `CLAIMED_FROM` on."""
    return 25.0 if sigma < 0.2 else 30.0


def evaluation_images(images: Tensor, data: str, count: int) -> dict[str, Tensor]:
    """The first `count` training images, and as many test images of the same set, among which photographs take turns.

    images: (N, C, H, W), square, of `load_images(data, ...)`. Returns {"training": ..., "test": ...}. Raises ValueError
    if there are not so many.
    """
    if check_count(count, "count") > len(images):
        raise ValueError(f"count must be at most the number of training images, {len(images)}, got {count}")
    test = load_images(data, split="test", count=count, size=images.shape[-1], channels=images.shape[1])
    return {"training": images[:count], "test": test.to(images)}


def trainings(architectures: Iterable[str], repeats: int, seed: int) -> dict[str, tuple[str, int]]:
    """The trainings of an experiment, by name, as (architecture, seed): one of each architecture with `seed`.

    The last architecture is trained `repeats` times more: "PatchMLP 2" with seed + 1, and so on. None of none.
    """
    chosen = {name: (name, seed) for name in architectures}
    last = list(chosen)[-1:]  # none without architectures
    return chosen | {f"{name} {turn + 1}": (name, seed + turn) for name in last for turn in range(1, repeats + 1)}


def experiment(
    images: Tensor,
    physics: Physics,
    architectures: Iterable[str],
    *,
    patch_size: int,
    seed: int,
    repeats: int = 0,
    **training: Any,
) -> tuple[LocalEquivariantMMSE, dict[str, Solver]]:
    """The formula and the trained networks, named as by `trainings`, that share images, operator and receptive field.

    training: what `weights.trained` takes. Networks come from its cache where they can. Raises ValueError as it does.
    """
    B = {name: training[name] for name in ("pre_inverse", "tikhonov_lambda") if name in training}
    formula = LocalEquivariantMMSE(images, physics, patch_size=patch_size, **B)
    nets = {
        name: trained(architecture, images, physics, patch_size=patch_size, seed=own_seed, **training)
        for name, (architecture, own_seed) in trainings(architectures, repeats, seed).items()
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


def restore_one(
    nets: dict[str, Solver], formula: LocalEquivariantMMSE, image: Tensor, sigma: float, seed: int
) -> dict[str, Tensor]:
    """`restore` for one image (C, H, W), its noise from the seed: a row of `figures.gallery`."""
    generator = torch.Generator(image.device).manual_seed(seed)
    return {name: batch[0] for name, batch in restore(nets, formula, image[None], sigma, generator).items()}


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


def compare_sets(
    nets: dict[str, Solver],
    formula: LocalEquivariantMMSE,
    sets: dict[str, Tensor],
    sigmas: Iterable[float],
    *,
    seed: int,
    column: str = "split",
) -> pd.DataFrame:
    """`compare` on each of the named sets of images, the name in `column`; the noise of each comes from the seed."""
    import pandas as pd

    generators = {name: torch.Generator(x.device).manual_seed(seed) for name, x in sets.items()}
    frames = [compare(nets, formula, x, sigmas, generator=generators[name]) for name, x in sets.items()]
    return pd.concat([frame.assign(**{column: name}) for name, frame in zip(sets, frames, strict=True)])


def summarise(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Mean and standard deviation over images of each distance, as text "mean ± std" in dB, a row for each of `by`.

    Images that agree to the bit, at infinite dB, count as `EQUAL`.
    """
    values = frame[list(DISTANCES)].clip(upper=EQUAL)
    groups = values.groupby([frame[name] for name in by], sort=False)
    mean, std = groups.mean(), groups.std(ddof=0)
    text = mean.round(1).astype(str) + " ± " + std.round(1).astype(str)
    return text.rename(columns=lambda name: name.replace("_", " to "))


def brute_force(
    images: Tensor, physics: Physics, y: Tensor, sigma: float, patch_size: int, pixels: Iterable[tuple[int, int]]
) -> Tensor:
    """LE-MMSE with B = I at a few pixels, as `estimators.reference` writes it out: (Q, C, len(pixels)) float64."""
    return reference.le_mmse(images, y, sigma, patch_size, physics=physics, pixels=pixels)


def formula_error(
    formula: LocalEquivariantMMSE, y: Tensor, sigma: float, pixels: Iterable[tuple[int, int]] | None = None
) -> float:
    """The largest difference between an LE-MMSE with B = I and `brute_force` at a few pixels, here or there by default.

    formula: with circular padding, its images in memory. y: (Q, C, H, W).
    """
    height, width = y.shape[-2:]
    pixels = list(pixels or [(0, 0), (height // 2, width // 3), (height - 1, 1)])
    exact = brute_force(formula.images, formula.physics, y, sigma, formula.patch_size, pixels)
    ours = torch.stack([formula(y, sigma)[:, :, row, col] for row, col in pixels], -1)
    return float((ours - exact).abs().max())
