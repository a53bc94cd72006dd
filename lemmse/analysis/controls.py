"""Controls: restorers that know less than the formula, or something else, and that a claim has to beat.

A network that is near the formula proves little where it is as near to something simpler. The controls are

    the measurement       nothing at all was done
    the affine filter     second moments of the patches alone
    other patch sizes     the formula for half and twice the radius of the window
    few images            the formula for a small part of the training images
    other images          the formula for as many images of the same distribution that were not trained on
    another set           the formula for images of another kind
    non-local means       a filter that knows no training image, only the noisy image itself

All but one are rivals: if a network is as near to one of them, the formula does not explain it. `OTHER_IMAGES` is the
exception. Where it predicts the network as well as the formula does, the formula is still right, but it is the
distribution that counts there, and not which images were drawn from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from lemmse.analysis.evaluate import Restorer, images_in_memory
from lemmse.analysis.second_moments import affine_beside
from lemmse.checks import check_batch, check_count, check_patch_sizes, shown
from lemmse.estimators.lemmse import LocalEquivariantMMSE
from lemmse.physics.operators import Denoising

MEASUREMENT = "measurement"
AFFINE = "affine filter"
NON_LOCAL_MEANS = "non-local means"
OTHER_IMAGES = "formula of other images"
_SEARCHED = 11  # pixels to each side that non-local means searches
_SMOOTHING = 0.8  # times sigma, the filter strength that scikit-image recommends for its fast mode


def half_and_double(patch_size: int) -> list[int]:
    """The patch sizes of half and of twice the radius of P, where they differ from P.

    Example:
        >>> half_and_double(5), half_and_double(3), half_and_double(1)
        ([3, 9], [1, 5], [])
    """
    radius = patch_size // 2
    return [size for size in (2 * (radius // 2) + 1, 4 * radius + 1) if size != patch_size]


def patch_size_control(patch_size: int) -> str:
    """The name of the formula of another patch size."""
    return f"formula, P = {patch_size}"


def with_patch_size(formula: LocalEquivariantMMSE, patch_size: int) -> LocalEquivariantMMSE:
    """The same formula for another patch size."""
    return formula.rebuilt(formula.images, patch_size=patch_size)


def with_images(formula: LocalEquivariantMMSE, images: Tensor) -> LocalEquivariantMMSE:
    """The same formula for other images (N, C, H, W)."""
    return formula.rebuilt(images)


class NonLocalMeans:
    """Non-local means of scikit-image, for denoising: patches of the noisy image itself vote for a pixel.

    Args:
        patch_size: the side of its patches, in pixels.

    Source: Buades, Coll, Morel, "A non-local algorithm for image denoising", CVPR 2005; Darbon et al., ISBI 2008.

    Example:
        >>> y = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> NonLocalMeans(5)(y, 0.5).shape
        torch.Size([1, 1, 16, 16])
    """

    def __init__(self, patch_size: int) -> None:
        self.patch_size = patch_size

    def __call__(self, y: Tensor, sigma: float) -> Tensor:
        """Noisy images (Q, C, H, W) of noise level sigma to images of the same shape."""
        from skimage.restoration import denoise_nl_means

        options = {"patch_size": self.patch_size, "patch_distance": _SEARCHED, "fast_mode": True, "channel_axis": -1}
        noisy = y.movedim(1, -1).cpu().numpy()
        clean = [denoise_nl_means(image, h=_SMOOTHING * sigma, sigma=sigma, **options) for image in noisy]
        restored = torch.stack([torch.from_numpy(image).reshape(y[0, 0].numel(), -1) for image in clean])
        return restored.transpose(1, 2).reshape(y.shape).to(y)  # scikit-image drops the axis of a single channel


def controls(
    formula: LocalEquivariantMMSE,
    *,
    few: int | None = 100,
    patch_sizes: Iterable[int] | None = None,
    other_images: Tensor | None = None,
    another_set: Mapping[str, Tensor] | None = None,
) -> dict[str, Restorer]:
    """The controls of a formula, by name, in the order of the table above.

    Args:
        formula: the LE-MMSE estimator, its images in memory.
        few: how many images the formula of few images has; left out if None, or if there are not more than that.
        patch_sizes: odd, those of the formula of other patch sizes; None for those of half and of twice the radius.
        other_images: (N, C, H, W), images of the same distribution that were not trained on; left out if None.
        another_set: images of another kind by the name of their set; left out if None.

    Returns:
        A restorer for each name. Non-local means is among them for denoising only.

    Raises:
        ValueError: if the images of the formula are not in memory, and for bad input.

    Example:
        >>> import lemmse
        >>> images = torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> formula = LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=3)
        >>> list(controls(formula, few=2))  # doctest: +NORMALIZE_WHITESPACE
        ['measurement', 'affine filter', 'formula, P = 1', 'formula, P = 5', 'formula of 2 images', 'non-local means']
    """
    if not isinstance(formula, LocalEquivariantMMSE):
        raise ValueError(f"formula must be LocalEquivariantMMSE, got {type(formula).__name__}")
    images = images_in_memory(formula)
    sizes = half_and_double(formula.patch_size) if patch_sizes is None else check_patch_sizes(patch_sizes)
    if another_set is not None and not isinstance(another_set, Mapping):
        raise ValueError(f"another_set must be a dictionary of images by name, got {shown(another_set)}")
    chosen: dict[str, Restorer] = {MEASUREMENT: _Measurement(formula), AFFINE: affine_beside(formula)}
    for patch_size in sizes:
        chosen[patch_size_control(patch_size)] = with_patch_size(formula, patch_size)
    if few is not None and check_count(few, "few") < len(images):
        chosen[f"formula of {few:,} {'image' if few == 1 else 'images'}"] = with_images(formula, images[:few])
    if other_images is not None:
        chosen[OTHER_IMAGES] = with_images(formula, _of_channels(other_images, "other_images", formula))
    for name, others in (another_set or {}).items():
        control = f"formula of {name}"
        if control == OTHER_IMAGES or control in chosen:
            raise ValueError(f"another_set must not use the name of another control, got {shown(name)}")
        chosen[control] = with_images(formula, _of_channels(others, f"another_set[{name!r}]", formula))
    if isinstance(formula.physics, Denoising):
        chosen[NON_LOCAL_MEANS] = NonLocalMeans(formula.patch_size)
    return chosen


def _of_channels(images: Tensor, name: str, formula: LocalEquivariantMMSE) -> Tensor:
    """Images for another formula, checked to have as many channels as those of this one."""
    if check_batch(images, name).shape[1] != formula.shape[0]:
        raise ValueError(f"{name} must have {formula.shape[0]} channels, as the images have, got {images.shape[1]}")
    return images


class _Measurement:
    """What the network sees, `z = B y`, taken as the answer."""

    def __init__(self, formula: LocalEquivariantMMSE) -> None:
        self._pre_inverse = formula.pre_inverse

    def __call__(self, y: Tensor, sigma: float) -> Tensor:
        return self._pre_inverse(y)
