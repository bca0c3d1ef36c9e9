"""A command line of sd-scripts, read as argparse reads it, but with all that is wrong at once."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from scumble.dialects.kohya.settings import converted
from scumble.dialects.kohya.table import OPTIONS, nearest
from scumble.dialects.option import LISTS, Option
from scumble.errors import JobError, ScumbleError

NUMBER = re.compile(r"-\d+$|-\d*\.\d+$")
"""What argparse takes for a negative number and not for an option."""


@dataclass
class Words:
    """A command line while it is read."""

    left: list[str]
    told: dict[str, Any] = field(default_factory=dict[str, Any])
    problems: list[ScumbleError] = field(default_factory=list[ScumbleError])

    def complain(self, where: str, problem: str, remedy: str) -> None:
        """Note what is wrong."""
        self.problems.append(JobError(where, problem, remedy))


def read(words: Sequence[str]) -> tuple[dict[str, Any], list[ScumbleError]]:
    """The options that were given with their values, and all that is wrong with them.

    The last of several wins. A name may be cut short where that leaves one option.
    """
    line = Words(list(words))
    while line.left:
        word = line.left.pop(0)
        if _is_option(word):
            _option(word, line)
        else:
            remedy = "quote what belongs together, or write the option before it"
            line.complain(f"'{word}'", "stands where an option belongs", remedy)
    return line.told, line.problems


def _is_option(word: str) -> bool:
    """Whether argparse would take a word for an option."""
    if len(word) < 2 or not word.startswith("-") or NUMBER.match(word):
        return False
    return " " not in word or word.partition("=")[0].removeprefix("--") in OPTIONS


def _option(word: str, line: Words) -> None:
    name, equals, value = word.partition("=")
    option = _named(name, line)
    values = list(_following(option, line)) if not equals else [value]
    if option is None:
        return
    if option.kind == "flag":
        line.told[option.name] = True
        if equals:
            line.complain(option.flag, "is a switch and takes no value", f"write {option.flag}")
    elif not values and option.kind not in LISTS:
        line.complain(option.flag, "has no value", f"write {option.flag}=VALUE")
    else:
        line.told[option.name] = converted(option, values, line.problems)


def _named(name: str, line: Words) -> Option | None:
    """The option of that name, or of which it is the beginning."""
    plain = name.removeprefix("--")
    if plain in OPTIONS and name.startswith("--"):
        return OPTIONS[plain]
    begun = [known for known in OPTIONS if known.startswith(plain)] if len(plain) > 0 else []
    if len(begun) == 1 and name.startswith("--"):
        return OPTIONS[begun[0]]
    if begun and name.startswith("--"):
        remedy = f"write one of {', '.join(f'--{one}' for one in begun[:6])}"
        line.complain(name, "may be the beginning of several options", remedy)
        return None
    near = nearest(plain.lstrip("-").replace("-", "_"))
    remedy = f"did you mean --{near}?" if near else "`scumble kohya flux_train_network --help`"
    line.complain(name, "there is no such option of flux_train_network", remedy)
    return None


def _following(option: Option | None, line: Words) -> Iterator[str]:
    """The words that belong to an option; of an unknown one, all up to the next option."""
    many = option is None or option.kind in LISTS
    count = len(line.left) if many else 0 if option and option.kind == "flag" else 1
    while count > 0 and line.left and not _is_option(line.left[0]):
        count -= 1
        yield line.left.pop(0)
