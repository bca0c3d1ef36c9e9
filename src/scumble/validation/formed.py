"""An adapter in LyCORIS' forms tried on a stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from scumble.adapters.lycoris.forms import Form
from scumble.adapters.lycoris.worn import attached
from scumble.events import Verdict
from scumble.validation.stage import Stage, compared, weighed

T = TypeVar("T")
Forms = Mapping[str, Form]
"""By the names of the denoiser's layers."""


def velocity(stage: Stage, forms: Forms) -> Iterator[Verdict]:
    """What a file makes of the network's answers, against what the run made of them."""
    base = stage.plain_velocities
    yield from weighed(stage, _worn(stage, forms, stage.answers), base)


def picture(stage: Stage, forms: Forms, name: str) -> tuple[list[Verdict], tuple[Path, ...]]:
    """The run's last preview made again, and the base model's; kept under the file's name."""
    plain = stage.painted()
    return compared(stage, _worn(stage, forms, stage.painted), plain, name)


def _worn(stage: Stage, forms: Forms, act: Callable[[], T]) -> T:
    """What `act` makes while the changes are in the denoiser."""
    adapters = attached(stage.denoiser, forms)
    try:
        return act()
    finally:
        adapters.detach()
