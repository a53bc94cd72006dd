"""Queries of another size than the training images, and training images that are left out of a query."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lemmse
from lemmse.engines.cpu import box
from lemmse.estimators import mixture, reference
from tests.conftest import random_images
from tests.estimators.test_as_modules import KINDS, MASK, SETTINGS, X, every_kind, every_setting, make, measure

DENOISE = lemmse.Denoising()


@settings(max_examples=25, deadline=None)
@given(
    key=st.tuples(st.integers(3, 7), st.integers(3, 7)),
    query=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    channels=st.sampled_from([1, 3]),
    patch_size=st.sampled_from([1, 3, 5, 7]),
    seed=st.integers(0, 10**6),
)
def test_queries_of_any_size_equal_the_formula(key, query, channels, patch_size, seed):
    x, y = random_images(3, channels, *key, seed=seed), random_images(2, channels, *query, seed=seed + 1)
    estimator = lemmse.LocalEquivariantMMSE(x, DENOISE, patch_size=patch_size, engine="torch")
    if query != key and patch_size > min(*query, *key):
        with pytest.raises(ValueError, match="patch_size at most"):
            estimator(y, 0.2)
        return
    torch.testing.assert_close(estimator(y, 0.2), reference.le_mmse(x, y, 0.2, patch_size), rtol=0, atol=1e-9)


@pytest.mark.parametrize("size", [(9, 12), (5, 5), (6, 5)])
def test_with_zero_padding_a_large_query_sees_borders_and_interiors(size):
    """A pixel competes with the positions whose windows are clipped alike, as patches of the pattern tell."""
    x, y, p = random_images(4, 1, 6, 5), random_images(1, 1, *size, seed=1), 3
    estimator = lemmse.LocalEquivariantMMSE(x, DENOISE, patch_size=p, padding="zeros", engine="torch")
    posterior = estimator.posterior(y, 0.3, 2)

    def patches(images):
        both = torch.stack([images[:, 0], torch.ones_like(images[:, 0])], 1)
        padded = torch.nn.functional.pad(both, (1, 1, 1, 1))
        return padded.unfold(2, p, 1).unfold(3, p, 1).flatten(4).movedim(1, 3)  # (N, H, W, 2, P * P)

    keys, values = patches(x).flatten(0, 2), x.flatten()
    for row in range(size[0]):
        for col in range(size[1]):
            v, pattern = patches(y)[0, row, col]
            alike = (keys[:, 1] == pattern).all(-1)
            weights = torch.softmax(-(v - keys[alike, 0]).square().sum(-1) / (2 * 0.3**2), 0)
            torch.testing.assert_close(posterior.mean[0, 0, row, col], weights @ values[alike], rtol=0, atol=1e-12)
            torch.testing.assert_close(posterior.weights[0, row, col], weights.topk(2).values, rtol=0, atol=1e-12)


def test_sums_of_large_queries_merge_over_shards():
    x, y = random_images(5, 1, 6, 5), random_images(2, 1, 8, 7, seed=1)
    whole, a, b = (lemmse.LocalEquivariantMMSE(part, DENOISE, patch_size=3) for part in (x, x[:2], x[2:]))
    merged = a.finish(a.partial(y, 0.2, 3).merge(b.partial(y, 0.2, 3)))
    for name, value in vars(whole.posterior(y, 0.2, 3)).items():
        torch.testing.assert_close(getattr(merged, name), value, rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="same queries"):
        a.partial(y, 0.2).merge(b.partial(y.transpose(2, 3), 0.2))


@pytest.mark.parametrize("sides", [(8, 8), (64, 40)])
def test_a_compiled_engine_takes_as_many_training_images_at_once_for_a_large_query(monkeypatch, sides):
    """Its memory does not grow with the pairs, and small blocks would cost time."""
    blocks, accumulate = [], box.accumulate

    def counted(state, queries, keys, *rest, **options):
        blocks.append(len(keys))
        return accumulate(state, queries, keys, *rest, **options)

    monkeypatch.setattr(box, "accumulate", counted)
    monkeypatch.setattr(mixture, "_NUMBERS", 6 * 8 * 8)
    x, y = random_images(15, 1, 8, 8), random_images(2, 1, *sides, seed=1)
    lemmse.LocalEquivariantMMSE(x, DENOISE, patch_size=3, engine="numba")(y, 0.2)
    assert blocks == [6, 6, 3]


@pytest.mark.parametrize("kind", ["EquivariantMMSE", "MMSE"])
def test_whole_images_keep_their_size(kind):
    with pytest.raises(ValueError, match=r"only LocalEquivariantMMSE with B = I .* takes other sizes"):
        make(kind, "identity")(torch.rand(1, 1, 9, 9, dtype=torch.float64), 0.1)
    masked = lemmse.LocalEquivariantMMSE(X, lemmse.Inpainting(MASK), patch_size=3, pre_inverse="pinv")
    with pytest.raises(ValueError, match="takes other sizes"):
        masked(torch.rand(1, 1, 9, 9, dtype=torch.float64), 0.1)


@every_setting
@every_kind
@pytest.mark.parametrize("streamed", [False, True])
def test_an_image_left_out_is_an_estimator_without_it(kind, setting, streamed):
    physics, pre_inverse = SETTINGS[setting]
    y, exclude = measure(setting, X[:4]), torch.tensor([0, 5, -1, 3])
    images = list(X.split(4)) if streamed else X
    found = make(kind, setting, images).posterior(y, 0.2, 3, exclude=exclude)
    for q, left_out in enumerate(exclude.tolist()):
        rest = torch.cat([X[:left_out], X[left_out + 1 :]]) if left_out >= 0 else X
        options = KINDS[kind] | {"pre_inverse": pre_inverse}
        rebuilt = getattr(lemmse, kind)(rest, physics, **options).posterior(y[q : q + 1], 0.2, 3)
        for name in ("mean", "variance", "log_density", "effective_samples", "weights"):
            torch.testing.assert_close(getattr(found, name)[q], getattr(rebuilt, name)[0], rtol=1e-9, atol=1e-9)
        image = rebuilt.indices[0, ..., 0]
        image = image + (image >= left_out) if left_out >= 0 else image
        assert torch.equal(found.indices[q, ..., 0], image)


def test_what_cannot_be_left_out():
    estimator, y = make("LocalEquivariantMMSE", "identity"), measure("identity")
    for exclude, message in (
        (torch.tensor([0, 6]), "one of the 6 images, got 6"),
        (torch.tensor([0, -2]), "or -1 for none, got -2"),
        (torch.tensor([0]), r"int64 tensor of shape \(2,\)"),
        (torch.tensor([0.0, 1.0]), r"int64 tensor of shape \(2,\)"),
        ([0, 1], "exclude must be a torch tensor, got list"),
    ):
        with pytest.raises(ValueError, match=message):
            estimator.posterior(y, 0.2, exclude=exclude)
    with pytest.raises(ValueError, match="at least 2"):
        lemmse.MMSE(X[:1], DENOISE).posterior(y, 0.2, exclude=torch.tensor([0, -1]))
