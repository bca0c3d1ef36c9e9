"""Lines for another process, which never make the writer wait.

What the other process does not take waits here, up to a limit; then the oldest lines go that may
go. It may hang, die or fail: the run only learns of it, and at the end it is waited for so long
and no longer.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

ROOM = 4096
"""Lines that may wait: an hour of steps while a service is looked for, about a megabyte."""

LAST_BYTES = 4096
"""So much of the end of what a dead process printed is looked at for its last words."""

KILL_SECONDS = 5.0
"""A killed process is gone by then, or hangs in the kernel and is left to it."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line, and whether it may be left out when there are too many."""

    content: bytes
    spare: bool


class Outbox:
    """A process, what is still to be written to it, and what it has printed so far.

    The process has a session of its own, so that Ctrl-C reaches only the run.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], room: int = ROOM
    ) -> None:
        self.lost = 0
        """Lines that were left out."""

        self._room = room
        self._waiting: deque[Line] = deque()
        self._closed = False
        self._changed = threading.Condition()
        self._process, self._printed = _launched(command, environment)
        self._thread = threading.Thread(target=self._write, name="outbox", daemon=True)
        self._thread.start()

    def put(self, line: Line) -> None:
        """Have it written when the process takes it."""
        with self._changed:
            if len(self._waiting) >= self._room:
                self._make_room()
            self._waiting.append(line)
            self._changed.notify()

    def printed(self) -> list[str]:
        """Whole lines printed since the last look."""
        begin = self._printed.tell()
        found = self._printed.read()
        whole = found[: found.rfind(b"\n") + 1]
        self._printed.seek(begin + len(whole))
        return whole.decode(errors="replace").splitlines()

    def died(self) -> str | None:
        """The last words of a process that failed; None for one that lives or has ended well."""
        code = self._process.poll()
        if not code:
            return None
        begin = self._printed.tell()
        self._printed.seek(max(0, os.fstat(self._printed.fileno()).st_size - LAST_BYTES))
        words = [
            line.strip() for line in self._printed.read().decode(errors="replace").splitlines()
        ]
        self._printed.seek(begin)
        return next((line for line in reversed(words) if line), f"exit code {code}")

    def end(self) -> None:
        """Nothing more is to come."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def wait(self, until: float) -> bool:
        """Whether it was done by then, on the monotonic clock. Afterwards it is no more."""
        self.end()
        try:
            self._process.wait(max(0.0, until - time.monotonic()))
            return True
        except subprocess.TimeoutExpired:
            return False
        finally:
            self._kill()

    def close(self) -> None:
        """Let go of what it printed."""
        self._printed.close()

    def _kill(self) -> None:
        self._process.kill()  # a process that has ended hears nothing of it
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(KILL_SECONDS)
        self._thread.join(KILL_SECONDS)

    def _make_room(self) -> None:
        self.lost += 1
        for number, line in enumerate(self._waiting):
            if line.spare:
                del self._waiting[number]
                return
        self._waiting.popleft()

    def _next(self) -> Line | None:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            return self._waiting.popleft() if self._waiting else None

    def _write(self) -> None:
        stream = self._process.stdin
        assert stream is not None
        with suppress(OSError):  # it is gone; `died` says why
            while (line := self._next()) is not None:
                stream.write(line.content)
                stream.flush()
        with suppress(OSError):
            stream.close()


def _launched(
    command: Sequence[str], environment: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], BinaryIO]:
    """The process and what it prints, in a file that has no name any more where that can be."""
    handle, name = tempfile.mkstemp(prefix="scumble-")
    with os.fdopen(handle, "wb") as output:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**environment, "PYTHONUNBUFFERED": "1"},  # last words stand last
                start_new_session=True,
            )
            return process, Path(name).open("rb")
        finally:
            with suppress(OSError):  # Windows keeps the name of an open file
                Path(name).unlink()
