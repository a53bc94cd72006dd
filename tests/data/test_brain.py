"""Slices of brains: what is held out, sizes, the phase, and what is said where the files are not here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

import lemmse
from lemmse.data import brain
from lemmse.data.groups import image_groups
from lemmse.data.sets import fetch, is_here

LOCAL = os.environ.get("LEMMSE_DATA", "")
needs_mri = pytest.mark.skipif(not LOCAL or not Path(LOCAL, "mri").is_dir(), reason="LEMMSE_DATA has no mri")
SETS = ["brain", pytest.param("mri_t1", marks=needs_mri), pytest.param("mri_pd", marks=needs_mri)]


@pytest.fixture(autouse=True)
def fresh():
    brain._volume.cache_clear()
    yield
    brain._volume.cache_clear()


@pytest.mark.parametrize("name", SETS)
def test_slices(name):
    assert is_here(name)
    x = lemmse.load_images(name)
    assert x.shape[1:] == (1, 64, 64)
    assert x.dtype == torch.float32
    assert 0 <= x.min() < 0.01
    assert 0.6 < x.max() <= 1
    assert torch.equal(lemmse.load_images(name, count=5), x[:5])
    torch.testing.assert_close(lemmse.load_images(name, size=32), torch.nn.functional.avg_pool2d(x, 2))
    assert (x.mean((1, 2, 3)) > 0.03).all()  # none is empty
    assert lemmse.load_images(name, count=2, size=32, channels=3).shape == (2, 3, 32, 32)


@pytest.mark.parametrize("name", SETS)
def test_test_slices_keep_their_distance(name):
    train, test = (brain._chosen(name, split, None) for split in ("train", "test"))
    assert min(abs(i - j) for i in train for j in test) == 3
    assert len(train) > 2 * len(test) > 10
    groups = image_groups(name, split="test")
    assert len(groups) == len(test)
    assert all((groups[a] == groups[b]) == (i // 20 == j // 20) for a, i in enumerate(test) for b, j in enumerate(test))


def test_the_average_brain_stands_upright():
    """It is nearly the same left and right, not front and back; nothing touches the border."""
    x = lemmse.load_images("brain", size=192)
    assert (x - x.flip(3)).abs().mean() < 0.1 * x.mean()
    assert (x - x.flip(2)).abs().mean() > 0.2 * x.mean()
    border = torch.ones(192, 192, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert x[..., border].max() == 0
    lowest = brain._volume("brain")[0, 0]
    assert lowest[96:].sum() > 3 * lowest[:96].sum()  # the cerebellum, which lies behind


def test_phase():
    images = lemmse.load_images("brain", count=3, size=32).double()
    z = brain.with_smooth_phase(images, torch.Generator().manual_seed(0), largest=1.0)
    torch.testing.assert_close(z.norm(dim=1, keepdim=True), images)
    again = brain.with_smooth_phase(images, torch.Generator().manual_seed(0), largest=1.0)
    assert torch.equal(z, again)
    flat = brain.with_smooth_phase(torch.ones(3, 1, 32, 32, dtype=torch.float64), torch.Generator().manual_seed(0), 1.0)
    phase = torch.atan2(flat[:, 1], flat[:, 0])
    torch.testing.assert_close(phase.abs().amax((1, 2)), torch.ones(3, dtype=torch.float64))
    for axis in (1, 2):  # smooth on the torus: a wave of length 32 and height 1 has slopes up to about 2 pi / 32
        assert (phase - phase.roll(1, axis)).abs().max() < 0.5
    assert not torch.allclose(phase[0], phase[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 193}, "slices of 8 to 192"),
        ({"size": 4}, "slices of 8"),
        ({"count": 1000}, r"brain \(train\) has \d+ im"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        lemmse.load_images("brain", **arguments)


def test_bad_phase():
    g = torch.Generator()
    with pytest.raises(ValueError, match="one channel"):
        brain.with_smooth_phase(torch.zeros(1, 2, 4, 4), g)
    with pytest.raises(ValueError, match="largest must be"):
        brain.with_smooth_phase(torch.zeros(1, 1, 4, 4), g, largest=0.0)


def test_without_the_files(monkeypatch, tmp_path):
    monkeypatch.setattr(brain, "find_spec", lambda name: None)
    assert not is_here("brain")
    with pytest.raises(ValueError, match=r"pip install 'lemmse\[mri\]'"):
        lemmse.load_images("brain")
    monkeypatch.delenv("LEMMSE_DATA", raising=False)
    assert not is_here("mri_t1")
    with pytest.raises(ValueError, match=r"set LEMMSE_DATA to a folder that holds mri/brain_t1_axial\.npz"):
        lemmse.load_images("mri_t1")
    (tmp_path / "mri").mkdir()
    (tmp_path / "mri" / "brain_pd_axial.npz").write_bytes(b"broken")
    monkeypatch.setenv("LEMMSE_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"cannot read '.*brain_pd_axial\.npz'"):
        lemmse.load_images("mri_pd")
    for name in ("brain", "mri_t1"):
        with pytest.raises(ValueError, match="cannot be downloaded"):
            fetch(name)
