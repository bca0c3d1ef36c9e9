"""Several processes on this machine, told apart by their variables as a launcher would do it.

They come from one that has imported everything, so that a pair of them costs a moment.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.preloaded"])
PATIENCE = 600.0
"""Seconds after which processes that wait for each other are given up."""


def together(
    world: int, folder: Path, act: Callable[..., int], *arguments: Any
) -> tuple[list[int | None], str]:
    """Have so many processes do something; their exit codes, and all that they printed."""
    folder.mkdir(parents=True, exist_ok=True)
    port, logs = free_port(), [folder / f"rank-{rank}.log" for rank in range(world)]
    with _importable():
        started = [
            CONTEXT.Process(
                target=_one, args=(_variables(rank, world, port), logs[rank], act, arguments)
            )
            for rank in range(world)
        ]
        for one in started:
            one.start()
    for one in started:
        one.join(PATIENCE)
    codes = [one.exitcode for one in started]
    for one in started:
        one.kill()
        one.join()
    return codes, "\n".join(log.read_text() for log in logs)


def free_port() -> int:
    """A port of this machine that nobody listens on just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def command(words: Sequence[str]) -> int:
    """What the program does with these words on its command line."""
    from scumble.cli.app import main

    return main(words)


@contextmanager
def _importable() -> Iterator[None]:
    """The tests' own modules, for the process that the others come from."""
    before = os.environ.get("PYTHONPATH", "")
    root = str(Path(__file__).parent.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (before, root)))
    yield
    os.environ["PYTHONPATH"] = before


def _variables(rank: int, world: int, port: int) -> dict[str, str]:
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
    return {**os.environ, "OMP_NUM_THREADS": "1", **{n: str(v) for n, v in (own | told).items()}}


def _one(
    variables: dict[str, str], log: Path, act: Callable[..., int], arguments: Sequence[Any]
) -> None:
    os.environ.update(variables)
    with log.open("wb") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    import torch

    torch.set_num_threads(1)
    sys.exit(act(*arguments))
