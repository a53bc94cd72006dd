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
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from lemmse.checks import check_choice, check_patch_size
from lemmse.estimators.features import CENTRE, BoxFamily, ImageFamily, PositionFamily, WhitenedFamily
from lemmse.estimators.mixture import MixtureEstimator
from lemmse.estimators.posterior import PartialSum, Posterior
from lemmse.physics.operators import Physics
from lemmse.physics.preinverse import CirculantPreInverse, DensePreInverse, DiagonalPreInverse


class LocalEquivariantMMSE(MixtureEstimator):
    """LE-MMSE: `x_hat[c, m] = sum_{i,k} x_i[c, k] w_{i,k}(Pi_m B y)`, the best network of receptive field P.

    images: (N, C, H, W) tensor in [0, 1], float32 or float64, which sets dtype and device, or a re-iterable of such
    batches (memory is then flat in N; no gradient goes to them). patch_size: P, odd; it may exceed the image.
    pre_inverse: "identity" (physics-agnostic), "pinv", "tikhonov" or "adjoint". padding: "circular", or "zeros" with
    the identity: then the border is seen, and only positions with the same border pattern compete. rtol: singular
    values of A below rtol of the largest count as zero in "pinv". engine: "auto" takes the first of these that serves:
    "numba" (CPU, float32), "triton" (CUDA, float32), "torch" for masks and the identity; "mixed" (CPU, float32), "gemm"
    for circulant B; "position" for a matrix. `engine` then names the one chosen. chunk_size: training images a block
    (memory).

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
            engine=engine,
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
        self._accumulate = self.family.accumulate
        self._layout = (self.family.state_rows, self.shape[0])
        self._choose_engine(self.family.engines)

    def _posterior(self, partial: PartialSum) -> Posterior:
        state, sigma = partial.state.at(self.family.rows), partial.sigma
        rank, log_pdet = self.z_channels * self.family.rank, self.z_channels * self.family.log_pdet
        log_density = (
            state.logsumexp
            - log_pdet
            - (partial.count * self.family.competing).double().log()
            - rank / 2 * (2 * math.pi * sigma[:, None].square()).log()
        )
        return Posterior(
            mean=self._pixels(state.mean(CENTRE)),
            variance=self._pixels(state.variance),
            log_density=self._map(log_density).to(self.dtype),
            effective_samples=self._map(state.effective_samples).to(self.dtype),
            weights=self._map(state.top_weights).to(self.dtype) if state.top_k else None,
            indices=self._map(state.top_sources) if state.top_k else None,
        )

    def _pixels(self, values: Tensor) -> Tensor:
        """(Q, n, C) -> (Q, C, H, W) in the dtype of the images."""
        return values.transpose(1, 2).reshape(len(values), *self.shape).to(self.dtype)

    def _map(self, values: Tensor) -> Tensor:
        """(Q, n, ...) -> (Q, H, W, ...)."""
        return values.reshape(len(values), *self.shape[1:], *values.shape[2:])


class _WholeImageEstimator(MixtureEstimator):
    """MMSE and E-MMSE: one softmax for the whole image, over training images or their translations."""

    def __init__(self, images: Tensor | Iterable[Tensor], physics: Physics, **options: Any) -> None:
        super().__init__(images, physics, **options)
        self.family = ImageFamily(self.pre_inverse, self.device)
        self._layout = (1, math.prod(self.shape))

    @property
    def _competing(self) -> int:
        """How many translations of each training image compete."""
        raise NotImplementedError

    def _posterior(self, partial: PartialSum) -> Posterior:
        state, sigma, top_k = partial.state, partial.sigma, partial.state.top_k
        rank, log_pdet = self.z_channels * self.family.rank, self.z_channels * self.family.log_pdet
        log_density = (
            state.logsumexp
            - log_pdet
            - math.log(partial.count * self._competing)
            - rank / 2 * (2 * math.pi * sigma[:, None].square()).log()
        )

        def image(values: Tensor) -> Tensor:
            return values.reshape(len(sigma), *self.shape).to(self.dtype)

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

    Arguments as for `LocalEquivariantMMSE`; engines are "direct" (CPU, float32) and "gemm". Raises ValueError for bad
    input.
    """

    _competing = 1

    def __init__(self, images: Tensor | Iterable[Tensor], physics: Physics, **options: Any) -> None:
        super().__init__(images, physics, **options)
        self._accumulate = self.family.accumulate_whole
        self._choose_engine(("direct", "gemm"))


class EquivariantMMSE(_WholeImageEstimator):
    """E-MMSE: `sum_{i,g} T_g^-1 x_i w_{i,g}`, `w_{i,g} ~ g(T_g B y; B A x_i, sigma^2 B B^T)`, g a translation.

    Those that move B y out of the range of B have weight 0. Arguments as for `LocalEquivariantMMSE`, which it
    equals where the patch covers the image; for a matrix B that is how it is computed. The engine is "correlation", or
    "position" for a matrix. Raises ValueError for bad input.
    """

    def __init__(self, images: Tensor | Iterable[Tensor], physics: Physics, **options: Any) -> None:
        super().__init__(images, physics, **options)
        self.window = None
        if isinstance(self.pre_inverse, DensePreInverse):
            self.window = LocalEquivariantMMSE(images, physics, patch_size=max(self.shape[1:]) | 1, **options)
        self._accumulate = self.family.accumulate_translated
        self._choose_engine(self.window.family.engines if self.window else ("correlation",))

    @property
    def _competing(self) -> int:
        return int(self.family.shifts.sum())

    def partial(self, y: Tensor, sigma: float | Tensor, top_k: int = 0) -> PartialSum:
        """As `MixtureEstimator.partial`."""
        return self.window.partial(y, sigma, top_k) if self.window else super().partial(y, sigma, top_k)

    def finish(self, partial: PartialSum) -> Posterior:
        """As `MixtureEstimator.finish`."""
        return self.window.finish(partial) if self.window else super().finish(partial)
