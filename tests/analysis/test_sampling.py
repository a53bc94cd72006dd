"""`sample` follows the probability flow: closed forms of the flow, and what each estimator must bring back."""

from __future__ import annotations

import math

import pytest
import torch

import lemmse
from tests.conftest import random_images

LEVELS = [4.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05]


def draw(est, levels=LEVELS, count=3, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    return lemmse.sample(est, count, levels, generator=generator, progress=False, **options)


def test_the_flow_to_one_image_is_a_straight_line():
    """With one training image c, x - c is proportional to sigma, which Euler steps keep exactly: c is drawn."""
    image = random_images(1, 2, 5, 6)
    assert torch.allclose(draw(lemmse.MMSE(image, lemmse.Denoising())), image.expand(3, -1, -1, -1), atol=1e-12)


def test_the_flow_of_a_gaussian_prior_converges_to_its_closed_form():
    """For images N(0.5, v I), x - 0.5 is proportional to sqrt(v + sigma^2); the error halves with the step."""
    v, start = 0.09, 3.0

    def posterior_mean(x, sigma):
        return 0.5 + (x - 0.5) * v / (v + sigma**2)

    noise = torch.randn((2, 1, 4, 4), generator=torch.Generator().manual_seed(1))
    exact = 0.5 + start * noise * math.sqrt(v / (v + start**2))
    errors = []
    for steps in (200, 400):
        levels = torch.logspace(math.log10(start), -4, steps, dtype=torch.float64).tolist()
        drawn = draw(posterior_mean, levels, count=2, seed=1, shape=(1, 4, 4))
        errors.append(float((drawn - exact).abs().max()))
    assert errors[0] < 0.05
    assert errors[1] < 0.6 * errors[0]


def test_mmse_brings_training_images_back():
    images = random_images(6, 1, 6, 7)
    drawn = draw(lemmse.MMSE(images, lemmse.Denoising()), [*LEVELS, 0.01], count=8)
    distance = torch.cdist(drawn.flatten(1), images.flatten(1)).amin(1)
    assert float(distance.max()) < 1e-6


def test_e_mmse_brings_translations_back():
    images = random_images(4, 1, 5, 5)
    drawn = draw(lemmse.EquivariantMMSE(images, lemmse.Denoising()), [*LEVELS, 0.01], count=4)
    moved = torch.cat([images.roll((a, b), (-2, -1)) for a in range(5) for b in range(5)])
    assert float(torch.cdist(drawn.flatten(1), moved.flatten(1)).amin(1).max()) < 1e-6


def test_a_network_needs_the_shape_and_takes_it():
    net = lemmse.PatchMLP(1, 3).eval()
    assert draw(net, shape=(1, 9, 8)).shape == (3, 1, 9, 8)
    with pytest.raises(ValueError, match="shape must be given"):
        draw(net)


def test_an_interrupted_run_goes_on_to_the_same_images(tmp_path):
    images, path = random_images(5, 1, 5, 5), tmp_path / "run.pt"
    est = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=3)
    calls = []

    def interrupted(x, sigma):
        calls.append(sigma)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return est(x, sigma)

    with pytest.raises(KeyboardInterrupt):
        draw(lambda x, s: interrupted(x.double(), s), shape=(1, 5, 5), checkpoint=path)
    again = []

    def counted(x, sigma):
        again.append(sigma)
        return est(x.double(), sigma)

    resumed = draw(counted, shape=(1, 5, 5), checkpoint=path)
    whole = draw(lambda x, s: est(x.double(), s), shape=(1, 5, 5))
    assert torch.equal(resumed, whole)
    assert again == LEVELS[3:]
    assert not path.exists()


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run.pt"
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="no checkpoint"):
        draw(lambda x, s: x, shape=(1, 3, 3), checkpoint=path)
    torch.save({"run": "another", "done": 1, "x": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="another run"):
        draw(lambda x, s: x, shape=(1, 3, 3), checkpoint=path)


@pytest.mark.parametrize(
    ("levels", "message"),
    [([0.0], "positive"), ([], "at least one"), ([1.0, 1.0], "must fall"), ([0.5, 1.0], "must fall"), (1.0, "list")],
)
def test_bad_noise_levels(levels, message):
    with pytest.raises(ValueError, match=message):
        draw(lambda x, s: x, levels, shape=(1, 3, 3))


def test_bad_counts_shapes_and_denoisers():
    with pytest.raises(ValueError, match="count"):
        draw(lambda x, s: x, count=0, shape=(1, 3, 3))
    with pytest.raises(ValueError, match="shape must be"):
        draw(lambda x, s: x, shape=(3, 3))
    with pytest.raises(ValueError, match="shape must be"):
        draw(lambda x, s: x, shape=4)
    with pytest.raises(ValueError, match="net must keep the batch, height and width"):
        draw(lambda x, s: x[:, :, 1:], shape=(1, 3, 3))
    with pytest.raises(ValueError, match="net must return 1 channels"):
        draw(lambda x, s: x.repeat(1, 2, 1, 1), shape=(1, 3, 3))
    with pytest.raises(ValueError, match="net returns NaN"):
        draw(lambda x, s: x * torch.nan, shape=(1, 3, 3))
    with pytest.raises(ValueError, match="mean must be a finite number"):
        draw(lambda x, s: x, shape=(1, 3, 3), mean="a")
    with pytest.raises(ValueError, match="est must be an estimator of Denoising, got one of Inpainting"):
        draw(lemmse.MMSE(random_images(4, 1, 3, 3), lemmse.Inpainting(torch.zeros(3, 3))))


def test_a_blind_network_is_called_without_sigma():
    assert draw(lambda x: 0 * x, shape=(1, 3, 3)).abs().max() == 0


def test_le_mmse_draws_shifted_images_from_shifted_noise():
    """Seen through a shift, the denoiser of the shifted images is the same, so the flow draws the same image."""
    images = random_images(4, 1, 6, 6)
    est = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=3)
    direct = draw(lambda x, sigma: est(x.double(), sigma), shape=est.shape)
    shifted = draw(lambda x, sigma: est(x.double().roll(2, -1), sigma).roll(-2, -1), shape=est.shape)
    assert torch.allclose(shifted, direct, atol=1e-9)
