"""Networks with an exact receptive field, their training, and their weights on disk."""

from __future__ import annotations

from lemmse.networks.architectures import ARCHITECTURES, PatchMLP, ResNet, Solver, UNet
from lemmse.networks.training import train

__all__ = ["ARCHITECTURES", "PatchMLP", "ResNet", "Solver", "UNet", "train"]
