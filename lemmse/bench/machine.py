"""The machine that a benchmark ran on: what it is, how much memory a call takes, and its exponentials per second.

Every pair of patches costs one exponential, whatever else an engine does, so a machine that computes X of them per
second computes at most X pairs per second, pairs that are skipped aside: the roofline of `lemmse bench`.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_PER_CLOCK = 16  # exponentials that a multiprocessor of a GPU issues
_LOOPS = 200_000  # over the buffer: some milliseconds of exponentials


def describe(device: torch.device) -> dict[str, str]:
    """What made a table: machine, threads, versions, date and commit, each in a word or two."""
    import torch

    return {
        "cpu": f"{_cpu_name()}, {os.cpu_count()} cores",
        "threads": str(torch.get_num_threads()),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else "none used",
        "lemmse": library_version(),
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, numba {version('numba')}",
        "date": datetime.date.today().isoformat(),
    }


def library_version() -> str:
    """The version of this library, and the commit of its checkout if it has one."""
    try:
        git = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True
        )
        commit = git.stdout.strip()
    except OSError:
        commit = ""
    return version("lemmse") + (f", commit {commit}" if commit else "")


def used() -> dict[str, Any]:
    """What this process ran on, and its peak memory so far in MB: for the record of a run; imports no torch."""
    torch = sys.modules.get("torch")
    cuda = torch.cuda if torch is not None and torch.cuda.is_initialized() else None
    return {
        "device": cuda.get_device_name() if cuda else _cpu_name(),
        "peak_mb": round(_peak_bytes() / 1e6, 1),
        "gpu_peak_mb": round(cuda.max_memory_allocated() / 1e6, 1) if cuda else None,
        "lemmse": library_version(),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def exponentials_per_second(device: torch.device) -> float:
    """The most exponentials that the device computes in a second.

    CPU: measured, the engines' own `exp2` over a buffer that stays in the first cache, on `torch.get_num_threads()`
    threads, the best of five. CUDA: 16 x multiprocessors x clock.
    """
    import torch

    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        return _PER_CLOCK * gpu.multi_processor_count * getattr(gpu, "clock_rate", math.nan) * 1e3
    import numpy as np

    from lemmse.engines.cpu.exponentials import BUFFER, sum_exponentials

    threads = torch.get_num_threads()
    buffer = np.linspace(-30, 0, BUFFER, dtype=np.float32)
    sum_exponentials(buffer, 1)  # compiles
    with ThreadPoolExecutor(threads) as pool:

        def on_all_threads() -> float:
            return seconds(lambda: list(pool.map(lambda _: sum_exponentials(buffer, _LOOPS), range(threads))), device)

        return threads * _LOOPS * BUFFER / min(on_all_threads() for _ in range(5))


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """How long a call takes, until the device has finished it."""
    started = time.perf_counter()
    call()
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def peak_megabytes(call: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Memory, in MB, of the process (CUDA: tensors on the device): before a call, and at most during it.

    Exact on Linux and CUDA. Elsewhere all that is known is the peak of the process so far, so call it in a fresh one.
    """
    if device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return before / 1e6, torch.cuda.max_memory_allocated(device) / 1e6
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5", encoding="utf-8")  # Linux forgets the peak so far: see proc(5)
    before = _peak_bytes()
    call()
    return before / 1e6, _peak_bytes() / 1e6


def _peak_bytes() -> int:
    """The largest resident set of this process so far."""
    for line in _STATUS.read_text(encoding="utf-8").splitlines() if _STATUS.exists() else ():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    import resource

    return _peak_usage(resource.RUSAGE_SELF)


def children_peak_megabytes() -> float:
    """The largest resident set, in MB, of a child of this process that has ended; Linux counts from its fork on."""
    import resource

    return round(_peak_usage(resource.RUSAGE_CHILDREN) / 1e6, 1)


def _peak_usage(who: int) -> int:
    import resource

    peak = resource.getrusage(who).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024
