"""Solvers behind several pre-inverses, each its own input `z = B y`, on the same measurements, and where they err.

Around a hidden pixel the P x P window decides what a local solver can know. The regions of a mask are

    clear         every pixel of the window is seen
    rim, seen     the pixel is seen, some of its window is hidden
    rim, hidden   the pixel is hidden, some of its window is seen
    deep          no pixel of the window is seen
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .checks import check_patch_size
from .comparison import EQUAL, restore
from .estimators import LocalEquivariantMMSE
from .networks import Solver
from .patches import extract_patches
from .physics import Inpainting

if TYPE_CHECKING:
    import pandas as pd

Solvers = tuple[LocalEquivariantMMSE, dict[str, Solver]]  # what `comparison.experiment` returns


def window_regions(mask: Tensor, patch_size: int) -> dict[str, Tensor]:
    """The regions of a mask (H, W) that are not empty: bool (H, W) each, disjoint, together the whole image."""
    if mask.ndim != 2:
        raise ValueError(f"mask must be (H, W), got {tuple(mask.shape)}")
    seen = mask != 0
    windows = extract_patches(seen[None, None], check_patch_size(patch_size))[0, 0]
    every, some = (found.reshape(mask.shape) for found in (windows.all(-1), windows.any(-1)))
    found = {"clear": every, "rim, seen": seen & ~every, "rim, hidden": ~seen & some, "deep": ~some}
    return {name: region for name, region in found.items() if bool(region.any())}


@torch.no_grad()
def errors_by_region(
    solvers: dict[str, Solvers], images: Tensor, sigmas: Iterable[float], *, generator: torch.Generator
) -> pd.DataFrame:
    """Errors of the solvers behind each input, all on the same measurements of the images (Q, C, H, W).

    solvers: formula and networks for each label of an input, all of one physics. One row for each sigma, input, solver
    ("LE-MMSE" or a network), image and region ("all", and for inpainting those of `window_regions`) with psnr and
    closeness, the PSNR over the region to the truth and to LE-MMSE in dB, at most `EQUAL`, and effective, the effective
    number of samples of LE-MMSE (geometric mean). Raises ValueError if the physics differ.
    """
    import pandas as pd
    from tqdm import tqdm

    (physics, *others) = (formula.physics for formula, _ in solvers.values())
    if any(other is not physics for other in others):
        raise ValueError("the solvers need one physics, so that they can share their measurements")
    regions = {"all": torch.ones(images.shape[-2:], dtype=torch.bool, device=images.device)}
    if isinstance(physics, Inpainting):
        patch_size = next(formula.patch_size for formula, _ in solvers.values())
        regions |= window_regions(physics.mask_on(*images.shape[-2:]).to(images.device), patch_size)
    rows = []
    for sigma in tqdm(list(sigmas), desc=f"restoring {len(images)} images"):
        y = physics.measure(images, sigma, generator=generator)
        for label, (formula, nets) in solvers.items():
            posterior, z = formula.posterior(y, sigma), formula.pre_inverse(y)
            found = {"LE-MMSE": posterior.mean} | {name: net(z, sigma) for name, net in nets.items()}
            effective = posterior.effective_samples.double().log()
            for solver, estimate in found.items():
                errors = torch.stack([(estimate - x).double().square().mean(1) for x in (images, posterior.mean)])
                for region, inside in regions.items():
                    decibel = -10 * errors[..., inside].mean(-1).log10()
                    values = (*decibel.clamp_max(EQUAL), effective[:, inside].mean(-1).exp())
                    for image, numbers in enumerate(zip(*(v.tolist() for v in values), strict=True)):
                        row = {"sigma": sigma, "input": label, "solver": solver, "image": image, "region": region}
                        rows.append(row | dict(zip(("psnr", "closeness", "effective"), numbers, strict=True)))
    return pd.DataFrame(rows)


def gains(
    solvers: dict[str, dict[str, Solvers]],
    evaluated: dict[str, Tensor],
    sigmas: Iterable[float],
    *,
    baseline: str,
    generator: torch.Generator,
) -> pd.DataFrame:
    """`errors_by_region` for each operator of `solvers` and each split of images, with columns operator, split, gain.

    gain: psnr less that of the same solver, image, noise and region behind the input `baseline`, in dB.
    """
    import pandas as pd

    frames = []
    for operator, behind in solvers.items():
        for split, images in evaluated.items():
            frame = errors_by_region(behind, images, sigmas, generator=generator)
            frames.append(frame.assign(operator=operator, split=split))
    frame = pd.concat(frames).set_index(["operator", "split", "sigma", "solver", "image", "region"])
    frame["gain"] = frame.psnr - frame[frame.input == baseline].psnr.reindex(frame.index)
    return frame.reset_index()


def competition(formula: LocalEquivariantMMSE) -> tuple[Tensor, Tensor, Tensor]:
    """Mask, strata, and how many positions compete with each, of an inpainting behind its pseudo-inverse: (H, W)."""
    mask, family = formula.physics.mask_on(*formula.shape[1:]), formula.family
    return mask, family.strata.cpu(), family.competing.cpu().reshape(mask.shape)


def drawn_on(formulas: dict[str, LocalEquivariantMMSE], errors: pd.DataFrame) -> pd.DataFrame:
    """How much each formula of an inpainting can draw on, a row for each region of the mask.

    errors: rows of `errors_by_region` for these formulas. Columns: pixels of the region; for each input the mean number
    of competing positions and of effective samples.
    """
    import pandas as pd

    effective = errors[errors.solver == "LE-MMSE"].pivot_table("effective", "region", "input")
    columns: dict[str, object] = {}
    for label, formula in formulas.items():
        mask, _, competing = competition(formula)
        regions = window_regions(mask, formula.patch_size)
        columns |= {
            "pixels": {name: int(inside.sum()) for name, inside in regions.items()},
            f"competing, {label}": {name: float(competing[inside].double().mean()) for name, inside in regions.items()},
            f"effective, {label}": effective[label],
        }
    return pd.DataFrame(columns).loc[list(regions)]


def side_by_side(behind: dict[str, Solvers], image: Tensor, sigma: float, *, seed: int) -> dict[str, Tensor]:
    """One image (C, H, W) from one measurement, behind each input: LABEL and input, formula or network on two lines."""
    found = {}
    for label, (formula, nets) in behind.items():
        restored = restore(nets, formula, image[None], sigma, torch.Generator().manual_seed(seed))
        keys = {"input": "measurement", "formula": "formula", "network": next(iter(nets))}
        found |= {f"{label}\n{column}": restored[key][0] for column, key in keys.items()}
    return found | {"truth": image}
