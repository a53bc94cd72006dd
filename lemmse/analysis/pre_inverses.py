"""Solvers behind several pre-inverses, each its own input `z = B y`, on the same measurements, and where they err.

Around a hidden pixel the P x P window decides what a local solver can know. The regions of a mask are

    clear         every pixel of the window is seen
    rim, seen     the pixel is seen, some of its window is hidden
    rim, hidden   the pixel is hidden, some of its window is seen
    deep          no pixel of the window is seen
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lemmse.analysis.controls import AFFINE, half_and_double, patch_size_control, with_patch_size
from lemmse.analysis.evaluate import (
    FORMULA,
    NETWORK,
    TRUTH,
    BehindPreInverse,
    Restorer,
    compare,
    decibel,
    images_in_memory,
    restore_each,
)
from lemmse.analysis.experiment import Training
from lemmse.analysis.margins import margins
from lemmse.analysis.second_moments import affine_beside
from lemmse.checks import check_patch_size
from lemmse.estimators.lemmse import LocalEquivariantMMSE
from lemmse.estimators.pixels import PixelFeatures
from lemmse.networks.architectures import Solver
from lemmse.patches import extract_patches
from lemmse.physics.gallery import FOURIER, make_operator
from lemmse.physics.operators import Inpainting

if TYPE_CHECKING:
    import pandas as pd

AGNOSTIC, PINV = "agnostic", "pseudo-inverse"
HOLE, BLUR = "centre inpainting", "Gaussian blur"
WITHOUT_NETWORK = [(BLUR, PINV)]  # the noise of its z has hundreds of times the deviation sigma


class Behind(NamedTuple):
    """The solvers that see one input `z = B y`.

    Attributes:
        formula: LE-MMSE.
        network: a network that was trained on the images of the formula, or None.
    """

    formula: LocalEquivariantMMSE
    network: Solver | None


def shared_inputs(lambdas: Iterable[float]) -> dict[str, dict[str, dict[str, Any]]]:
    """Which inputs the analyses compare, for each operator by name: the options of its B for `Training.network`.

    The measurement, `AGNOSTIC`, and z behind the pseudo-inverse, `PINV`, of centre inpainting, a blur and
    Fourier sampling; for the blur also "Tikhonov LAMBDA" for each of lambdas.
    """
    both: dict[str, dict[str, Any]] = {AGNOSTIC: {}, PINV: {"pre_inverse": "pinv"}}
    tikhonov = {f"Tikhonov {lam:g}": {"pre_inverse": "tikhonov", "tikhonov_lambda": lam} for lam in lambdas}
    return {HOLE: both, BLUR: both | tikhonov, FOURIER: both}


def solvers_behind(
    images: Tensor, lambdas: Iterable[float], training: Training, architecture: str, *, patch_size: int
) -> dict[str, dict[str, Behind]]:
    """The formula and a network for each operator and input of `shared_inputs(lambdas)`.

    Args:
        images: (N, C, H, W), the training images.
        lambdas: of the Tikhonov inverses of the blur.
        training: how the networks are trained; its seed is also that of the operators.
        architecture: of the networks.
        patch_size: P, odd.

    Returns:
        By operator and input. All inputs of an operator share one physics. The inputs of `WITHOUT_NETWORK` have none.
    """
    height, width = images.shape[-2:]
    found: dict[str, dict[str, Behind]] = {}
    for operator, inputs in shared_inputs(lambdas).items():
        physics = make_operator(operator, height, width, torch.Generator().manual_seed(training.seed))
        found[operator] = {}
        for label, B in inputs.items():
            formula = LocalEquivariantMMSE(images, physics, patch_size=patch_size, **B)
            network = None
            if (operator, label) not in WITHOUT_NETWORK:
                network = training.network(architecture, images, physics, patch_size=patch_size, **B)
            found[operator][label] = Behind(formula, network)
    return found


def restorers_behind(behind: Mapping[str, Behind]) -> dict[tuple[str, str], Restorer]:
    """All restorers behind the inputs of one operator, by input and kind.

    The kinds are `FORMULA`, `AFFINE`, the formula of half the radius of the window, and `NETWORK` where there is one.
    """
    found: dict[tuple[str, str], Restorer] = {}
    for label, (formula, network) in behind.items():
        found[label, FORMULA] = formula
        found[label, AFFINE] = affine_beside(formula)
        for patch_size in half_and_double(formula.patch_size):
            if patch_size < formula.patch_size:
                found[label, patch_size_control(patch_size)] = with_patch_size(formula, patch_size)
        if network is not None:
            found[label, NETWORK] = BehindPreInverse(network, formula.pre_inverse)
    return found


def compare_inputs(
    solvers: Mapping[str, Mapping[str, Behind]],
    evaluated: Mapping[str, Tensor],
    sigmas: Iterable[float],
    *,
    groups: Mapping[str, Sequence[object]],
    seed: int,
) -> pd.DataFrame:
    """`evaluate.compare` for the restorers of each operator, which share its measurements.

    Args:
        solvers: of `solvers_behind`.
        evaluated: clean images (Q, C, H, W) by split.
        sigmas: standard deviations of the noise.
        groups: for each split, what each image was cut from.
        seed: of the noise.

    Returns:
        The rows of `evaluate.compare` with a column operator; a solver is named "INPUT KIND", see `solver_name`.
    """
    import pandas as pd

    levels, frames = list(sigmas), []
    for operator, behind in solvers.items():
        physics = next(iter(behind.values())).formula.physics
        named = {solver_name(*key): restorer for key, restorer in restorers_behind(behind).items()}
        pairs = compare(named, physics, evaluated, levels, seed=seed, groups=groups)
        frames.append(pairs.assign(operator=operator))
    return pd.concat(frames, ignore_index=True)


def solver_name(label: str, kind: str) -> str:
    """How a table names a solver, for instance "agnostic network"."""
    return f"{label} {kind}"


def gains(pairs: pd.DataFrame, solvers: Mapping[str, Mapping[str, Behind]]) -> pd.DataFrame:
    """What each solver gains over the solver of its kind that sees the measurement itself.

    Args:
        pairs: of `compare_inputs`.
        solvers: of `solvers_behind`.

    Returns:
        One row for each operator, split, sigma, image, input and solver (`FORMULA`, `AFFINE` or `NETWORK`), with the
        group and the columns psnr (to the truth, dB), gain (psnr less that of the agnostic solver, dB) and lost (the
        same of the mean squared error).
    """
    import pandas as pd

    key = ["operator", "split", "sigma", "image", "group"]
    to_truth = pairs[pairs["other"] == TRUTH].set_index(key)
    rows = []
    for operator, behind in solvers.items():
        for label in behind:
            for kind in (FORMULA, AFFINE, NETWORK):
                here, agnostic = (
                    to_truth.loc[[operator]].query("one == @name")
                    for name in (solver_name(label, kind), solver_name(AGNOSTIC, kind))
                )
                gained = {"psnr": here["psnr"], "gain": here["psnr"] - agnostic["psnr"]}
                frame = pd.DataFrame({**gained, "lost": here["mse"] - agnostic["mse"]}).dropna()
                rows.append(frame.reset_index().assign(input=label, solver=kind))
    return pd.concat(rows, ignore_index=True)


def input_margins(
    pairs: pd.DataFrame, solvers: Mapping[str, Mapping[str, Behind]], *, generator: torch.Generator
) -> pd.DataFrame:
    """By how much each network is nearer to the formula with its own input than to every control.

    The controls are the affine filter and the formula of half the radius of the window, behind the same input, and the
    formulas behind the other inputs of the operator.

    Args:
        pairs: of `compare_inputs`.
        solvers: of `solvers_behind`.
        generator: source of the resampling, on the CPU.

    Returns:
        The rows of `margins.margins`, with the columns operator and input.
    """
    import pandas as pd

    tables = []
    for operator, behind in solvers.items():
        part = pairs[pairs["operator"] == operator]
        kinds = restorers_behind(behind)
        for label in (label for label, kind in kinds if kind == NETWORK):
            rivals = [
                solver_name(other, kind)
                for other, kind in kinds
                if (kind == FORMULA and other != label) or (other == label and kind not in (FORMULA, NETWORK))
            ]
            own = [solver_name(label, kind) for kind in (NETWORK, FORMULA)]
            table = margins(part, own[:1], rivals, formula=own[1], generator=generator)
            tables.append(table.assign(operator=operator, input=label))
    return pd.concat(tables, ignore_index=True)


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
    behind: Mapping[str, Behind],
    evaluated: Mapping[str, Tensor],
    sigmas: Iterable[float],
    *,
    groups: Mapping[str, Sequence[object]],
    seed: int,
) -> pd.DataFrame:
    """Errors of formula and network behind each input of an inpainting, region by region.

    Args:
        behind: the solvers of an inpainting, by input; all of one physics.
        evaluated: clean images (Q, C, H, W) by split.
        sigmas: standard deviations of the noise.
        groups: for each split, what each image was cut from.
        seed: of the noise.

    Returns:
        One row for each split, sigma, input, solver, image and region of the mask, with the group and the columns psnr
        (over the region, to the truth, dB) and effective (the effective number of patches of the formula, geometric
        mean).

    Raises:
        ValueError: if the physics differ, or are no inpainting.
    """
    import pandas as pd

    (first, *others) = (formula for formula, _ in behind.values())
    if any(other.physics is not first.physics for other in others):
        raise ValueError("the solvers need one physics, so that they can share their measurements")
    if not isinstance(first.physics, Inpainting):
        raise ValueError(f"only an inpainting has regions, got {type(first.physics).__name__}")
    regions = window_regions(first.physics.mask_on(*first.shape[1:]), first.patch_size)
    compared = {key: restorer for key, restorer in restorers_behind(behind).items() if key[1] in (FORMULA, NETWORK)}
    rows = []
    for restored in restore_each(compared, first.physics, evaluated, sigmas, seed=seed):
        for (label, solver), estimate in restored.estimates.items():
            effective = restored.posteriors[label, FORMULA].effective_samples.double().log()
            error = (estimate - restored.truth).double().square().mean(1)
            for region, inside in regions.items():
                columns = {
                    "psnr": decibel(error[:, inside].mean(1)).cpu(),
                    "effective": effective[:, inside].mean(1).exp().cpu(),
                    "group": list(groups[restored.split]),
                }
                about = {"split": restored.split, "sigma": restored.sigma, "input": label, "solver": solver}
                frame = pd.DataFrame({"image": range(len(error)), **columns})
                rows.append(frame.assign(**about, region=region))
    return pd.concat(rows, ignore_index=True)


def competitions(
    names: Iterable[str], size: int, patch_size: int, *, seed: int
) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Mask, strata, and how many positions compete with each, behind the pseudo-inverse of an inpainting: (H, W) each.

    names: for `make_operator`; seed: of the masks. Raises ValueError if one is no inpainting.
    """
    found = {}
    for name in names:
        physics = make_operator(name, size, size, torch.Generator().manual_seed(seed))
        image = torch.zeros(1, 1, size, size, dtype=torch.float32, device="cpu")
        formula = LocalEquivariantMMSE(image, physics, patch_size=patch_size, pre_inverse="pinv")
        mask, features = _mask(formula), formula.features
        if not isinstance(features, PixelFeatures):
            raise ValueError(f"strata of pixels are those of a mask, got the features {type(features).__name__}")
        found[name] = mask, features.strata, features.competing.reshape(size, size)
    return found


