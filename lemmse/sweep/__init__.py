"""Sweeps: one notebook at a grid of parameters, every run in a process of its own, results in one table."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
