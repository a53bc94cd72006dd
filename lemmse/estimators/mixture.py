"""What MMSE, E-MMSE and LE-MMSE share: each is a softmax over training images, their translations, or their patches.

One pass over the data set, in blocks, sums weights and values; the sums of several data sets merge. What is compared is
up to the `Features` of the estimator, how it is summed up to the engine that serves them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, Self

import torch
from torch import Tensor, nn

from lemmse.checks import (
    check_batch,
    check_count,
    check_exclude,
    check_measurements,
    check_positive_numbers,
    check_sigma,
    check_sigma_range,
    check_size,
    shown,
)
from lemmse.engines.progress import block as progress_of_block
from lemmse.engines.progress import passes
from lemmse.engines.registry import ENGINES, Engine, Task, choose_engine
from lemmse.engines.state import SoftmaxState
from lemmse.estimators.features import CENTER, Features
from lemmse.estimators.posterior import PartialSum, Posterior, log_density
from lemmse.estimators.targets import Targets, TrainingTargets
from lemmse.estimators.training_images import Images, TrainingImages
from lemmse.physics.base import Physics, check_gaussian
from lemmse.physics.foreign import adopted, noise_level
from lemmse.physics.operators import Denoising
from lemmse.physics.preinverse import pre_inverse as build_pre_inverse

_ROWS = 1 << 16  # query pixels in flight
_NUMBERS = 1 << 22  # held at once for the training images of a block
_CHANNELS = 8  # of the targets, in as many rows
_SOURCES = 1 << 27  # sources of all query pixels: each takes 28 to 32 bytes


class MixtureEstimator(nn.Module):
    """What the three share: the data set, the pre-inverse, the choice of an engine, and one pass over the data.

    A subclass says in `_make_features` what is compared.

    Attributes:
        physics: the forward operator A.
        pre_inverse: B.
        features: what is compared, and who competes.
        engine: the name of the engine that serves.
        shape: channels, height and width of the images.
        target_shape: channels K, height and width of the targets.
        dtype: the dtype of the images, and of what is returned.
        device: the device of the images.
        z_channels: the channels of `z = B y`.
    """

    features: Features[Any]
    engine: str
    noise: str = "gaussian"

    @torch.inference_mode(False)
    @torch.no_grad()
    def __init__(
        self,
        images: Images,
        physics: Physics,
        *,
        pre_inverse: str = "identity",
        tikhonov_lambda: float = 1e-2,
        rtol: float = 1e-6,
        targets: Targets | None = None,
        engine: str = "auto",
        chunk_size: int | None = None,
    ) -> None:
        super().__init__()
        self.chunk_size = chunk_size if chunk_size is None else check_count(chunk_size, "chunk_size")
        self._data = TrainingImages(images)
        first = self._data.first
        physics = adopted(physics, first)
        self._targets = TrainingTargets(targets, self._data)
        self.shape, self.dtype, self.device = self._data.shape, self._data.dtype, self._data.device
        self.target_shape = self._targets.shape
        self.physics = physics
        self.pre_inverse_name = pre_inverse
        self.pre_inverse_options: dict[str, Any] = {
            "pre_inverse": pre_inverse,
            "tikhonov_lambda": tikhonov_lambda,
            "rtol": rtol,
        }
        self.pre_inverse = build_pre_inverse(
            physics, pre_inverse, self.shape[1:], tikhonov_lambda=tikhonov_lambda, rtol=rtol
        )
        if self.noise == "gaussian":
            check_gaussian(physics)
        probe = physics.A(first[:1])
        self.query_shape, self.query_dtype = tuple(probe.shape[1:]), probe.dtype
        z = check_batch(self.pre_inverse(probe), "B A x")
        self.z_channels = z.shape[1]
        # Whether B A x is x itself, for every x: a user's own map may leave one image alone and not the next.
        self._unchanged = isinstance(physics, Denoising) and z.data_ptr() == first.data_ptr()
        self.features = self._make_features()
        self._asked = engine
        self.engine = choose_engine(self.features.engines, self._task(), engine)

    @property
    def images(self) -> Images:
        """The data set, as it was given."""
        return self._data.given

    @property
    def targets(self) -> Targets | None:
        """What is estimated in place of the images, as it was given."""
        return self._targets.given

    @abstractmethod
    def _make_features(self) -> Features[Any]:
        """What this estimator compares, made of `pre_inverse` and `target_shape` on `device`."""

    def forward(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """The estimate `x_hat(y)`: measurements (Q, C, H, W) -> images (Q, K, H, W). See `posterior`.

        As a denoiser of deepinv it also takes a sigma of shape (1,) for all images, and as a reconstructor the physics
        in place of sigma, whose `noise_model.sigma` is then taken.
        """
        return self.posterior(y, noise_level(sigma)).mean

    def posterior(
        self, y: Tensor, sigma: float | Tensor, top_k: int = 0, *, exclude: Tensor | None = None
    ) -> Posterior:
        """Posterior moments, log density, effective samples and the top-k sources of the measurements y.

        Differentiable in y, sigma and images (a tensor), where they require a gradient, at the price of memory.

        Args:
            y: (Q, C, H, W), what `physics.measure` returns, in the dtype of the images, on their device. It is of their
                size; for LE-MMSE with B = I it may be of another, with sides of at least P.
            sigma: the standard deviation of the noise, from 1e-12 to 1e12: a number, 0-d or (Q,) tensor. LE-MMSE with
                B = I also takes a map (Q, 1, H, W), and under another law of the noise the level of that law.
            top_k: how many sources to keep for each pixel.
            exclude: (Q,) int64, the number of the training image that is left out of each query, -1 for none.

        Raises:
            ValueError: for anything else.
        """
        return self.finish(self.partial(y, sigma, top_k, exclude=exclude))

    def posterior_at_levels(self, y: Tensor, sigmas: Sequence[float]) -> Posterior:
        """What `posterior` says of the measurements y at each of S noise levels: Q * S rows, the first query at all
        levels, then the next.

        For Gaussian noise the distances of y to the data are the same at all levels. E-MMSE and LE-MMSE with the
        engines "numba" and "torch" compute them once; other engines take one pass a level.

        Raises:
            ValueError: as `posterior` does.
        """
        check_measurements(y, self.query_shape, self.query_dtype, self.device)
        sigmas = check_positive_numbers(sigmas, "sigmas")
        levels = torch.stack([self._check_level(sigma, y) for sigma in sigmas], 1).flatten()
        return self.finish(self._partial(y, levels, 0, None))

    def partial(self, y: Tensor, sigma: float | Tensor, top_k: int = 0, *, exclude: Tensor | None = None) -> PartialSum:
        """The sums over the images of this estimator alone, to merge with those of other shards of a data set.

        Arguments as for `posterior`, which is `finish(partial(...))`; exclude counts the images of this estimator.
        """
        check_measurements(y, self.query_shape, self.query_dtype, self.device)
        exclude = None if exclude is None else check_exclude(exclude, len(y)).to(self.device)
        return self._partial(y, self._check_level(sigma, y), top_k, exclude)

    def _partial(self, y: Tensor, sigma: Tensor, top_k: int, exclude: Tensor | None) -> PartialSum:
        """The sums for the queries y (Q, ...) at the levels sigma, S of them for each query: rows (Q * S, ...).

        Several levels are for a query of which no image is left out.
        """
        features = self._features_for(tuple(y.shape[1:]), sigma)
        self._check_top_k(top_k, len(sigma), features)
        needed = any(given.requires_grad for given in (y, sigma, self._data, self._targets))
        differentiable = torch.is_grad_enabled() and needed
        y = _recordable(y) if differentiable else y
        engine = ENGINES[self._engine_for(differentiable)]
        if not (features.white and engine.several_scales):
            y = y.repeat_interleave(len(sigma) // len(y), 0)
        levels = len(sigma) // len(y)
        channels, height, width = features.shape
        group = max(1, _ROWS // (height * width * -(-channels // _CHANNELS) * levels))
        left_out = repeat(None) if exclude is None else exclude.split(group)
        groups = list(zip(y.split(group), sigma.split(group * levels), left_out, strict=False))
        work = None if self._data.count is None else len(groups) * self._data.count
        with torch.set_grad_enabled(differentiable), passes(work):
            parts = [self._sum(features, *queries, top_k, engine) for queries in groups]
        count, excluded = parts[0][1], torch.zeros(len(sigma), dtype=torch.int64, device=self.device)
        self._targets.check_count(count)
        if exclude is not None:
            excluded = (exclude >= 0).long()
            self._check_left(exclude, count)
        state = SoftmaxState.stack([state for state, _ in parts])
        return PartialSum(state, count, sigma, excluded, self.shape, features.shape[1:])

    def finish(self, partial: PartialSum) -> Posterior:
        """What the sums over a whole data set say; any estimator of the same kind, physics and size can tell.

        Raises ValueError for what is no PartialSum, and for sums of another layout.
        """
        if not isinstance(partial, PartialSum):
            raise ValueError(f"finish takes the PartialSum that `partial` returns, got {type(partial).__name__}")
        layout = tuple(partial.state.s1.shape[1:])
        same = partial.shape == self.shape
        features = self._features_for(self.query_shape, partial.sigma)
        if same and partial.sides != features.shape[1:]:
            features = features.for_queries(partial.sides)
        if not same or layout != features.state_shape:
            rows, channels = features.state_shape
            raise ValueError(
                f"these are the sums of another estimator, over {layout[0]} pixels and {layout[1]} values, not {rows} "
                f"and {channels}: finish them by one of the same kind and size of image"
            )
        state = features.rows(partial.state)
        density = log_density(
            state.logsumexp,
            pairs=(partial.count - partial.excluded)[:, None] * features.competing,
            rank=self.z_channels * features.rank,
            log_pdet=self.z_channels * features.log_pdet,
            sigma=partial.sigma.flatten(1)[:, :1] if partial.sigma.ndim > 1 else partial.sigma[:, None],
        )
        return Posterior(
            mean=features.images(state.mean(CENTER)).to(self.dtype),
            variance=features.images(state.variance).to(self.dtype),
            log_density=features.maps(density).to(self.dtype),
            effective_samples=features.maps(state.effective_samples).to(self.dtype),
            weights=features.maps(state.top_weights).to(self.dtype) if state.top_k else None,
            indices=features.sources(state.top_sources) if state.top_k else None,
        )

    def _engine_for(self, differentiable: bool) -> str:
        """The engine; where it is automatic and a gradient is needed that it lacks, another that has it."""
        if not differentiable or ENGINES[self.engine].differentiable:
            return self.engine
        return choose_engine(self.features.engines, self._task(differentiable=True), self._asked)

    def _task(self, differentiable: bool = False) -> Task:
        """What an engine has to serve: channels of t and z, sides with what padding adds."""
        shape = (max(self.target_shape[0], self.z_channels), *self.features.sides)
        return Task(shape, self.dtype, self.device, differentiable)

    def _sum(
        self,
        features: Features[Any],
        y: Tensor,
        sigma: Tensor,
        exclude: Tensor | None,
        top_k: int,
        engine: Engine,
    ) -> tuple[SoftmaxState, int]:
        """One pass over the data set for queries y, at one level or several each; returns the state and the number N of
        training images.
        """
        z, (rows, channels) = self._query(y), features.state_shape
        queries, scale = features.compared(z, sigma)
        state = SoftmaxState.empty((len(sigma), rows), channels, top_k, self.device)
        image = self.z_channels * math.prod(self.features.sides)
        held = image if engine.streams else queries[0].numel() * len(sigma)  # for each training image of a block
        whole = self._unchanged and engine.in_place  # nothing is made of a batch: no need to split it
        chunk = self.chunk_size or (None if whole else max(1, _NUMBERS // max(1, held)))
        most = min((size for size in (chunk, self._targets.most) if size), default=None)
        kernel = engine.load()
        first = 0
        for batch in self._data:
            for block in batch.split(most or len(batch)):
                block = _recordable(block) if torch.is_grad_enabled() else block
                signal = block if self._unchanged else self._signal(block)
                t = self._targets(block, first)
                with progress_of_block(len(block)):
                    state = features.accumulate(kernel, state, queries, signal, t, scale, first, exclude)
                first += len(block)
        return features.normalized(state, z, sigma), first

    def _check_level(self, level: float | Tensor, y: Tensor) -> Tensor:
        """The noise levels (Q,) of measurements y, as float64."""
        return check_sigma_range(check_sigma(level, len(y), y).double())

    def _features_for(self, query_shape: tuple[int, ...], level: Tensor) -> Features[Any]:
        """The features of queries whose measurements are of this shape, at these noise levels."""
        if query_shape == self.query_shape:
            return self.features
        _, height, width = query_shape
        return self.features.for_queries((height, width))

    def _signal(self, block: Tensor) -> Tensor:
        """`B A x`, in float64 where B may amplify; raises ValueError where the physics leaves what can be computed."""
        return check_size(self.pre_inverse.signal(block.double() if self.pre_inverse.amplifies else block), "B A x")

    def _query(self, y: Tensor) -> Tensor:
        """`z = B y`, in float64 where B may amplify."""
        if self.pre_inverse.amplifies:
            y = y.to(torch.complex128 if y.is_complex() else torch.float64)
        return self.pre_inverse(y)

    def _check_top_k(self, top_k: int, queries: int, features: Features[Any]) -> None:
        check_count(top_k, "top_k", minimum=0)
        height, width = features.shape[1:]
        allowed = _SOURCES // (queries * height * width)
        if top_k > allowed:
            raise ValueError(
                f"top_k must be at most {allowed} for {queries} queries of {height} x {width} pixels, or their sources "
                f"would fill the memory, got {shown(top_k)}"
            )

    @staticmethod
    def _check_left(exclude: Tensor, count: int) -> None:
        if int(exclude.max()) >= count:
            raise ValueError(f"exclude must number one of the {count} images, got {int(exclude.max())}")
        if count == 1 and bool((exclude >= 0).any()):
            raise ValueError("exclude leaves no image out of 1: the data set must have at least 2")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Stay as it is under a conversion that changes neither dtype nor device; raise ValueError under others."""
        probe = fn(torch.empty(0, dtype=self.dtype, device=self.device))
        if (probe.dtype, probe.device) != (self.dtype, self.device):
            raise ValueError(
                f"an estimator stays where its images are, {self.dtype} on {self.device}: build a new one from "
                "images.to(device, dtype)"
            )
        return self

    def __repr__(self) -> str:
        patch = f", patch_size={self.patch_size}" if hasattr(self, "patch_size") else ""
        return (
            f"{type(self).__name__}({self._data}, {type(self.physics).__name__}, "
            f"pre_inverse={self.pre_inverse_name!r}{patch}, {self.dtype} on {self.device}, engine={self.engine!r})"
        )


def _recordable(values: Tensor) -> Tensor:
    """The values as a tensor that gradients may pass: a copy, if it was made in inference mode."""
    return values.clone() if values.is_inference() else values
