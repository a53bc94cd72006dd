"""E-MMSE, the minimizer of `E |phi(B y) - x|^2` over the maps phi that commute with all circular translations T_g.

    x_hat = sum_{i,g} T_g^-1 x_i w_{i,g},    w_{i,g} ~ g(T_g z; B A x_i, sigma^2 B B^T),    z = B y.

Where `T_g z` is not in the range of B the weight is 0. It equals LE-MMSE where the patch covers the image.
"""

from __future__ import annotations

from typing import Any

from lemmse.estimators.features import Features
from lemmse.estimators.mixture import MixtureEstimator
from lemmse.estimators.positions import PositionFeatures
from lemmse.estimators.whole_images import TranslatedImageFeatures
from lemmse.physics.preinverse import CirculantPreInverse, DensePreInverse, DiagonalPreInverse


class EquivariantMMSE(MixtureEstimator):
    """E-MMSE is the best map that commutes with translations T_g, `x_hat = sum_{i,g} T_g^-1 x_i w_{i,g}`.

    The weights are `w_{i,g} ~ g(T_g B y; B A x_i, sigma^2 B B^T)`, g a translation. For a matrix B the estimator is
    computed as the LE-MMSE of a patch that covers the image. Arguments as for `LocalEquivariantMMSE`, without
    patch_size, padding, noise and background.

    Args:
        images: the data set, a (N, C, H, W) tensor in [0, 1], float32 or float64, or a re-iterable of such batches, a
            DataLoader or a Dataset.
        physics: the forward operator A.
        pre_inverse: B, "identity" (physics-agnostic), "pinv", "tikhonov" or "adjoint".
        tikhonov_lambda: lambda of "tikhonov", positive.
        rtol: singular values of A below rtol of the largest count as zero in "pinv", between 0 and 1.
        targets: what is estimated in place of x, (N, K, H, W), or a function of a batch of clean images.
        engine: "auto", which takes "correlation", or "position" for a matrix.
        chunk_size: training images in a block, which bounds the memory.

    Raises:
        ValueError: as `LocalEquivariantMMSE` does.

    Source: arXiv 2601.10334.

    Example:
        >>> import torch, lemmse
        >>> images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> estimator = lemmse.EquivariantMMSE(images, lemmse.Denoising())
        >>> moved = estimator(images[:1].roll(3, -1), 0.01)  # a training image, translated, is found
        >>> bool((moved - images[:1].roll(3, -1)).abs().max() < 1e-6)
        True
    """

    def _make_features(self) -> Features[Any]:
        B = self.pre_inverse
        if isinstance(B, (DiagonalPreInverse, CirculantPreInverse)):
            return TranslatedImageFeatures(B, self.target_shape, self.device)
        assert isinstance(B, DensePreInverse), type(B)
        covering = max(self.target_shape[1:]) | 1  # odd
        return PositionFeatures(B, self.target_shape, covering, self.device)
