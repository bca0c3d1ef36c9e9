"""What is done to a picture between its file and the network, as a value that can be hashed."""

from __future__ import annotations

from dataclasses import dataclass

from scumble.data.sizes.frame import Frame
from scumble.spec.degradation import DegradationSpec


@dataclass(frozen=True, slots=True)
class Colours:
    """A change of colour: brightness to the power of `gamma`, hue turned by `hue` degrees."""

    gamma: float = 1.0
    hue: float = 0.0


@dataclass(frozen=True, slots=True)
class Degraded:
    """What a reference that is made from its target suffers."""

    spec: DegradationSpec
    at: str
    """`trained` or `original`: before or after the frame."""

    key: int
    """Seed of its draws."""


@dataclass(frozen=True, slots=True)
class View:
    """In this order: slice, frame, flip, colours, degradation (or degradation before the frame),
    another size."""

    frame: Frame
    interpolation: str = "lanczos"
    flipped: bool = False
    colours: Colours | None = None
    degraded: Degraded | None = None
    shown: tuple[int, int] | None = None
    """Height and width to which it is brought at the very end; None: those of the frame."""

    def facts(self) -> str:
        """Everything, as text: equal texts give equal pixels."""
        rest = (self.interpolation, self.flipped, self.colours)
        made = ""
        if self.degraded is not None:
            told = self.degraded.spec.model_dump_json()
            made = f"{told} {self.degraded.at} {self.degraded.key}"
        size = "" if self.shown is None else f" shown {self.shown}"
        return f"{self.frame.row()} {rest} {made}{size}"
