"""Training of a solver phi on the empirical risk: `min E loss(phi(B (A x + sigma e)), t(x))`.

x is drawn from the data set, sigma ~ U(sigma_min, sigma_max), e ~ N(0, I), and t(x) is x unless targets are given.
AdamW, cosine decay after a short warm-up, gradient norms clipped at 1, and an exponential moving average of the
weights, which is what is returned.
"""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from lemmse.checks import check_choice, check_count, check_images, check_positive
from lemmse.estimators.targets import Targets, targets_of
from lemmse.files import writable_folder, write_atomically
from lemmse.networks.architectures import Solver
from lemmse.networks.measurements import Measurement, NoiseLevels
from lemmse.physics.base import Physics
from lemmse.physics.foreign import adopted
from lemmse.physics.preinverse import pre_inverse as build_pre_inverse

RECIPE = 2  # raise it with every change that makes `train` return other weights for the same arguments
WARM_UP = 0.02  # of the steps
EMA_DECAY = 0.999  # in the long run; shorter at the start, so that the first weights are forgotten
SAVE_SECONDS = 10.0
REPORT_STEPS = 20  # how often the loss is looked at

LOSSES = ("squared", "absolute")
WEIGHTINGS = ("uniform", "inverse_error")

_Tensors = tuple[Tensor, ...] | list[Tensor]


class OtherRunError(ValueError):
    """A checkpoint that can't be continued: it is broken, or of a run with other settings."""


