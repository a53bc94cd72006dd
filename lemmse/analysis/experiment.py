"""The set-up of an experiment: images, networks that were trained on them, and the formula that predicts them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from lemmse.checks import check_count
from lemmse.data.sets import load_images
from lemmse.estimators.lemmse import LocalEquivariantMMSE
from lemmse.networks.architectures import Solver
from lemmse.networks.weights import trained
from lemmse.physics.base import Physics


def evaluation_images(images: Tensor, data: str, count: int) -> dict[str, Tensor]:
    """The first `count` training images, and as many test images of the same set.

    Args:
        images: (N, C, H, W), square, of `load_images(data, ...)`.
        data: the name of the set, or a path.
        count: how many of each.

    Returns:
        {"training": (count, C, H, W), "test": (count, C, H, W)}.

    Raises:
        ValueError: if there are not so many.
    """
    if check_count(count, "count") > len(images):
        raise ValueError(f"count must be at most the number of training images, {len(images)}, got {count}")
    test = load_images(data, split="test", count=count, size=images.shape[-1], channels=images.shape[1])
    return {"training": images[:count], "test": test.to(images)}


def other_images(images: Tensor, data: str) -> Tensor | None:
    """As many more training images of a set, none of which is among the first.

    Args:
        images: (N, C, H, W), square, the first training images of `load_images(data, ...)`.
        data: the name of the set, or a path.

    Returns:
        The next N images, of the same shape, or None if the set has fewer.
    """
    count, channels, _, size = images.shape
    try:
        twice = load_images(data, count=2 * count, size=size, channels=channels)
    except ValueError:  # the first N could be loaded: there are fewer than 2 N
        return None
    return twice[count:].to(images)


def trainings(architectures: Iterable[str], repeats: int, seed: int) -> dict[str, tuple[str, int]]:
    """The trainings of an experiment, by name, as (architecture, seed): one of each architecture with `seed`.

    The last architecture is trained `repeats` times more: "PatchMLP 2" with seed + 1, and so on. Without architectures
    there are no trainings.
    """
    chosen = {name: (name, seed) for name in architectures}
    last = list(chosen)[-1:]
    return chosen | {f"{name} {turn + 1}": (name, seed + turn) for name in last for turn in range(1, repeats + 1)}


@dataclass(frozen=True)
class Training:
    """How the networks of an analysis are trained: one record, so that chapters share networks that are trained alike.

    Attributes:
        steps: gradient steps.
        batch_size: images a step.
        lr: learning rate at its highest.
        sigma_min: noise levels are uniform in (sigma_min, 1), in units of the image range.
        size: of the networks, "tiny", "small", "medium" or "paper".
        weighting: of the loss over sigma, see `networks.training.train`; it moves no minimizer.
        seed: of the first weights and of the training.

    Example:
        >>> import torch
        >>> from lemmse import Denoising
        >>> training = Training(steps=2, batch_size=1, lr=1e-3)
        >>> images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> list(training.networks(["UNet", "PatchMLP"], images, Denoising(), patch_size=3, repeats=1, progress=False))
        ['UNet', 'PatchMLP', 'PatchMLP 2']
    """

    steps: int
    batch_size: int
    lr: float
    sigma_min: float = 0.01
    size: str = "small"
    weighting: str = "inverse_error"
    seed: int = 0

    def network(
        self, architecture: str, images: Tensor, physics: Physics, *, patch_size: int, progress: bool = True, **B: Any
    ) -> Solver:
        """One trained network, from the weights that come with the project or from the cache where they hold it.

        Args:
            architecture: "UNet", "ResNet" or "PatchMLP".
            images: (N, C, H, W), the training images.
            physics: the operator A.
            patch_size: P, odd, the receptive field.
            progress: whether a training shows a bar.
            **B: the pre-inverse, `pre_inverse` and `tikhonov_lambda`.

        Raises:
            ValueError: as `networks.weights.trained` does.
        """
        return trained(architecture, images, physics, patch_size=patch_size, progress=progress, **asdict(self), **B)

    def networks(
        self,
        architectures: Iterable[str],
        images: Tensor,
        physics: Physics,
        *,
        patch_size: int,
        repeats: int = 0,
        progress: bool = True,
        **B: Any,
    ) -> dict[str, Solver]:
        """One network of each architecture, and `repeats` more of the last one, by name as in `trainings`.

        The repeats differ in their seed: "PatchMLP 2" has the seed of this record plus 1, and so on. The other
        arguments are those of `network`.
        """
        return {
            name: replace(self, seed=own_seed).network(
                architecture, images, physics, patch_size=patch_size, progress=progress, **B
            )
            for name, (architecture, own_seed) in trainings(architectures, repeats, self.seed).items()
        }


def experiment(
    images: Tensor,
    physics: Physics,
    architectures: Iterable[str],
    *,
    patch_size: int,
    seed: int,
    repeats: int = 0,
    **training: Any,
) -> tuple[LocalEquivariantMMSE, dict[str, Solver]]:
    """The formula and the trained networks, named as by `trainings`, that share images, operator and receptive field.

    Args:
        images: (N, C, H, W), the training images.
        physics: the operator A.
        architectures: which networks to train.
        patch_size: P, odd, the receptive field.
        seed: of weights, order of the images, and noise.
        repeats: how many more trainings of the last architecture.
        training: what `weights.trained` takes besides. Networks come from its cache where they can.

    Returns:
        The LE-MMSE estimator, and the networks by name.

    Raises:
        ValueError: as `weights.trained` does.
    """
    B = {name: training[name] for name in ("pre_inverse", "tikhonov_lambda") if name in training}
    formula = LocalEquivariantMMSE(images, physics, patch_size=patch_size, **B)
    nets = {
        name: trained(architecture, images, physics, patch_size=patch_size, seed=own_seed, **training)
        for name, (architecture, own_seed) in trainings(architectures, repeats, seed).items()
    }
    return formula, nets
