"""Training: it learns, repeats to the bit, resumes after a kill as if nothing had happened, and refuses bad input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import lemmse
from lemmse.networks import training
from lemmse.networks.weights import load_weights, save_weights, trained
from lemmse.physics.preinverse import pre_inverse
from tests.conftest import random_images

X = random_images(12, 1, 8, 8, torch.float32)


def fit(steps=30, seed=0, net=None, physics=None, images=X, **options):
    torch.manual_seed(0)
    net = net or lemmse.ResNet(1, 5)
    generator = torch.Generator().manual_seed(seed)
    options = {"batch_size": 4, "lr": 1e-3, "sigma_min": 0.05, "progress": False, **options}
    return lemmse.train(net, images, physics or lemmse.Denoising(), steps=steps, generator=generator, **options)


def same(a, b) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(left, right) for left, right in pairs)


def test_same_seed_same_bits_and_the_input_is_left_alone():
    torch.manual_seed(0)
    net = lemmse.ResNet(1, 5)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    first = fit(net=net)
    assert same(first, fit())
    assert not same(first, fit(seed=1))
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not first.training


def test_training_approaches_the_formula():
    formula = lemmse.LocalEquivariantMMSE(X, lemmse.Denoising(), patch_size=5)
    y = lemmse.Denoising().measure(X, 0.3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        far = lemmse.psnr(fit(steps=1)(y, 0.3), formula(y, 0.3)).mean()
        near = lemmse.psnr(fit(steps=300, batch_size=12)(y, 0.3), formula(y, 0.3)).mean()
    assert near > far + 5


@pytest.mark.parametrize("pre_inverse", ["identity", "pinv", "tikhonov"])
def test_other_operators_and_pre_inverses_train(pre_inverse):
    for physics in (lemmse.Blur(torch.tensor([[0.3, 0.5, 0.2]])), lemmse.FourierSampling(torch.rand(8, 8) < 0.5)):
        net = fit(steps=3, physics=physics, pre_inverse=pre_inverse)
        assert all(torch.isfinite(v).all() for v in net.state_dict().values())


def test_the_network_is_trained_on_the_pre_inverse_of_its_lambda():
    physics = lemmse.Blur(torch.tensor([[0.3, 0.5, 0.2]]))
    for lam in (1e-2, 1.0):
        net = fit(steps=1, physics=physics, pre_inverse="tikhonov", tikhonov_lambda=lam)
        B = pre_inverse(physics, "tikhonov", (8, 8), tikhonov_lambda=lam)
        assert float(net.noise_variance) == pytest.approx(B.noise_variance)
        assert float(net.input_variance) == pytest.approx(float(B.signal(X).double().var(correction=0)), rel=1e-5)


SCRIPT = """
import sys, time, torch, lemmse
from lemmse.networks import training
training.SAVE_SECONDS = 0.0
x = torch.load(sys.argv[2])
torch.manual_seed(0)
step = training._Run.step
def slow(run, *args):
    time.sleep(0.02)
    step(run, *args)
training._Run.step = slow
lemmse.train(lemmse.ResNet(1, 5), x, lemmse.Denoising(), steps=200, batch_size=4, lr=1e-3, sigma_min=0.05,
             generator=torch.Generator().manual_seed(0), checkpoint=sys.argv[1], progress=False)
