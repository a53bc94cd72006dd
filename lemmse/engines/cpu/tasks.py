"""Tasks on threads, whose results come in order; they end soon after Ctrl-C."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

import numpy as np
import torch

Task = TypeVar("Task")
Result = TypeVar("Result")
Stop = np.ndarray

_AHEAD = 4  # tasks waiting, for each thread: no more results than that wait to be used


@contextmanager
def results(function: Callable[[Task, Stop], Result], tasks: Iterable[Task]) -> Iterator[Iterator[Result]]:
    """Run `function(task, stop)` for all tasks on `torch.get_num_threads()` threads.

    Args:
        function: works without the GIL most of the time, and returns early, with anything, once `stop[0]` is true.
        tasks: what is to be done.

    Returns:
        A context whose value yields the results in the order of the tasks. When it is left, by an exception such as
        Ctrl-C too, tasks that wait are dropped, and those that run are told to stop.

    Example:
        >>> with results(lambda task, stop: task**2, range(4)) as squares:
        ...     list(squares)
        [0, 1, 4, 9]
    """
    stop = np.zeros(1, dtype=np.bool_)
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads)
    try:
        yield _in_order(pool, function, iter(tasks), stop, _AHEAD * threads)
    finally:
        stop[0] = True
        pool.shutdown(cancel_futures=True)


def _in_order(
    pool: ThreadPoolExecutor,
    function: Callable[[Task, Stop], Result],
    tasks: Iterator[Task],
    stop: Stop,
    ahead: int,
) -> Iterator[Result]:
    waiting = deque(pool.submit(function, task, stop) for task in islice(tasks, ahead))
    while waiting:
        result = waiting.popleft().result()
        waiting.extend(pool.submit(function, task, stop) for task in islice(tasks, 1))
        yield result
