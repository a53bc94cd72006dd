"""MMSE, the minimizer of `E |phi(B y) - x|^2` over all maps phi: the posterior mean, a mix of training images.

x_hat = sum_i x_i w_i,    w_i ~ g(z; B A x_i, sigma^2 B B^T),    z = B y.
"""

from __future__ import annotations

from lemmse.estimators.mixture import MixtureEstimator
from lemmse.estimators.whole_images import WholeImageFeatures


class MMSE(MixtureEstimator):
    """MMSE is the posterior mean, `x_hat = sum_i x_i w_i`, `w_i ~ g(B y; B A x_i, sigma^2 B B^T)`: it memorizes.

    Arguments as for `LocalEquivariantMMSE`, without patch_size, padding, noise and background.

    Args:
        images: the data set, a (N, C, H, W) tensor in [0, 1], float32 or float64, or a re-iterable of such batches, a
            DataLoader or a Dataset.
        physics: the forward operator A.
        pre_inverse: B, "identity" (physics-agnostic), "pinv", "tikhonov" or "adjoint".
        tikhonov_lambda: lambda of "tikhonov", positive.
        rtol: singular values of A below rtol of the largest count as zero in "pinv", between 0 and 1.
        targets: what is estimated in place of x, (N, K, H, W), or a function of a batch of clean images.
        engine: "auto", which takes the first of "direct" (CPU) and "gemm" that serves.
        chunk_size: training images in a block, which bounds the memory.

    Raises:
        ValueError: as `LocalEquivariantMMSE` does.

    Source: arXiv 2601.10334.

    Example:
        >>> import torch, lemmse
        >>> images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> estimator = lemmse.MMSE(images, lemmse.Denoising())
        >>> bool((estimator(images[3:4] + 0.01, 0.01) - images[3:4]).abs().max() < 1e-6)
        True
    """

    def _make_features(self) -> WholeImageFeatures:
        return WholeImageFeatures(self.pre_inverse, self.target_shape, self.device)