"""


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_resumes_to_the_same_weights(tmp_path, kill):
    torch.save(X, tmp_path / "x.pt")
    checkpoint = tmp_path / "run.checkpoint"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, checkpoint, tmp_path / "x.pt"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(kill)
    process.wait(timeout=60)
    done = torch.load(checkpoint, weights_only=True)["done"]
    assert 0 < done < 200
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] in (
        [],
        [p.name for p in tmp_path.glob(".run*")],
    )
    assert same(fit(steps=200, checkpoint=checkpoint), fit(steps=200))


def test_an_interrupt_at_any_point_resumes_to_the_same_weights(tmp_path, monkeypatch):
    """Checkpoints are written between steps only, so an interrupt in the middle of one cannot tear the state."""
    monkeypatch.setattr(training, "SAVE_SECONDS", -1.0)
    checkpoint, calls = tmp_path / "run.checkpoint", 0

    class Interrupting(lemmse.Denoising):
        def A(self, x):
            nonlocal calls
            calls += 1
            if calls == 20:
                raise KeyboardInterrupt
            return super().A(x)

    physics = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        fit(physics=physics, checkpoint=checkpoint)
    assert same(fit(physics=physics, checkpoint=checkpoint), fit(physics=physics))


def test_checkpoints_of_other_runs_are_refused(tmp_path):
    checkpoint = tmp_path / "run.checkpoint"
    fit(steps=5, checkpoint=checkpoint)
    for change in (
        {"steps": 6},
        {"lr": 2e-3},
        {"seed": 1},
        {"images": 1 - X},
        {"physics": lemmse.Inpainting(X[0, 0] > 0.5)},
        {"pre_inverse": "tikhonov"},
        {"pre_inverse": "tikhonov", "tikhonov_lambda": 0.1},
    ):
        with pytest.raises(ValueError, match="of another run"):
            fit(**{"steps": 5, "checkpoint": checkpoint, **change})
    checkpoint.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="no checkpoint of lemmse"):
        fit(steps=5, checkpoint=checkpoint)
    assert checkpoint.read_bytes() == b"nonsense"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be"),
        ({"steps": 2.5}, "steps must be"),
        ({"batch_size": 0}, "batch_size"),
        ({"lr": 0.0}, "lr must be"),
        ({"lr": float("nan")}, "lr must be"),
        ({"sigma_min": 1.0}, r"sigma_min must be in \[0, 1\)"),
        ({"sigma_min": -0.1}, "sigma_min"),
        ({"images": X / 0}, "finite"),
        ({"images": X.repeat(1, 3, 1, 1)}, "3 channels"),
        ({"pre_inverse": "inverse"}, "'identity'"),
        ({"pre_inverse": "tikhonov", "tikhonov_lambda": 0.0}, "tikhonov_lambda"),
        ({"net": torch.nn.Conv2d(1, 1, 3)}, "UNet, ResNet or PatchMLP"),
        ({"physics": lemmse.Nonlinear(lambda x: x.repeat(1, 2, 1, 1))}, "channels"),
        ({"physics": lemmse.Inpainting(torch.ones(7, 8))}, "mask is 7 x 8"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        fit(**options)


def test_bad_generator():
    with pytest.raises(ValueError, match=r"must be a torch\.Generator"):
        lemmse.train(lemmse.ResNet(1, 5), X, lemmse.Denoising(), steps=1, generator=0)


def test_divergence_is_said():
    with pytest.raises(ValueError, match="lower lr"):
        fit(steps=60, lr=1e30)


def test_weights_keep_every_bit(tmp_path):
    for dtype in (torch.float32, torch.float64):
        net = fit(steps=2, images=X.to(dtype))
        save_weights(net, tmp_path / "net.safetensors")
        loaded = load_weights(tmp_path / "net.safetensors")
        assert same(net, loaded)
        assert type(loaded) is lemmse.ResNet
        assert not any(p.requires_grad for p in loaded.parameters())


def test_broken_weights(tmp_path):
    path = tmp_path / "net.safetensors"
    for content in (b"", b"nonsense", b"\0" * 100):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="holds no weights"):
            load_weights(path)
    with pytest.raises(ValueError, match="holds no weights"):
        load_weights(tmp_path / "absent")


def cached(tmp_path, monkeypatch, **options):
    monkeypatch.setenv("LEMMSE_CACHE", str(tmp_path))
    settings = {"patch_size": 5, "steps": 3, "batch_size": 2, "seed": 0, "progress": False, **options}
    physics = settings.pop("physics", lemmse.Denoising())
    return trained(settings.pop("architecture", "ResNet"), settings.pop("images", X), physics, **settings)


def test_a_configuration_is_trained_once(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    first = cached(tmp_path, monkeypatch)
    assert "training 3 steps" in caplog.text
    assert same(first, cached(tmp_path, monkeypatch))
    assert "re-used" in caplog.text
    others = [
        {"steps": 4},
        {"seed": 1},
        {"architecture": "UNet"},
        {"images": 1 - X},
        {"patch_size": 7},
        {"pre_inverse": "tikhonov"},
        {"pre_inverse": "tikhonov", "tikhonov_lambda": 0.1},
        *({"physics": lemmse.Nonlinear(lambda x, k=k: x**k)} for k in (2, 3)),
        {"physics": lemmse.Inpainting(X[0, 0] > 0.5)},
        {"physics": lemmse.Inpainting(X[1, 0] > 0.5)},
    ]
    for number, other in enumerate(others, 2):
        cached(tmp_path, monkeypatch, **other)
        assert len(list((tmp_path / "weights").glob("*.safetensors"))) == number
    assert not list((tmp_path / "weights").glob("*.checkpoint"))


def test_a_broken_cached_file_is_made_again(tmp_path, monkeypatch):
    first = cached(tmp_path, monkeypatch)
    (path,) = (tmp_path / "weights").glob("*.safetensors")
    path.write_bytes(b"torn")
    assert same(first, cached(tmp_path, monkeypatch))
    assert same(first, load_weights(path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "VGG"}, "'UNet', 'ResNet', 'PatchMLP'"),
        ({"images": [1]}, "torch tensor"),
        ({"seed": 1.5}, "seed"),
        ({"physics": "denoising"}, "must be a lemmse.Physics"),
    ],
)
def test_bad_configurations(tmp_path, monkeypatch, options, message):
    with pytest.raises(ValueError, match=message):
        cached(tmp_path, monkeypatch, **options)


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write to the cache folder"):
        cached(tmp_path / "file", monkeypatch)
    assert os.listdir(tmp_path) == ["file"]
