"""Work on many files by as many threads as there is waiting to be done, and no more.

On a warm disk one thread is fastest: sixteen that fight for the interpreter take three times as
long. On a slow drive sixteen files are as quick as one. Which it is, is measured now and again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from typing import TypeVar

Thing = TypeVar("Thing")
Result = TypeVar("Result")

MOST = 16
PROBE = 16
"""So many things are worked on by one thread, to see how long it waits."""

ROUND = 1024
"""So many things are worked on before it is seen again."""

TOGETHER = 32
"""So many things are one task: handing them out one by one costs more than the work."""

WORTH = 4.0
"""Threads pay from that many times as much time on the clock as in the processor."""

TICK = 50e-6
"""Seconds of the processor that a thing takes at least; some clocks count none."""


def overlapped(
    work: Callable[[Sequence[Thing]], Result], things: Sequence[Thing], *, least: int = 1
) -> Generator[Result, None, None]:
    """What `work` makes of some things at a time, in their order, by at least so many threads.

    Close it to be rid of what is not begun yet.
    """
    for start in range(0, len(things), ROUND):
        probe = things[start : start + PROBE]
        clock, busy = time.perf_counter(), time.thread_time()
        made = work(probe)
        clock, busy = time.perf_counter() - clock, time.thread_time() - busy
        yield made
        threads = max(least, worthwhile(clock, max(busy, TICK * len(probe))))
        end = min(start + ROUND, len(things))
        tasks = [things[at : min(at + TOGETHER, end)] for at in range(start + PROBE, end, TOGETHER)]
        yield from map(work, tasks) if threads == 1 else _by_threads(work, tasks, threads)


def worthwhile(clock: float, busy: float) -> int:
    """How many threads pay for work of these seconds on the clock and in the processor."""
    waiting = clock / busy
    return min(MOST, ceil(waiting)) if waiting > WORTH else 1


def _by_threads(
    work: Callable[[Sequence[Thing]], Result], tasks: Sequence[Sequence[Thing]], threads: int
) -> Generator[Result, None, None]:
    pool = ThreadPoolExecutor(threads)
    try:
        yield from pool.map(work, tasks)
    finally:
        pool.shutdown(cancel_futures=True)
