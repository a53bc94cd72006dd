"""A sweep on a Dask cluster of separate processes, one of which is killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pandas as pd
import pytest

from lemmse.sweep import sweep
from tests.light import light_project

pytestmark = pytest.mark.usefixtures("environment")


def test_a_worker_is_killed_and_every_run_is_there_once(tmp_path):
    distributed = pytest.importorskip("distributed")
    project = light_project(tmp_path / "checkout", beats=25)
    source = project.source("01")
    points = [{"n": n, "fail": n == 3} for n in range(1, 6)]
    folder = tmp_path / "cluster"
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        workers = client.run(os.getpid)
        killed = []

        def kill_one():
            while not list(folder.glob("runs/*")):
                time.sleep(0.02)
            busy = [worker for worker, tasks in client.processing().items() if tasks]
            os.kill(workers[busy[0]], signal.SIGKILL)
            killed.append(busy[0])

        killer = threading.Thread(target=kill_one, daemon=True)
        killer.start()
        table = sweep(project, source, points, folder, scheduler=cluster.scheduler_address, progress=False)
        killer.join(timeout=10)
    assert killed
    assert list(table.n) == list(range(1, 6))
    assert list(table.status) == ["failed" if n == 3 else "complete" for n in table.n]
    assert "told to fail" in table.failure[2]
    assert table.key.is_unique
    assert len(list(folder.glob("runs/*"))) == 4
    here = sweep(project, source, points[:2], tmp_path / "here", jobs=2, progress=False)
    pd.testing.assert_series_equal(table.total[:2], here.total, check_exact=True)


def test_a_scheduler_without_workers_that_dies(tmp_path, caplog):
    pytest.importorskip("distributed")
    project, folder, about = light_project(tmp_path / "checkout"), tmp_path / "cluster", tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    command += ["--no-dashboard", "--scheduler-file", str(about)]
    scheduler = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while not about.exists():
            assert scheduler.poll() is None
            time.sleep(0.05)

        def kill_it():
            while not (folder / "sweep.json").exists():
                time.sleep(0.02)
            time.sleep(1)  # the run waits for a worker, there is none
            scheduler.kill()

        threading.Thread(target=kill_it, daemon=True).start()
        address, source = json.loads(about.read_text())["address"], project.source("01")
        with pytest.raises(ConnectionError, match="the Dask scheduler is lost, what was complete is kept"):
            sweep(project, source, [{"n": 1}], folder, scheduler=address, progress=False)
        assert [r.message for r in caplog.records if "has no worker yet" in r.message] == [
            f"the scheduler at {address} has no worker yet: the runs wait for one"
        ]
    finally:
        scheduler.kill()
        scheduler.wait()
