"""Ctrl-C and SIGTERM: the first lets the step end and its state be saved, the second stops now."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

from scumble.launch import speaks

PATIENT = "Stopping after this step, once its state is saved. Again: stop at once.\n"


class Signals:
    """A context manager that listens; outside the main thread it hears nothing."""

    def __init__(self) -> None:
        self.asked: str | None = None
        """The name of the signal that came first."""

        self.patient = False
        """Whether the first signal waits to be looked at, instead of raising at once."""

        self._before: dict[int, object] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.asked is not None or not self.patient:
            raise KeyboardInterrupt
        self.asked = signal.Signals(number).name
        if speaks():
            sys.stderr.write(PATIENT)
