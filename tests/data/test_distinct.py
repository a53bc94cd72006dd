"""Distinct centers: against brute force, and where the answer is known."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lemmse
from lemmse.data.distinct import distinct_centers


@given(st.integers(0, 2**31), st.sampled_from([1, 3, 5, 9]), st.sampled_from([1, 3]), st.booleans())
def test_equals_brute_force(seed, patch_size, channels, double):
    g = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 2, (2, channels, 5, 4), generator=g).to(torch.float64 if double else torch.float32)
    seen = set()
    for image in images:
        for row in range(5):
            for column in range(4):
                window = range(-(patch_size // 2), patch_size // 2 + 1)
                seen.add(
                    tuple(image[:, (row + i) % 5, (column + j) % 4].tolist().__str__() for i in window for j in window)
                )
    assert distinct_centers(images, patch_size) == len(seen)


def test_a_shifted_image_has_no_new_center():
    images = torch.rand(3, 1, 12, 10, generator=torch.Generator().manual_seed(0))
    shifted = torch.cat([images, images.roll((3, 5), (2, 3))])
    assert distinct_centers(shifted, 3) == distinct_centers(images, 3) == 3 * 12 * 10


def test_zeros_of_either_sign_are_one_value():
    images = torch.zeros(1, 1, 4, 4)
    images[0, 0, 1, 1] = -0.0
    assert distinct_centers(images, 3) == 1


def test_crops_that_overlap_repeat_centers():
    few, many = (lemmse.load_images("photos", count=n, size=16, channels=1) for n in (9, 500))
    assert distinct_centers(few, 5) > 0.9 * few.numel()
    assert distinct_centers(many, 5) < 0.7 * many.numel()


@pytest.mark.parametrize("patch_size", [0, 2, 1.0, True])
def test_bad_arguments(patch_size):
    with pytest.raises(ValueError, match="patch_size must be"):
        distinct_centers(torch.zeros(1, 1, 4, 4), patch_size)