def train(
    net: Solver,
    images: Tensor,
    physics: Physics,
    *,
    pre_inverse: str = "identity",
    tikhonov_lambda: float = 1e-2,
    steps: int,
    batch_size: int = 16,
    lr: float = 1e-3,
    sigma_min: float = 0.01,
    sigma_max: float = 1.0,
    sigmas: Sequence[float] | None = None,
    loss: str = "squared",
    weighting: str = "uniform",
    targets: Targets | None = None,
    noise: str = "gaussian",
    background: float = 0.0,
    mixed: bool | None = None,
    generator: torch.Generator,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> Solver:
    """Return a trained copy of `net`, in eval mode and with the averaged weights; `net` itself is not changed.

    The minimized risk is `E w(sigma) loss(phi(z, sigma) - t(x))`, the mean over pixels and channels, with `z = B y`.

    Args:
        net: the network; its output has as many channels as the targets.
        images: clean images x, (N, C, H, W) in [0, 1]; training runs in their dtype and on their device.
        physics: the operator A.
        pre_inverse: B, by name, as for the estimators.
        tikhonov_lambda: lambda of the pre-inverse "tikhonov", positive.
        steps: gradient steps, at least 1.
        batch_size: images a step, at least 1.
        lr: learning rate at its highest, positive.
        sigma_min: lower end of the noise levels, in [0, sigma_max).
        sigma_max: upper end of the noise levels.
        sigmas: noise levels that are drawn with equal probability, in place of the interval.
        loss: "squared", whose minimizer is the posterior mean, or "absolute", whose minimizer is the posterior median.
        weighting: "uniform", w = 1, or "inverse_error", w(sigma) inversely proportional to the loss that the best
            affine gain leaves at sigma. The minimizer is the same, since a network that is given sigma minimizes the
            loss at each sigma apart; a blind network takes "uniform" only.
        targets: t: what the network is to estimate, (N, K, H, W), or a function of a batch of clean images.
        noise: "gaussian", or "poisson": `y ~ Poisson(rate (A x + background))` with `rate = 1 / sigma^2`. The network
            then sees `z = y / rate - background`, whose mean is A x, and sigma; B must be the identity.
        background: mean count of the background per unit rate, not negative; of use with "poisson" only.
        mixed: whether the convolutions run in bfloat16, while weights and loss keep the dtype of the images, float32.
            None means on a GPU only. On a CPU that has instructions for it, it takes about half the time; on any other
            it takes longer.
        generator: the source of all randomness; on the CPU the same seed gives the same bits.
        checkpoint: a file that is written every ten seconds and at the end. A run that is started again with the same
            arguments continues from it, with the same result as without the interruption.
        progress: whether a bar is shown.

    Returns:
        The trained network.

    Raises:
        ValueError: for bad input, for a checkpoint of another run, and when the loss is not finite.

    Source: arXiv 2601.10334, section on experiments.

    Example:
        >>> import torch, lemmse
        >>> images = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> net = lemmse.PatchMLP(channels=1, patch_size=3, size="tiny")
        >>> options = {"steps": 2, "generator": torch.Generator().manual_seed(0), "progress": False}
        >>> lemmse.train(net, images, lemmse.Denoising(), **options)(images, 0.1).shape
        torch.Size([8, 1, 8, 8])
    """
    if not isinstance(net, Solver):
        raise ValueError(f"net must be a UNet, ResNet or PatchMLP, got {type(net).__name__}")
    check_images(images)
    check_count(steps, "steps")
    check_count(batch_size, "batch_size")
    check_positive(lr, "lr")
    levels = NoiseLevels.make(sigma_min, sigma_max, sigmas)
    check_choice(loss, LOSSES, "loss")
    if check_choice(weighting, WEIGHTINGS, "weighting") != "uniform" and net.blind:
        raise ValueError(f"weighting {weighting!r} would move the minimizer of a blind network: use 'uniform'")
    if not isinstance(generator, torch.Generator):
        raise ValueError(f"generator must be a torch.Generator, got {type(generator).__name__}")
    path = _checkpoint_path(checkpoint)
    mixed = _is_mixed(mixed, images)
    physics = adopted(physics, images)
    height, width = images.shape[2:]
    B = build_pre_inverse(physics, pre_inverse, (height, width), tikhonov_lambda=tikhonov_lambda)
    signal = torch.cat([B.signal(part) for part in images.split(1000)])
    measurement = Measurement.make(physics, B, noise, background, pre_inverse, signal)
    wanted = targets_of(images, targets)
    _check_channels(net, signal, wanted, targets)

    run = _Run(net, images, steps, lr, mixed)
    run.net.set_scale(wanted, signal, measurement.noise_variance, levels.typical)
    run.average.module.load_state_dict(run.net.state_dict())
    weight = _weights(run.net, levels, loss, weighting)
    if path is not None:
        writable_folder(path.parent, "folder of the checkpoint")
        settings = (RECIPE, steps, batch_size, lr, levels, loss, weighting, noise, background, pre_inverse, mixed)
        start = (generator.device.type, generator.get_state().tolist())
        data = {"images": images, "signal": signal, "targets": wanted, "noisy": measurement.example(images)}
        run.resume(path, fingerprint(net, (*settings, *start), data), generator)
    saved = time.monotonic()
    for _ in _progress(run, steps, progress):
        index = torch.randint(
            len(images), (batch_size,), generator=generator, dtype=torch.int64, device=generator.device
        )
        sigma = levels.draw(batch_size, generator).to(images.device, images.dtype)
        x = images[index.to(images.device)]
        z = measurement.measure(x, sigma, generator)
        run.step(z, sigma, wanted[index.to(images.device)], loss, weight)
        if path is not None and (time.monotonic() - saved > SAVE_SECONDS or run.done == steps):
            run.save(path, generator)
            saved = time.monotonic()
    return run.averaged()


class _Run:
    """The state of a training run: network, average, optimizer, schedule, and how many steps are done."""

    def __init__(self, net: Solver, images: Tensor, steps: int, lr: float, mixed: bool) -> None:
        self.net = copy.deepcopy(net).to(images.device, images.dtype).train().requires_grad_(True)
        self.average = AveragedModel(self.net, multi_avg_fn=_move_average).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=lr)
        self.schedule = LambdaLR(self.optimizer, lambda done: _learning_rate(done, steps))
        self.steps, self.lr, self.done, self.loss = steps, lr, 0, math.nan
        self.device_type, self.mixed = images.device.type, mixed
        self.fingerprint = ""

    def averaged(self) -> Solver:
        """The network with the averaged weights, in eval mode."""
        net = self.average.module.eval()
        assert isinstance(net, Solver)
        return net

    def step(self, z: Tensor, sigma: Tensor, target: Tensor, loss: str, weight: Callable[[Tensor], Tensor]) -> None:
        """One gradient step on a batch."""
        with torch.enable_grad():
            with torch.autocast(self.device_type, torch.bfloat16, enabled=self.mixed):
                estimate = self.net(z, sigma)
            difference = estimate.to(target.dtype) - target
            error = difference.square() if loss == "squared" else difference.abs()
            risk = (weight(sigma) * error.mean((1, 2, 3))).mean()
        self.optimizer.zero_grad(set_to_none=True)
        risk.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.average.update_parameters(self.net)
        self.done += 1
        if self.done % REPORT_STEPS == 0 or self.done == self.steps:
            new = float(risk.detach())
            if not math.isfinite(new):
                raise ValueError(f"the loss became {new} at step {self.done}: lower lr, now {self.lr:g}")
            self.loss = new if math.isnan(self.loss) else 0.9 * self.loss + 0.1 * new

    def save(self, path: Path, generator: torch.Generator) -> None:
        """Write everything that the rest of the run depends on."""
        state = {
            "fingerprint": self.fingerprint,
            "done": self.done,
            "loss": self.loss,
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": generator.get_state(),
        }
        write_atomically(path, lambda temporary: torch.save(state, temporary))

    def resume(self, path: Path, fingerprint: str, generator: torch.Generator) -> None:
        """Continue from the file, if there is one; raises `OtherRunError` if it is broken or of another run."""
        self.fingerprint = fingerprint
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            same = state["fingerprint"] == fingerprint
        except FileNotFoundError:
            return
        except Exception as error:  # torch.load raises errors of many types
            raise OtherRunError(
                f"{str(path)!r} is no checkpoint of lemmse ({type(error).__name__}): name another"
            ) from None
        if not same:
            raise OtherRunError(f"checkpoint {str(path)!r} is of another run: name another, or delete it")
        self.done, self.loss = state["done"], state["loss"]
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        generator.set_state(state["generator"])


