"""Weights on their way from a card to the CPU, while the card goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

PIECE_BYTES = 64 * 2**20
"""Small weights are laid together on the card before they are copied, up to so many bytes."""

Fold = Callable[[list[Tensor], list[Tensor], float], None]
"""What is done with them when they are here: values, weights, a share."""


@dataclass
class Conveyor:
    """One flat copy in pinned memory; at most one is on its way."""

    parameters: Sequence[nn.Parameter]
    values: list[Tensor]
    fold: Fold
    flat: Tensor
    views: list[Tensor]
    """Of `flat`, one for each parameter."""

    stream: torch.cuda.Stream
    copied: torch.cuda.Event
    worker: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=1, thread_name_prefix="average")
    )
    waiting: Future[None] | None = None

    def send(self, share: float) -> None:
        """Have the weights copied as they stand now, and folded in when they are here.

        The host waits only where the fold before this one has taken longer than a step.
        """
        self.settle()
        now = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(now)
        with torch.cuda.stream(self.stream), torch.no_grad():
            first = 0
            for some in pieces(self.parameters):
                length = sum(one.numel() for one in some)
                laid = torch.cat([one.detach().reshape(-1).to(self.flat.dtype) for one in some])
                self.flat[first : first + length].copy_(laid, non_blocking=True)
                first += length
            self.copied.record(self.stream)
        self.waiting = self.worker.submit(self._arrived, share)

    def clear(self) -> None:
        """What the device does next to the weights it does after they are copied."""
        if self.waiting is not None:
            torch.cuda.current_stream(self.stream.device).wait_event(self.copied)

    def settle(self) -> None:
        """Wait for what is on its way."""
        if self.waiting is not None:
            waiting, self.waiting = self.waiting, None
            waiting.result()

    def _arrived(self, share: float) -> None:
        self.copied.synchronize()
        self.fold(self.values, self.views, share)


def pieces(parameters: Sequence[nn.Parameter], most: int = PIECE_BYTES) -> list[list[nn.Parameter]]:
    """Neighbours in their order, as many together as `most` bytes hold; a larger one is alone."""
    found: list[list[nn.Parameter]] = []
    held = 0
    for one in parameters:
        if not found or held + one.nbytes > most:
            found.append([])
            held = 0
        found[-1].append(one)
        held += one.nbytes
    return found


def conveyor(
    parameters: Sequence[nn.Parameter], values: list[Tensor], fold: Fold
) -> Conveyor | None:
    """What brings these parameters to values on the CPU; None unless they lie on a CUDA card and
    the values do not."""
    if not parameters or parameters[0].device.type != "cuda" or values[0].device.type != "cpu":
        return None
    dtypes = {one.dtype for one in parameters}
    dtype = dtypes.pop() if len(dtypes) == 1 else torch.float32
    flat = torch.empty(sum(one.numel() for one in parameters), dtype=dtype, pin_memory=True)
    parts = flat.split([one.numel() for one in parameters])
    device = parameters[0].device
    return Conveyor(
        parameters=parameters,
        values=values,
        fold=fold,
        flat=flat,
        views=[part.view(one.shape) for part, one in zip(parts, parameters, strict=True)],
        stream=torch.cuda.Stream(device),
        copied=torch.cuda.Event(),
    )
