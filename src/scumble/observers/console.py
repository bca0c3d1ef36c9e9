"""The run as it is seen in a terminal (one live line) or in a log (few plain lines)."""

import math
import os
import sys
import time
from collections.abc import Callable
from io import StringIO
from typing import TextIO

import rich.console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from scumble.events import Encoded, Event, Finished, Interrupted, Started, StepDone, Stopped
from scumble.observers import sentences
from scumble.observers.eta import Eta

QUIET_SECONDS = 10.0
QUIET_SHARE = 0.05
"""A log gets its next line about steps after this time or this share of the run."""

SMOOTHING = 0.95


class Progress:
    """Where the run stands: what the live line and the plain lines are made from."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.caching: Encoded | None = None
        self.plan: Started | None = None
        self.step = 0
        self._clock = clock
        self._begin = clock()
        self._rate = math.nan
        self._eta = Eta()
        self._loss = self._weight = 0.0

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        self._eta(event)
        match event:
            case Encoded():
                self.caching = event if event.done < event.total else None
            case Started():
                self.plan, self.step, self.caching = event, event.after, None
                self._begin = self._clock()
            case StepDone():
                self.step, self._rate = event.step, event.learning_rate
                if math.isfinite(event.loss):
                    self._loss = SMOOTHING * self._loss + (1 - SMOOTHING) * event.loss
                    self._weight = SMOOTHING * self._weight + 1 - SMOOTHING
            case _:
                pass

    def facts(self) -> list[str]:
        """Loss, rate, pace and times, each in a few words."""
        left = self._eta.seconds_left()
        loss = self._loss / self._weight if self._weight else math.nan
        return [
            f"loss {loss:.4f}",
            f"rate {self._rate:.1e}",
            sentences.pace(self._eta.seconds_per_step()),
            f"elapsed {sentences.clock(self._clock() - self._begin)}",
            "left -" if left is None else f"left {sentences.clock(left)}",
        ]

    def line(self) -> str:
        """One line for a log."""
        steps = self.plan.steps if self.plan else self.step
        share = 100 * self.step / max(1, steps)
        return f"Step {self.step:,} of {steps:,} ({share:.0f} %): {', '.join(self.facts())}."

    def row(self) -> Table | Text:
        """The live line. The bar takes the room there is; where there is none, words are cut."""
        if self.caching is not None:
            done, total = self.caching.done, self.caching.total
            before, after, times = sentences.sentence(self.caching), "", ""
        elif self.plan is not None:
            done, total = self.step, self.plan.steps
            facts = self.facts()
            before, after, times = (
                f"step {done}/{total}",
                "  ".join(facts[:3]),
                "  ".join(facts[3:]),
            )
        else:
            return Text("")
        row = Table.grid(padding=(0, 2, 0, 0), expand=True)
        row.add_column(no_wrap=True)
        row.add_column(ratio=1)
        row.add_column()
        row.add_column(no_wrap=True)
        middle = Text(after, no_wrap=True, overflow="ellipsis")
        row.add_row(before, ProgressBar(total=total, completed=done), middle, times)
        return row


class Console:
    """Tells a person how the run goes. Call `close` at the end, also after an error."""

    def __init__(
        self,
        stream: TextIO | StringIO | None = None,
        interactive: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream or sys.stderr
        if interactive is None:
            interactive = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._clock = clock
        self._progress = Progress(clock)
        self._told_at, self._told_step = -math.inf, 0
        self._terminal = None
        self._live: Live | None = None
        if interactive:
            self._terminal = rich.console.Console(file=self._stream, force_terminal=True)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        self._progress(event)
        match event:
            case StepDone(applied=True):
                self._show_step()
            case Encoded() if event.done < event.total:
                self._show_caching(event)
            case Started():
                self._told_at, self._told_step = self._clock(), event.after
                self._say(sentences.sentence(event))
                self._watch()
            case Stopped() | Interrupted() | Finished():
                self.close()
                self._say(sentences.sentence(event))
            case _:
                self._say(sentences.sentence(event))

    def close(self) -> None:
        """Take the live line away and give the cursor back. A second call does nothing."""
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def _show_step(self) -> None:
        if self._terminal is not None:
            return self._watch()
        steps = self._progress.plan.steps if self._progress.plan else 0
        moved = self._progress.step - self._told_step >= max(1.0, QUIET_SHARE * steps)
        if moved or self._waited():
            self._told_step = self._progress.step
            self._tell(self._progress.line())

    def _show_caching(self, event: Encoded) -> None:
        if self._terminal is not None:
            self._watch()
        elif self._waited():
            self._tell(sentences.sentence(event))

    def _waited(self) -> bool:
        return self._clock() - self._told_at >= QUIET_SECONDS

    def _tell(self, line: str) -> None:
        self._told_at = self._clock()
        self._say(line)

    def _watch(self) -> None:
        if self._live is None and self._terminal is not None:
            self._live = Live(
                get_renderable=self._progress.row,
                console=self._terminal,
                refresh_per_second=4,
                transient=True,
            )
            self._live.start()

    def _say(self, line: str) -> None:
        if self._terminal is not None:
            self._terminal.print(Text(line), soft_wrap=True)
        else:
            self._stream.write(f"{line}\n")
            self._stream.flush()
