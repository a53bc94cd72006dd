"""Which engine serves a task: its device, dtype, sizes, and whether gradients are asked for.

`ENGINES` maps the public names of the engines to what they can serve and to modules, imported when first used. What a
module must have is in `contracts`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

from lemmse.checks import shown


@dataclass(frozen=True)
class Task:
    """What is asked of an engine: to compare images (C, H, W), padding included, of a dtype on a device, and whether
    gradients are.
    """

    shape: tuple[int, int, int]
    dtype: torch.dtype
    device: torch.device
    differentiable: bool = False


@dataclass(frozen=True)
class Engine:
    """A module of this package and what it can serve: a type of device, a dtype, gradients, sizes; a package it needs.

    streams: its memory does not grow with the product of queries and training images. in_place: nor with the number of
    training images in a block, unless features must be made of them. several_scales: it takes several scales for each
    query, and computes the distances once.
    """

    module: str
    device: str | None = None
    dtype: torch.dtype | None = None
    differentiable: bool = True
    most_channels: int | None = None
    longest_side: int | None = None
    package: str | None = None
    streams: bool = False
    in_place: bool = False
    several_scales: bool = False

    def load(self) -> Any:
        """Its module, which fulfills one of the protocols in `contracts`."""
        return import_module(f"lemmse.engines.{self.module}")

    def is_made_for(self, task: Task) -> bool:
        """Whether dtype and device are those of this engine."""
        return self.device in (None, task.device.type) and self.dtype in (None, task.dtype)

    def refusal(self, task: Task) -> str:
        """Why it cannot serve a task; empty if it can."""
        channels, *sides = task.shape
        if self.device not in (None, task.device.type):
            return f"it needs images on {self.device}"
        if self.dtype not in (None, task.dtype):
            return f"it needs {self.dtype}"
        if task.differentiable and not self.differentiable:
            return "it has no gradient"
        if self.most_channels and channels > self.most_channels:
            return f"it takes at most {self.most_channels} channels"
        if self.longest_side and max(sides) > self.longest_side:
            return f"it takes sides of at most {self.longest_side} pixels"
        if self.package and not find_spec(self.package):
            return f"it needs the package {self.package}, which is not installed"
        return ""


ENGINES = {
    "numba": Engine("cpu.box", device="cpu", differentiable=False, streams=True, several_scales=True),
    "triton": Engine(
        "cuda.box",
        device="cuda",
        dtype=torch.float32,
        differentiable=False,
        most_channels=4,
        longest_side=64,  # its tiles of a whole image live in registers
        package="triton",
        streams=True,
    ),
    "torch": Engine("plain.box", several_scales=True),
    "mixed": Engine("cpu.gemm", device="cpu", differentiable=False),
    "direct": Engine("cpu.whole", device="cpu", differentiable=False, streams=True, in_place=True),
    "gemm": Engine("plain.gemm"),
    "position": Engine("plain.position"),
    "correlation": Engine("plain.correlation", several_scales=True),
}


def choose_engine(names: Iterable[str], task: Task, asked: str = "auto") -> str:
    """The first of the engines `names`, the fastest first, that serves the task; or the one asked for.

    Warns where one that is made for this dtype and device must be passed over. Raises ValueError, naming those that can
    serve, if the one asked for cannot.
    """
    names = list(names)
    refusals = {name: ENGINES[name].refusal(task) for name in names}
    able = [name for name, refusal in refusals.items() if not refusal]
    if isinstance(asked, str) and asked == "auto":
        for name in names[: names.index(able[0])]:
            if ENGINES[name].is_made_for(task):
                warnings.warn(
                    f"engine {name!r} cannot serve here, {refusals[name]}: {able[0]!r} does, more slowly",
                    UserWarning,
                    stacklevel=2,
                )
        return able[0]
    if not isinstance(asked, str) or asked not in able:
        why = f": {refusals[asked]}" if isinstance(asked, str) and asked in names else ""
        gradients = " with gradients" if task.differentiable else ""
        raise ValueError(
            f"engine {shown(asked)} cannot serve this operator, pre_inverse and padding in {task.dtype} on "
            f"{task.device}{gradients}{why}: choose 'auto' or one of {', '.join(map(repr, able))}"
        )
    return asked
