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

HEADINGS = ("shown", "before (step {:,})", "after (step {:,})", "target")

MARGIN, GAP, PAUSE = 32, 16, 30
HEADING = 44
LINE, LINES = 20, 3
"""Pixels for one line of a prompt, and how many lines it may take."""

PAPER, INK, FAINT = (250, 248, 244), (34, 32, 28), (110, 104, 96)
HEADING_FONT, PROMPT_FONT = ImageFont.load_default(size=20), ImageFont.load_default(size=14)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One row: the same prompt at two steps, with what was shown along and what is wanted."""

    prompt: str
    before: Image.Image
    after: Image.Image
    shown: tuple[Image.Image, ...] = ()
    target: tuple[Image.Image, ...] = ()
    """One or none."""

    def columns(self) -> tuple[tuple[Image.Image, ...], ...]:
        """What stands under each of `HEADINGS`."""
        return self.shown, (self.before,), (self.after,), self.target


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
    first, last = opened(before.file, before.output), opened(after.file, after.output)
    if first is None or last is None:
        return None
    large = scaled(last)
    beside = {word: opened(after.file, box) for word, box in after.parts.items()}
    fitted = {word: _as_high(one, large.height) for word, one in beside.items() if one}
    return Pair(
        prompt=after.title,
        before=scaled(first),
        after=large,
        shown=tuple(one for word, one in fitted.items() if word not in ("output", "target")),
        target=(fitted["target"],) if "target" in fitted else (),
    )


def _as_high(picture: Image.Image, height: int) -> Image.Image:
    """As high as the output, beside which it stands at its height already."""
    if picture.height == height:
        return picture
    even = height % picture.height == 0
    size = (max(1, round(picture.width * height / picture.height)), height)
    return picture.resize(size, Image.Resampling.NEAREST if even else Image.Resampling.LANCZOS)


def _width(row: tuple[Image.Image, ...]) -> int:
    return sum(one.width for one in row) + GAP * max(0, len(row) - 1)


def _drawn(pairs: list[Pair], first: int, last: int) -> Image.Image:
    widths = [
        max(map(_width, column)) for column in zip(*(p.columns() for p in pairs), strict=True)
    ]
    across = sum(width + GAP for width in widths if width) - GAP
    texts = [wrapped(pair.prompt, across) for pair in pairs]
    tall = [max(pair.before.height, pair.after.height) for pair in pairs]
    rows = [high + GAP + LINE * len(text) + PAUSE for high, text in zip(tall, texts, strict=True)]
    size = (2 * MARGIN + across, 2 * MARGIN + HEADING + sum(rows) - PAUSE)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    lefts = _lefts(widths)
    steps = ((), (first,), (last,), ())
    for words, step, left, width in zip(HEADINGS, steps, lefts, widths, strict=True):
        if width:
            pen.text((left, MARGIN), words.format(*step), INK, HEADING_FONT)
    top = MARGIN + HEADING
    for pair, high, text, row in zip(pairs, tall, texts, rows, strict=True):
        for pictures, left in zip(pair.columns(), lefts, strict=True):
            _paste(sheet, pictures, left, top)
        for place, line in enumerate(text):
            pen.text((MARGIN, top + high + GAP // 2 + LINE * place), line, FAINT, PROMPT_FONT)
        top += row
    return sheet


def _lefts(widths: list[int]) -> list[int]:
    """Where each column begins; one without a picture takes no room."""
    lefts, left = [], MARGIN
    for width in widths:
        lefts.append(left)
        left += width + GAP if width else 0
    return lefts


def _paste(sheet: Image.Image, pictures: tuple[Image.Image, ...], left: int, top: int) -> None:
    for picture in pictures:
        sheet.paste(picture, (left, top))
        left += picture.width + GAP