def _mask(formula: LocalEquivariantMMSE) -> Tensor:
    """The mask (H, W) of an inpainting, True where a pixel is seen."""
    if not isinstance(formula.physics, Inpainting):
        raise ValueError(f"the physics must be an inpainting, which has a mask, got {type(formula.physics).__name__}")
    _, height, width = formula.shape
    return formula.physics.mask_on(height, width)


def drawn_on(behind: Mapping[str, Behind], errors: pd.DataFrame) -> pd.DataFrame:
    """How much the formulas of an inpainting, agnostic and behind its pseudo-inverse, can draw on in each region.

    Args:
        behind: the solvers of an inpainting, by input.
        errors: rows of `errors_by_region` for them, at one sigma and split.

    Returns:
        One row for each region of the mask, with the columns region, pixels, competing (mean number of positions that
        compete with one of the region behind the pseudo-inverse), effective (effective number of patches behind the
        pseudo-inverse), agnostic (the same for the agnostic formula) and gain (mean, dB).
    """
    import pandas as pd

    formula = behind[PINV].formula
    mask = _mask(formula).cpu()
    competing = formula.features.competing.cpu().reshape(mask.shape).double()
    of_formula = errors[errors["solver"] == FORMULA].groupby(["region", "input"])[["psnr", "effective"]].mean()
    rows = []
    for region, inside in window_regions(mask, formula.patch_size).items():
        aware, agnostic = of_formula.loc[region, PINV], of_formula.loc[region, AGNOSTIC]
        drawn = {"effective": aware["effective"], "agnostic": agnostic["effective"]}
        about = {"region": region, "pixels": int(inside.sum()), "competing": float(competing[inside].mean())}
        rows.append({**about, **drawn, "gain": aware["psnr"] - agnostic["psnr"]})
    return pd.DataFrame(rows)


