"""The same work on many things at once, in processes, with as much memory as there are processes.

For work on files that keeps a core busy; what waits for a disk is better off in threads.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import islice
from typing import TypeVar, cast

from scumble.errors import JobError, ScumbleError

Thing = TypeVar("Thing")
Result = TypeVar("Result")
Told = tuple[type[ScumbleError], str, str, str]
"""An error as its kind and its parts, for errors themselves cannot be pickled."""

Answer = tuple[Result | None, Told | None]

WAITING = 4
"""So many things for each process are handed out ahead."""


def cores() -> int:
    """How many processes can be busy at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(
    work: Callable[[Thing], Result], things: Sequence[Thing], processes: int
) -> Iterator[Result]:
    """What the work makes of each thing, as it comes; in order where there is one process.

    `work` is a function of a module; it and the things can be pickled. The first ScumbleError that
    it raises ends all; JobError when a process is ended from outside, which on most systems means
    that memory ran out.
    """
    processes = min(processes, len(things))
    if processes <= 1:
        yield from map(work, things)
        return
    rest = iter(things)
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(processes, context, initializer=_deaf) as pool:
        try:
            ask = partial(_answered, work)
            running = {pool.submit(ask, thing) for thing in islice(rest, WAITING * processes)}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {pool.submit(ask, thing) for thing in islice(rest, len(done))}
                yield from _results(done)
        except BrokenProcessPool:
            problem = f"one of {processes} processes was ended by the system, or is out of memory"
            raise JobError("--processes", problem, "ask for fewer") from None
        finally:
            pool.shutdown(cancel_futures=True)


def _answered(work: Callable[[Thing], Result], thing: Thing) -> Answer[Result]:
    try:
        return work(thing), None
    except ScumbleError as error:
        return None, (type(error), error.where, error.problem, error.remedy)


def _results(done: set[Future[Answer[Result]]]) -> Iterator[Result]:
    for future in done:
        result, told = future.result()
        if told is not None:
            kind, where, problem, remedy = told
            raise kind(where, problem, remedy)
        yield cast("Result", result)


def _deaf() -> None:
    """Ctrl-C is for the process that waits for the others; it ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
