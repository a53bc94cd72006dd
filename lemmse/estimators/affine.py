"""The best affine map of a patch: the control that every claim about networks must beat.

At the output pixel m, with `v = Pi_m B y` the P x P patch of all channels and u the clean pixel at its center,

    x_hat[m] = mean(u) + c^T (C + sigma^2 S)^+ (v - mean(v)),

    C = Cov(Pi_k B A x),   c = Cov(Pi_k B A x, u),   S = mean of Q_k Q_k^T,   Q_k = Pi_k B,

over all training images and over the positions k of the stratum of m. The strata are those of LE-MMSE: k and m belong
together if and only if range(Q_k) = range(Q_m), which tells the map as much about the position as a patch tells.

The moments are computed once. Let W whiten the noise, `W^T S W = I` on the range of S, and let `U diag(l) U^T` be the
eigendecomposition of `W^T C W`. Then `(C + sigma^2 S)^+ = W U diag(1 / (l + sigma^2)) U^T W^T`, so that another sigma
costs a division.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lemmse.checks import (
    check_choice,
    check_measurements,
    check_patch_size,
    check_positive,
    check_sigma,
    check_size,
)
from lemmse.estimators.pixels import PixelFeatures
from lemmse.estimators.positions import group_ranges
from lemmse.estimators.training_images import Images, TrainingImages
from lemmse.estimators.whitening import patch_covariance
from lemmse.patches import mask_strata, window_indices
from lemmse.physics.base import Physics
from lemmse.physics.foreign import adopted, noise_level
from lemmse.physics.preinverse import CirculantPreInverse, DensePreInverse, DiagonalPreInverse, PreInverse
from lemmse.physics.preinverse import pre_inverse as build_pre_inverse
from lemmse.physics.spectra import RANGE_RTOL

_NUMBERS = 1 << 24  # of the patches of a block of images
_NO_SIGNAL = 1e-14  # of the largest eigenvalue: a direction with less signal holds nothing but rounding


@dataclass(frozen=True)
class NoiseStratum:
    """Positions whose patches see the same subspace.

    Attributes:
        positions: (K,) int64, flat indices of the pixels.
        noise: (p, p) float64, `S = mean_k Q_k Q_k^T` for one channel: the noise covariance of a patch at sigma = 1.
        joint: whether noise is (C p, C p), of all channels of a patch together, as for complex images.
    """

    positions: Tensor
    noise: Tensor
    joint: bool = False


def noise_strata(B: PreInverse, patch_size: int, height: int, width: int) -> list[NoiseStratum]:
    """Group the positions by range(Q_k), `Q_k = Pi_k B`, with the mean noise covariance of their patches.

    Args:
        B: the pre-inverse.
        patch_size: P, odd.
        height: H of the images.
        width: W of the images.

    Returns:
        The strata, which together hold every position once; float64 on the CPU.

    Example:
        >>> import lemmse
        >>> from lemmse.physics.preinverse import pre_inverse
        >>> B = pre_inverse(lemmse.Denoising(), "identity", (8, 8))
        >>> [stratum] = noise_strata(B, 3, 8, 8)
        >>> len(stratum.positions), stratum.noise.shape
        (64, torch.Size([9, 9]))
    """
    window = window_indices(check_patch_size(patch_size), height, width)
    if isinstance(B, CirculantPreInverse):
        everywhere = torch.arange(len(window), dtype=torch.int64, device="cpu")
        noise = patch_covariance(B.spectrum, patch_size, complex_images=B.complex_images)
        if B.complex_images:  # of the real and the imaginary part of a patch
            parts = [torch.cat([noise.real, -noise.imag], 1), torch.cat([noise.imag, noise.real], 1)]
            return [NoiseStratum(everywhere, torch.cat(parts), joint=True)]
        return [NoiseStratum(everywhere, noise)]
    if isinstance(B, DiagonalPreInverse):
        mask = B.mask.cpu()
        labels = mask_strata(mask, patch_size).flatten()
        groups = [(labels == label).nonzero()[:, 0] for label in labels.unique()]
        return [NoiseStratum(k, torch.diag(B.scale**2 * mask.flatten()[window[k[0]]])) for k in groups]
    if isinstance(B, DensePreInverse):
        Q = B.matrix.cpu()[window]
        left, values, _ = torch.linalg.svd(Q, full_matrices=False)
        left = left * (values > RANGE_RTOL**0.5 * values.amax(1, keepdim=True))[:, None]
        groups = group_ranges(left @ left.transpose(1, 2))
        return [NoiseStratum(k, (Q[k] @ Q[k].transpose(1, 2)).mean(0)) for k in groups]
    raise ValueError(f"the noise behind a {type(B).__name__} is not known: use a pre-inverse of lemmse")


class _Patches:
    """The whitened patches of one stratum, `w = W^T v` with `W^T S W = I`: their noise is white, of deviation sigma."""

    def __init__(self, whitening: Tensor, positions: Tensor, window: Tensor, joint: bool) -> None:
        self.whitening = whitening  # W (p, r), for one channel
        self.positions = positions.to(whitening.device)
        self._pixels = window[positions.cpu()].to(whitening.device)  # (K, p)
        self._joint = joint

    @classmethod
    def of_stratum(cls, stratum: NoiseStratum, window: Tensor, device: torch.device) -> _Patches:
        """The patches at the positions of a stratum, on a device."""
        values, vectors = torch.linalg.eigh(stratum.noise)
        kept = values > RANGE_RTOL * values[-1]
        return cls((vectors[:, kept] / values[kept].sqrt()).to(device), stratum.positions, window, stratum.joint)

    def at(self, positions: Tensor, window: Tensor) -> _Patches:
        """The patches of the same stratum at other positions, of an image with another window around each pixel."""
        return _Patches(self.whitening, positions, window, self._joint)

    def __call__(self, z: Tensor) -> Tensor:
        """(Q, C, H, W) -> (Q, K, C*r)."""
        patches = z.flatten(2)[:, :, self._pixels]
        if self._joint:
            patches = patches.transpose(1, 2).flatten(2)[:, None]
        return (patches @ self.whitening).transpose(1, 2).flatten(2)

    def centers(self, x: Tensor) -> Tensor:
        """The pixels at the centers: (Q, C, H, W) -> (Q, K, C)."""
        return x.flatten(2)[:, :, self.positions].transpose(1, 2)


class _Covariances:
    """Means and covariances of whitened patches w and centers u of one stratum, summed over blocks of images."""

    def __init__(self) -> None:
        self.count = 0
        self.origin = self.total = self.products = torch.zeros(0, dtype=torch.float64, device="cpu")

    def add(self, w: Tensor, u: Tensor) -> None:
        """Add patches (M, C*r) with their centers (M, C)."""
        values = torch.cat([w, u], 1)
        if self.count == 0:  # sums about a typical value keep their digits
            self.origin = values.mean(0)
            self.total, self.products = torch.zeros_like(self.origin), values.new_zeros(2 * self.origin.shape)
        values = values - self.origin
        self.count += len(values)
        self.total = self.total + values.sum(0)
        self.products = self.products + values.T @ values

    @property
    def mean(self) -> Tensor:
        """(C*r + C,), of w and u in turn."""
        return self.origin + self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """(C*r + C, C*r + C), of w and u in turn."""
        mean = self.total / self.count
        return self.products / self.count - torch.outer(mean, mean)


class _AffineMap:
    """The best affine map of the patches of one stratum, for every sigma, from the covariances."""

    def __init__(self, patches: _Patches, moments: _Covariances, channels: int) -> None:
        self.patches = patches
        size = len(moments.mean) - channels
        self.w_mean, self.u_mean = moments.mean[:size], moments.mean[size:]
        eigenvalues, directions = torch.linalg.eigh(moments.covariance[:size, :size])
        kept = eigenvalues > _NO_SIGNAL * eigenvalues.amax() if size else eigenvalues > 0
        self.eigenvalues, self.directions = eigenvalues[kept], directions[:, kept]  # l and U
        self.cross = self.directions.T @ moments.covariance[:size, size:]  # U^T W^T c
        self.variance = moments.covariance.diagonal()[size:]  # of u

    def __call__(self, w: Tensor, sigma: Tensor) -> Tensor:
        """Whitened patches w (Q, K, C*r), sigma (Q,), both float64 -> the pixels at their centers (Q, C, K)."""
        coordinates = (w - self.w_mean) @ self.directions
        shrunk = coordinates / (self.eigenvalues + sigma[:, None, None].square())
        return (self.u_mean + shrunk @ self.cross).transpose(1, 2)

    def risk(self, sigma: float) -> float:
        """`var(u) - c^T (C + sigma^2 S)^+ c`, mean over channels."""
        explained = (self.cross.square() / (self.eigenvalues + sigma**2)[:, None]).sum(0)
        return float((self.variance - explained).mean())


class AffineMMSE(nn.Module):
    r"""AffineMMSE is the best affine map of a P x P patch, $\hat x = \bar u + c^\top (C + \sigma^2 S)^+ (v - \bar v)$.

    It is the minimizer of `E |phi(B y) - x|^2` over the maps phi that are local, commute with translations (within a
    stratum where the mask tells positions apart), and are affine: what second moments alone say. It serves any sigma:
    `affine(y, sigma)` gives the estimates (Q, C, H, W) for measurements y.

    Args:
        images: (N, C, H, W) tensor in [0, 1], float32 or float64, which sets dtype and device, or a re-iterable of
            such batches, a DataLoader or a Dataset.
        physics: the forward operator A.
        patch_size: P, odd.
        pre_inverse: "identity", "pinv", "tikhonov" or "adjoint".
        padding: "circular", or "zeros" with the identity: then positions with one border pattern are a stratum.
        tikhonov_lambda: lambda > 0 of "tikhonov".
        rtol: singular values of A below rtol of the largest count as zero in "pinv".

    Raises:
        ValueError: for images that are no finite batches, for a value that an option does not take, and for a physics
            that does not fit the images or B.

    Source: the Wiener filter, restricted to a window, with second moments from the data set.

    Example:
        >>> import lemmse, torch
        >>> images = torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> affine = AffineMMSE(images, lemmse.Denoising(), patch_size=3)
        >>> affine(images[:2], 0.1).shape
        torch.Size([2, 1, 8, 8])
    """

    @torch.no_grad()
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
    ) -> None:
        super().__init__()
        self.patch_size = check_patch_size(patch_size)
        if check_choice(padding, ("circular", "zeros"), "padding") == "zeros" and pre_inverse != "identity":
            raise ValueError(f"padding 'zeros' needs pre_inverse 'identity', got {pre_inverse!r}")
        data = TrainingImages(images)
        first = data.first
        self.shape, self.dtype, self.device = data.shape, data.dtype, data.device
        self.physics = physics = adopted(physics, first)
        self.pre_inverse = build_pre_inverse(
            physics, pre_inverse, self.shape[1:], tikhonov_lambda=tikhonov_lambda, rtol=rtol
        )
        probe = physics.A(first[:1])
        self._query_shape, self._query_dtype = tuple(probe.shape[1:]), probe.dtype
        self._features: PixelFeatures | None = None
        noise, sides = self.pre_inverse, self.shape[1:]
        if isinstance(self.pre_inverse, DiagonalPreInverse):
            self._features = PixelFeatures(self.pre_inverse, self.shape, patch_size, padding, torch.device("cpu"))
            sides = self._features.sides
            noise = DiagonalPreInverse(physics, self.pre_inverse.scale, self._features.mask)
        window = window_indices(patch_size, *sides)
        strata = [s for s in noise_strata(noise, patch_size, *sides) if self._is_inside(s)]
        patches = [_Patches.of_stratum(stratum, window, self.device) for stratum in strata]
        moments = [_Covariances() for _ in strata]
        block_size = max(1, _NUMBERS // (first[0].numel() * window.shape[1]))
        for batch in data:
            for x in batch.double().split(block_size):
                z = check_size(self.pre_inverse.signal(x), "B A x")
                z, x = self._framed(z), self._framed(x)
                for cut, sums in zip(patches, moments, strict=True):
                    sums.add(cut(z).flatten(0, 1), cut.centers(x).flatten(0, 1))
        self._maps = [_AffineMap(cut, sums, self.shape[0]) for cut, sums in zip(patches, moments, strict=True)]

    @torch.no_grad()
    def forward(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """The estimate `x_hat(y)`.

        Args:
            y: measurements (Q, ...), what `physics.measure` returns for images of the size of the data set; with B = I
                they may be of another, with sides of at least P.
            sigma: standard deviation of the noise, a number, 0-d or (Q,), positive.

        Returns:
            (Q, C, H, W), in the dtype of the images.

        Raises:
            ValueError: for measurements of another shape, dtype or device, and for a sigma that is not positive.
        """
        check_measurements(y, self._query_shape, self._query_dtype, self.device)
        levels = check_sigma(noise_level(sigma), len(y), y).double()
        places = self._places(tuple(y.shape[1:]))
        z = self._framed(self.pre_inverse(y.to(torch.complex128 if y.is_complex() else torch.float64)))
        estimate = torch.empty(len(y), self.shape[0], *z.shape[2:], dtype=torch.float64, device=self.device).flatten(2)
        at_once = max(1, _NUMBERS // (len(y) * z.shape[1] * self.patch_size**2))
        for affine, (positions, window) in zip(self._maps, places, strict=True):
            for part in positions.split(at_once):
                cut = affine.patches.at(part, window)
                estimate[:, :, cut.positions] = affine(cut(z), levels)
        sides = y.shape[2:] if self._features else self.shape[1:]
        return estimate.reshape(*estimate.shape[:2], *z.shape[2:])[..., : sides[0], : sides[1]].to(self.dtype)

    def _places(self, query_shape: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
        """For each stratum, its positions in queries of this shape, and the windows of all pixels of these."""
        if self._features is None and query_shape == self._query_shape:
            window = window_indices(self.patch_size, *self.shape[1:])
            return [(affine.patches.positions, window) for affine in self._maps]
        if self._features is None:
            height, width = query_shape[1:]
            raise ValueError(
                f"y must be of the size of the images, got {height} x {width} pixels: only pre_inverse 'identity' "
                "takes other sizes"
            )
        known = self._features
        features = known if query_shape == self._query_shape else known.for_queries((query_shape[1], query_shape[2]))
        window = window_indices(self.patch_size, *features.query_mask.shape)
        labels = [features.strata.flatten()[affine.patches.positions[0].cpu()] for affine in self._maps]
        where = features.query_strata.flatten()
        return [((where == label).nonzero()[:, 0], window) for label in labels]

    def _is_inside(self, stratum: NoiseStratum) -> bool:
        """Whether the positions of a stratum are pixels of the image, not of the frame that zero padding adds."""
        return self._features is None or bool(self._features.strata.flatten()[stratum.positions[0]] >= 0)

    def _framed(self, images: Tensor) -> Tensor:
        """Images with the frame of zero padding."""
        return images if self._features is None else self._features.framed(images)

    def risk(self, sigma: float) -> float:
        """`E |x_hat(y) - x|^2` per pixel and channel on the training distribution, exactly.

        Args:
            sigma: standard deviation of the noise, positive.

        Returns:
            The mean over the positions of `var(u) - c^T (C + sigma^2 S)^+ c`. LE-MMSE has no larger risk there.

        Raises:
            ValueError: if sigma is not a finite positive number.
        """
        check_positive(sigma, "sigma")
        pixels = self.shape[1] * self.shape[2]
        return sum(affine.risk(sigma) * len(affine.patches.positions) for affine in self._maps) / pixels

    def directions(self, sigma: float) -> float:
        """How many directions of the patch have more signal than noise: the eigenvalues l above sigma^2.

        Args:
            sigma: standard deviation of the noise, positive.

        Returns:
            Their number, at most C P^2; the mean over positions where there are several strata.

        Raises:
            ValueError: if sigma is not a finite positive number.
        """
        check_positive(sigma, "sigma")
        counts = [int((affine.eigenvalues > sigma**2).sum()) * len(affine.patches.positions) for affine in self._maps]
        return sum(counts) / (self.shape[1] * self.shape[2])
