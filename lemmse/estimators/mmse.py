"""MMSE, the minimizer of `E |phi(B y) - x|^2` over all maps phi: the posterior mean, a mix of training images.

x_hat = sum_i x_i w_i,    w_i ~ g(z; B A x_i, sigma^2 B B^T),    z = B y.
"""

from __future__ import annotations

from lemmse.estimators.mixture import MixtureEstimator
from lemmse.estimators.whole_images import WholeImageFeatures


class MMSE(MixtureEstimator):
    """MMSE: `sum_i x_i w_i`, `w_i ~ g(B y; B A x_i, sigma^2 B B^T)`, the posterior mean: it memorizes.

    Arguments as for `LocalEquivariantMMSE`, without patch_size and padding; engines are "direct" (CPU, float32) and
    "gemm".

    Raises:
        ValueError: for bad input.

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
