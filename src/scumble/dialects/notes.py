"""What becomes of options that the job does not simply follow, told once before the run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from scumble.errors import JobError, ScumbleError

About = Literal["hint", "not yet", "nothing", "recorded"]
TITLES: dict[About, str] = {
    "hint": "worth knowing",
    "not yet": "not yet there: the run goes on without",
    "nothing": "without effect",
    "recorded": "in names and metadata alone",
}


@dataclass(frozen=True)
class Note:
    """One line about one option or one place of a file."""

    about: About
    where: str
    text: str


@dataclass
class Draft:
    """A job while it is made: plain settings, what to tell, what is wrong, files to write."""

    tree: dict[str, Any] = field(default_factory=dict[str, Any])
    notes: list[Note] = field(default_factory=list[Note])
    problems: list[ScumbleError] = field(default_factory=list[ScumbleError])
    files: dict[str, str] = field(default_factory=dict[str, str])
    """Texts that the job reads, by path: what sd-scripts writes in a form that it does not read."""

    seen: dict[str, set[tuple[str, ...]]] = field(default_factory=dict[str, set[tuple[str, ...]]])
    """What the subsets of each dataset were made of so far."""

    def put(self, path: str, value: Any) -> None:
        """Set the setting of a dotted path."""
        *parents, leaf = path.split(".")
        section = self.tree
        for parent in parents:
            section = section.setdefault(parent, {})
        section[leaf] = value

    def note(self, about: About, where: str, text: str) -> None:
        """Tell something."""
        self.notes.append(Note(about, where, text))

    def complain(self, where: str, problem: str, remedy: str) -> None:
        """Note what is wrong."""
        self.problems.append(JobError(where, problem, remedy))


def block(notes: Iterable[Note]) -> list[tuple[str, str]]:
    """The notes as lines of a table: where, and what is to be said; titles have no where."""
    listed = list(dict.fromkeys(notes))
    lines: list[tuple[str, str]] = []
    for about, title in TITLES.items():
        inside: Sequence[Note] = [note for note in listed if note.about == about]
        lines += [(title, "")] if inside else []
        lines += [(f"  {note.where}", note.text) for note in inside]
    return lines
