"""Solvers behind several pre-inverses, each its own input `z = B y`, on the same measurements, and where they err.

Around a hidden pixel the P x P window decides what a local solver can know. The regions of a mask are

    clear         every pixel of the window is seen
    rim, seen     the pixel is seen, some of its window is hidden
    rim, hidden   the pixel is hidden, some of its window is seen
    deep          no pixel of the window is seen
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lemmse.analysis.evaluate import FORMULA, decibel, restore_each, restore_one, restorers
from lemmse.analysis.experiment import experiment
from lemmse.checks import check_patch_size
from lemmse.estimators.lemmse import LocalEquivariantMMSE
from lemmse.networks.architectures import Solver
from lemmse.patches import extract_patches
from lemmse.physics.gallery import FOURIER, make_operator
from lemmse.physics.operators import Inpainting

if TYPE_CHECKING:
    import pandas as pd

Solvers = tuple[LocalEquivariantMMSE, dict[str, Solver]]  # what `experiment` returns
AGNOSTIC, PINV = "agnostic", "pseudo-inverse"
HOLE, BLUR = "centre inpainting", "Gaussian blur"


def shared_inputs(lambdas: Iterable[float]) -> dict[str, dict[str, dict[str, Any]]]:
    """Which inputs the analyses compare, for each operator by name: the options of its B for `experiment`.

    The measurement, `AGNOSTIC`, and z behind the pseudo-inverse, `PINV`, of centre inpainting, a blur and
    Fourier sampling; for the blur also "Tikhonov LAMBDA" for each of lambdas.
    """
    both = {AGNOSTIC: {}, PINV: {"pre_inverse": "pinv"}}
    tikhonov = {f"Tikhonov {lam:g}": {"pre_inverse": "tikhonov", "tikhonov_lambda": lam} for lam in lambdas}
    return {HOLE: both, BLUR: both | tikhonov, FOURIER: both}


def experiments(
    images: Tensor, lambdas: Iterable[float], architectures: Iterable[str], *, seed: int, **options: Any
) -> dict[str, dict[str, Solvers]]:
    """`experiment` for each operator and label of `shared_inputs(lambdas)`.

    seed: of masks and trainings. options: what `experiment` takes. The inputs of an operator share one physics.
    """
    found, chosen = {}, list(architectures)
    for operator, inputs in shared_inputs(lambdas).items():
        physics = make_operator(operator, *images.shape[-2:], torch.Generator().manual_seed(seed))
        found[operator] = {
            label: experiment(images, physics, chosen, seed=seed, **options, **B) for label, B in inputs.items()
        }
    return found


def window_regions(mask: Tensor, patch_size: int) -> dict[str, Tensor]:
    """The regions of a mask (H, W) that are not empty: bool (H, W) each, disjoint, together the whole image."""
    if mask.ndim != 2:
        raise ValueError(f"mask must be (H, W), got {tuple(mask.shape)}")
    seen = mask != 0
    windows = extract_patches(seen[None, None], check_patch_size(patch_size))[0, 0]
    every, some = (found.reshape(mask.shape) for found in (windows.all(-1), windows.any(-1)))
    found = {"clear": every, "rim, seen": seen & ~every, "rim, hidden": ~seen & some, "deep": ~some}
    return {name: region for name, region in found.items() if bool(region.any())}


def errors_by_region(
    solvers: dict[str, Solvers], evaluated: dict[str, Tensor], sigmas: Iterable[float], *, seed: int
) -> pd.DataFrame:
    """Errors of the solvers behind each input, all on the same measurements.

    Args:
        solvers: formula and networks for each label of an input, all of one physics.
        evaluated: clean images (Q, C, H, W) by split.
        sigmas: standard deviations of the noise.
        seed: of the noise, see `evaluate.restore_each`.

    Returns:
        One row for each split, sigma, input, solver ("LE-MMSE" or a network), image and region ("all", and for
        inpainting those of `window_regions`). Columns: psnr and closeness, the PSNR over the region to the truth and to
        LE-MMSE in dB, at most 100, and effective, the effective number of samples of LE-MMSE (geometric mean).

    Raises:
        ValueError: if the physics differ.
    """
    import pandas as pd

    (first, *others) = (formula for formula, _ in solvers.values())
    if any(other.physics is not first.physics for other in others):
        raise ValueError("the solvers need one physics, so that they can share their measurements")
    regions = {"all": torch.ones(first.shape[1:], dtype=torch.bool, device=first.device)}
    if isinstance(first.physics, Inpainting):
        mask = first.physics.mask_on(*first.shape[1:]).to(first.device)
        regions |= window_regions(mask, first.patch_size)
    behind = {
        (label, "LE-MMSE" if name == FORMULA else name): solver
        for label, (formula, nets) in solvers.items()
        for name, solver in restorers(formula, nets).items()
    }
    rows = []
    for restored in restore_each(behind, first.physics, evaluated, sigmas, seed=seed):
        for (label, solver), estimate in restored.estimates.items():
            posterior = restored.posteriors[label, "LE-MMSE"]
            effective = posterior.effective_samples.double().log()
            errors = torch.stack([(estimate - x).double().square().mean(1) for x in (restored.truth, posterior.mean)])
            for region, inside in regions.items():
                psnr, closeness = decibel(errors[..., inside].mean(-1)).cpu()
                columns = {"psnr": psnr, "closeness": closeness, "effective": effective[:, inside].mean(-1).exp().cpu()}
                frame = pd.DataFrame(columns).rename_axis("image").reset_index()
                about = {"split": restored.split, "sigma": restored.sigma, "input": label, "solver": solver}
                rows.append(frame.assign(**about, region=region))
    return pd.concat(rows, ignore_index=True)


def gains(
    solvers: dict[str, dict[str, Solvers]],
    evaluated: dict[str, Tensor],
    sigmas: Iterable[float],
    *,
    baseline: str,
    seed: int,
) -> pd.DataFrame:
    """`errors_by_region` for each operator of `solvers`, with columns operator, gain, lost.

    gain: psnr less that of the same solver, image, noise and region behind the input `baseline`, in dB. lost: the same
    of the mean squared error.
    """
    import pandas as pd

    levels = list(sigmas)
    frames = [
        errors_by_region(behind, evaluated, levels, seed=seed).assign(operator=operator)
        for operator, behind in solvers.items()
    ]
    frame = pd.concat(frames).set_index(["operator", "split", "sigma", "solver", "image", "region"])
    of_baseline = frame[frame.input == baseline].psnr.reindex(frame.index)
    frame["gain"], frame["lost"] = frame.psnr - of_baseline, 10 ** (-frame.psnr / 10) - 10 ** (-of_baseline / 10)
    return frame.reset_index()


def competitions(
    names: Iterable[str], size: int, patch_size: int, *, seed: int
) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Mask, strata, and how many positions compete with each, behind the pseudo-inverse of an inpainting: (H, W) each.

    names: for `make_operator`; seed: of the masks. Raises ValueError if one is no inpainting.
    """
    found = {}
    for name in names:
        physics = make_operator(name, size, size, torch.Generator().manual_seed(seed))
        if not isinstance(physics, Inpainting):
            raise ValueError(f"competition is mapped behind a mask, that of centre or random inpainting, got {name!r}")
        image = torch.zeros(1, 1, size, size, dtype=torch.float32, device="cpu")
        features = LocalEquivariantMMSE(image, physics, patch_size=patch_size, pre_inverse="pinv").features
        found[name] = physics.mask_on(size, size), features.strata, features.competing.reshape(size, size)
    return found


