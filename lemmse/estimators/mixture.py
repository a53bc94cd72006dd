"""What MMSE, E-MMSE and LE-MMSE share: each is a softmax over training images, their translations, or their patches.

One pass over the data set, in blocks, sums weights and values; the sums of several data sets merge. What is compared is
up to the `Features` of the estimator, how it is summed up to the engine that serves them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Self

import torch
from torch import Tensor, nn

from lemmse.checks import check_batch, check_count, check_sigma, check_size, check_tensor, shown
from lemmse.engines.registry import ENGINES, Engine, Task, choose_engine
from lemmse.engines.state import SoftmaxState
from lemmse.estimators.features import CENTRE, Features
from lemmse.estimators.posterior import PartialSum, Posterior, log_density
from lemmse.estimators.training_images import TrainingImages
from lemmse.physics.operators import Denoising, Physics, check_gaussian
from lemmse.physics.preinverse import pre_inverse as build_pre_inverse

_ROWS = 1 << 16  # query pixels in flight
_NUMBERS = 1 << 22  # features of queries times training images in flight
_SOURCES = 1 << 27  # sources of all query pixels: each takes 28 to 32 bytes
_SIGMA = (1e-12, 1e12)  # between them scale times distance stays in the range of float32


class MixtureEstimator(nn.Module):
    """What the three share: the data set, the pre-inverse, the choice of an engine, and one pass over the data.

    A subclass says in `_make_features` what is compared.

    Attributes:
        physics: the forward operator A.
        pre_inverse: B.
        features: what is compared, and who competes.
        engine: the name of the engine that serves.
        shape: channels, height and width of the images.
        dtype: the dtype of the images, and of what is returned.
        device: the device of the images.
        z_channels: the channels of `z = B y`.
    """

    features: Features[Any]
    engine: str

    @torch.inference_mode(False)
    @torch.no_grad()
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
        self.chunk_size = chunk_size if chunk_size is None else check_count(chunk_size, "chunk_size")
        self._data = TrainingImages(images)
        first = self._data.first
        self.shape, self.dtype, self.device = self._data.shape, self._data.dtype, self._data.device
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
    def images(self) -> Tensor | Iterable[Tensor]:
        """The data set, as it was given."""
        return self._data.given

    @abstractmethod
    def _make_features(self) -> Features[Any]:
        """What this estimator compares, made of `pre_inverse` and `shape` on `device`."""

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
        self._check_query(y)
        self._check_top_k(top_k, len(y))
        sigma = self._check_range(check_sigma(sigma, len(y), y).double())
        group = max(1, _ROWS // math.prod(self.shape[1:]))
        needed = y.requires_grad or sigma.requires_grad or self._data.requires_grad
        differentiable = torch.is_grad_enabled() and needed
        y = _recordable(y) if differentiable else y
        engine = ENGINES[self._engine_for(differentiable)]
        with torch.set_grad_enabled(differentiable):
            parts = [self._sum(q, s, top_k, engine) for q, s in zip(y.split(group), sigma.split(group), strict=True)]
        return PartialSum(SoftmaxState.stack([state for state, _ in parts]), parts[0][1], sigma)

    def finish(self, partial: PartialSum) -> Posterior:
        """What the sums over a whole data set say; any estimator of the same kind, physics and size can tell.

        Raises ValueError for what is no PartialSum, and for sums of another layout.
        """
        if not isinstance(partial, PartialSum):
            raise ValueError(f"finish takes the PartialSum that `partial` returns, got {type(partial).__name__}")
        layout = tuple(partial.state.s1.shape[1:])
        if layout != self.features.state_shape:
            rows, channels = self.features.state_shape
            raise ValueError(
                f"these are the sums of another estimator, over {layout[0]} pixels and {layout[1]} values, not {rows} "
                f"and {channels}: finish them by one of the same kind and size of image"
            )
        features, state = self.features, self.features.rows(partial.state)
        density = log_density(
            state.logsumexp,
            pairs=partial.count * features.competing,
            rank=self.z_channels * features.rank,
            log_pdet=self.z_channels * features.log_pdet,
            sigma=partial.sigma[:, None],
        )
        return Posterior(
            mean=features.images(state.mean(CENTRE)).to(self.dtype),
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
        """What an engine has to serve: channels of x and z, sides with what padding adds."""
        shape = (max(self.shape[0], self.z_channels), *self.features.sides)
        return Task(shape, self.dtype, self.device, differentiable)

    def _sum(self, y: Tensor, sigma: Tensor, top_k: int, engine: Engine) -> tuple[SoftmaxState, int]:
        """One pass over the data set; returns the state and the number N of training images."""
        queries, (rows, channels) = self.features(self._query(y)), self.features.state_shape
        state = SoftmaxState.empty((len(y), rows), channels, top_k, self.device)
        scale = 1 / (2 * sigma.square())
        held = queries[0].numel() if engine.streams else queries.numel()
        whole = self._unchanged and engine.in_place  # nothing is made of a batch: no need to split it
        chunk = self.chunk_size or (None if whole else max(1, _NUMBERS // max(1, held)))
        kernel = engine.load()
        first = 0
        for batch in self._data:
            for block in batch.split(chunk or len(batch)):
                block = _recordable(block) if torch.is_grad_enabled() else block
                z = block if self._unchanged else self._signal(block)
                state = self.features.accumulate(kernel, state, queries, z, block, scale, first)
                first += len(block)
        return state, first

    def _signal(self, block: Tensor) -> Tensor:
        """`B A x`, in float64 where B may amplify; raises ValueError where the physics leaves what can be computed."""
        return check_size(self.pre_inverse.signal(block.double() if self.pre_inverse.amplifies else block), "B A x")

    def _query(self, y: Tensor) -> Tensor:
        """`z = B y`, in float64 where B may amplify."""
        if self.pre_inverse.amplifies:
            y = y.to(torch.complex128 if y.is_complex() else torch.float64)
        return self.pre_inverse(y)

    def _check_query(self, y: Tensor) -> None:
        check_tensor(y, "y")
        if y.dtype != self.query_dtype:
            raise ValueError(f"y must be {self.query_dtype}, as measured from images in {self.dtype}, got {y.dtype}")
        if y.device != self.device:
            raise ValueError(f"y must be on {self.device}, where the images are, got {y.device}")
        if y.ndim != len(self.query_shape) + 1 or tuple(y.shape[1:]) != self.query_shape or len(y) == 0:
            raise ValueError(
                f"y must be of shape (Q, {', '.join(map(str, self.query_shape))}), Q >= 1, got {tuple(y.shape)}"
            )
        check_size(torch.view_as_real(y) if y.is_complex() else y, "y")

    def _check_top_k(self, top_k: int, queries: int) -> None:
        check_count(top_k, "top_k", minimum=0)
        allowed = _SOURCES // (queries * math.prod(self.shape[1:]))
        if top_k > allowed:
            raise ValueError(
                f"top_k must be at most {allowed} for {queries} queries of {self.shape[1]} x {self.shape[2]} pixels, "
                f"or their sources would fill the memory, got {shown(top_k)}"
            )

    def _check_range(self, sigma: Tensor) -> Tensor:
        least, most = _SIGMA
        wrong = (sigma < 0.99 * least) | (sigma > 1.01 * most)  # float32 rounds the limits
        if bool(wrong.any()):
            raise ValueError(f"sigma must be between {least:g} and {most:g}, got {sigma[wrong][0].item():g}")
        return sigma

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
