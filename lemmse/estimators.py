"""The three estimators: minimisers of `E |phi(B y) - x|^2` over three classes of maps phi, for the empirical prior.

    MMSE     any phi                          sum_i x_i w_i,                    w_i   ~ g(z;     B A x_i, sigma^2 B B^T)
    E-MMSE   phi commutes with translations   sum_{i,g} T_g^-1 x_i w_{i,g},     w_ig  ~ g(T_g z; B A x_i, sigma^2 B B^T)
    LE-MMSE  and sees P x P patches           sum_{i,k} x_i[c, k] w_{i,k}(v),   w_ik  ~ g(v; Pi_k B A x_i, sigma^2 Q_k
    Q_k^T)

with `z = B y`, `v = Pi_m z` at output pixel m, `Q_k = Pi_k B` and g the Gaussian density. Where Q_k is singular,
position k competes for position m if and only if range(Q_k) = range(Q_m). Source: Nguyen, Do, Pauwels, Weiss, arXiv
2601.10334.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .checks import check_batch, check_choice, check_count, check_images, check_patch_size, check_sigma
from .engines.state import SoftmaxState
from .families import BoxFamily, ImageFamily, PositionFamily, WhitenedFamily
from .physics import Physics
from .preinverse import CirculantPreInverse, DensePreInverse, DiagonalPreInverse
from .preinverse import pre_inverse as build_pre_inverse

CENTRE = 0.5  # values are summed about it, so that float32 variances do not cancel
_ROWS = 1 << 16  # query pixels in flight
_NUMBERS = 1 << 22  # features of queries times training images in flight


@dataclass(frozen=True)
class Posterior:
    """What one pass over the data set says of the clean image, for each pixel of Q queries.

    mean, variance: (Q, C, H, W). log_density: (Q, H, W), natural log of the density of the noisy patch (image, for
    MMSE and E-MMSE), joint over channels, on its subspace where the noise is singular. effective_samples: (Q, H, W),
    `1 / sum w^2`. With top_k = k > 0 also weights: (Q, H, W, k), descending, normalised over all pairs, and indices:
    (Q, H, W, k, 3) int64 = image, row, column of the source pixel (weight 0 and -1 where fewer than k pairs compete);
    else None.
    """

    mean: Tensor
    variance: Tensor
    log_density: Tensor
    effective_samples: Tensor
    weights: Tensor | None
    indices: Tensor | None


class _Estimator(nn.Module):
    """What the three share: the data set, the pre-inverse, checks of the query, and one pass over both."""

    def __init__(
        self,
        images: Tensor | Iterable[Tensor],
        physics: Physics,
        *,
        pre_inverse: str,
        tikhonov_lambda: float,
        rtol: float,
        chunk_size: int | None,
    ) -> None:
        super().__init__()
        self.images = images
        self.chunk_size = chunk_size if chunk_size is None else check_count(chunk_size, "chunk_size")
        first = self._first_batch(images)
        self.shape, self.dtype, self.device = tuple(first.shape[1:]), first.dtype, first.device
        self.physics = physics
        self.pre_inverse_name = pre_inverse
        self.pre_inverse = build_pre_inverse(
            physics, pre_inverse, self.shape[1:], tikhonov_lambda=tikhonov_lambda, rtol=rtol
        )
        probe = physics.A(first[:1])
        self.query_shape, self.query_dtype = tuple(probe.shape[1:]), probe.dtype
        self.z_channels = self.pre_inverse(probe).shape[1]

    def forward(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """The estimate `x_hat(y)`: measurements (Q, C, H, W) -> images (Q, C, H, W). See `posterior`."""
        return self.posterior(y, sigma).mean

    def posterior(self, y: Tensor, sigma: float | Tensor, top_k: int = 0) -> Posterior:
        """Posterior moments, log density, effective samples and the top-k sources of the measurements y.

        y: what `physics.measure` returns for images of the size of the data set, in its dtype, on its device. sigma:
        number, 0-d or (Q,) tensor, noise standard deviation. top_k: how many sources to keep for each pixel.
        Differentiable in y if `y.requires_grad`, at the price of memory. Raises ValueError for anything else.
        """
        check_count(top_k, "top_k", minimum=0)
        self._check_query(y)
        sigma = check_sigma(sigma, len(y), y).double()
        group = max(1, _ROWS // math.prod(self.shape[1:]))
        parts = [self._posterior(q, s, top_k) for q, s in zip(y.split(group), sigma.split(group), strict=True)]
        return parts[0] if len(parts) == 1 else _concatenate(parts)

    def _posterior(self, y: Tensor, sigma: Tensor, top_k: int) -> Posterior:
        raise NotImplementedError

    def _accumulate(
        self, state: SoftmaxState, accumulate: Callable[..., SoftmaxState], queries: Tensor, sigma: Tensor
    ) -> tuple[SoftmaxState, int]:
        """One pass over the data set; returns the state and the number N of training images."""
        scale = 1 / (2 * sigma.square())
        chunk = self.chunk_size or max(1, _NUMBERS // max(1, queries.numel()))
        first = 0
        for batch in self._batches():
            for block in batch.split(chunk):
                z = self.pre_inverse.signal(block.double() if self._wide else block)
                state = accumulate(state, queries, z, block - CENTRE, scale, first)
                first += len(block)
        return state, first

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
            yield batch

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
        parts = torch.view_as_real(y) if y.is_complex() else y
        if not bool(torch.isfinite(parts).all()):
            raise ValueError("y must be finite, but holds NaN or infinity")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        raise ValueError("an estimator stays where its images are: build a new one from images.to(device, dtype)")

    def _pixels(self, values: Tensor) -> Tensor:
        """(Q, n, C) -> (Q, C, H, W) in the dtype of the images."""
        return values.transpose(1, 2).reshape(len(values), *self.shape).to(self.dtype)

    def _map(self, values: Tensor) -> Tensor:
        """(Q, n, ...) -> (Q, H, W, ...)."""
        return values.reshape(len(values), *self.shape[1:], *values.shape[2:])


class LocalEquivariantMMSE(_Estimator):
    """LE-MMSE: `x_hat[c, m] = sum_{i,k} x_i[c, k] w_{i,k}(Pi_m B y)`, the best network of receptive field P.

    images: (N, C, H, W) tensor in [0, 1], float32 or float64, which sets dtype and device, or a re-iterable of such
    batches (memory is then flat in N). patch_size: P, odd; it may exceed the image. pre_inverse: "identity"
    (physics-agnostic), "pinv", "tikhonov" or "adjoint". padding: "circular", or "zeros" with the identity: then the
    border is seen, and only positions with the same border pattern compete. rtol: singular values of A below rtol of
    the largest count as zero in "pinv". engine: "auto" takes the first of these that serves: "numba"
    (CPU, float32), "torch" for masks and the identity; "gemm" for circulant B; "position" for a matrix. chunk_size:
    training images a block (memory).

    Call it, or `posterior`, with measurements and sigma. Raises ValueError for bad input. Source: arXiv 2601.10334.
    """

    def __init__(
        self,
        images: Tensor | Iterable[Tensor],
        physics: Physics,
        *,
        patch_size: int,
        pre_inverse: str = "identity",
        padding: str = "circular",
        tikhonov_lambda: float = 1e-2,
        rtol: float = 1e-6,
        engine: str = "auto",
        chunk_size: int | None = None,
    ) -> None:
        patch_size = check_patch_size(patch_size)
        check_choice(padding, ("circular", "zeros"), "padding")
        super().__init__(
            images,
            physics,
            pre_inverse=pre_inverse,
            tikhonov_lambda=tikhonov_lambda,
            rtol=rtol,
            chunk_size=chunk_size,
        )
        if padding == "zeros" and pre_inverse != "identity":
            raise ValueError(f"padding 'zeros' needs pre_inverse 'identity', got {pre_inverse!r}")
        self.patch_size = patch_size
        B = self.pre_inverse
        if isinstance(B, DiagonalPreInverse):
            self.family = BoxFamily(B, patch_size, padding, self.device)
        elif isinstance(B, CirculantPreInverse):
            self.family = WhitenedFamily(B, patch_size, self.device)
        else:
            self.family = PositionFamily(B, patch_size, self.shape[1:], self.device)
        self.engine = self._check_engine(engine)

    def _able(self, differentiable: bool) -> list[str]:
        """The engines that serve this family, dtype and device, the preferred one first."""
        numba = self.device.type == "cpu" and self.dtype == torch.float32 and not differentiable
        return [name for name in self.family.engines if name != "numba" or numba]

    def _check_engine(self, engine: str) -> str:
        able = self._able(differentiable=False)
        if engine != "auto" and engine not in able:
            raise ValueError(
                f"engine {engine!r} cannot serve pre_inverse {self.pre_inverse_name!r} of "
                f"{type(self.physics).__name__} in {self.dtype} on {self.device}: "
                f"choose 'auto' or one of {', '.join(map(repr, able))}"
            )
        return engine

    def _engine_for(self, y: Tensor) -> str:
        able = self._able(differentiable=torch.is_grad_enabled() and y.requires_grad)
        if self.engine == "auto":
            return able[0]
        if self.engine not in able:
            raise ValueError(f"engine {self.engine!r} is not differentiable: detach y, or choose {able[0]!r} or 'auto'")
        return self.engine

    def _posterior(self, y: Tensor, sigma: Tensor, top_k: int) -> Posterior:
        queries = self.family.features(self._query(y))
        engine = self._engine_for(y)

        def accumulate(state: SoftmaxState, *args: object) -> SoftmaxState:
            return self.family.accumulate(state, *args, engine)

        state = SoftmaxState.empty((len(y), self.family.state_rows), self.shape[0], top_k, self.device)
        state, count = self._accumulate(state, accumulate, queries, sigma)
        state = state.at(self.family.rows)
        rank, log_pdet = self.z_channels * self.family.rank, self.z_channels * self.family.log_pdet
        log_density = (
            state.logsumexp
            - log_pdet
            - (count * self.family.competing).double().log()
            - rank / 2 * (2 * math.pi * sigma[:, None].square()).log()
        )
        return Posterior(
            mean=self._pixels(state.mean(CENTRE)),
            variance=self._pixels(state.variance),
            log_density=self._map(log_density).to(self.dtype),
            effective_samples=self._map(state.effective_samples).to(self.dtype),
            weights=self._map(state.top_weights).to(self.dtype) if top_k else None,
            indices=self._map(state.top_sources) if top_k else None,
        )


class _WholeImageEstimator(_Estimator):
    """MMSE and E-MMSE: one softmax for the whole image, over training images or their translations."""

    def __init__(
        self,
        images: Tensor | Iterable[Tensor],
        physics: Physics,
        *,
        pre_inverse: str = "identity",
        tikhonov_lambda: float = 1e-2,
        rtol: float = 1e-6,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(
            images,
            physics,
            pre_inverse=pre_inverse,
            tikhonov_lambda=tikhonov_lambda,
            rtol=rtol,
            chunk_size=chunk_size,
        )
        self.family = ImageFamily(self.pre_inverse, self.device)

    def _mixture(
        self, accumulate: Callable[..., SoftmaxState], competing: int, y: Tensor, sigma: Tensor, top_k: int
    ) -> Posterior:
        queries = self.family.features(self._query(y))
        state = SoftmaxState.empty((len(y), 1), math.prod(self.shape), top_k, self.device)
        state, count = self._accumulate(state, accumulate, queries, sigma)
        rank, log_pdet = self.z_channels * self.family.rank, self.z_channels * self.family.log_pdet
        log_density = (
            state.logsumexp
            - log_pdet
            - math.log(count * competing)
            - rank / 2 * (2 * math.pi * sigma[:, None].square()).log()
        )

        def image(values: Tensor) -> Tensor:
            return values.reshape(len(y), *self.shape).to(self.dtype)

        def everywhere(values: Tensor) -> Tensor:
            """(Q, 1, ...) -> (Q, H, W, ...): the same at each pixel."""
            height, width = self.shape[1:]
            return values[:, :, None].expand(-1, height, width, *values.shape[2:])

        return Posterior(
            mean=image(state.mean(CENTRE)),
            variance=image(state.variance),
            log_density=everywhere(log_density).to(self.dtype),
            effective_samples=everywhere(state.effective_samples).to(self.dtype),
            weights=everywhere(state.top_weights).to(self.dtype) if top_k else None,
            indices=self._translate(everywhere(state.top_sources)) if top_k else None,
        )

    def _translate(self, sources: Tensor) -> Tensor:
        """(image, g) to (image, m + g) at every pixel m: (Q, H, W, k, 3)."""
        height, width = self.shape[1:]
        rows, cols = (torch.arange(n, device=self.device) for n in (height, width))
        image, row, col = sources.unbind(-1)
        moved = torch.stack([image, (row + rows[:, None, None]) % height, (col + cols[:, None]) % width], -1)
        return torch.where(image[..., None] < 0, -1, moved)


class MMSE(_WholeImageEstimator):
    """MMSE: `sum_i x_i w_i`, `w_i ~ g(B y; B A x_i, sigma^2 B B^T)`, the posterior mean, a mix of training images.

    Arguments as for `LocalEquivariantMMSE`. Raises ValueError for bad input.
    """

    def _posterior(self, y: Tensor, sigma: Tensor, top_k: int) -> Posterior:
        return self._mixture(self.family.accumulate_whole, 1, y, sigma, top_k)


class EquivariantMMSE(_WholeImageEstimator):
    """E-MMSE: `sum_{i,g} T_g^-1 x_i w_{i,g}`, `w_{i,g} ~ g(T_g B y; B A x_i, sigma^2 B B^T)`, g a translation.

    Those that move B y out of the range of B have weight 0. Arguments as for `LocalEquivariantMMSE`, which it
    equals where the patch covers the image; for a matrix B that is how it is computed. Raises ValueError for bad input.
    """

    def __init__(self, images: Tensor | Iterable[Tensor], physics: Physics, **options: object) -> None:
        super().__init__(images, physics, **options)
        if isinstance(self.pre_inverse, DensePreInverse):
            covering = max(self.shape[1:]) | 1
            self.window = LocalEquivariantMMSE(images, physics, patch_size=covering, **options)

    def _posterior(self, y: Tensor, sigma: Tensor, top_k: int) -> Posterior:
        if isinstance(self.pre_inverse, DensePreInverse):
            return self.window._posterior(y, sigma, top_k)
        return self._mixture(self.family.accumulate_translated, int(self.family.shifts.sum()), y, sigma, top_k)


def _concatenate(parts: list[Posterior]) -> Posterior:
    fields = (
        [getattr(part, name) for part in parts]
        for name in ("mean", "variance", "log_density", "effective_samples", "weights", "indices")
    )
    return Posterior(*(None if values[0] is None else torch.cat(values) for values in fields))
