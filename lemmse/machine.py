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
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_PER_CLOCK = 16  # exponentials that a multiprocessor of a GPU issues
_LOOPS = 200_000  # over the buffer: some milliseconds of exponentials


def describe(device: torch.device) -> dict[str, str]:
    """What made a table: machine, threads, versions, date and commit, each in a word or two."""
    try:
        git = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True
        )
        commit = git.stdout.strip()
    except OSError:
        commit = ""
    return {
        "cpu": f"{_cpu_name()}, {os.cpu_count()} cores",
        "threads": str(torch.get_num_threads()),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else "none used",
        "lemmse": version("lemmse") + (f", commit {commit}" if commit else ""),
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, numba {version('numba')}",
        "date": datetime.date.today().isoformat(),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def exponentials_per_second(device: torch.device) -> float:
    """The most exponentials that the device computes in a second.

    CPU: measured, the engines' own `exp2` over a buffer that stays in the first cache, on `torch.get_num_threads()`
    threads, the best of five. CUDA: 16 x multiprocessors x clock.
    """
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        return _PER_CLOCK * gpu.multi_processor_count * getattr(gpu, "clock_rate", math.nan) * 1e3
    import numpy as np

    from .engines.exponentials import BUFFER, sum_exponentials

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
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def peak_megabytes(call: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Memory, in MB, of the process (CUDA: tensors on the device): before a call, and at most during it.

    Exact on Linux and CUDA. Elsewhere all that is known is the peak of the process so far, so call it in a fresh one.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return before / 1e6, torch.cuda.max_memory_allocated(device) / 1e6
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")  # Linux forgets the peak so far: see proc(5)
    before = _peak_bytes()
    call()
    return before / 1e6, _peak_bytes() / 1e6


def _peak_bytes() -> int:
    """The largest resident set of this process so far."""
    for line in _STATUS.read_text().splitlines() if _STATUS.exists() else ():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024
