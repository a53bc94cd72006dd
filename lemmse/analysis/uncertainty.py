"""Standard errors of means over images that are not independent, because several were cut from one photograph."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lemmse.checks import check_count


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
