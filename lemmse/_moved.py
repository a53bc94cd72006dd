"""Modules under the names that they had in version 0.1: still importable for one release, with a warning.

The old name is a module of its own that forwards every attribute to the new ones: `lemmse.comparison.compare` and
`lemmse.analysis.evaluate.compare` are the same object, and the new module's `__name__` and `__spec__` stay its own.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "lemmse.comparison": ("lemmse.analysis.evaluate", "lemmse.analysis.experiment"),
    "lemmse.datasets": ("lemmse.data.sets",),
    "lemmse.operators": ("lemmse.physics.gallery",),
    "lemmse.patchwork": ("lemmse.analysis.sources",),
    "lemmse.pipeline": ("lemmse.book.notebooks",),
    "lemmse.shards": ("lemmse.estimators.shards",),
    "lemmse.sweep.values": ("lemmse.book.values",),
    "lemmse.weights": ("lemmse.networks.weights",),
}


class MovedModules(MetaPathFinder):
    """Finds the modules of `MOVED` by their old names; it comes last, after all modules that exist."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The specification of a module that forwards to the new one, None if no module had this name."""
        if fullname not in MOVED:
            return None
        return ModuleSpec(fullname, _Forwarding(MOVED[fullname]))


class _Forwarding(Loader):
    """Fills a fresh module with a `__getattr__` that looks in the new modules."""

    def __init__(self, new_names: tuple[str, ...]) -> None:
        self.new_names = new_names

    def exec_module(self, module: ModuleType) -> None:
        places = " and ".join(self.new_names)
        warnings.warn(
            f"{module.__name__} is now {places}: the old name will be removed in the next release",
            FutureWarning,
            stacklevel=2,
        )
        new = [import_module(name) for name in self.new_names]

        def forward(name: str) -> object:
            return getattr(next((place for place in new if hasattr(place, name)), new[0]), name)

        def names() -> list[str]:
            return sorted({name for place in new for name in dir(place)})

        module.__doc__ = new[0].__doc__
        public = [name for name in names() if not name.startswith("_")]
        module.__dict__.update(__getattr__=forward, __dir__=names, __all__=public)


def install() -> None:
    """Let Python find the old names; a second call does nothing."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())
