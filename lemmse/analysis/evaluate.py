"""The one loop of the evidence: measure images, restore them by every solver, compare.

Networks, formulas and controls are all `Restorer`s: maps from a measurement y and a noise level sigma to an image. All
of them see the same measurements, whose noise depends on the seed, the operator and the images alone, so that results
of different runs, networks and formulas compare image by image.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch import Tensor

from lemmse.estimators import reference
from lemmse.estimators.lemmse import LocalEquivariantMMSE
from lemmse.estimators.posterior import Posterior
from lemmse.networks.architectures import Solver
from lemmse.physics.base import Physics
from lemmse.physics.preinverse import PreInverse

if TYPE_CHECKING:
    import pandas as pd

Restorer = Callable[[Tensor, float], Tensor]  # (y, sigma) -> images (Q, C, H, W)
Name = TypeVar("Name", bound=Hashable)  # of a restorer: a string, or a tuple where one word is not enough

FORMULA, NETWORK, TRUTH = "formula", "network", "truth"
DISTANCES = ("network_formula", "network_truth", "formula_truth")
EQUAL = 100.0  # dB, about the rounding of float32: what a table shows where two images are equal


@dataclass(frozen=True)
class BehindPreInverse:
    """A network phi and its pre-inverse B as one restorer: `phi(B y, sigma)`.

    Attributes:
        network: phi, which sees `z = B y`.
        pre_inverse: B.
    """

    network: Callable[[Tensor, float], Tensor]
    pre_inverse: PreInverse

    def __call__(self, y: Tensor, sigma: float) -> Tensor:
        """`phi(B y, sigma)`: measurements (Q, ...) to images (Q, C, H, W)."""
        return self.network(self.pre_inverse(y), sigma)


def restorers(formula: LocalEquivariantMMSE, nets: Mapping[str, Solver]) -> dict[str, Restorer]:
    """The networks by name, each behind the pre-inverse of the formula, and the formula as `FORMULA`.

    Args:
        formula: the LE-MMSE estimator.
        nets: networks that were trained behind the same pre-inverse.

    Returns:
        A restorer for each name.
    """
    return {name: BehindPreInverse(net, formula.pre_inverse) for name, net in nets.items()} | {FORMULA: formula}


@dataclass(frozen=True)
class Restored(Generic[Name]):
    """Images of one set, measured at one noise level and restored by several restorers.

    Attributes:
        split: the name of the set of images.
        sigma: the standard deviation of the noise.
        y: the measurements.
        truth: the clean images (Q, C, H, W).
        estimates: for each restorer, its images (Q, C, H, W).
        posteriors: for each restorer that is an estimator of lemmse, all that it knows of the measurements.
    """

    split: str
    sigma: float
    y: Tensor
    truth: Tensor
    estimates: dict[Name, Tensor]
    posteriors: dict[Name, Posterior]


@torch.no_grad()
def restore(
    solvers: Mapping[Name, Restorer],
    physics: Physics,
    images: Tensor,
    sigma: float,
    *,
    generator: torch.Generator,
    split: str = "images",
) -> Restored[Name]:
    """Measure the images once, and restore them by every solver.

    Args:
        solvers: restorers by name.
        physics: the operator A.
        images: clean images (Q, C, H, W).
        sigma: standard deviation of the noise.
        generator: source of the noise.
        split: the name of the images.

    Returns:
        The measurements and what each solver makes of them.
    """
    y = physics.measure(images, sigma, generator=generator)
    estimates, posteriors = {}, {}
    for name, solver in solvers.items():
        if hasattr(solver, "posterior"):
            posteriors[name] = solver.posterior(y, sigma)
            estimates[name] = posteriors[name].mean
        else:
            estimates[name] = solver(y, sigma)
    return Restored(split, sigma, y, images, estimates, posteriors)


def restore_each(
    solvers: Mapping[Name, Restorer],
    physics: Physics,
    sets: Mapping[str, Tensor],
    sigmas: Iterable[float],
    *,
    seed: int,
    progress: bool = True,
) -> Iterator[Restored[Name]]:
    """`restore` for each set of images and each noise level; shows a progress bar.

    Args:
        solvers: restorers by name.
        physics: the operator A.
        sets: clean images (Q, C, H, W) by the name of their set.
        sigmas: standard deviations of the noise.
        seed: of the noise, which starts anew with each set: no set and no solver changes the noise of another.
        progress: whether to show the bar.

    Yields:
        One `Restored` for each set and sigma, the sigmas of a set in turn.

    Raises:
        ValueError: without a solver, a set or a sigma.
    """
    from tqdm import tqdm

    levels = list(sigmas)
    if not (solvers and sets and levels):
        counts = f"{len(solvers)}, {len(sets)} and {len(levels)}"
        raise ValueError(f"a comparison needs a solver, a set of images and a sigma, got {counts}")
    with tqdm(total=len(sets) * len(levels), desc="restoring images", disable=not progress) as bar:
        for split, images in sets.items():
            generator = torch.Generator(images.device).manual_seed(seed)
            for sigma in levels:
                yield restore(solvers, physics, images, sigma, generator=generator, split=split)
                bar.update()


def compare(
    solvers: Mapping[str, Restorer],
    physics: Physics,
    sets: Mapping[str, Tensor],
    sigmas: Iterable[float],
    *,
    seed: int,
    groups: Mapping[str, Sequence[object]] | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """How far all solvers are from one another and from the truth, on the same measurements.

    Args:
        solvers: restorers by name: networks, formulas, controls.
        physics: the operator A.
        sets: clean images (Q, C, H, W) by the name of their set.
        sigmas: standard deviations of the noise.
        seed: of the noise, see `restore_each`.
        groups: for each set, what its images were cut from, for instance the photograph of each. Images of one group
            are not independent. Without it each image is a group of its own.
        progress: whether to show a progress bar.

    Returns:
        One row for each set, sigma, image and pair of solvers, in both orders, with the columns split, sigma, image
        (number in its set), group, one, other (which may be `TRUTH`), mse (mean squared difference per pixel and
        channel, computed in float64) and psnr (dB, at most `EQUAL`).

    Raises:
        ValueError: without a solver, a set or a sigma, and for groups that do not name every image.

    Example:
        >>> import lemmse, torch
        >>> images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> solvers = {"measurement": lambda y, sigma: y}
        >>> frame = compare(solvers, lemmse.Denoising(), {"a": images}, [0.1], seed=0, progress=False)
        >>> len(frame)  # 4 images, one pair, both orders
        8
    """
    import pandas as pd

    for split, names in (groups or {}).items():
        if split not in sets or len(names) != len(sets[split]):
            raise ValueError(f"groups must name each image of the sets, but {split!r} has {len(names)} names")
    frames = []
    for restored in restore_each(solvers, physics, sets, sigmas, seed=seed, progress=progress):
        labels = groups[restored.split] if groups and restored.split in groups else range(len(restored.truth))
        about = {"split": restored.split, "sigma": restored.sigma}
        frames.append(pair_distances(restored.estimates | {TRUTH: restored.truth}, about, list(labels)))
    return pd.concat(frames, ignore_index=True)


def pair_distances(images: Mapping[str, Tensor], about: Mapping[str, object], groups: Sequence[object]) -> pd.DataFrame:
    """The rows of `compare` for one set and sigma.

    Args:
        images: batches (Q, C, H, W) by name, the truth among them or not.
        about: columns that are the same in all rows.
        groups: the group of each image.

    Returns:
        One row for each pair of names, in both orders, and image.
    """
    import pandas as pd

    frames = []
    for one, other in combinations(images, 2):
        mse = squared_distances(images[one], images[other]).cpu()
        columns = {**about, "image": range(len(mse)), "group": groups, "mse": mse, "psnr": decibel(mse)}
        frames += [pd.DataFrame({**columns, "one": a, "other": b}) for a, b in ((one, other), (other, one))]
    return pd.concat(frames, ignore_index=True)


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference per pixel and channel of each image of a and the same of b: (Q,) float64."""
    return (a.double() - b.double()).square().mean((1, 2, 3))


