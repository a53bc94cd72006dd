"""A floor and a ceiling for the least risk of all local and equivariant maps, from the training set alone.

With N images drawn independently, `R_N` the risk of LE-MMSE on these images, `R_LOO` its risk where each image is left
out of its own query, and R* the least risk on the population of any map that commutes with translations and sees P x P
pixels,

    E R_N <= R* <= E R_LOO.

R_N is the minimum of the empirical risk, which is on average below the minimum of its mean; the map without the image
is one of those that R* is the least of. So no network of receptive field P has, on average, a test risk below R_N.
`argmin_P R_LOO(P)` chooses a receptive field without test images and without a training.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lemmse.analysis.evaluate import squared_distances
from lemmse.analysis.uncertainty import means_by_group
from lemmse.checks import check_count, check_generator, check_images
from lemmse.estimators.lemmse import LocalEquivariantMMSE
from lemmse.estimators.posterior import PartialSum
from lemmse.physics.base import Physics
from lemmse.physics.operators import Denoising

if TYPE_CHECKING:
    import pandas as pd

RISKS = ("floor", "ceiling")
CELL = ["count", "patch_size", "sigma"]  # columns that name one pair (N, P) at one noise level
_SAME = 1e-12  # squared error: two risks that differ by less are equal


def risks_with_and_without(
    images: Tensor,
    patch_size: int,
    sigmas: Iterable[float],
    *,
    queries: int,
    generator: torch.Generator,
    groups: Sequence[Hashable] | None = None,
    physics: Physics | None = None,
) -> pd.DataFrame:
    """The squared error of LE-MMSE on random training images, with the image in the data set and without it.

    Args:
        images: the data set (N, C, H, W), at least two images.
        patch_size: P, odd.
        sigmas: noise levels.
        queries: how many images to draw, without repetition, at most N. They are the same at each sigma.
        generator: source of the draws and of the noise, on the CPU.
        groups: what each image was cut from. Then all images of that group are left out together: two crops of one
            photograph are not independent, and the crop that is left would know much of the one that is left out.
        physics: the operator A, Denoising without one.

    Returns:
        One row for each query and sigma, with the columns count (N), patch_size, sigma, image, group, floor (its
        squared error per pixel and channel, the image in the data set) and ceiling (the image, or its group, left out).

    Raises:
        ValueError: for bad input, and where nothing would be left.

    Example:
        >>> import torch
        >>> x = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> generator = torch.Generator().manual_seed(1)
        >>> frame = risks_with_and_without(x, 3, [0.2], queries=10, generator=generator)
        >>> bool(frame["floor"].mean() < frame["ceiling"].mean())
        True
    """
    import pandas as pd

    check_images(images)
    check_generator(generator, optional=False)
    count = len(images)
    check_count(queries, "queries", maximum=count)
    labels: list[Hashable] = list(range(count)) if groups is None else list(groups)
    if len(labels) != count:
        raise ValueError(f"groups must name each of the {count} images, got {len(labels)} names")
    if len(set(labels)) < 2:
        raise ValueError("images must be of at least two groups, or nothing is left where one is left out")
    operator = physics or Denoising()
    drawn = torch.randperm(count, generator=generator, dtype=torch.int64, device="cpu")[:queries]
    x, own = images[drawn.to(images.device)], [labels[i] for i in drawn.tolist()]
    formula = LocalEquivariantMMSE(images, operator, patch_size=patch_size)
    estimates = _with_and_without(formula, images, labels, drawn)
    frames = []
    for sigma in sigmas:
        y = operator.measure(x, sigma, generator=generator)
        about = {"count": count, "patch_size": patch_size, "sigma": sigma, "image": drawn.tolist(), "group": own}
        risks = {
            name: squared_distances(estimate, x).cpu()
            for name, estimate in zip(RISKS, estimates(y, sigma), strict=True)
        }
        frames.append(pd.DataFrame({**about, **risks}))
    return pd.concat(frames, ignore_index=True)


def _with_and_without(
    formula: LocalEquivariantMMSE, images: Tensor, labels: list[Hashable], drawn: Tensor
) -> Callable[[Tensor, float], tuple[Tensor, Tensor]]:
    """A map of measurements of the images `drawn` to their estimates, with the group of each and without it.

    The sums over the others and those over the group itself merge to the sums over all: no pair is computed twice.
    """
    if len(set(labels)) == len(labels):
        alone = [formula.rebuilt(images[i : i + 1]) for i in drawn.tolist()]

        def of_images(y: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
            others = formula.partial(y, sigma, exclude=drawn.to(y.device))
            own = PartialSum.stack([one.partial(y[n : n + 1], sigma) for n, one in enumerate(alone)])
            return formula.finish(others.merge(own)).mean, formula.finish(others).mean

        return of_images
    labels_drawn = [labels[i] for i in drawn.tolist()]
    parts = []
    for group in dict.fromkeys(labels_drawn):
        inside, mine = (
            torch.tensor([label == group for label in names], dtype=torch.bool, device=images.device)
            for names in (labels, labels_drawn)
        )
        parts.append((mine, formula.rebuilt(images[~inside]), formula.rebuilt(images[inside])))

    def of_groups(y: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        with_it, without_it = torch.empty(2, len(y), *formula.target_shape, dtype=formula.dtype, device=y.device)
        for mine, rest, group in parts:
            others = rest.partial(y[mine], sigma)
            with_it[mine] = formula.finish(others.merge(group.partial(y[mine], sigma))).mean
            without_it[mine] = formula.finish(others).mean
        return with_it, without_it

    return of_groups


def floor_and_ceiling(frame: pd.DataFrame, *, generator: torch.Generator) -> pd.DataFrame:
    """R_N and R_LOO with their standard errors, for each pair (N, P) and noise level.

    Args:
        frame: of `risks_with_and_without`, one or several.
        generator: source of the resampling, on the CPU: of groups, then of the images in them.

    Returns:
        One row for each count, patch_size and sigma, with the columns floor, floor_error, ceiling and ceiling_error.
    """
    parts = []
    for risk in RISKS:
        means = means_by_group(frame, risk, CELL, generator=generator)
        parts.append(means.rename(columns={"mean": risk, "error": f"{risk}_error"}).set_index(CELL))
    return parts[0].join(parts[1]).reset_index()


def risk_map(
    images: Tensor,
    test: Tensor,
    counts: Iterable[int],
    patch_sizes: Iterable[int],
    sigmas: Sequence[float],
    *,
    queries: int,
    seed: int,
    groups: Sequence[Hashable] | None = None,
    test_groups: Sequence[Hashable] | None = None,
) -> pd.DataFrame:
    """R_N, R_LOO and the risk on test images over data set sizes and patch sizes, for denoising; shows a progress bar.

    Args:
        images: the largest data set; the others are its first N images.
        test: images of the same population.
        counts: N, each at least 2.
        patch_sizes: P, odd.
        sigmas: noise levels.
        queries: how many training images to draw in each cell, at most N of it.
        seed: of draws, noise and resampling; each cell starts anew with it, so that cells share their noise.
        groups: what each training image was cut from, see `risks_with_and_without`.
        test_groups: what each test image was cut from.

    Returns:
        One row for each count, patch_size and sigma, with the columns of `floor_and_ceiling`, test and test_error.
    """
    import pandas as pd
    from tqdm import tqdm

    cells = [(n, p) for n in counts for p in patch_sizes]
    within, fresh = [], []
    for n, p in tqdm(cells, desc="pairs (N, P)"):
        own = None if groups is None else list(groups)[:n]
        generator = torch.Generator().manual_seed(seed)
        within.append(
            risks_with_and_without(images[:n], p, sigmas, queries=min(queries, n), generator=generator, groups=own)
        )
        formula = LocalEquivariantMMSE(images[:n], Denoising(), patch_size=p)
        generator = torch.Generator().manual_seed(seed + 1)
        for sigma in sigmas:
            y = formula.physics.measure(test, sigma, generator=generator)
            about = {"count": n, "patch_size": p, "sigma": sigma, "group": test_groups or range(len(test))}
            fresh.append(pd.DataFrame({**about, "test": squared_distances(formula(y, sigma), test).cpu()}))
    resampling = torch.Generator().manual_seed(seed)
    table = floor_and_ceiling(pd.concat(within, ignore_index=True), generator=resampling)
    on_test = means_by_group(pd.concat(fresh, ignore_index=True), "test", CELL, generator=resampling)
    return table.merge(on_test.rename(columns={"mean": "test", "error": "test_error"}), on=CELL)


def chosen_patch_sizes(table: pd.DataFrame, risk: str = "ceiling") -> pd.DataFrame:
    """The patch size of the least risk, for each N and noise level; the smaller one of two that are equal.

    Args:
        table: with the columns of `CELL` and the column `risk`.
        risk: the name of the column: "ceiling" needs no test images.

    Returns:
        One row for each count and sigma, with the column chosen.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"count": 10, "sigma": 0.2, "patch_size": [3, 5, 7], "ceiling": [0.3, 0.1, 0.1]})
        >>> chosen_patch_sizes(table)["chosen"].tolist()
        [5]
    """
    import pandas as pd

    rows = []
    for (count, sigma), part in table.groupby(["count", "sigma"], sort=False):
        near = part[part[risk] <= part[risk].min() + _SAME]
        rows.append({"count": count, "sigma": sigma, "chosen": int(near["patch_size"].min())})
    return pd.DataFrame(rows)