def deep_error(formula: LocalEquivariantMMSE, images: Tensor, sigma: float, *, generator: torch.Generator) -> float:
    """The largest difference, deep in the hole, between the formula and the mean of these pixels over its own images.

    formula: of an inpainting behind its pseudo-inverse, which makes it that constant. images: (Q, C, H, W), to be
    measured and restored. Returns 0 if no pixel is deep.
    """
    deep = window_regions(_mask(formula), formula.patch_size).get("deep")
    if deep is None:
        return 0.0
    restored = formula(formula.physics.measure(images, sigma, generator=generator), sigma)
    return float((restored[:, :, deep] - images_in_memory(formula)[:, :, deep].mean((0, 2))[:, None]).abs().max())


def side_by_side(
    solvers: Mapping[str, Mapping[str, Behind]], images: Tensor, sigma: float, *, generator: torch.Generator
) -> dict[str, dict[str, Tensor]]:
    """Rows of `figures.gallery`: for each operator and input with a network, one image restored from y and from `B y`.

    The images (Q, C, H, W) take turns. Columns: "measurement", "agnostic\\nformula", "z = B y", "aware\\nformula",
    "aware\\nnetwork" and "truth".
    """
    rows: dict[str, dict[str, Tensor]] = {}
    for operator, behind in solvers.items():
        agnostic = behind[AGNOSTIC].formula
        for label, (formula, network) in behind.items():
            if label == AGNOSTIC or network is None:
                continue
            truth = images[len(rows) % len(images)][None]
            y = formula.physics.measure(truth, sigma, generator=generator)
            z = formula.pre_inverse(y)
            batches = {
                "measurement": agnostic.pre_inverse(y),
                "agnostic\nformula": agnostic(y, sigma),
                "z = B y": z,
                "aware\nformula": formula(y, sigma),
                "aware\nnetwork": network(z, sigma),
                "truth": truth,
            }
            rows[f"{operator}\n{label}"] = {name: batch[0] for name, batch in batches.items()}
    return rows