def decibel(mse: Tensor) -> Tensor:
    """`-10 log10 mse`, at most `EQUAL`."""
    return (-10 * mse.log10()).clamp_max(EQUAL)


def network_distances(frame: pd.DataFrame, networks: Iterable[str], formula: str = FORMULA) -> pd.DataFrame:
    """The three distances between each network, the formula and the truth, side by side.

    Args:
        frame: of `compare`.
        networks: the names of the networks.
        formula: the name of the formula.

    Returns:
        One row for each split, sigma, image and network, with the group and the columns `DISTANCES`, PSNR in dB.
    """
    key = ["split", "sigma", "image", "group"]
    pairs = frame.set_index(key).pivot(columns=["one", "other"], values="psnr")
    rows = []
    for name in networks:
        values = {"network_formula": (name, formula), "network_truth": (name, TRUTH), "formula_truth": (formula, TRUTH)}
        columns = {column: pairs[pair] for column, pair in values.items()}
        rows.append(pairs.index.to_frame(index=False).assign(network=name, **{c: v.array for c, v in columns.items()}))
    import pandas as pd

    return pd.concat(rows, ignore_index=True)


def summarise(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Mean and standard deviation over images of each of `DISTANCES` in dB, as text "mean ± std", for each of `by`."""
    groups = frame[list(DISTANCES)].groupby([frame[name] for name in by], sort=False)
    mean, std = groups.mean(), groups.std(ddof=0)
    text = mean.round(1).astype(str) + " ± " + std.round(1).astype(str)
    return text.rename(columns=lambda name: name.replace("_", " to "))


def restore_one(
    nets: Mapping[str, Solver], formula: LocalEquivariantMMSE, image: Tensor, sigma: float, seed: int
) -> dict[str, Tensor]:
    """One image (C, H, W), measured and restored by networks and formula: a row of `figures.gallery`.

    Args:
        nets: networks by name, behind the pre-inverse of the formula.
        formula: the LE-MMSE estimator.
        image: the clean image (C, H, W).
        sigma: standard deviation of the noise.
        seed: of the noise.

    Returns:
        "measurement" (what the network sees, B y), each network, "formula" and "truth", all (C, H, W).
    """
    generator = torch.Generator(image.device).manual_seed(seed)
    restored = restore(restorers(formula, nets), formula.physics, image[None], sigma, generator=generator)
    row = {"measurement": formula.pre_inverse(restored.y), **restored.estimates, TRUTH: restored.truth}
    return {name: batch[0] for name, batch in row.items()}


def brute_force(
    images: Tensor, physics: Physics, y: Tensor, sigma: float, patch_size: int, pixels: Iterable[tuple[int, int]]
) -> Tensor:
    """LE-MMSE with B = I at a few pixels, as `estimators.reference` writes it out: (Q, C, len(pixels)) float64."""
    return reference.le_mmse(images, y, sigma, patch_size, physics=physics, pixels=pixels)


def images_in_memory(formula: LocalEquivariantMMSE) -> Tensor:
    """The training images (N, C, H, W) of a formula; raises ValueError if they are a stream of batches."""
    if not isinstance(formula.images, Tensor):
        raise ValueError(
            f"this needs the images of the formula in memory, as one tensor, got {type(formula.images).__name__}"
        )
    return formula.images


def formula_error(
    formula: LocalEquivariantMMSE, y: Tensor, sigma: float, pixels: Iterable[tuple[int, int]] | None = None
) -> float:
    """The largest difference between an LE-MMSE with B = I and `brute_force` at a few pixels, here or there by default.

    formula: with circular padding, its images in memory. y: (Q, C, H, W).
    """
    height, width = y.shape[-2:]
    pixels = list(pixels or [(0, 0), (height // 2, width // 3), (height - 1, 1)])
    exact = brute_force(images_in_memory(formula), formula.physics, y, sigma, formula.patch_size, pixels)
    ours = torch.stack([formula(y, sigma)[:, :, row, col] for row, col in pixels], -1)
    return float((ours - exact).abs().max())
