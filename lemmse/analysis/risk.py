"""The risk of a denoiser on the training distribution, and how it splits at LE-MMSE.

With LE the LE-MMSE estimate for the same measurement,

    E |f - x|^2 = E |f - LE|^2 + E |LE - x|^2        for every f that is local and commutes with translations.

LE is the orthogonal projection of x on these maps, so this holds whether f was trained well, badly or not at all. It is
a check of code, training and sampling, and no evidence that networks are near the formula. The rest, `E 2 (f - LE)(LE -
x)`, does not vanish for maps that are not local or not equivariant.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lemmse.analysis.evaluate import images_in_memory
from lemmse.analysis.experiment import trainings
from lemmse.checks import check_count, check_images
from lemmse.estimators.lemmse import LocalEquivariantMMSE
from lemmse.networks.architectures import ARCHITECTURES, Solver
from lemmse.networks.training import train
from lemmse.physics.base import Physics

if TYPE_CHECKING:
    import pandas as pd


class Split(NamedTuple):
    """Means over images of squared differences per pixel and channel.

    Attributes:
        risk: |f - x|^2.
        distance: |f - LE|^2.
        floor: |LE - x|^2.
        rest: risk - distance - floor.
        error: the standard error of `rest`.
    """

    risk: float
    distance: float
    floor: float
    rest: float
    error: float


def training_draws(
    images: Tensor, physics: Physics, count: int, *, sigma_min: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Images, measurements and noise levels as training draws them, Q = count of each.

    Each image is drawn equally often as far as the count allows. The noise levels are uniform in (sigma_min, 1), one in
    each of Q equal strata, which changes no mean and makes it more precise.

    Args:
        images: the training images (N, C, H, W).
        physics: the operator A.
        count: how many draws.
        sigma_min: the lower end of the noise levels, in [0, 1).
        generator: source of the draws.

    Returns:
        x (Q, C, H, W), y = A x + sigma e, and sigma (Q,).

    Raises:
        ValueError: for bad input.
    """
    check_images(images)
    check_count(count, "count")
    if not 0 <= sigma_min < 1:
        raise ValueError(f"sigma_min must be in [0, 1), got {sigma_min!r}")
    device = generator.device
    rounds = [
        torch.randperm(len(images), generator=generator, dtype=torch.int64, device=device)
        for _ in range(math.ceil(count / len(images)))
    ]
    x = images[torch.cat(rounds)[:count].to(images.device)]
    order = torch.randperm(count, generator=generator, dtype=torch.int64, device=device)
    strata = (order + torch.rand(count, generator=generator, dtype=torch.float32, device=device)) / count
    sigma = (sigma_min + (1 - sigma_min) * strata).to(images.device, images.dtype)
    return x, physics.measure(x, sigma, generator=generator), sigma


def split_risk(estimate: Tensor, optimum: Tensor, truth: Tensor) -> Split:
    """The risk of an estimate, split at LE-MMSE, in float64.

    Args:
        estimate: f(y), (Q, C, H, W), of at least two independent draws.
        optimum: LE(y), of the same shape.
        truth: x, of the same shape.

    Returns:
        Means over the draws, and the standard error of the rest.

    Raises:
        ValueError: for other shapes.

    Example:
        >>> x = torch.zeros(2, 1, 4, 4)
        >>> split_risk(x + 2, x + 1, x).rest
        2.0
    """
    if not estimate.shape == optimum.shape == truth.shape or truth.ndim != 4 or len(truth) < 2:
        shapes = ", ".join(str(tuple(t.shape)) for t in (estimate, optimum, truth))
        raise ValueError(f"split_risk needs three (Q, C, H, W) batches of one shape, Q >= 2, got {shapes}")
    f, le, x = (t.double() for t in (estimate, optimum, truth))
    risk, distance, floor = ((a - b).square().mean((1, 2, 3)) for a, b in ((f, x), (f, le), (le, x)))
    rest = risk - distance - floor
    error = rest.std() / math.sqrt(len(rest))
    return Split(*(float(v) for v in (risk.mean(), distance.mean(), floor.mean(), rest.mean(), error)))


