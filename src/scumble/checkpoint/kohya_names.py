"""Which files sd-scripts would write, when, under which names, and when it takes them away again.

Names and dates are those of its `train_network.py`: an epoch's file not for the last epoch, a
step's also at the last step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

ENDING = ".safetensors"
Kind = Literal["epoch", "step"]
UNNAMED = {"epoch": "epoch", "step": "at", "end": "last"}
"""What they are called without --output_name."""


@dataclass(frozen=True, kw_only=True)
class Due:
    """One file that is written on the way, and what goes once it is there."""

    file: str
    epoch: int
    """As the file's metadata counts: from 1 after an epoch, from 0 within one."""

    gone: str | None
    state: str | None
    """The folder of the run's state, where the command asks for one."""

    state_gone: str | None


@dataclass(frozen=True, kw_only=True)
class Dates:
    """The dates of one run."""

    settings: Mapping[str, Any]
    """All options of the command with their values."""

    name: str | None
    """`--output_name`."""

    steps: int
    steps_per_epoch: int

    @property
    def epochs(self) -> int:
        """Of the run, the last perhaps in part."""
        return max(1, -(-self.steps // self.steps_per_epoch))

    @property
    def every_epochs(self) -> int | None:
        """Epochs between two files; a ratio is of all epochs."""
        ratio = self.settings.get("save_n_epoch_ratio") or 0
        return (
            max(1, self.epochs // ratio)
            if ratio > 0
            else _count(self.settings, "save_every_n_epochs")
        )

    @property
    def every_steps(self) -> int | None:
        """Steps between two files."""
        return _count(self.settings, "save_every_n_steps")

    @property
    def final(self) -> str:
        """The finished file."""
        return self._base("end") + ENDING

    @property
    def final_state(self) -> str | None:
        """The folder of the run's last state, where the command asks for one."""
        asked = self.settings.get("save_state") or self.settings.get("save_state_on_train_end")
        return f"{self._base('end')}-state" if asked else None

    def epoch_in_progress(self, step: int) -> int:
        """To which epoch, from 1, a step belongs."""
        return max(0, step - 1) // self.steps_per_epoch + 1

    def after(self, step: int) -> Iterator[Due]:
        """What is written after a step: the step's file first."""
        if self.every_steps and step % self.every_steps == 0:
            yield self._due("step", step, self.epoch_in_progress(step) - 1)
        epoch, rest = divmod(step, self.steps_per_epoch)
        ends = rest == 0 and 0 < epoch < self.epochs
        if ends and self.every_epochs and epoch % self.every_epochs == 0:
            yield self._due("epoch", epoch, epoch)

    def all(self, after: int) -> list[Due]:
        """All that is still to come after a step, the finished file aside."""
        return [one for step in range(after + 1, self.steps + 1) for one in self.after(step)]

    def _due(self, kind: Kind, number: int, epoch: int) -> Due:
        gone, state_gone = self._gone(kind, number), None
        state = None
        if self.settings.get("save_state"):
            state = f"{self._stem(kind, number)}-state"
            old = self._gone(kind, number, state=True)
            state_gone = None if old is None else f"{self._stem(kind, old)}-state"
        return Due(
            file=self._stem(kind, number) + ENDING,
            epoch=epoch,
            gone=None if gone is None else self._stem(kind, gone) + ENDING,
            state=state,
            state_gone=state_gone,
        )

    def _gone(self, kind: Kind, number: int, *, state: bool = False) -> int | None:
        """The epoch or step whose file goes. Of steps the limit is a distance, not a count."""
        limit = f"save_last_n_{kind}s"
        kept = (self.settings.get(f"{limit}_state") if state else None) or _given(
            self.settings, limit
        )
        every = self.every_epochs if kind == "epoch" else self.every_steps
        if kept is None or every is None:
            return None
        old = number - kept * every
        if kind == "step":
            old = number - kept - 1
            old -= old % every
        return old if old > 0 else None  # there is no file of step 0 or epoch 0

    def _stem(self, kind: Kind, number: int) -> str:
        base = self._base(kind)
        return f"{base}-{number:06d}" if kind == "epoch" else f"{base}-step{number:08d}"

    def _base(self, kind: Literal["epoch", "step", "end"]) -> str:
        return self.name or UNNAMED[kind]


def _count(settings: Mapping[str, Any], name: str) -> int | None:
    value = _given(settings, name)
    return value if value and value > 0 else None


def _given(settings: Mapping[str, Any], name: str) -> int | None:
    value = settings.get(name)
    return None if value is None else int(value)
