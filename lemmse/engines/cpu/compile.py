"""How the kernels for CPUs are compiled: one decorator for all of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numba


def jit(**options: Any) -> Callable[[Callable], Callable]:
    """A decorator that compiles a kernel: it runs beside other threads, divides as NumPy does, and is kept on disk.

    Where no folder can be written for the compiled kernels (a read-only installation, no home), they are compiled anew
    in each process, and one warning says so.

    Args:
        **options: more options of `numba.njit`, such as `fastmath`.

    Returns:
        The decorator.

    Example:
        >>> @jit()
        ... def twice(x):
        ...     return 2 * x
        >>> twice(21)
        42
    """
    options = {"nogil": True, "error_model": "numpy", **options}

    def compiled(function: Callable) -> Callable:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            _warn_of_no_cache()
            return numba.njit(**options)(function)

    return compiled


@cache
def _warn_of_no_cache() -> None:
    """Warn, the first time."""
    warnings.warn(
        "compiled kernels cannot be kept, because no cache folder can be written: every process compiles them again, "
        "which takes about a minute. Set NUMBA_CACHE_DIR to a folder that can be written",
        UserWarning,
        stacklevel=2,
    )
