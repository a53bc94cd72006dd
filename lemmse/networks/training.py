"""Training of a solver phi on the empirical risk: `min E |phi(B (A x + sigma e)) - x|^2`.

x is drawn from the data set, sigma ~ U(sigma_min, 1), e ~ N(0, I). AdamW, cosine decay after a short warm-up, gradient
norms clipped at 1, and an exponential moving average of the weights, which is what is returned.
"""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from lemmse.checks import check_count, check_images, check_positive
from lemmse.files import writable_folder, write_atomically
from lemmse.networks.architectures import Solver
from lemmse.physics.operators import Physics
from lemmse.physics.preinverse import pre_inverse as build_pre_inverse

WARM_UP = 0.02  # of the steps
EMA_DECAY = 0.999  # in the long run; shorter at the start, so that the first weights are forgotten
SAVE_SECONDS = 10.0


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
    generator: torch.Generator,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> Solver:
    """A trained copy of `net`, in eval mode, with the averaged weights; `net` itself is not changed.

    images: (N, C, H, W) in [0, 1], whose device is used. pre_inverse, tikhonov_lambda: B, as for the estimators.
    generator: source of all randomness; on the CPU the same seed gives the same bits. checkpoint: a file that is
    written every ten seconds and at the end, and resumed from if it holds the same run, with the same result as without
    the interruption. Raises ValueError for bad input, a checkpoint of another run, or a loss that is not finite.
    """
    if not isinstance(net, Solver):
        raise ValueError(f"net must be a UNet, ResNet or PatchMLP, got {type(net).__name__}")
    check_images(images)
    check_count(steps, "steps")
    check_count(batch_size, "batch_size")
    check_positive(lr, "lr")
    if isinstance(sigma_min, bool) or not isinstance(sigma_min, (int, float)) or not 0 <= sigma_min < 1:
        raise ValueError(f"sigma_min must be in [0, 1), got {sigma_min!r}")
    if not isinstance(generator, torch.Generator):
        raise ValueError(f"generator must be a torch.Generator, got {type(generator).__name__}")
    B = build_pre_inverse(physics, pre_inverse, tuple(images.shape[2:]), tikhonov_lambda=tikhonov_lambda)
    if images.shape[1] != net.channels:
        raise ValueError(f"images have {images.shape[1]} channels, but the network was built for {net.channels}")

    signal = torch.cat([B.signal(part) for part in images.split(1000)])
    if signal.shape != images.shape:
        raise ValueError(f"B A x must have the {net.channels} channels of the images, got {signal.shape[1]}")
    run = _Run(net, images, steps, lr)
    run.net.set_scale(images, signal, B.noise_variance)
    run.average.load_state_dict(run.net.state_dict())
    if checkpoint is not None:
        checkpoint = Path(checkpoint)
        writable_folder(checkpoint.parent, "folder of the checkpoint")
        settings = (steps, batch_size, lr, sigma_min, generator.device.type, generator.get_state().tolist())
        run.resume(checkpoint, fingerprint(net, images, physics, pre_inverse, tikhonov_lambda, *settings), generator)
    saved = time.monotonic()
    for _ in _progress(run, steps, progress):
        index = torch.randint(len(images), (batch_size,), generator=generator, device=generator.device)
        u = torch.rand(batch_size, generator=generator, device=generator.device)
        sigma = (1 - (1 - sigma_min) * u).to(images.device, images.dtype)
        x = images[index.to(images.device)]
        run.step(B(physics.measure(x, sigma, generator=generator)), sigma, x)
        if checkpoint is not None and (time.monotonic() - saved > SAVE_SECONDS or run.done == steps):
            run.save(checkpoint, generator)
            saved = time.monotonic()
    return run.average.eval()


class _Run:
    """The state of a training run: network, average, optimiser and how many steps are done."""

    def __init__(self, net: Solver, images: Tensor, steps: int, lr: float) -> None:
        self.net = copy.deepcopy(net).to(images.device, images.dtype).train().requires_grad_(True)
        self.average = copy.deepcopy(self.net).requires_grad_(False)
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=lr)
        self.steps, self.lr, self.done, self.loss = steps, lr, 0, math.nan
        self.mixed = images.is_cuda
        self.fingerprint = ""

    def step(self, z: Tensor, sigma: Tensor, x: Tensor) -> None:
        """One gradient step on a batch."""
        rate = min(1.0, (self.done + 1) / max(1, WARM_UP * self.steps))
        rate *= (1 + math.cos(math.pi * self.done / self.steps)) / 2
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr * rate
        with torch.enable_grad():
            with torch.autocast("cuda", torch.bfloat16, enabled=self.mixed):
                estimate = self.net(z, sigma)
            loss = (estimate.to(x.dtype) - x).square().mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        self.done += 1
        decay = min(EMA_DECAY, self.done / (self.done + 9))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.net.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
        if self.done % 20 == 0 or self.done == self.steps:
            new = float(loss.detach())
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
            "optimiser": self.optimiser.state_dict(),
            "generator": generator.get_state(),
        }
        write_atomically(path, lambda temporary: torch.save(state, temporary))

    def resume(self, path: Path, fingerprint: str, generator: torch.Generator) -> None:
        """Continue from the file, if there is one; raises ValueError if it is broken or of another run."""
        self.fingerprint = fingerprint
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            same = state["fingerprint"] == fingerprint
        except FileNotFoundError:
            return
        except Exception as error:  # torch.load raises what it likes
            raise ValueError(
                f"{str(path)!r} is no checkpoint of lemmse ({type(error).__name__}): name another"
            ) from None
        if not same:
            raise ValueError(f"checkpoint {str(path)!r} is of another run: name another, or delete it")
        self.done, self.loss = state["done"], state["loss"]
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        generator.set_state(state["generator"])


def _progress(run: _Run, steps: int, progress: bool) -> Iterator[int]:
    """The steps that remain, with a bar that shows the loss."""
    from tqdm import tqdm

    with tqdm(
        total=steps, initial=run.done, desc=type(run.net).__name__, unit="step", disable=not progress, mininterval=1.0
    ) as bar:
        while run.done < steps:
            yield run.done
            bar.update()
            if run.done % 20 == 0:
                bar.set_postfix(loss=f"{run.loss:.5f}", refresh=False)


def fingerprint(
    net: Solver, images: Tensor, physics: Physics, pre_inverse: str, tikhonov_lambda: float, *settings: object
) -> str:
    """A hash of all that determines a training run: network, images, settings, and what A and B do to the images."""
    B = build_pre_inverse(physics, pre_inverse, tuple(images.shape[2:]), tikhonov_lambda=tikhonov_lambda)
    noise = torch.Generator(images.device).manual_seed(0)
    behaviour = {"signal": B.signal(images), "noisy": B(physics.measure(images[:2], 0.5, generator=noise))}
    digest = hashlib.sha256(repr((type(net).__name__, net.size, net.patch_size, pre_inverse, settings)).encode())
    for name, value in {**net.state_dict(), "images": images, **behaviour}.items():
        digest.update(repr((name, tuple(value.shape), str(value.dtype))).encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
