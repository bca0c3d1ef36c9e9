"""What is said of a picture: read from beside it, from its name, or the same for all.

Nothing is guessed: a text that cannot be decoded is a problem, an empty one is no caption.
"""

import re
from pathlib import Path, PurePosixPath

from scumble import dice
from scumble.errors import FileError
from scumble.spec.dataset import FolderSpec

COUNTER = re.compile(r"(?:\s*\(\d+\)|[_-](?:\d{1,3}|0\d+))+[_\s]*$")
"""Endings that tell copies apart: " (2)", "-3", "_004", "_00012_"; "-2019" may be a year."""

ENCODINGS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""How a text is encoded whose first two bytes say so, as Windows editors have them."""


def caption(spec: FolderSpec, path: Path, id: str) -> str | None:
    """The text of a picture, None if it has none; FileError if there is one nobody can read."""
    match spec.captions:
        case "textfile":
            return _beside(path) or None
        case "filename":
            return named(id) or None
        case "prompt":
            return (spec.prompt or "").strip() or None


def named(id: str) -> str:
    """What a file's name says: no folders, no underscores, no counter; "" for mere numbers."""
    stem = PurePosixPath(id).stem
    words = " ".join(COUNTER.sub("", stem).replace("_", " ").split())
    return words if any(letter.isalpha() for letter in words) else ""


def dropped(seed: int, dataset: str, epoch: int, turn: int, id: str, rate: float) -> bool:
    """Whether a picture is trained without its caption in that turn of that epoch."""
    return dice.uniform(seed, "dropout", dataset, epoch, turn, id) < rate


def _beside(path: Path) -> str:
    """The text in NAME.txt beside NAME.png, its lines joined by spaces; "" without a file."""
    file = path.with_suffix(".txt")
    try:
        data = file.read_bytes()
        text = data.decode(ENCODINGS.get(data[:2], "utf-8-sig"))
    except FileNotFoundError:
        return ""
    except OSError as error:
        problem = "has a caption that cannot be opened"
        raise FileError(file, problem, "check the permissions of its text file") from error
    except UnicodeDecodeError as error:
        problem = "has a caption that is not UTF-8"
        raise FileError(file, problem, "save its text file again as UTF-8") from error
    return " ".join(line.strip() for line in text.splitlines() if line.strip())
