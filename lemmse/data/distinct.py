"""How many different patches a set of images holds: crops that overlap hold the same ones again and again."""

from __future__ import annotations

import hashlib

import numpy as np
from torch import Tensor

from lemmse.checks import check_images, check_patch_size
from lemmse.patches import extract_patches

_BATCH = 256  # images whose patches are in memory at once


def distinct_centers(images: Tensor, patch_size: int) -> int:
    """The number of different P x P patches among all N H W of a set, which counts a repeated patch once.

    Two positions are one center if their whole patches `Pi_m x` are equal to the bit, with circular borders as in the
    theory. With P = 1 the number is that of the different pixel values. Crops of one photograph that overlap repeat its
    patches, so this is the number of atoms that the posterior of LE-MMSE really chooses from (denoising).

    Args:
        images: (N, C, H, W) float32 or float64 in [0, 1].
        patch_size: P, odd and positive.

    Returns:
        A number from 1 to N H W.

    Raises:
        ValueError: for images or a patch size that the estimators would refuse.

    Example:
        >>> import torch
        >>> distinct_centers(torch.zeros(2, 1, 8, 8, dtype=torch.float32, device="cpu"), 3)
        1
    """
    check_images(images)
    check_patch_size(patch_size)
    found = [_keys(batch, patch_size) for batch in images.detach().cpu().split(_BATCH)]
    return len(np.unique(np.concatenate(found)))


def _keys(images: Tensor, patch_size: int) -> np.ndarray:
    """64 bits of a hash for each patch: equal patches have equal keys; among ten million, two others with 1 in 10^5."""
    patches = (extract_patches(images, patch_size) + 0.0).movedim(1, -1)  # + 0.0 makes -0.0 and 0.0 one value
    rows = patches.flatten(2).flatten(0, 1).contiguous().numpy()
    digests = b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in rows)
    return np.frombuffer(digests, dtype=np.uint64)
