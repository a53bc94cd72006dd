"""Standard errors: of means over images that are not independent, because several were cut from one photograph, and of
statistics that are no means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lemmse.checks import check_count

if TYPE_CHECKING:
    import pandas as pd


def bootstrap_by_group(
    values: Tensor, groups: Sequence[object], generator: torch.Generator, draws: int = 1000
) -> Tensor:
    """Means of `values` over resampled data: groups are drawn with replacement, then members of each drawn group.

    The standard deviation over the draws is the standard error of the mean, with the dependence within groups in it.
    Where every value is a group of its own this is the ordinary bootstrap.

    Args:
        values: (n, ...), one row for each image.
        groups: n labels, for instance the photograph of each crop.
        generator: source of the draws, on the CPU.
        draws: how many.

    Returns:
        (draws, ...) float64, the mean over each draw. All columns of `values` share the draws.

    Raises:
        ValueError: if there is no value, or not one label for each.

    Example:
        >>> values = torch.tensor([1.0, 1.0, 3.0])
        >>> means = bootstrap_by_group(values, ["a", "a", "b"], torch.Generator().manual_seed(0), draws=500)
        >>> bool(means.std() > 0.5)
        True
    """
    check_count(draws, "draws")
    if len(values) == 0 or len(values) != len(groups):
        raise ValueError(f"bootstrap_by_group needs one group for each value, got {len(groups)} for {len(values)}")
    members: dict[object, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    sizes = torch.tensor([len(indices) for indices in members.values()], dtype=torch.int64, device="cpu")
    largest = int(sizes.max())
    padded = [indices + [0] * (largest - len(indices)) for indices in members.values()]
    table = torch.tensor(padded, dtype=torch.int64, device="cpu")  # (groups, largest)
    drawn = torch.randint(len(sizes), (draws, len(sizes)), generator=generator, dtype=torch.int64, device="cpu")
    uniform = torch.rand(draws, len(sizes), largest, generator=generator, dtype=torch.float64, device="cpu")
    within = (uniform * sizes[drawn][..., None]).long()
    chosen = table[drawn[..., None], within]  # (draws, groups, largest) numbers of images
    counted = (torch.arange(largest, dtype=torch.int64, device="cpu") < sizes[drawn][..., None]).double()
    weights = torch.zeros(draws, len(values), dtype=torch.float64, device="cpu")
    weights.scatter_add_(1, chosen.flatten(1), counted.flatten(1))
    weights /= weights.sum(1, keepdim=True)
    return (weights @ values.double().cpu().reshape(len(values), -1)).reshape(draws, *values.shape[1:])


def means_by_group(
    frame: pd.DataFrame, value: str, by: list[str], *, generator: torch.Generator, draws: int = 1000
) -> pd.DataFrame:
    """The mean of a column over images, and its standard error, for each combination of the columns `by`.

    Args:
        frame: one row for each image, with a column group, what the image was cut from.
        value: the name of the column.
        by: names of columns.
        generator: source of the resampling, on the CPU.
        draws: how often images are resampled, by groups.

    Returns:
        One row for each combination, with the columns of `by`, mean and error.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"sigma": 0.1, "group": [0, 0, 1], "psnr": [20.0, 21.0, 25.0]})
        >>> means_by_group(frame, "psnr", ["sigma"], generator=torch.Generator().manual_seed(0))["mean"].tolist()
        [22.0]
    """
    import pandas as pd

    rows = []
    for key, part in frame.groupby(by, sort=False):
        values = torch.tensor(part[value].to_numpy().copy(), dtype=torch.float64, device="cpu")
        drawn = bootstrap_by_group(values, part["group"].to_list(), generator, draws)
        rows.append({**dict(zip(by, key, strict=True)), "mean": float(values.mean()), "error": float(drawn.std())})
    return pd.DataFrame(rows)


def jackknife(statistic: Callable[..., float], *values: Tensor, axes: Sequence[int]) -> tuple[float, float]:
    """A statistic and its standard error, from leaving out one entry at a time.

    The entries along an axis, such as images or trainings, are independent of one another. The variances of several
    axes add up, which counts the part that depends on both twice: the error is rather too large than too small.

    Args:
        statistic: a number that all values give together.
        values: tensors of the same size along each of the axes.
        axes: those whose entries are left out in turn; an axis of one entry says nothing and is passed over.

    Returns:
        The statistic of all values, and its standard error.

    Example:
        >>> mean, error = jackknife(lambda x: float(x.mean()), torch.tensor([1.0, 2.0, 3.0]), axes=(0,))
        >>> round(mean, 3), round(error, 3)
        (2.0, 0.577)
    """
    variance = 0.0
    for axis in axes:
        count = values[0].shape[axis]
        if count == 1:
            continue
        without = [[entry for entry in range(count) if entry != left_out] for left_out in range(count)]
        found = [statistic(*(each.movedim(axis, 0)[kept].movedim(0, axis) for each in values)) for kept in without]
        variance += (count - 1) * float(torch.tensor(found, dtype=torch.float64, device="cpu").var(correction=0))
    return statistic(*values), variance**0.5
