"""How many cores this process may use: of those of the machine, the ones its affinity and its container leave it.

A container with "2 CPUs" often sees all cores of its machine. What limits it is a quota of its control group, on Linux:
so many microseconds of CPU time in each period. The quota of every group that holds the process binds.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_GROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def cores(groups: Path = _GROUPS, membership: Path = _MEMBERSHIP) -> int:
    """The number of cores that this process may use at once, at least 1.

    It is the least of the CPU affinity and of the quotas of the control groups (versions 1 and 2), rounded up.

    Args:
        groups: where the control groups are mounted.
        membership: the file that names the groups of this process, one a line.

    Returns:
        The number of cores.

    Example:
        >>> cores() >= 1
        True
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = (math.ceil(quota) for quota in _quotas(groups, membership))
    return max(1, min([affinity, *quotas]))


def _quotas(groups: Path, membership: Path) -> Iterator[float]:
    """The quotas, in cores, of all control groups that hold this process."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):  # no Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        within = PurePosixPath(path.lstrip("/"))
        for group in (within, *within.parents):  # inside a container only the last, the mount itself, may be there
            if controllers == "":
                for mount in (groups, groups / "unified"):
                    yield from _quota(mount / group / "cpu.max")
            elif "cpu" in controllers.split(","):
                for mount in (groups / "cpu", groups / controllers):
                    yield from _quota(mount / group / "cpu.cfs_quota_us", mount / group / "cpu.cfs_period_us")


def _quota(*files: Path) -> Iterator[float]:
    """The quota that is in these files, "quota period" in microseconds, if one is set ("max" and -1 say none)."""
    try:
        quota, period = (float(word) for file in files for word in file.read_text(encoding="utf-8").split())
    except (OSError, ValueError):
        return
    if quota > 0 and period > 0:
        yield quota / period