def _learning_rate(done: int, steps: int) -> float:
    """The learning rate after `done` steps, as a share of the highest: a linear warm-up, under a cosine decay."""
    warm_up = min(1.0, (done + 1) / max(1, WARM_UP * steps))
    return warm_up * (1 + math.cos(math.pi * min(1.0, done / steps))) / 2


@torch.no_grad()
def _move_average(means: _Tensors, values: _Tensors, averaged: Tensor | int) -> None:
    """Move the average of the weights toward the new ones; `averaged` is how many weights went into it before."""
    count = int(averaged)
    decay = min(EMA_DECAY, (count + 1) / (count + 10))
    torch._foreach_lerp_(means, values, 1 - decay)


def _weights(net: Solver, levels: NoiseLevels, loss: str, weighting: str) -> Callable[[Tensor], Tensor]:
    """w(sigma): 1, or `mean over sigma of e / e(sigma)`, e the loss that the best affine gain leaves.

    The best affine gain thus has the same mean loss under both weightings.
    """
    if weighting == "uniform":
        return torch.ones_like
    power = 2 if loss == "squared" else 1

    def expected_error(sigma: Tensor) -> Tensor:
        return net.scales(sigma).spread.flatten() ** power

    mean_error = expected_error(levels.grid(net.input_mean.device, net.input_mean.dtype)).mean()
    return lambda sigma: mean_error / expected_error(sigma)


def _check_channels(net: Solver, signal: Tensor, wanted: Tensor, targets: Targets | None) -> None:
    """Raise ValueError unless the network takes the channels of z and returns those of the targets."""
    if signal.shape[1] != net.channels:
        raise ValueError(
            f"B A x has {signal.shape[1]} channels, but the network was built for images with {net.channels} channels"
        )
    if wanted.shape[1] != net.target_channels:
        what = "images" if targets is None else "targets"
        raise ValueError(
            f"{what} have {wanted.shape[1]} channels, but the output of the network has {net.target_channels} channels"
        )


def _is_mixed(mixed: bool | None, images: Tensor) -> bool:
    """Whether the convolutions run in bfloat16."""
    if mixed is None:
        return images.is_cuda and images.dtype == torch.float32
    if not isinstance(mixed, bool):
        raise ValueError(f"mixed must be True, False or None, got {mixed!r}")
    if mixed and images.dtype != torch.float32:
        raise ValueError(f"mixed training takes images of float32, got {images.dtype}")
    return mixed


def _checkpoint_path(checkpoint: str | Path | None) -> Path | None:
    if checkpoint is not None and not isinstance(checkpoint, (str, Path)):
        raise ValueError(f"checkpoint must be the path of a file, got {type(checkpoint).__name__}")
    return None if checkpoint is None else Path(checkpoint)


def _progress(run: _Run, steps: int, progress: bool) -> Iterator[int]:
    """The steps that remain, with a bar that shows the loss."""
    from tqdm import tqdm

    with tqdm(
        total=steps, initial=run.done, desc=type(run.net).__name__, unit="step", disable=not progress, mininterval=1.0
    ) as bar:
        while run.done < steps:
            yield run.done
            bar.update()
            if run.done % REPORT_STEPS == 0:
                bar.set_postfix(loss=f"{run.loss:.5f}", refresh=False)


def fingerprint(net: Solver, settings: tuple[object, ...], data: dict[str, Tensor]) -> str:
    """A hash, to the bit, of what determines a training run on this machine: network, settings and data."""
    digest = hashlib.sha256(repr((type(net).__name__, net.config(), settings)).encode())
    for name, value in {**net.state_dict(), **data}.items():
        digest.update(repr((name, tuple(value.shape), str(value.dtype))).encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
