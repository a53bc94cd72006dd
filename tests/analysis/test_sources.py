"""The patchwork of a posterior, from its definition; and images of other worlds."""

from __future__ import annotations

import matplotlib as mpl
import pytest
import torch

import lemmse
from lemmse import figures
from lemmse.analysis.sources import heaviest, origins, patchwork_table
from lemmse.data.unseen import WORLDS, world_images
from lemmse.patches import extract_patches
from tests.conftest import random_images

mpl.use("Agg")


def test_training_images_without_noise_are_one_piece_each():
    x = random_images(4, 3, 9, 8, torch.float64)
    posterior = lemmse.LocalEquivariantMMSE(x, lemmse.Denoising(), patch_size=3).posterior(x[:2], 1e-3, top_k=2)
    table = patchwork_table(posterior, x[:2], x)
    assert (table[["own", "together", "heaviest"]] > 1 - 1e-9).all(axis=None)
    assert (table["sources"] == 1).all()
    torch.testing.assert_close(torch.tensor(table["effective"]), torch.ones(2, dtype=torch.float64))
    for (row, col), found in origins(x, posterior, 1, [(0, 7), (5, 2)]).items():
        assert (found[0].row, found[0].col) == (row, col)
        assert torch.equal(found[0].image, x[1])
        assert found[0].value == pytest.approx(float(x[1, :, row, col].mean()))


def test_equal_weights_are_no_patchwork():
    x = random_images(4, 1, 6, 6, torch.float64)
    y = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    table = patchwork_table(
        lemmse.LocalEquivariantMMSE(x, lemmse.Denoising(), patch_size=3).posterior(y, 1e3, top_k=1), y, x
    )
    assert table["effective"][0] == pytest.approx(4 * 36, rel=1e-3)
    assert table["heaviest"][0] == pytest.approx(1 / (4 * 36), rel=1e-2)


def test_pieces_are_told_from_scattered_pixels():
    """Sources in one image, moved as a whole, are together everywhere; scattered ones are not."""
    row, col = (t.flatten() for t in torch.meshgrid(torch.arange(6), torch.arange(6), indexing="ij"))
    image = torch.zeros_like(row)
    shifted = torch.stack([image, (row + 2) % 6, (col + 5) % 6], -1).reshape(1, 6, 6, 1, 3)
    scattered = shifted.flatten(1, 2)[:, torch.randperm(36, generator=torch.Generator().manual_seed(0))]
    ones = torch.ones(1, 6, 6)
    for indices, least, most in ((shifted, 1, 1), (scattered.reshape(shifted.shape), 0, 0.2)):
        posterior = lemmse.Posterior(ones[None], ones[None], ones, ones, ones[..., None], indices)
        assert least <= patchwork_table(posterior, ones[None], torch.rand(1, 1, 6, 6))["together"][0] <= most


def test_hard_patchwork_of_a_moved_training_image_is_one_piece():
    x = random_images(4, 3, 9, 8, torch.float64)
    moved = x[2:3].roll((2, -3), (-2, -1))
    posterior = lemmse.LocalEquivariantMMSE(x, lemmse.Denoising(), patch_size=3).posterior(moved, 1e-3, top_k=1)
    pixels, pieces = heaviest(posterior, x)
    assert torch.equal(pixels, moved[0])
    assert pieces.unique().tolist() == [(2 * 9 + -2 % 9) * 8 + 3]


def test_the_patchwork_needs_sources():
    x = random_images(2, 1, 5, 5, torch.float64)
    posterior = lemmse.LocalEquivariantMMSE(x, lemmse.Denoising(), patch_size=3).posterior(x, 0.1)
    with pytest.raises(ValueError, match="top_k of at least 1"):
        patchwork_table(posterior, x, x)


def test_its_figures_draw():
    x = random_images(3, 1, 7, 7, torch.float32)
    posterior = lemmse.LocalEquivariantMMSE(x, lemmse.Denoising(), patch_size=3).posterior(x[:1], 0.1, top_k=2)
    drawn = figures.patchwork({"one": (x[0], posterior)}, x)
    titles = [axis.get_title().split() for axis in drawn.axes[:5]]
    assert titles == [
        ["measurement"],
        ["estimate"],
        ["heaviest", "patches"],
        ["their", "pieces"],
        ["effective", "patches"],
    ]
    patch = extract_patches(x[:1], 3)[0, :, 0].unflatten(1, (-1, 3))
    assert len(figures.origins([patch], list(origins(x, posterior, 0, [(3, 3)]).values()), 3).axes) == 5
    voters = origins(x, posterior, 0, [(3, 3)])[3, 3]
    axes = figures.votes(x[0], x[0], posterior.mean[0], (3, 3), voters, 3).axes
    assert [axis.get_title() for axis in axes[:4]] == ["measurement", "noisy patch", "output pixel", "true pixel"]
    assert [axis.get_title().split()[0] for axis in axes[4:6]] == ["weight"] * 2
    table = patchwork_table(posterior, x[:1], x).assign(split="test", sigma=0.1)
    (axis,) = figures.quartile_lines(table, "effective", "split", "samples").axes
    assert axis.get_ylabel() == "samples"


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_worlds_repeat_and_stay_in_range(name, channels):
    first, again = (world_images(name, 5, 12, channels, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.shape == (5, channels, 12, 12)
    assert torch.equal(first, again)
    assert first.min() >= 0
    assert first.max() <= 1
    assert (first == first[:, :1]).all()
    spread = first.flatten(1).std(1)
    assert (spread == 0).all() if name == "constant" else (spread > 0).all()


def test_one_pixel_is_one_and_an_unknown_world_raises():
    images = world_images("one pixel", 4, 9, 1, torch.Generator().manual_seed(0))
    assert (images.sum((1, 2, 3)) == 1).all()
    with pytest.raises(ValueError, match="unknown world 'mars'"):
        world_images("mars", 1, 8, 1, torch.Generator())