def error_correlation(pairs: pd.DataFrame, networks: Iterable[str], reference: str, by: list[str]) -> pd.Series:
    """How much the deviations of networks from a reference r have in common.

    For two networks f and g it is the correlation of `f - r` and `g - r`, which the three distances determine:
    `|f - g|^2 = |f - r|^2 + |g - r|^2 - 2 <f - r, g - r>`.

    Args:
        pairs: of `evaluate.compare`.
        networks: the names of the networks, at least two.
        reference: the name of r.
        by: columns of `pairs`; there is one correlation for each combination of their values.

    Returns:
        The mean over the pairs of networks: 0 if deviations have nothing to do with each other, 1 if they are the same
        up to a factor.
    """
    mse = pairs.groupby(["one", "other", *by]).mse.mean()
    correlations = []
    for f, g in combinations(networks, 2):
        from_f, from_g = mse[f, reference], mse[g, reference]
        correlations.append((from_f + from_g - mse[f, g]) / (2 * (from_f * from_g) ** 0.5))
    return sum(correlations) / len(correlations)


def training_checkpoints(
    architectures: Iterable[str],
    images: Tensor,
    physics: Physics,
    checkpoints: Iterable[int],
    *,
    patch_size: int,
    size: str,
    seed: int,
    repeats: int = 0,
    **training: Any,
) -> Iterator[tuple[str, int, Solver]]:
    """The networks of `trainings` on their way, one training after the other; shows a progress bar.

    Training goes on from checkpoint to checkpoint, and the learning rate decays to zero before each of them.

    Args:
        architectures: which networks to train.
        images: the training images (N, C, H, W).
        physics: the operator A.
        checkpoints: steps after which to look, growing.
        patch_size: P, odd, the receptive field.
        size: of the networks.
        seed: of the first training of each architecture.
        repeats: how many more trainings of the last architecture.
        **training: what `train` takes besides.

    Yields:
        (name, steps done, network).
    """
    from tqdm import tqdm

    marks, runs = [0, *checkpoints], trainings(architectures, repeats, seed)
    with tqdm(total=len(runs) * marks[-1], unit="step") as bar:
        for name, (architecture, own_seed) in runs.items():
            bar.set_description(name)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(own_seed)
                net = ARCHITECTURES[architecture](images.shape[1], patch_size, size)
            source = torch.Generator(images.device).manual_seed(own_seed)
            for before, after in pairwise(marks):
                net = train(net, images, physics, steps=after - before, generator=source, progress=False, **training)
                bar.update(after - before)
                yield name, after, net


def training_path(
    architectures: Iterable[str],
    optimum: LocalEquivariantMMSE,
    checkpoints: Iterable[int],
    *,
    draws: int,
    sigma_min: float,
    seed: int,
    **training: Any,
) -> pd.DataFrame:
    """The split of the risk at each checkpoint of `trainings`, over the same draws of the training distribution.

    Args:
        architectures: which networks to train.
        optimum: LE-MMSE with B = I, its images in memory.
        checkpoints: steps after which to look, growing.
        draws: how many draws of image, noise level and noise.
        sigma_min: the lower end of the noise levels.
        seed: of the draws and of the trainings.
        **training: what `training_checkpoints` takes besides.

    Returns:
        One row for each network and checkpoint, with the columns network, steps, and those of `Split`.
    """
    import pandas as pd

    images, physics = images_in_memory(optimum), optimum.physics
    generator = torch.Generator().manual_seed(seed)
    x, y, sigma = training_draws(images, physics, draws, sigma_min=sigma_min, generator=generator)
    best = optimum(y, sigma)
    options = {**training, "patch_size": optimum.patch_size, "sigma_min": sigma_min, "seed": seed}
    rows = [
        {"network": name, "steps": steps, **split_risk(net(y, sigma), best, x)._asdict()}
        for name, steps, net in training_checkpoints(architectures, images, physics, checkpoints, **options)
    ]
    return pd.DataFrame(rows)
