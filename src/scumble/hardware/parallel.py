"""Several processes that take a run's steps together, each with the whole network and a share of
every step's batches.

A step costs one sum over all of them, and rests cost a wait in which the host sleeps. accelerate
and torch.distributed are used here and nowhere else; alone, accelerate is not even imported.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from scumble import launch
from scumble.errors import ScumbleError
from scumble.hardware.device import place_for
from scumble.launch import Launch
from scumble.spec.hardware import HardwareSpec

LONGEST = timedelta(days=7)
"""No wait is cut short for its length: encoding, previews and measuring keep the first process
alone for as long as they take. That a process is gone is seen by its closed connection."""

PAUSE = 0.02  # seconds between looks at whether the others are there
PIECE = 1 << 26
"""Numbers that are summed at once, 256 MB of them: an adapter's are one piece."""


class Elsewhere(ScumbleError):
    """What ended another process of this run, which has said so itself or cannot any more."""


@dataclass(frozen=True)
class Crew:
    """The processes of a run as one of them sees them; as it is, one process that trains alone."""

    launch: Launch = launch.ALONE
    hosts: Any = None
    """Connects the hosts, whatever connects their cards."""

    @property
    def rank(self) -> int:
        """Of this process, from 0."""
        return self.launch.rank

    @property
    def world(self) -> int:
        """How many processes there are."""
        return self.launch.world

    @property
    def leads(self) -> bool:
        """Whether this process tells, paints, measures and writes for all."""
        return self.rank == 0

    def summed(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Each tensor's sum over all processes, in float32; the same bits in all of them.

        The host does not wait for a card here.
        """
        if self.world == 1:
            return list(tensors)
        from accelerate.utils import reduce

        found: list[Tensor] = []
        for piece in _pieces(tensors):
            flat = torch.cat([one.detach().reshape(-1).float() for one in piece])
            with _together():
                flat = reduce(flat, reduction="sum")
            assert isinstance(flat, Tensor)
            parts = flat.split([one.numel() for one in piece])
            found += [part.view_as(one) for part, one in zip(parts, piece, strict=True)]
        return found

    def meet(self, problem: BaseException | None = None, *, seen: str = "") -> None:
        """Wait until all are here. Elsewhere, in all but those with a problem, if any has one.

        `seen` stands for what a process has found; where it differs, all raise.
        """
        if self.world == 1:
            return
        told = self._gathered(("" if problem is None else _words(problem), seen))
        if problem is not None:
            return
        for rank, (words, _) in enumerate(told):
            if words:
                raise Elsewhere(_process(rank, self.world), words, "the others have ended with it")
        if len({one for _, one in told}) > 1:
            odd = next(rank for rank, (_, one) in enumerate(told) if one != told[0][1])
            what = "sees another job, data or checkpoint than process 1"
            remedy = "let all of them work in the same folders, on one disk"
            raise Elsewhere(_process(odd, self.world), what, remedy)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """What this process does by itself until all meet again; if it fails, the others raise."""
        try:
            yield
        except Exception as problem:
            self.meet(problem)
            raise

    def gathered(self, words: str) -> list[str]:
        """What each process says, in their order; all must ask."""
        return [words] if self.world == 1 else [one for one, _ in self._gathered((words, ""))]

    def leave(self) -> None:
        """Part when all are here; what comes after is done by each alone.

        Not after a failure: the process ends then, and its closed connection tells the others.
        """
        if self.world > 1:
            self.meet()
            torch.distributed.destroy_process_group()

    def _gathered(self, mine: tuple[str, str]) -> list[tuple[str, str]]:
        """What each process says, in their order."""
        self._wait()
        found: list[Any] = [None] * self.world
        with _together():
            torch.distributed.all_gather_object(found, mine, group=self.hosts)
        return found

    def _wait(self) -> None:
        """Sleep until all are here; signals are heard meanwhile."""
        with _together():
            here = torch.distributed.all_reduce(torch.zeros(1), group=self.hosts, async_op=True)
            assert here is not None
            while not here.is_completed():
                time.sleep(PAUSE)
            here.wait()


ALONE = Crew()


def joined(mine: Launch, hardware: HardwareSpec) -> Crew:
    """This process among the others, if there are any; waits until all have come.

    JobError where the launcher or the job asks for what several processes cannot have.
    """
    if mine.world == 1:
        return ALONE
    launch.plain()
    device = place_for(hardware).device
    from accelerate import PartialState

    if device.type == "cuda":
        torch.cuda.set_device(device)
    with _together():
        backend = "nccl" if device.type == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, timeout=LONGEST)
        PartialState(cpu=device.type == "cpu")  # takes the group that is there, for `reduce`
        hosts = torch.distributed.new_group(backend="gloo", timeout=LONGEST)
    return Crew(mine, hosts)


def _pieces(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    piece: list[Tensor] = []
    size = 0
    for one in tensors:
        if piece and size + one.numel() > PIECE:
            yield piece
            piece, size = [], 0
        piece.append(one)
        size += one.numel()
    if piece:
        yield piece


@contextmanager
def _together() -> Iterator[None]:
    """What a lost connection means, in words."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        said = re.sub(r"^\[[^\]]*\] ", "", str(error)).partition(". ")[0]
        problem = f"another one has ended, or the connection to it ({said})"
        remedy = "its own words, if it had any, stand above; the last checkpoint is whole"
        raise Elsewhere("processes", problem, remedy) from error


def _process(rank: int, world: int) -> str:
    return Launch(rank=rank, world=world).told()


def _words(problem: BaseException) -> str:
    match problem:
        case BaseExceptionGroup():
            return "; ".join(map(_words, problem.exceptions))
        case ScumbleError():
            return str(problem)
        case _:
            return f"{type(problem).__name__}: {problem}"
