"""`{a|b|c}` in a caption stands for one of its parts; `{{` and `}}` stand for braces."""

import math
import re
from itertools import product

from scumble.data.captions.draws import SPAN, numbers

CHOICE = re.compile(r"\{([^{}]+)\}")
OPEN, CLOSE = "\x00", "\x01"
"""What doubled braces are while the single ones are looked at; no caption holds these."""


def filled(text: str, *key: int | str) -> str:
    """Each choice drawn by the key, independent of the others."""
    pieces = _pieces(text)
    drawn = numbers(len(pieces) // 2, *key)
    for at, number in enumerate(drawn):
        options = pieces[2 * at + 1].split("|")
        pieces[2 * at + 1] = options[number * len(options) // SPAN]
    return _restored("".join(pieces))


def fillings(text: str, *, most: int) -> tuple[str, ...] | None:
    """All that `filled` can give; None if these are more than `most`."""
    pieces = _pieces(text)
    options = [piece.split("|") if at % 2 else [piece] for at, piece in enumerate(pieces)]
    if math.prod(map(len, options)) > most:
        return None
    return tuple(_restored("".join(chosen)) for chosen in product(*options))


def _pieces(text: str) -> list[str]:
    """What stays and what is a choice, in turns; the first and the last stay."""
    return CHOICE.split(text.replace("{{", OPEN).replace("}}", CLOSE))


def _restored(text: str) -> str:
    return text.replace(OPEN, "{").replace(CLOSE, "}")
