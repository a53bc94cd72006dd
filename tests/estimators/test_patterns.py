"""Strata by the pattern of a mask in the window: equal labels are equal patterns, however they are found."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lemmse.estimators.pixels import same_patterns
from lemmse.patches import extract_patches


def framed(height, width, reach):
    """An image of ones in a frame of zeros, as zero padding makes it."""
    return torch.nn.functional.pad(torch.ones(height, width, dtype=torch.float64), (0, reach, 0, reach))


def patterns(mask, patch_size):
    return [tuple(row) for row in extract_patches(mask[None, None], patch_size)[0, 0].tolist()]


@settings(max_examples=40, deadline=None)
@given(
    patch_size=st.sampled_from([1, 3, 5]),
    height=st.integers(5, 9),
    width=st.integers(5, 9),
    query_height=st.integers(5, 12),
    query_width=st.integers(5, 12),
    kind=st.sampled_from(["frame", "hole", "columns", "nothing"]),
    seed=st.integers(0, 99),
)
def test_equal_labels_are_equal_patterns(patch_size, height, width, query_height, query_width, kind, seed):
    g = torch.Generator().manual_seed(seed)
    if kind == "frame":
        mask, query = framed(height, width, patch_size // 2), framed(query_height, query_width, patch_size // 2)
    elif kind == "columns":
        mask = (torch.rand(1, width, generator=g, dtype=torch.float64) > 0.5).double().expand(height, width).clone()
        query = mask
    elif kind == "nothing":
        mask = query = torch.zeros(height, width, dtype=torch.float64)
    else:
        mask = query = (torch.rand(height, width, generator=g, dtype=torch.float64) > 0.4).double()
    labels, query_labels = same_patterns(mask, query, patch_size)
    assert labels.shape == mask.shape
    assert query_labels.shape == query.shape
    every = patterns(mask, patch_size) + patterns(query, patch_size)
    numbers = labels.flatten().tolist() + query_labels.flatten().tolist()
    assert len(set(every)) == len(set(numbers)) == len(set(zip(every, numbers, strict=True)))


def test_the_frame_of_a_large_picture_is_labeled_at_once():
    """Axis by axis: 25 patterns of P = 5, no window of 10 million pixels is ever written down."""
    key, query = framed(16, 16, 2), framed(3000, 3400, 2)
    labels, query_labels = same_patterns(key, query, 5)
    inside, query_inside = labels[:16, :16], query_labels[:3000, :3400]
    assert len(query_inside.unique()) == 25
    assert torch.equal(inside.unique(), query_inside.unique())
    assert (query_inside[2:-2, 2:-2] == inside[8, 8]).all()
