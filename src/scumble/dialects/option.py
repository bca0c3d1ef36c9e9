"""What one option of another tool is, and what becomes of it here."""

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["flag", "text", "whole", "number", "share", "texts", "numbers", "json"]
"""How its value is written. `share`: a whole number, a number below 1 or a percentage. `json`: an
object, a list, such as a text, or a file that holds it."""

Fate = Literal["acts", "recorded", "nothing", "not yet", "refused"]
"""`acts`: the job follows it. `recorded`: it stands in names or metadata of the files alone, as in
that tool. `nothing`: there is nothing for it to do, with these models or here. `not yet`: the run
goes on without it. `refused`: the run would not be what it asks for."""

LISTS = ("texts", "numbers")


@dataclass(frozen=True)
class Option:
    """A row of the table."""

    name: str
    kind: Kind
    default: Any
    fate: Fate
    words: str
    """The settings that it acts on; for all other fates the reason, to be read after its name."""

    choices: tuple[str | int, ...] = ()

    @property
    def flag(self) -> str:
        """As it is written on a command line."""
        return f"--{self.name}"

    @property
    def targets(self) -> tuple[str, ...]:
        """The settings of a job that it acts on; () for all other fates."""
        return tuple(self.words.split(", ")) if self.fate == "acts" else ()
