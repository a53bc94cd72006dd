"""A generator without training: the probability flow of a denoiser, from noise to an image.

A denoiser `x_hat(x, sigma) = E[clean | x]` gives the score of the noisy density, `(x_hat - x) / sigma^2` (Tweedie), and
with it the flow that carries noise to images as sigma falls:

    dx / dsigma = (x - x_hat(x, sigma)) / sigma.

MMSE brings back training images, E-MMSE their translations, LE-MMSE patchworks of them. Source: Song et al., arXiv
2011.13456, for the flow; Kamb and Ganguli, arXiv 2412.20292, for the local equivariant denoiser as a sampler.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from lemmse.checks import check_count, check_finite, check_generator, check_positive_numbers, shown
from lemmse.files import write_atomically
from lemmse.networks.calling import checked
from lemmse.physics.operators import Denoising

Denoiser = Callable[[Tensor, float], Tensor]


@torch.no_grad()
def sample(
    est: Denoiser,
    count: int,
    sigmas: Sequence[float],
    *,
    generator: torch.Generator,
    shape: tuple[int, int, int] | None = None,
    mean: float = 0.5,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> Tensor:
    """Draw images by following the probability flow of a denoiser from noise to sigma = 0.

    The flow starts at `mean + sigmas[0] * noise`; each step to the next sigma is one Euler step,
    `x <- x_hat + (sigma_next / sigma) (x - x_hat)`, and the last one, to sigma = 0, returns x_hat itself.

    Args:
        est: An estimator of denoising, or a network or function `(x, sigma) -> x_hat`.
        count: How many images are drawn.
        sigmas: Falling, positive noise levels, in units of the image range; the first should be large against the
            spread of the images, about 1 or more.
        generator: Source of the noise.
        shape: (C, H, W) of the images; an estimator knows it, a network does not.
        mean: Gray level about which the flow starts.
        checkpoint: A file in which an interrupted run is kept, and from which it goes on; removed at the end.
        progress: Whether a bar shows the steps.

    Returns:
        Images (count, C, H, W).

    Raises:
        ValueError: If the noise levels do not fall or are not positive, if shape is missing, if the denoiser changes
            the size, or if the checkpoint is of another run.

    Source:
        Song et al., arXiv 2011.13456, section 4.3.

    Example:
        >>> import torch, lemmse
        >>> images = lemmse.load_images("photos", count=20, size=12, channels=1)
        >>> est = lemmse.MMSE(images, lemmse.Denoising())
        >>> noise = torch.Generator().manual_seed(0)
        >>> drawn = lemmse.sample(est, 2, [2.0, 1.0, 0.5, 0.1], generator=noise, progress=False)
        >>> tuple(drawn.shape)
        (2, 1, 12, 12)
    """
    from tqdm import tqdm

    check_count(count, "count")
    levels = _falling(sigmas)
    channels, height, width = _shape_of(est, shape)
    dtype, device = _place_of(est)
    check_generator(generator, optional=False)
    check_finite(mean, "mean")
    physics = getattr(est, "physics", None)
    if physics is not None and not isinstance(physics, Denoising):
        raise ValueError(f"est must be an estimator of Denoising, got one of {type(physics).__name__}")
    noise_law = getattr(est, "noise", "gaussian")
    if noise_law != "gaussian":
        raise ValueError(f"est must be an estimator for Gaussian noise, got noise {noise_law!r}")
    denoise = checked(est)
    noise = torch.randn((count, channels, height, width), generator=generator, dtype=dtype, device=generator.device).to(
        device
    )
    x = mean + levels[0] * noise
    saved = _Checkpoint(None if checkpoint is None else Path(checkpoint), x, levels)
    done, x = saved.load(x)
    steps = list(pairwise([*levels, 0.0]))
    for sigma, following in tqdm(
        steps[done:], initial=done, total=len(steps), desc="from noise to images", disable=not progress
    ):
        x_hat = denoise(x, sigma)
        if x_hat.shape != x.shape:
            raise ValueError(f"net must return {channels} channels, as its input has, got {x_hat.shape[1]}")
        x = x_hat + (following / sigma) * (x - x_hat)
        done += 1
        saved.save(done, x)
    saved.remove()
    return x


def _falling(sigmas: Sequence[float]) -> list[float]:
    """The noise levels, if they are positive and fall."""
    levels = check_positive_numbers(sigmas, "sigmas")
    for before, after in pairwise(levels):
        if after >= before:
            raise ValueError(f"sigmas must fall from step to step, got {before:g} before {after:g}")
    return levels


def _shape_of(est: Denoiser, shape: tuple[int, int, int] | None) -> tuple[int, int, int]:
    known = shape if shape is not None else getattr(est, "shape", None)
    if known is None:
        raise ValueError("shape must be given as (C, H, W): this denoiser does not know the size of its images")
    if not isinstance(known, (tuple, list)) or len(known) != 3:
        raise ValueError(f"shape must be (C, H, W), got {shown(known)}")
    channels, height, width = (check_count(n, "each of shape") for n in known)
    return channels, height, width


def _place_of(est: Denoiser) -> tuple[torch.dtype, torch.device]:
    """dtype and device of an estimator or of the weights of a network; float32 on the CPU for a function."""
    if isinstance(getattr(est, "dtype", None), torch.dtype):
        return est.dtype, est.device  # type: ignore[attr-defined]
    weights = next(est.parameters(), None) if isinstance(est, nn.Module) else None
    return (torch.float32, torch.device("cpu")) if weights is None else (weights.dtype, weights.device)


class _Checkpoint:
    """The state of a run on disk: which steps are done, and the images after them."""

    def __init__(self, path: Path | None, start: Tensor, levels: list[float]) -> None:
        self.path = path
        digest = hashlib.sha256(repr((levels, tuple(start.shape))).encode())
        digest.update(start.cpu().contiguous().numpy().tobytes())
        self.run = digest.hexdigest()

    def load(self, start: Tensor) -> tuple[int, Tensor]:
        """Steps done and images, from the file if it holds this run; else none and the start."""
        if self.path is None or not self.path.exists():
            return 0, start
        try:
            state = torch.load(self.path, map_location=start.device, weights_only=True)
            same, done, x = state["run"] == self.run, state["done"], state["x"]
        except Exception as error:  # torch.load raises what it likes
            raise ValueError(f"{str(self.path)!r} is no checkpoint of a sample ({type(error).__name__})") from None
        if not same:
            raise ValueError(f"checkpoint {str(self.path)!r} is of another run: name another file, or delete it")
        return done, x

    def save(self, done: int, x: Tensor) -> None:
        """Keep the images after a step."""
        if self.path is not None:
            state = {"run": self.run, "done": done, "x": x}
            write_atomically(self.path, lambda temporary: torch.save(state, temporary))

    def remove(self) -> None:
        """Forget a run that is complete."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
