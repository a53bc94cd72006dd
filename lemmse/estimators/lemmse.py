"""LE-MMSE, the minimizer of `E |phi(B y) - x|^2` over local and translation-equivariant maps phi: the paper's formula.

    x_hat[c, m] = sum_{i,k} x_i[c, k] w_{i,k}(v),    w_{i,k}(v) ~ g(v; Pi_k B A x_i, sigma^2 Q_k Q_k^T),

with `z = B y`, the patch `v = Pi_m z` at the output pixel m, `Q_k = Pi_k B` and g the Gaussian density. Where Q_k is
singular, the position k competes for the position m if and only if range(Q_k) = range(Q_m). `reference` has it as code.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lemmse.checks import check_choice, check_patch_size, check_sigma, check_sigma_map, check_sigma_range
from lemmse.estimators.features import Features, PatchFeatures, Shape
from lemmse.estimators.mixture import MixtureEstimator
from lemmse.estimators.pixels import PixelFeatures
from lemmse.estimators.positions import PositionFeatures
from lemmse.estimators.scored_pixels import ScoredPixelFeatures
from lemmse.estimators.scores import GaussianMapScore, Score, score_of
from lemmse.estimators.targets import Targets
from lemmse.estimators.training_images import Images
from lemmse.estimators.whitening import WhitenedFeatures
from lemmse.physics.base import Physics
from lemmse.physics.noise import check_noise
from lemmse.physics.preinverse import (
    CirculantPreInverse,
    DensePreInverse,
    DiagonalPreInverse,
    IdentityPreInverse,
    PreInverse,
)


class LocalEquivariantMMSE(MixtureEstimator):
    """LE-MMSE is the best network of receptive field P, `x_hat[c, m] = sum_{i,k} x_i[c, k] w_{i,k}(Pi_m B y)`.

    `estimator(y, sigma)` gives the estimates (Q, C, H, W) for measurements y, or (Q, K, H, W) where targets are given.
    `estimator.posterior(y, sigma)` gives a `Posterior`.

    Args:
        images: the data set, a (N, C, H, W) tensor in [0, 1], float32 or float64, which sets dtype and device, or a
            re-iterable of such batches, a DataLoader that does not shuffle, or a Dataset with a length (memory is then
            flat in N, and no gradient goes to them).
        physics: the forward operator A.
        patch_size: P, odd; it may exceed the image.
        pre_inverse: B, "identity" (physics-agnostic), "pinv", "tikhonov" or "adjoint".
        padding: "circular", or "zeros" with the identity: then the border is seen, and only positions with the same
            border pattern compete.
        tikhonov_lambda: lambda of "tikhonov", positive.
        rtol: singular values of A below rtol of the largest count as zero in "pinv", between 0 and 1.
        targets: what is estimated in place of x: (N, K, H, W), one target for each image, or a function that makes them
            of a batch of clean images. They are on the scale of pixels: float32 is exact for values of order 1. Sums
            take 8 to 32 of the K channels at a time.
        noise: the law of the measurements, "gaussian"; or, with the identity, "poisson", `y ~ Poisson(rate (A x + b))`
            (counts, which may be fractional); "gamma", speckle of mean A x; or "bernoulli", ones with the probability
            A x. The noise level that the estimator is called with is then the rate, the number of looks, or ignored.
        background: b, the mean count of the background per unit rate, for "poisson".
        engine: "auto" takes the first of these that serves: "numba" (CPU), "triton" (CUDA, float32), "torch" for masks
            and the identity; "mixed" (CPU), "gemm" for a circulant B; "position" for a matrix.
        chunk_size: training images in a block, which bounds the memory.

    Raises:
        ValueError: for images or targets that are no finite batches, for a value that an option does not take, for a
            physics that does not fit the images or B, and for an engine that cannot serve.

    With Gaussian noise and the identity, sigma may also be a map (Q, 1, H, W) for each query, which the network is
    given and whose law translations do not change: all positions compete.

    Source: arXiv 2601.10334; other laws of the noise: `lemmse.estimators.scores`.

    Example:
        >>> import torch, lemmse
        >>> images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> estimator = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=3)
        >>> y = estimator.physics.measure(images[:2], 0.1, generator=torch.Generator().manual_seed(1))
        >>> estimator(y, 0.1).shape
        torch.Size([2, 1, 8, 8])
    """

    def __init__(
        self,
        images: Images,
        physics: Physics,
        *,
        patch_size: int,
        pre_inverse: str = "identity",
        padding: str = "circular",
        tikhonov_lambda: float = 1e-2,
        rtol: float = 1e-6,
        targets: Targets | None = None,
        noise: str = "gaussian",
        background: float = 0.0,
        engine: str = "auto",
        chunk_size: int | None = None,
    ) -> None:
        self.noise, self.background = check_noise(noise, background)
        if noise != "gaussian" and pre_inverse != "identity":
            raise ValueError(f"noise {noise!r} needs pre_inverse 'identity', got {pre_inverse!r}")
        self.patch_size = check_patch_size(patch_size)
        self.padding = check_choice(padding, ("circular", "zeros"), "padding")
        if padding == "zeros" and pre_inverse != "identity":
            raise ValueError(f"padding 'zeros' needs pre_inverse 'identity', got {pre_inverse!r}")
        super().__init__(
            images,
            physics,
            pre_inverse=pre_inverse,
            tikhonov_lambda=tikhonov_lambda,
            rtol=rtol,
            targets=targets,
            engine=engine,
            chunk_size=chunk_size,
        )

    def rebuilt(
        self, images: Images, targets: Targets | None = None, patch_size: int | None = None
    ) -> LocalEquivariantMMSE:
        """The same estimator over another data set, with its targets, or of another P; raises as the class does."""
        return LocalEquivariantMMSE(
            images,
            self.physics,
            patch_size=self.patch_size if patch_size is None else patch_size,
            padding=self.padding,
            targets=targets,
            engine=self._asked,
            chunk_size=self.chunk_size,
            **self.pre_inverse_options,
            **self.noise_options,
        )

    @property
    def noise_options(self) -> dict[str, Any]:
        """The arguments that say which law the noise has."""
        return {"noise": self.noise, "background": self.background}

    def _make_features(self) -> PatchFeatures[Any]:
        score = score_of(self.noise, self.background)
        if score is None:
            return patch_features(self.pre_inverse, self.target_shape, self.patch_size, self.padding, self.device)
        return self._scored(score)

    def _scored(self, score: Score) -> ScoredPixelFeatures:
        """Features for noise that is independent from pixel to pixel; raises ValueError where it is not."""
        if not isinstance(self.pre_inverse, IdentityPreInverse) or self.query_dtype.is_complex:
            raise ValueError(
                f"noise that is not white needs pre_inverse 'identity' and measurements that are real images, got "
                f"{self.pre_inverse_name!r} and measurements in {self.query_dtype}"
            )
        return ScoredPixelFeatures(
            self.pre_inverse, self.target_shape, self.patch_size, self.padding, self.device, score
        )

    def _check_level(self, level: float | Tensor, y: Tensor) -> Tensor:
        if self.noise == "gaussian" and isinstance(level, Tensor) and level.ndim == 4:
            return check_sigma_range(check_sigma_map(level, y).double())
        score = score_of(self.noise, self.background)
        name = "sigma" if score is None else score.level
        return check_sigma_range(check_sigma(level, len(y), y, name).double(), name)

    def _features_for(self, query_shape: tuple[int, ...], level: Tensor) -> Features[Any]:
        if level.ndim == 1:
            return super()._features_for(query_shape, level)
        features = self._scored(GaussianMapScore())
        return features if query_shape == self.query_shape else features.for_queries((query_shape[1], query_shape[2]))


def patch_features(
    pre_inverse: PreInverse, shape: Shape, patch_size: int, padding: str, device: torch.device
) -> PatchFeatures[Any]:
    """What the structure of B makes of P x P patches; padding other than "circular" is for a diagonal B."""
    match pre_inverse:
        case DiagonalPreInverse():
            return PixelFeatures(pre_inverse, shape, patch_size, padding, device)
        case _ if padding != "circular":
            raise ValueError(f"padding {padding!r} needs measurements that are images of the size of x")
        case CirculantPreInverse():
            return WhitenedFeatures(pre_inverse, shape, patch_size, device)
        case DensePreInverse():
            return PositionFeatures(pre_inverse, shape, patch_size, device)
    raise TypeError(f"no features are known for a pre-inverse of type {type(pre_inverse).__name__}")
