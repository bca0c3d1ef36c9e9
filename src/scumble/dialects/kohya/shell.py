"""A command as it stands in a script or a guide, as the words that its program would get."""

import re
import shlex
from collections.abc import Iterator

from scumble.errors import FileError

PROGRAM = re.compile(r"(^|[/\\])flux_train_network(\.py)?$")
ENDS = frozenset({"&&", "||", ";", "|", ">", ">>", "2>&1", "&"})
EXAMPLE = "it should hold `accelerate launch flux_train_network.py --pretrained_model...`"


def words(text: str, name: str) -> list[str]:
    """What follows flux_train_network.py in a text; FileError where it cannot be told.

    Lines are joined, with or without the backslash (or the ^ of Windows) at their end: guides
    print them so. What comes before the program, such as `accelerate launch`, is left out.
    """
    try:
        said = shlex.split(" ".join(_lines(text)))
    except ValueError as error:
        raise FileError(name, f"it is no command ({error})", "close the quotes") from None
    starts = [number for number, word in enumerate(said) if PROGRAM.search(word)]
    if not starts and not (said and said[0].startswith("--")):
        raise FileError(name, "there is no command for flux_train_network.py in it", EXAMPLE)
    if len(starts) > 1:
        remedy = "keep one of them in this file"
        raise FileError(name, f"it holds {len(starts)} such commands", remedy)
    rest = said[starts[0] + 1 :] if starts else said
    end = next((number for number, word in enumerate(rest) if word in ENDS), len(rest))
    if variables := [word for word in rest[:end] if re.search(r"\$\w|\$\{|%\w+%", word)]:
        remedy = "write its value in its place"
        raise FileError(name, f"'{variables[0]}' holds a variable of the shell", remedy)
    return rest[:end]


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        plain = line.strip()
        if plain and not plain.startswith(("#", "```", "REM ", "@echo")):
            yield re.sub(r"(^|\s)[\\^`]$", "", plain)
