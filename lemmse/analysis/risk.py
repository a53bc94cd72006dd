"""The risk of a solver on the training distribution, and how it splits at the optimum:

    E |f - x|^2 = E |f - LE|^2 + E |LE - x|^2        for every f that is local and commutes with translations,

with LE the LE-MMSE estimate for the same measurement. The rest, `E 2 (f - LE)(LE - x)`, is zero for such f only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lemmse.analysis.experiment import trainings
from lemmse.checks import check_choice, check_count, check_images
from lemmse.estimators.lemmse import LocalEquivariantMMSE
from lemmse.networks.architectures import ARCHITECTURES, Solver
from lemmse.networks.training import train
from lemmse.physics.operators import Physics

if TYPE_CHECKING:
    import pandas as pd


class Split(NamedTuple):
    """Means over images of squared differences per pixel and channel; `error` is the standard error of `rest`.

    risk: |f - x|^2. distance: |f - LE|^2. floor: |LE - x|^2. rest: risk - distance - floor.
    """

    risk: float
    distance: float
    floor: float
    rest: float
    error: float


def training_draws(
    images: Tensor, physics: Physics, count: int, *, sigma_min: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """x (Q, C, H, W), y = A x + sigma e, and sigma (Q,), Q = count, drawn as training draws them.

    x is one of the images, each equally often as far as count allows; sigma ~ U(sigma_min, 1), in equal strata, which
    changes no mean and makes it more precise. Raises ValueError for bad input.
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
    """The risk of `estimate` = f(y), split at `optimum` = LE(y); all (Q, C, H, W), Q >= 2 independent draws.

    Computed in float64. Raises ValueError for other shapes.
    """
    if not estimate.shape == optimum.shape == truth.shape or truth.ndim != 4 or len(truth) < 2:
        shapes = ", ".join(str(tuple(t.shape)) for t in (estimate, optimum, truth))
        raise ValueError(f"split_risk needs three (Q, C, H, W) batches of one shape, Q >= 2, got {shapes}")
    f, le, x = (t.double() for t in (estimate, optimum, truth))
    risk, distance, floor = ((a - b).square().mean((1, 2, 3)) for a, b in ((f, x), (f, le), (le, x)))
    rest = risk - distance - floor
    error = rest.std() / math.sqrt(len(rest))
    return Split(*(float(v) for v in (risk.mean(), distance.mean(), floor.mean(), rest.mean(), error)))


@torch.no_grad()
def split_risks(
    estimators: dict[str, Callable[[Tensor, Tensor], Tensor]],
    optimum: str,
    images: Tensor,
    physics: Physics,
    draws: int,
    *,
    sigma_min: float,
    generator: torch.Generator,
    batch_size: int = 16,
) -> pd.DataFrame:
    """The `Split` of each estimator, a row each, over the same `draws` of the training distribution, with B = I.

    optimum: which of the estimators is LE. Raises ValueError if none is.
    """
    import pandas as pd
    from tqdm import tqdm

    check_choice(optimum, estimators, "estimator")
    x, y, sigma = training_draws(images, physics, draws, sigma_min=sigma_min, generator=generator)
    found: dict[str, list[Tensor]] = {name: [] for name in estimators}
    batches = list(zip(y.split(batch_size), sigma.split(batch_size), strict=True))
    for noisy, level in tqdm(batches, desc=f"risk over {draws} draws"):
        for name, estimate in estimators.items():
            found[name].append(estimate(noisy, level))
    maps = {name: torch.cat(parts) for name, parts in found.items()}
    return pd.DataFrame({name: split_risk(f, maps[optimum], x)._asdict() for name, f in maps.items()}).T


def error_correlation(pairs: pd.DataFrame, networks: Iterable[str], reference: str, by: list[str]) -> pd.Series:
    """Correlation of `f - reference` between two networks, mean over their pairs, for each of `by`: 0 if independent.

    pairs: what `evaluate.compare` returns. From `|f - g|^2 = |f - r|^2 + |g - r|^2 - 2 <f - r, g - r>`.
    """
    mse = pairs.groupby(["one", "other", *by]).mse.mean()
    found = []
    for f, g in combinations(networks, 2):
        from_f, from_g = mse[f, reference], mse[g, reference]
        found.append((from_f + from_g - mse[f, g]) / (2 * (from_f * from_g) ** 0.5))
    return sum(found) / len(found)


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
    """The networks of `trainings` on their way, as (name, steps done, network), one training after the other.

    Training goes on from checkpoint to checkpoint, and the learning rate decays to zero before each. training: what
    `train` takes besides. Shows progress.
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
    """The split of the risk at each checkpoint of `trainings`: columns network, steps, and those of `Split`.

    All risks are over the same `draws` draws of the training distribution. training: what `training_checkpoints` takes
    besides. Needs B = I and images in memory.
    """
    import pandas as pd

    images, physics = optimum.images, optimum.physics
    generator = torch.Generator().manual_seed(seed)
    x, y, sigma = training_draws(images, physics, draws, sigma_min=sigma_min, generator=generator)
    best = optimum(y, sigma)
    options = {**training, "patch_size": optimum.patch_size, "sigma_min": sigma_min, "seed": seed}
    rows = [
        {"network": name, "steps": steps, **split_risk(net(y, sigma), best, x)._asdict()}
        for name, steps, net in training_checkpoints(architectures, images, physics, checkpoints, **options)
    ]
    return pd.DataFrame(rows)
