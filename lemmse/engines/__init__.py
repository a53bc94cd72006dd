"""Engines: how squared distances of features turn into softmax sums. They know features, strata and values, no physics.

An engine of the box family has `accumulate(state, queries, keys, values, scale, *, patch_size, strata, first_image)`;
the plain one in `box` states the contract. `ENGINES` maps their public names to modules, imported when first used.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

ENGINES: dict[str, Callable[[], ModuleType]] = {
    "torch": lambda: import_module(".box", __name__),
    "numba": lambda: import_module(".box_cpu", __name__),
}