def drawn_on(solvers: dict[str, Solvers], errors: pd.DataFrame, *, baseline: str) -> pd.DataFrame:
    """How much each formula of an inpainting can draw on, a row for each region of the mask.

    errors: rows of `gains` for these solvers. Columns: pixels of the region; for each input the mean number of
    competing positions and of effective samples; for each but the baseline the mean gain in dB.
    """
    import pandas as pd

    found = errors[errors.solver == "LE-MMSE"].pivot_table(["effective", "gain"], "region", "input")
    columns: dict[str, object] = {}
    for label, (formula, _) in solvers.items():
        mask, competing = formula.physics.mask_on(*formula.shape[1:]), formula.features.competing.cpu()
        regions = window_regions(mask.cpu(), formula.patch_size)
        competing = competing.reshape(mask.shape).double()
        columns |= {
            "pixels": {name: int(inside.sum()) for name, inside in regions.items()},
            f"competing, {label}": {name: float(competing[inside].mean()) for name, inside in regions.items()},
            f"effective, {label}": found["effective", label],
        }
    gained = {f"gain, {label} (dB)": found["gain", label] for label in solvers if label != baseline}
    return pd.DataFrame(columns | gained).loc[list(regions)]


def deep_error(formula: LocalEquivariantMMSE, images: Tensor, sigma: float, *, generator: torch.Generator) -> float:
    """The largest difference, deep in the hole, between the formula and the mean of these pixels over its own images.

    formula: of an inpainting behind its pseudo-inverse, which makes it that constant. images: (Q, C, H, W), to be
    measured and restored. Returns 0 if no pixel is deep.
    """
    deep = window_regions(formula.physics.mask_on(*images.shape[-2:]), formula.patch_size).get("deep")
    if deep is None:
        return 0.0
    restored = formula(formula.physics.measure(images, sigma, generator=generator), sigma)
    return float((restored[:, :, deep] - formula.images[:, :, deep].mean((0, 2))[:, None]).abs().max())


def side_by_side(
    solvers: dict[str, dict[str, Solvers]], images: Tensor, sigma: float, *, baseline: str, seed: int
) -> dict[str, dict[str, Tensor]]:
    """Rows of `figures.gallery`: for each operator and input, one image restored behind the baseline and behind it.

    Both see one measurement; the images (Q, C, H, W) take turns. Columns: "BASELINE" or "aware" and, on a second line,
    "input", "formula" or "network" (the first); and "truth".
    """
    rows: dict[str, dict[str, Tensor]] = {}
    for operator, behind in solvers.items():
        for label in (name for name in behind if name != baseline):
            image, row = images[len(rows) % len(images)], {}
            for side, (formula, nets) in {baseline: behind[baseline], "aware": behind[label]}.items():
                restored = restore_one(nets, formula, image, sigma, seed)
                keys = {"input": "measurement", "formula": "formula", "network": next(iter(nets))}
                row |= {f"{side}\n{column}": restored[key] for column, key in keys.items()}
            rows[f"{operator}\n{label}"] = row | {"truth": image}
    return rows
