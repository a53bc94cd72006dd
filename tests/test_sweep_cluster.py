"""A sweep on a Dask cluster of separate processes, one of which is killed in the middle."""

from __future__ import annotations

import os
import signal
import threading
import time

import pandas as pd
import pytest

from lemmse.sweep import sweep

from .light import light_project

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
