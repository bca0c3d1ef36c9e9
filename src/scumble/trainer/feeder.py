"""Batches and their random numbers, made ahead by one background thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from queue import Full, Queue

import torch
from torch import Tensor

from scumble.data.batch import Batch
from scumble.data.order import Order, Unit
from scumble.trainer.draws import Draw, Drawer

AHEAD = 3  # units waiting; enough to hide a read, few enough to cost no memory
READY = 0.1  # seconds between looks at whether anybody still listens


@dataclass(frozen=True)
class Fed:
    """One unit of work, on the training device."""

    step: int
    number: int
    """Which of its step's batches: the slot of its first example, whoever takes the others."""

    last: bool
    """Whether it ends this process's share of the step."""

    examples_in_step: int
    """Over all processes."""

    batch: Batch
    draw: Draw


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where batches come from: the order, and how a unit's examples are read.

    A unit whose examples differ in their references comes as several batches. Numbers are drawn
    by an example's place in the step, so neither the cutting nor the sharing changes anything.
    """

    order: Order
    drawer: Drawer
    read: Callable[[Unit, int], Sequence[Batch]]
    """The batches of a unit at a step."""

    device: torch.device
    rank: int = 0
    """Which of the processes this is, and how many share the units of a step."""

    world: int = 1

    def step(self, step: int) -> Iterator[Fed]:
        """The batches of this process in a step, read and drawn here and now."""
        units = self.order.step(step)
        first = [0, *accumulate(len(unit.rows) for unit in units)]
        times, mine = self.drawer.times(step, first[-1]), range(self.rank, len(units), self.world)
        for place in mine:
            batches = self.read(units[place], step)
            for batch in batches:
                slots = [first[place] + slot for slot in batch.slots]
                draw = self.drawer.for_batch(step, slots, batch, times)
                last = place == mine[-1] and batch is batches[-1]
                seen = self.drawer.heeded(step, slots, batch)
                fed = (seen.mapped(self._pin), draw.mapped(self._pin))
                yield Fed(step, slots[0], last, first[-1], *fed)

    def _pin(self, tensor: Tensor) -> Tensor:
        return tensor.pin_memory() if self.device.type == "cuda" else tensor

    def moved(self, fed: Fed) -> Fed:
        """On the device; from pinned memory the copy does not make the host wait."""
        batch, draw = fed.batch.mapped(self._move), fed.draw.mapped(self._move)
        return replace(fed, batch=batch, draw=draw)

    def _move(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=True)


class Feeder:
    """Runs a source ahead of the trainer. Use as a context manager, so that its thread ends."""

    def __init__(self, source: Source, *, first: int, last: int) -> None:
        self.source = source
        self._queue: Queue[Fed | BaseException] = Queue(AHEAD)
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(first, last), name="feeder", daemon=True
        )

    def __enter__(self) -> Feeder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    def step(self, step: int) -> Iterator[Fed]:
        """The batches of the next step, which must be `step`."""
        last = False
        while not last:
            fed = self._queue.get()
            if isinstance(fed, BaseException):
                raise fed
            assert fed.step == step
            last = fed.last
            yield self.source.moved(fed)

    def _run(self, first: int, last: int) -> None:
        try:
            if self.source.device.type == "cuda":
                torch.cuda.set_device(self.source.device)  # else pinning opens a context on card 0
            for step in range(first, last + 1):
                for fed in self.source.step(step):
                    if not self._put(fed):
                        return
        except BaseException as error:
            self._put(error)

    def _put(self, item: Fed | BaseException) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=READY)
            except Full:
                continue
            return True
        return False
