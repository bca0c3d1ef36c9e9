"""One picture of what training has done: every prompt before and after."""

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from scumble.disk import write_whole
from scumble.observers.pictures import Preview, opened, previews

FILE = "before-after.png"
SMALLEST, LARGEST = 256, 1024
"""Pixels: the shorter side is brought up to the first, the longer down to the second."""

MARGIN, GAP, PAUSE = 32, 16, 30
HEADING = 44
LINE, LINES = 20, 3
"""Pixels for one line of a prompt, and how many lines it may take."""

PAPER, INK, FAINT = (250, 248, 244), (34, 32, 28), (110, 104, 96)
HEADING_FONT, PROMPT_FONT = ImageFont.load_default(size=20), ImageFont.load_default(size=14)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One row: the same prompt at two steps."""

    prompt: str
    before: Image.Image
    after: Image.Image


def before_after(folder: Path) -> Path | None:
    """Write `before-after.png`; None, and no file, without previews at two steps."""
    rows = [row for row in previews(folder).values() if len(row) > 1]
    if not rows:
        return None
    last = max(max(row) for row in rows)
    rows = [row for row in rows if last in row]
    first = min(min(row) for row in rows)
    pairs = [pair for row in rows if first in row and (pair := _pair(row[first], row[last]))]
    if not pairs:
        return None
    packed = io.BytesIO()
    _drawn(pairs, first, last).save(packed, "PNG")
    write_whole(folder / FILE, packed.getvalue())
    return folder / FILE


def scaled(picture: Image.Image) -> Image.Image:
    """Large enough to see, small enough to share; tiny pictures keep their hard pixels."""
    shorter, longer = min(picture.size), max(picture.size)
    if shorter * 2 <= SMALLEST:
        times = -(-SMALLEST // shorter)
        size = (picture.width * times, picture.height * times)
        return picture.resize(size, Image.Resampling.NEAREST)
    scale = SMALLEST / shorter if shorter < SMALLEST else min(1.0, LARGEST / longer)
    if scale == 1.0:
        return picture
    size = (round(picture.width * scale), round(picture.height * scale))
    return picture.resize(size, Image.Resampling.LANCZOS)


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines no wider than `width`; what does not fit ends in three dots."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if PROMPT_FONT.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    cut = len(lines) > LINES
    return [
        _fitted(line, width, more=cut and place == LINES - 1)
        for place, line in enumerate(lines[:LINES])
    ]


def _fitted(line: str, width: int, *, more: bool) -> str:
    if not more and PROMPT_FONT.getlength(line) <= width:
        return line
    while line and PROMPT_FONT.getlength(f"{line}...") > width:
        line = line[:-1]
    return f"{line.rstrip()}..."


def _pair(before: Preview, after: Preview) -> Pair | None:
    first, last = opened(before.file), opened(after.file)
    if first is None or last is None:
        return None
    return Pair(prompt=after.prompt, before=scaled(first), after=scaled(last))


def _drawn(pairs: list[Pair], first: int, last: int) -> Image.Image:
    column = max(max(pair.before.width, pair.after.width) for pair in pairs)
    texts = [wrapped(pair.prompt, 2 * column + GAP) for pair in pairs]
    tall = [max(pair.before.height, pair.after.height) for pair in pairs]
    rows = [high + GAP + LINE * len(text) + PAUSE for high, text in zip(tall, texts, strict=True)]
    size = (2 * MARGIN + 2 * column + GAP, 2 * MARGIN + HEADING + sum(rows) - PAUSE)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    left, right, top = MARGIN, MARGIN + column + GAP, MARGIN
    pen.text((left, top), f"before (step {first:,})", INK, HEADING_FONT)
    pen.text((right, top), f"after (step {last:,})", INK, HEADING_FONT)
    top += HEADING
    for pair, high, text, row in zip(pairs, tall, texts, rows, strict=True):
        sheet.paste(pair.before, (left, top))
        sheet.paste(pair.after, (right, top))
        for place, line in enumerate(text):
            pen.text((left, top + high + GAP // 2 + LINE * place), line, FAINT, PROMPT_FONT)
        top += row
    return sheet
