"""What is estimated of the clean image x: the image itself, or any target t(x).

The minimizer of `E |phi(B y) - t(x)|^2` over local and equivariant phi is the softmax over patches with other values,

    t_hat[m] = sum_j w_j t_j,    t_j the target at the center of the training patch j,

for every map t that commutes with translations: an edge map, a segmentation mask, color from gray, the indicator
`1[x <= q]`, whose mean is the posterior distribution function.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lemmse.checks import check_batch, check_size
from lemmse.estimators.training_images import TrainingImages

Targets = Tensor | Callable[[Tensor], Tensor]

_PART = 1000  # images whose targets are made at once
_IN_FLIGHT = 1 << 25  # numbers in the targets of a block of images


def targets_of(images: Tensor, targets: Targets | None) -> Tensor:
    """The targets t, (N, K, H, W), of clean images: the images themselves, a tensor, or the values of a function.

    They have the dtype and the device of the images.

    Raises:
        ValueError: if they are not one finite image of the same height and width for each image.
    """
    if targets is None:
        return images
    if isinstance(targets, Tensor) or not callable(targets):
        return _checked(targets, images, "targets")
    return torch.cat([_checked(targets(part.clone()), part, "the values of targets") for part in images.split(_PART)])


class TrainingTargets:
    """The targets of a data set, in its order.

    Attributes:
        given: what was given: a tensor, a function, or None for the images themselves.
        shape: channels, height and width of a target.
        most: how many images' targets are held at once; None where they take no more memory than the images.
    """

    def __init__(self, targets: Targets | None, images: TrainingImages) -> None:
        """Look at the targets of the first batch; raises ValueError for those that are of other images, or of none."""
        self.given = targets
        if isinstance(targets, Tensor) and images.shuffled:
            raise ValueError(
                "targets must be a function where images is a DataLoader that shuffles: a tensor would be that of "
                "other images on every pass"
            )
        if isinstance(targets, Tensor):
            whole = images.given if isinstance(images.given, Tensor) else images.first
            own = targets if whole is images.given else targets[: len(whole)]
            example = targets_of(whole, own)
        else:
            example = targets_of(images.first[:1], targets)
        self.shape = (example.shape[1], *images.shape[1:])
        self.most = max(1, _IN_FLIGHT // example[0].numel()) if len(example[0]) > images.shape[0] else None

    @property
    def requires_grad(self) -> bool:
        """Whether gradients go to the targets: where they are a tensor that requires them."""
        return isinstance(self.given, Tensor) and self.given.requires_grad

    def __call__(self, block: Tensor, first: int) -> Tensor:
        """The targets (B, K, H, W) of a block of images, which are numbered from `first` on."""
        own = self.given[first : first + len(block)] if isinstance(self.given, Tensor) else self.given
        return targets_of(block, own)

    def check_count(self, count: int) -> None:
        """Raise ValueError if the targets are a tensor and not of `count` images."""
        if isinstance(self.given, Tensor) and len(self.given) != count:
            raise ValueError(f"targets must be one for each of the {count} images, got {len(self.given)}")


def _checked(values: Tensor, images: Tensor, name: str) -> Tensor:
    """Targets of these images in their dtype and on their device."""
    check_size(check_batch(values, name), name)
    if len(values) != len(images) or values.shape[2:] != images.shape[2:]:
        raise ValueError(
            f"targets must be (N, K, H, W) with N, H and W of the images {tuple(images.shape)}, "
            f"got {tuple(values.shape)}"
        )
    return values.to(images.device, images.dtype)
