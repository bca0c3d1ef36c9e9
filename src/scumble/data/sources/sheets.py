"""Reading tables of text: CSV, TSV and JSON Lines, whole, with every fault told by its line."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path, PurePath

from scumble.data.sources.columns import Sheet, dotted, looked_up
from scumble.data.sources.folder import ENDINGS
from scumble.errors import FileError

NAMED = 3
"""So many lines are named in a message; the rest are counted."""


def separated(file: Path, separator: str) -> Sheet:
    """A CSV or TSV table whose first line names the columns; blank lines are passed over."""
    lines = _rows(file, separator)
    _, header = next(lines, (0, []))
    columns = tuple(name.strip() for name in header)
    _check_header(file, columns)
    rows = [(number, row) for number, row in lines if any(cell.strip() for cell in row)]
    long = [number for number, row in rows if len(row) > len(columns)]
    if long:
        named = ", ".join(map(str, long[:NAMED])) + (", ..." if len(long) > NAMED else "")
        problem = f"{_counted(len(long), 'line has', 'lines have')} more cells than the first"
        remedy = 'put texts that hold a separator into quotes: "a cat, asleep"'
        raise FileError(file, f"{problem} (line {named})", remedy)
    if not rows:
        raise _empty(file)

    def cells(name: str) -> Sequence[object]:
        place = columns.index(name)
        return [row[place] if place < len(row) else "" for _, row in rows]

    return Sheet(columns=columns, count=len(rows), cells=cells)


def json_lines(file: Path) -> Sheet:
    """A table with one JSON object a line; its columns are all names that any of them has."""
    rows: list[dict[str, object]] = []
    names: dict[str, None] = {}
    for number, line in enumerate(text_of(file).split("\n"), 1):
        if line.strip():
            rows.append(_object(file, number, line))
            names |= dict.fromkeys(dotted(rows[-1]))
    if not rows:
        raise _empty(file)

    def cells(name: str) -> Sequence[object]:
        return [looked_up(row, name) for row in rows]

    return Sheet(columns=tuple(names), count=len(rows), cells=cells)


def text_of(file: Path) -> str:
    """The text of a UTF-8 file, with or without a byte order mark, or a FileError."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise unreadable(file, error) from error
    try:
        text, foreign = content.decode("utf-8-sig"), content.find(b"\0")
    except UnicodeDecodeError as error:
        text, foreign = "", error.start
    if foreign >= 0:  # zero bytes are those of UTF-16
        line = content.count(b"\n", 0, foreign) + 1
        problem = f"is not UTF-8 text (line {line})"
        raise FileError(file, problem, "save it again with the encoding UTF-8")
    return text


def unreadable(file: Path, error: OSError) -> FileError:
    """Why a table cannot be opened."""
    if isinstance(error, FileNotFoundError):
        remedy = "check `source.file`, which is relative to the job file"
        return FileError(file, "there is no such file", remedy)
    return FileError(file, f"cannot be read ({error.strerror})", "check its permissions")


def _rows(file: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row and the number of its last line."""
    reader = csv.reader(StringIO(text_of(file), newline=""), delimiter=separator, strict=True)
    begun = 1
    while True:
        begun = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = f"the row that begins in line {begun} cannot be read ({error})"
            remedy = 'mend its quotes; a quote within quotes is written twice: ""'
            raise FileError(file, problem, remedy) from None
        yield reader.line_num, row


def _check_header(file: Path, columns: tuple[str, ...]) -> None:
    """FileError unless the first line can name columns."""
    if not columns:
        raise _empty(file)
    twice = [name for name, count in Counter(columns).items() if count > 1 and name]
    if twice:
        problem = f"two columns are named '{twice[0]}'"
        raise FileError(file, problem, "rename one of them in the first line")
    pictures = [name for name in columns if PurePath(name).suffix.lower() in ENDINGS]
    if pictures:
        problem = f"its first line names no columns, but a picture: {pictures[0][:100]}"
        raise FileError(file, problem, "begin it with a line such as: image,caption")
    if len(columns) == 1 and (";" in columns[0] or "\t" in columns[0]):
        problem = f"its first line is one cell: {columns[0][:100]}"
        remedy = "separate cells by commas, or by tabs and name the file .tsv"
        raise FileError(file, problem, remedy)


def _object(file: Path, number: int, line: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        problem = f"line {number} is not JSON ({error})"
        raise FileError(file, problem, "write one JSON object on each line") from None
    if not isinstance(row, dict):
        problem = f"line {number} is JSON, but not an object"
        raise FileError(file, problem, 'write rows as {"image": ..., "caption": ...}')
    return row


def _empty(file: Path) -> FileError:
    return FileError(file, "has no rows", "write one for each picture, or name another `file`")


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
