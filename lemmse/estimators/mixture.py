"""What MMSE, E-MMSE and LE-MMSE share: each is a softmax over training images, their translations, or their patches.

One pass over the data set, in blocks, sums weights and values; the sums of several data sets merge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from lemmse.checks import check_batch, check_count, check_images, check_sigma, check_size
from lemmse.engines.registry import ENGINES, Task, choose_engine
from lemmse.engines.state import SoftmaxState
from lemmse.estimators.posterior import PartialSum, Posterior
from lemmse.physics.operators import Denoising, Physics
from lemmse.physics.preinverse import DiagonalPreInverse
from lemmse.physics.preinverse import pre_inverse as build_pre_inverse

_ROWS = 1 << 16  # query pixels in flight
_NUMBERS = 1 << 22  # features of queries times training images in flight
_SIGMA = (1e-12, 1e12)  # between them scale times distance stays in the range of float32


class MixtureEstimator(nn.Module):
    """What the three share: the data set, the pre-inverse, the choice of an engine, and one pass over the data.

    A subclass sets `family`, `_accumulate`, its method that merges a block of training images into a state, and
    `_layout`, the rows and channels of a state for one query, and has `_posterior`, which tells what a state says.
    """

    def __init__(
        self,
        images: Tensor | Iterable[Tensor],
        physics: Physics,
        *,
        pre_inverse: str = "identity",
        tikhonov_lambda: float = 1e-2,
        rtol: float = 1e-6,
        engine: str = "auto",
        chunk_size: int | None = None,
    ) -> None:
        super().__init__()
        self.images = images
        self.chunk_size = chunk_size if chunk_size is None else check_count(chunk_size, "chunk_size")
        first = check_size(self._first_batch(images), "images")
        self.shape, self.dtype, self.device = tuple(first.shape[1:]), first.dtype, first.device
        self.physics = physics
        self.pre_inverse_name = pre_inverse
        self.pre_inverse_options = {"pre_inverse": pre_inverse, "tikhonov_lambda": tikhonov_lambda, "rtol": rtol}
        self.pre_inverse = build_pre_inverse(
            physics, pre_inverse, self.shape[1:], tikhonov_lambda=tikhonov_lambda, rtol=rtol
        )
        probe = physics.A(first[:1])
        self.query_shape, self.query_dtype = tuple(probe.shape[1:]), probe.dtype
        z = check_batch(self.pre_inverse(probe), "B A x")
        self.z_channels = z.shape[1]
        # Whether B A x is x itself, for every x: a user's own map may leave one image alone and not the next.
        self._unchanged = isinstance(physics, Denoising) and z.data_ptr() == first.data_ptr()
        self._asked = engine

    def forward(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """The estimate `x_hat(y)`: measurements (Q, C, H, W) -> images (Q, C, H, W). See `posterior`."""
        return self.posterior(y, sigma).mean

    def posterior(self, y: Tensor, sigma: float | Tensor, top_k: int = 0) -> Posterior:
        """Posterior moments, log density, effective samples and the top-k sources of the measurements y.

        y: what `physics.measure` returns for images of the size of the data set, in its dtype, on its device. sigma:
        number, 0-d or (Q,) tensor, noise standard deviation. top_k: how many sources to keep for each pixel.
        Differentiable in y, sigma and images (a tensor), where they require a gradient, at the price of memory. Raises
        ValueError for anything else, and for sigma outside 1e-12 .. 1e12.
        """
        return self.finish(self.partial(y, sigma, top_k))

    def partial(self, y: Tensor, sigma: float | Tensor, top_k: int = 0) -> PartialSum:
        """The sums over the images of this estimator alone, to merge with those of other shards of a data set.

        Arguments as for `posterior`, which is `finish(partial(y, sigma, top_k))`.
        """
        check_count(top_k, "top_k", minimum=0)
        self._check_query(y)
        sigma = check_sigma(sigma, len(y), y).double()
        least, most = _SIGMA
        if bool((sigma < 0.99 * least).any()) or bool((sigma > 1.01 * most).any()):  # float32 rounds the limits
            raise ValueError(f"sigma must be between {least:g} and {most:g}, got {sigma.tolist()}")
        group = max(1, _ROWS // math.prod(self.shape[1:]))
        given = (y, sigma, self.images) if isinstance(self.images, Tensor) else (y, sigma)
        differentiable = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)
        engine = self._engine_for(differentiable)
        with torch.set_grad_enabled(differentiable):
            parts = [self._sum(q, s, top_k, engine) for q, s in zip(y.split(group), sigma.split(group), strict=True)]
        return PartialSum(SoftmaxState.stack([state for state, _ in parts]), parts[0][1], sigma)

    def finish(self, partial: PartialSum) -> Posterior:
        """What the sums over a whole data set say; any estimator of the same kind, physics and size can tell.

        Raises ValueError for sums of another layout.
        """
        layout = tuple(partial.state.s1.shape[1:])
        if layout != self._layout:
            raise ValueError(
                f"these are the sums of another estimator, over {layout[0]} pixels and {layout[1]} values, not "
                f"{self._layout[0]} and {self._layout[1]}: finish them by one of the same kind and size of image"
            )
        return self._posterior(partial)

    def _posterior(self, partial: PartialSum) -> Posterior:
        raise NotImplementedError

    def _choose_engine(self, names: Iterable[str]) -> None:
        """Settle which of the engines of a family runs, when the family is known."""
        self._engines = tuple(names)
        self.engine = choose_engine(self._engines, self._task(), self._asked)

    def _engine_for(self, differentiable: bool) -> str:
        """The engine; where it is automatic and a gradient is needed that it lacks, another that has it."""
        if not differentiable or ENGINES[self.engine].differentiable:
            return self.engine
        return choose_engine(self._engines, self._task(differentiable=True), self._asked)

    def _task(self, differentiable: bool = False) -> Task:
        """What an engine has to serve: channels of x and z, sides with what padding adds."""
        sides = getattr(self.family, "sides", self.shape[1:])
        shape = (max(self.shape[0], self.z_channels), *sides)
        return Task(shape, self.dtype, self.device, differentiable)

    def _sum(self, y: Tensor, sigma: Tensor, top_k: int, engine: str) -> tuple[SoftmaxState, int]:
        """One pass over the data set; returns the state and the number N of training images."""
        queries, (rows, channels) = self.family.features(self._query(y)), self._layout
        state = SoftmaxState.empty((len(y), rows), channels, top_k, self.device)
        scale = 1 / (2 * sigma.square())
        held = queries[0].numel() if ENGINES[engine].streams else queries.numel()
        whole = self._unchanged and ENGINES[engine].in_place  # nothing is made of a batch: no need to split it
        chunk = self.chunk_size or (None if whole else max(1, _NUMBERS // max(1, held)))
        first = 0
        for batch in self._batches():
            for block in batch.split(chunk or len(batch)):
                z = block if self._unchanged else self._signal(block)
                state = self._accumulate(state, queries, z, block, scale, first, engine)
                first += len(block)
        if first == 0:
            raise ValueError("images must be re-iterable, but this time the iterable yields no batch")
        return state, first

    def _signal(self, block: Tensor) -> Tensor:
        """`B A x`, in float64 where B may amplify; raises ValueError where the physics leaves what can be computed."""
        return check_size(self.pre_inverse.signal(block.double() if self._wide else block), "B A x")

    @property
    def _wide(self) -> bool:
        """Whether `B A x` is to be computed in float64: where B may amplify. A user's own map keeps its dtype."""
        return not isinstance(self.pre_inverse, DiagonalPreInverse)

    def _query(self, y: Tensor) -> Tensor:
        """`z = B y`, in float64 where B may amplify."""
        return self.pre_inverse(y.to(torch.complex128 if y.is_complex() else torch.float64) if self._wide else y)

    def _first_batch(self, images: Tensor | Iterable[Tensor]) -> Tensor:
        if isinstance(images, Tensor):
            return check_images(images)
        if not isinstance(images, Iterable) or isinstance(images, Iterator):
            raise ValueError(
                f"images must be a tensor or a re-iterable of batches (as a DataLoader), got {type(images).__name__}"
            )
        first = next(iter(images), None)
        if first is None:
            raise ValueError("images must not be empty, but the iterable yields no batch")
        return check_images(first)

    def _batches(self) -> Iterator[Tensor]:
        if isinstance(self.images, Tensor):
            yield self.images
            return
        for batch in self.images:
            check_batch(batch, "images")
            if (tuple(batch.shape[1:]), batch.dtype, batch.device) != (self.shape, self.dtype, self.device):
                raise ValueError(
                    f"every batch of images must be {self.shape}, {self.dtype}, on {self.device}, "
                    f"got {tuple(batch.shape[1:])}, {batch.dtype}, on {batch.device}"
                )
            yield check_size(batch, "images")

    def _check_query(self, y: Tensor) -> None:
        if not isinstance(y, Tensor):
            raise ValueError(f"y must be a torch tensor, got {type(y).__name__}")
        if y.dtype != self.query_dtype:
            raise ValueError(f"y must be {self.query_dtype}, as measured from images in {self.dtype}, got {y.dtype}")
        if y.device != self.device:
            raise ValueError(f"y must be on {self.device}, where the images are, got {y.device}")
        if y.ndim != len(self.query_shape) + 1 or tuple(y.shape[1:]) != self.query_shape or len(y) == 0:
            raise ValueError(
                f"y must be of shape (Q, {', '.join(map(str, self.query_shape))}), Q >= 1, got {tuple(y.shape)}"
            )
        check_size(torch.view_as_real(y) if y.is_complex() else y, "y")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        raise ValueError("an estimator stays where its images are: build a new one from images.to(device, dtype)")

    def __repr__(self) -> str:
        count = len(self.images) if isinstance(self.images, Tensor) else "a stream of"
        patch = f", patch_size={self.patch_size}" if hasattr(self, "patch_size") else ""
        return (
            f"{type(self).__name__}({count} images of {' x '.join(map(str, self.shape))}, "
            f"{type(self.physics).__name__}, pre_inverse={self.pre_inverse_name!r}{patch}, {self.dtype} on "
            f"{self.device}, engine={self.engine!r})"
        )
