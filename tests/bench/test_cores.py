"""The number of cores under control groups as the kernel lays them out, versions 1 and 2, in and out of containers."""

from __future__ import annotations

import os

import pytest

from lemmse.bench.cores import cores


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/", {"cpu.max": "max 100000\n"}, 8),
        ("0::/", {"cpu.max": "250000 100000\n"}, 3),
        ("0::/", {"cpu.max": "20000 100000\n"}, 1),
        ("0::/a/b", {"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "400000 100000\n"}, 2),
        ("0::/docker/x", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/", {"unified/cpu.max": "200000 100000\n"}, 2),
        ("3:cpu,cpuacct:/", {"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "50000\n"}, 3),
        ("3:cpu,cpuacct:/", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "50000\n"}, 8),
        ("4:cpuset:/\n0::/", {"cpu.max": "nonsense\n"}, 8),
    ],
)
def test_cores_are_the_least_of_affinity_and_quotas(tmp_path, monkeypatch, membership, files, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    write(tmp_path / "groups", files)
    write(tmp_path, {"membership": membership + "\n"})
    assert cores(tmp_path / "groups", tmp_path / "membership") == expected


def test_without_control_groups_the_affinity_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5}, raising=False)
    assert cores(tmp_path, tmp_path / "none") == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cores(tmp_path, tmp_path / "none") == 6
