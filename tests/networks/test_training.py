"""Training: it learns, repeats to the bit, resumes after a kill as if nothing had happened, and refuses bad input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors import safe_open

import lemmse
from lemmse.networks import training, weights
from lemmse.networks.measurements import Measurement, NoiseLevels
from lemmse.networks.weights import load_weights, save_weights, trained, weights_key
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


def far(a, b) -> float:
    """Mean distance between what two networks make of the same noisy images."""
    z = lemmse.Denoising().measure(X, 0.3, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return float((a(z, 0.3) - b(z, 0.3)).abs().mean())


@pytest.mark.parametrize(
    "option",
    [
        {"loss": "absolute"},
        {"weighting": "inverse_error"},
        {"sigma_max": 0.5},
        {"sigmas": [0.1, 0.4]},
        {"targets": lambda x: 1 - x},
        {"noise": "poisson"},
        {"mixed": True},
    ],
    ids=lambda option: next(iter(option)),
)
def test_each_option_changes_what_is_learned(option):
    assert far(fit(**option), fit()) > 1e-4


@pytest.mark.parametrize(
    "option",
    [
        {"loss": "squared"},
        {"weighting": "uniform"},
        {"sigma_max": 1.0},
        {"targets": X},
        {"targets": lambda x: x},
        {"noise": "gaussian", "background": 0.0},
        {"mixed": False},
    ],
    ids=str,
)
def test_the_defaults_written_out_change_no_bit(option):
    assert same(fit(steps=3, **option), fit(steps=3))


@pytest.mark.parametrize("architecture", [lemmse.UNet, lemmse.ResNet, lemmse.PatchMLP])
def test_mixed_precision_learns_the_same_in_float32_and_repeats_to_the_bit(architecture):
    torch.manual_seed(0)
    net = architecture(1, 5, "tiny")
    full, mixed, again = (fit(steps=100, net=net, mixed=mixed) for mixed in (False, True, True))
    assert same(mixed, again)
    assert all(value.dtype == torch.float32 for value in mixed.state_dict().values())
    assert far(mixed, full) < 0.1 * far(full, fit(steps=1, net=net))


def one_number(loss: str, weighting: str = "uniform") -> float:
    """What a network of P = 1 learns where z says nothing: the minimizer of the loss over constants."""
    x = torch.zeros(10, 1, 4, 4)
    x[:3] = 1.0  # three images in ten: the mean is 0.3, the median 0
    torch.manual_seed(0)
    net = lemmse.PatchMLP(1, 1, "tiny")
    erase = lemmse.Nonlinear(torch.zeros_like)
    options = {"loss": loss, "weighting": weighting, "lr": 1e-2, "batch_size": 10, "sigma_min": 0.5}
    trained_net = fit(steps=300, net=net, physics=erase, images=x, **options)
    with torch.no_grad():
        return float(trained_net(torch.zeros(1, 1, 4, 4), 0.7).mean())


@pytest.mark.parametrize(
    ("loss", "weighting", "minimizer"),
    [("squared", "uniform", 0.3), ("squared", "inverse_error", 0.3), ("absolute", "uniform", 0.0)],
)
def test_squares_lead_to_the_mean_and_absolute_values_to_the_median(loss, weighting, minimizer):
    assert one_number(loss, weighting) == pytest.approx(minimizer, abs=0.1)


def test_weights_are_inverse_to_the_error_and_keep_the_mean_loss():
    """w e is the same at every sigma, and its mean is that of e."""
    net = lemmse.ResNet(1, 5).double()
    net.set_scale(X.double(), X.double(), 1.0)
    levels = NoiseLevels.make(0.05, 1.0, None)
    grid = levels.grid(torch.device("cpu"), torch.float64)
    for loss, power in (("squared", 2), ("absolute", 1)):
        error = net.scales(grid).spread.flatten() ** power
        weighted = training._weights(net, levels, loss, "inverse_error")(grid) * error
        torch.testing.assert_close(weighted, error.mean().expand_as(weighted))
        assert torch.equal(training._weights(net, levels, loss, "uniform")(grid), torch.ones_like(grid))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_levels_follow_their_law(dtype):
    g = torch.Generator().manual_seed(0)
    uniform = NoiseLevels.make(0.2, 0.6, None)
    drawn = uniform.draw(20_000, g)
    assert drawn.min() > 0.2
    assert drawn.max() <= 0.6
    assert float(drawn.mean()) == pytest.approx(0.4, abs=0.005)
    assert uniform.typical == pytest.approx(((0.6**3 - 0.2**3) / (3 * 0.4)) ** 0.5, rel=1e-5)
    listed = NoiseLevels.make(0.01, 1.0, [0.1, 0.1, 0.4])
    assert set(listed.draw(1000, g).tolist()) == set(torch.tensor([0.1, 0.4]).tolist())
    assert float((listed.draw(20_000, g) < 0.2).double().mean()) == pytest.approx(2 / 3, abs=0.02)
    assert listed.typical == pytest.approx(((0.01 + 0.01 + 0.16) / 3) ** 0.5)
    assert listed.grid(torch.device("cpu"), dtype).dtype == dtype


def test_counts_have_the_mean_of_the_signal_and_a_variance_that_grows_with_it():
    """z = y / rate - b: E z = A x, Var z = (A x + b) sigma^2."""
    x = torch.full((4000, 1, 2, 2), 0.4, dtype=torch.float64)
    measurement = Measurement.make(
        lemmse.Denoising(), pre_inverse(lemmse.Denoising(), "identity", (2, 2)), "poisson", 0.5, "identity", x
    )
    sigma = torch.full((4000,), 0.2, dtype=torch.float64)
    z = measurement.measure(x, sigma, torch.Generator().manual_seed(0))
    counts = (z + 0.5) / 0.04
    torch.testing.assert_close(counts, counts.round(), rtol=0, atol=1e-9)
    assert float(z.mean()) == pytest.approx(0.4, abs=0.01)
    assert float(z.var()) == pytest.approx(0.9 * 0.04, rel=0.05)
    assert measurement.noise_variance == pytest.approx(0.9)


def test_a_network_colors_gray_images():
    """One channel in, three out: the colors are a function of the gray value, so they can be learned."""
    colors = torch.cat([X, 1 - X, X.square()], 1)
    gray = lemmse.Nonlinear(lambda x: x[:, :1])
    torch.manual_seed(0)
    net = lemmse.PatchMLP(1, 1, target_channels=3)
    learned = fit(
        steps=300, net=net, physics=gray, images=colors, batch_size=12, sigma_min=0.0, sigma_max=0.05, lr=3e-3
    )
    with torch.no_grad():
        error = (learned(X, 0.01) - colors).square().mean(dim=(0, 2, 3)).sqrt()
    assert error.max() < 0.04


def test_a_blind_network_takes_the_typical_noise_level():
    torch.manual_seed(0)
    net = fit(steps=2, net=lemmse.ResNet(1, 5, blind=True), sigmas=[0.1, 0.7])
    assert float(net.typical_sigma) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="would move the minimizer of a blind network"):
        fit(net=lemmse.ResNet(1, 5, blind=True), weighting="inverse_error")


def test_the_average_of_the_weights_is_the_one_it_says():
    """After n steps: m_1 = w_1, m_n = d_n m_(n-1) + (1 - d_n) w_n with d_n = min(0.999, n / (n + 9))."""
    model = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=training._move_average)
    expected = None
    for n in range(1, 40):
        torch.nn.init.constant_(model.weight, n**0.5)
        average.update_parameters(model)
        decay = min(0.999, n / (n + 9))
        expected = n**0.5 if expected is None else decay * expected + (1 - decay) * n**0.5
        assert average.module.weight.item() == pytest.approx(expected, rel=1e-12)


def test_the_learning_rate_warms_up_and_decays_to_nothing():
    rates = [training._learning_rate(done, 1000) for done in range(1001)]
    assert rates[0] == pytest.approx(1 / 20)
    assert rates.index(max(rates)) == 19
    assert rates[500] == pytest.approx(0.5)
    assert rates[1000] == pytest.approx(0, abs=1e-12)


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
        {"loss": "absolute"},
        {"weighting": "inverse_error"},
        {"sigma_max": 0.5},
        {"sigmas": [0.1]},
        {"targets": lambda x: 1 - x},
        {"noise": "poisson"},
        {"noise": "poisson", "background": 0.1},
        {"mixed": True},
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
        ({"sigma_max": 0.05}, r"sigma_min must be in \[0, 0.05\), got 0.05"),
        ({"sigma_max": "1"}, "sigma_max must be"),
        ({"sigmas": []}, "sigmas must be a list"),
        ({"sigmas": [0.1, -1.0]}, "each of sigmas must be a finite positive number, got -1.0"),
        ({"sigmas": 0.1}, "sigmas must be a list of at least one number, got 0.1"),
        ({"loss": "huber"}, "unknown loss 'huber': choose one of 'squared', 'absolute'"),
        ({"weighting": "snr"}, "unknown weighting 'snr': choose one of 'uniform', 'inverse_error'"),
        ({"noise": "speckle"}, "unknown noise 'speckle': choose one of 'gaussian', 'poisson'"),
        ({"mixed": "yes"}, "mixed must be True, False or None, got 'yes'"),
        ({"mixed": True, "images": X.double()}, "mixed training takes images of float32, got torch.float64"),
        ({"background": 1.0}, "background is for noise 'poisson' only"),
        ({"noise": "poisson", "background": -1.0}, "background must be a finite number of at least 0"),
        ({"noise": "poisson", "pre_inverse": "adjoint"}, "needs pre_inverse 'identity'"),
        ({"noise": "poisson", "physics": lemmse.Nonlinear(lambda x: -x)}, "A x \\+ background of at least 0"),
        ({"targets": X[:3]}, "targets must be"),
        ({"targets": X[:, :, :3]}, "targets must be"),
        ({"targets": "x"}, "targets must be a torch tensor, got str"),
        ({"targets": lambda x: None}, "the values of targets must be a torch tensor"),
        ({"targets": X.repeat(1, 2, 1, 1)}, "targets have 2 channels, but the output of the network has 1"),
        ({"checkpoint": 3}, "checkpoint must be the path of a file, got int"),
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


def test_half_precision_is_flagged_halves_the_file_and_loads_as_float32(tmp_path):
    net = fit(steps=2)
    save_weights(net, tmp_path / "full.safetensors")
    save_weights(net, tmp_path / "half.safetensors", half=True)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.55 * sizes[1]
    with safe_open(tmp_path / "half.safetensors", "pt") as file:
        assert file.metadata()["precision"] == "half"
    loaded = load_weights(tmp_path / "half.safetensors")
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}
    for name, value in net.named_parameters():
        torch.testing.assert_close(loaded.state_dict()[name], value.half().float(), rtol=0, atol=0)
    for name, value in net.named_buffers():
        assert torch.equal(dict(loaded.named_buffers())[name], value)
    with pytest.raises(ValueError, match="holds no weights"):
        load_weights(tmp_path / "absent.safetensors")


def test_options_of_a_network_are_kept_with_its_weights(tmp_path):
    torch.manual_seed(0)
    net = fit(steps=2, net=lemmse.UNet(1, 5, "tiny", padding="zeros", blind=True), sigmas=[0.3])
    save_weights(net, tmp_path / "net.safetensors")
    assert same(net, load_weights(tmp_path / "net.safetensors"))
    assert load_weights(tmp_path / "net.safetensors").config() == net.config()


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


KEYED = {"patch_size": 5, "steps": 3, "seed": 0}


def key(physics=None, images=X, **options) -> str:
    return weights_key("ResNet", images, physics or lemmse.Denoising(), **{**KEYED, **options})


def test_the_key_is_fixed_by_recipe_options_and_data(monkeypatch):
    """The literal: another machine, another version of torch, or moved code must find the same weights."""
    x = (torch.arange(64, dtype=torch.float32).reshape(1, 1, 8, 8) * 4 / 255).expand(3, 1, 8, 8)
    assert key(images=x, batch_size=4) == "b01a1ce5f136ec7b"
    monkeypatch.setattr(torch, "__version__", "99")
    assert key(images=x, batch_size=4) == "b01a1ce5f136ec7b"
    monkeypatch.setattr(weights, "RECIPE", training.RECIPE + 1)
    assert key(images=x, batch_size=4) != "b01a1ce5f136ec7b"


def test_defaults_and_rounding_do_not_change_the_key():
    x = (X * 255).round() / 255
    defaults = {"size": "small", "lr": 1e-3, "batch_size": 16, "sigma_min": 0.01, "sigma_max": 1.0, "loss": "squared"}
    defaults |= {"targets": None, "noise": "gaussian", "weighting": "uniform", "padding": "circular", "blind": False}
    assert key(images=x, **defaults) == key(images=x)
    assert key(images=x + 1e-6) == key(images=x)
    assert key(images=x + 1 / 255) != key(images=x)
    assert key(images=x.double()) != key(images=x)
    kernel = torch.tensor([[0.25, 0.5, 0.25]], dtype=torch.float64)
    assert key(lemmse.Blur(kernel + 1e-12), images=x) == key(lemmse.Blur(kernel), images=x)


def test_whatever_changes_the_network_changes_the_key():
    dark = X.clone()
    dark[:, :, 0, 0] = 0  # masks that differ there only do not differ on these images
    masks = torch.ones(2, 8, 8)
    masks[1, 0, 0] = 0
    keys = [
        key(images=dark),
        *(key(lemmse.Inpainting(mask), images=dark) for mask in masks),
        *(key(lemmse.Nonlinear(lambda x, k=k: x**k), images=dark) for k in (2, 3)),
        *(
            key(images=dark, **{name: value})
            for name, value in [
                ("lr", 2e-3),
                ("loss", "absolute"),
                ("blind", True),
                ("padding", "zeros"),
                ("size", "tiny"),
                ("steps", 4),
                ("sigmas", [0.1, 0.2]),
                ("noise", "poisson"),
                ("targets", lambda x: 1 - x),
                ("targets", dark / 2),
            ]
        ),
    ]
    assert len(set(keys)) == len(keys)


def test_committed_weights_come_first_then_the_cache(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    committed = tmp_path / "results" / "weights"
    monkeypatch.setattr(weights, "COMMITTED", committed)
    cached(tmp_path, monkeypatch)
    (path,) = (tmp_path / "weights").glob("*.safetensors")
    torch.manual_seed(5)
    other = lemmse.ResNet(1, 5)
    save_weights(other, committed / path.name, half=True)
    found = cached(tmp_path, monkeypatch)
    assert found.state_dict()["body.out.weight"].equal(other.body.out.weight.half().float())
    assert [p.name for p in committed.iterdir()] == [path.name], "no lock beside committed weights"
    monkeypatch.setenv(weights.FOLDER, str(tmp_path / "anew"))
    caplog.clear()
    assert same(cached(tmp_path, monkeypatch), load_weights(path)), "trained anew, to the same bits"
    assert "training 3 steps" in caplog.text
    cached(tmp_path, monkeypatch)
    assert "re-used" in caplog.text


def test_a_checkpoint_of_another_machine_is_left_aside(tmp_path, monkeypatch):
    first = cached(tmp_path, monkeypatch)
    (path,) = (tmp_path / "weights").glob("*.safetensors")
    path.unlink()
    fit(steps=2, checkpoint=path.with_suffix(".checkpoint"))
    assert same(first, cached(tmp_path, monkeypatch))
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
        ({"optimizer": "sgd"}, "unknown option of a training 'optimizer': choose one of 'background'"),
        ({"generator": None}, "unknown option of a training 'generator'"),
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
