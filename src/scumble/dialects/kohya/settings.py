"""All options with their values, and how a value is read from a word."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scumble.dialects.kohya.table import OPTIONS, SECRETS
from scumble.dialects.option import LISTS, Option
from scumble.errors import JobError, ScumbleError


@dataclass(frozen=True)
class Settings:
    """What was asked for."""

    told: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The options that were given, on the command line or in `--config_file`, with their values."""

    base: Path = Path()
    """Where relative paths start."""

    processes: int = 1
    """How many train together. What sd-scripts counts for each of them, a job counts for all."""

    def __getitem__(self, name: str) -> Any:
        """The value of an option, given or not."""
        return self.told.get(name, OPTIONS[name].default)

    def all(self) -> dict[str, Any]:
        """Every option with its value, secrets left out."""
        return {name: self[name] for name in OPTIONS if name not in SECRETS}

    def without(self, name: str) -> "Settings":
        """The same as if this option had not been given."""
        kept = {key: value for key, value in self.told.items() if key != name}
        return Settings(kept, self.base, self.processes)

    def path(self, text: str) -> Path:
        """Where a path of the user's leads."""
        return self.base / Path(text).expanduser()


def converted(option: Option, words: list[str], problems: list[ScumbleError]) -> Any:
    """The value that these words give an option; problems are noted."""
    values = [_value(option, word, problems) for word in words]
    return values if option.kind in LISTS else values[0]


def _value(option: Option, word: str, problems: list[ScumbleError]) -> Any:
    read, wanted = READERS.get(option.kind, (str, ""))
    try:
        value = read(word)
    except ValueError:
        problems.append(JobError(option.flag, f"must be {wanted}, not '{word}'", _example(option)))
        return option.default
    check_choice(option, value, option.flag, problems)
    return value


def check_choice(option: Option, value: Any, where: str, problems: list[ScumbleError]) -> None:
    """Note a value that is not among those that an option takes."""
    if not option.choices or value in option.choices:
        return
    known = [str(choice) for choice in option.choices]
    from difflib import get_close_matches

    near = get_close_matches(str(value), known, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    problems.append(JobError(where, f"'{value}' is not one of its values", remedy))


def _example(option: Option) -> str:
    default = option.default if option.default not in (None, "") else EXAMPLES[option.kind]
    return f"write it like {option.flag}={default}"


def share(word: str) -> int | float:
    """A number of steps, or a share of all: `100`, `0.1` or `10%`. ValueError for all else."""
    value = float(word[:-1]) / 100 if word.endswith("%") else float(word)
    if value >= 1 and not value.is_integer():
        raise ValueError
    return int(value) if value >= 1 or value == 0 else value


READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "whole": (int, "a whole number"),
    "number": (float, "a number"),
    "numbers": (float, "a number"),
    "share": (share, "a whole number of steps, a share below 1 or a percentage"),
}
EXAMPLES = {"whole": 1, "number": 0.1, "numbers": 1e-4, "share": "10%"}
