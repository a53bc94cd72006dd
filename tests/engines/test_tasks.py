"""Tasks on threads: results in order, few that wait, and an end soon after Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest
import torch

from lemmse.engines.cpu.tasks import results


def test_results_come_in_the_order_of_the_tasks_and_no_task_is_started_far_ahead():
    begun = []
    with results(lambda task, stop: begun.append(task) or task, iter(range(1000))) as found:
        assert [next(found) for _ in range(5)] == [0, 1, 2, 3, 4]
        assert len(begun) <= 5 + 4 * torch.get_num_threads() + 1
        assert list(found) == list(range(5, 1000))


def test_an_interruption_stops_tasks_that_run_and_drops_those_that_wait():
    begun, ended = [], threading.Event()

    def work(task, stop):
        begun.append(task)
        while not stop[0]:
            ended.wait(0.001)

    with pytest.raises(KeyboardInterrupt), results(work, range(100)):
        raise KeyboardInterrupt
    assert len(begun) <= torch.get_num_threads()


def test_an_error_in_a_task_is_raised():
    def fail(task, stop):
        raise ValueError(f"task {task}")

    with pytest.raises(ValueError, match="task 0"), results(fail, range(3)) as found:
        next(found)


INTERRUPTED = """
import signal, torch, lemmse
signal.signal(signal.SIGINT, signal.default_int_handler)
x = torch.rand(2, 1, 512, 512)
lemmse.LocalEquivariantMMSE(x[..., :8, :8], lemmse.Denoising(), patch_size=11)(x[:1, :, :8, :8], 0.1)  # compiles
estimator = lemmse.LocalEquivariantMMSE(x, lemmse.Denoising(), patch_size=11)
print("ready", flush=True)
try:
    estimator(x[:1], 0.1)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


def test_ctrl_c_ends_a_pass_over_a_large_image():
    """A pass of minutes: the process ends long before it would."""
    process = subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)  # it is at work
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20)[0] == "stopped\n"
    finally:
        process.kill()
