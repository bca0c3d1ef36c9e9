"""Contact sheets: cards of pictures with words, as one PNG or as an HTML page that needs no other
file. Knows nothing of jobs: whoever wants to show pictures makes cards.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from itertools import chain

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from PIL.Image import Resampling
from PIL.ImageFont import FreeTypeFont

Picture = UInt8[np.ndarray, "_ _ 3"]

PAPER, WHITE, INK, SOFT = "#efefec", "#ffffff", "#22201c", "#66625b"
RULE, WASH, ALARM = "#dcdad4", "#e6e5e1", "#b3261e"
MARGIN, PAD, GAP = 16, 12, 8
ABREAST = 4
"""So many pictures of a card stand side by side; more go into the next row."""

WRAPPED = 4
"""A line takes so many rows of a PNG; the rest is cut with three dots."""

LARGEST = 512
"""Longer side of what is put into a page."""

LOSSLESS = 128
"""Pictures with no longer side are put in as PNG, so that no pixel of them is smeared."""

CSS = """
:root {
  color-scheme: light dark; --paper: #f4f4f1; --card: #fff; --ink: #22201c; --soft: #66625b;
  --rule: #dcdad4; --wash: #e6e5e1; --alarm: #b3261e;
}
@media (prefers-color-scheme: dark) { :root {
  --paper: #1b1a18; --card: #262522; --ink: #e9e5dc; --soft: #a5a096; --rule: #3b3934;
  --wash: #302e2a; --alarm: #f0857b;
} }
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 1360px; padding: 32px 24px 64px; background: var(--paper);
  color: var(--ink); font: 14px/1.45 system-ui, sans-serif; overflow-wrap: anywhere;
}
h1 { font-size: 26px; font-weight: 600; margin: 0; }
h2 { font-size: 19px; font-weight: 600; margin: 40px 0 12px; }
h3 { font-size: 14px; font-weight: 600; margin: 0 0 8px; }
.scroll { overflow-x: auto; margin-bottom: 16px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 24px 3px 0; text-align: left; border-bottom: 1px solid var(--rule); }
th { color: var(--soft); font-weight: 400; white-space: nowrap; }
.cards { display: flex; flex-wrap: wrap; gap: 16px; align-items: flex-start; }
article {
  background: var(--card); border: 1px solid var(--rule); border-radius: 6px; padding: 14px;
  max-width: min(100%, 1100px);
}
article.alarm { border: 2px solid var(--alarm); }
.pictures { display: flex; flex-wrap: wrap; gap: 10px; min-width: 256px; }
article > h3, article > p { width: 0; min-width: 100%; }
figure { margin: 0; width: min(100%, 256px); }
img {
  display: block; width: 100%; height: 256px; object-fit: contain; background: var(--wash);
}
img.small { image-rendering: pixelated; }
figcaption { color: var(--soft); font-size: 12px; margin-top: 4px; }
article p { margin: 8px 0 0; white-space: pre-wrap; }
"""


@dataclass(frozen=True, kw_only=True)
class Card:
    """Pictures that belong together, and what is to be said of them."""

    title: str
    pictures: tuple[Picture, ...]
    labels: tuple[str, ...]
    """One for each picture, to stand under it; may be empty."""

    lines: tuple[str, ...]
    """Words below, a paragraph each."""

    alarm: bool = False
    """Drawn with a red border."""

    def __post_init__(self) -> None:
        assert len(self.labels) == len(self.pictures), "a label for each picture"


@dataclass(frozen=True, kw_only=True)
class Section:
    """Part of a page: a heading, a table, cards."""

    title: str
    rows: tuple[tuple[str, ...], ...] = ()
    """A table, whose first row is its head."""

    cards: tuple[Card, ...] = ()


def reduced(picture: Picture) -> Picture:
    """No larger than a page needs, so that many cards fit into memory; small ones as they are."""
    height, width = picture.shape[:2]
    if max(height, width) <= LARGEST:
        return picture
    image = Image.fromarray(picture)
    image.thumbnail((LARGEST, LARGEST), Resampling.LANCZOS)
    return np.asarray(image)


def png(cards: Sequence[Card], *, side: int = 192, columns: int = 2) -> Image.Image:
    """All cards on one sheet, each picture fitted into a square of `side` pixels.

    Long words are cut; letters outside of the Latin alphabet may be missing from the font. A card
    takes about 0.5 MB of memory, so the caller chooses how many there are.
    """
    abreast = min(ABREAST, max((len(card.pictures) for card in cards), default=1))
    width = 2 * PAD + max(1, abreast) * (side + GAP) - GAP
    tiles = [_tile(card, width, side) for card in cards]
    rows = [tiles[first : first + columns] for first in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in row) for row in rows]
    across = min(columns, max(1, len(tiles)))
    total = (width + MARGIN) * across + MARGIN, sum(heights) + MARGIN * (len(rows) + 1)
    sheet = Image.new("RGB", total, PAPER)
    top = MARGIN
    for row, height in zip(rows, heights, strict=True):
        for place, tile in enumerate(row):
            sheet.paste(tile, (MARGIN + place * (width + MARGIN), top))
        top += height + MARGIN
    return sheet


def png_bytes(cards: Sequence[Card], *, side: int = 192, columns: int = 2) -> bytes:
    """The same as a file's content."""
    stream = BytesIO()
    png(cards, side=side, columns=columns).save(stream, "PNG")
    return stream.getvalue()


def html(title: str, sections: Sequence[Section]) -> str:
    """A whole page, pictures within; whatever the words hold is shown and never run."""
    head = (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{_shown(title)}</title>\n<style>{CSS}</style>\n<h1>{_shown(title)}</h1>\n"
    )
    return head + "".join(chain.from_iterable(map(_section, sections))) + "</html>\n"


def _tile(card: Card, width: int, side: int) -> Image.Image:
    """One card drawn; as high as its words need."""
    large, small = _font(15), _font(12)
    words = [_wrapped(line, small, width - 2 * PAD) for line in card.lines]
    shown = list(zip(card.pictures, card.labels, strict=True))
    grid = [shown[first : first + ABREAST] for first in range(0, len(shown), ABREAST)]
    height = 2 * PAD + 24 + len(grid) * (side + 26) + sum(17 * len(rows) + 4 for rows in words)
    tile = Image.new("RGB", (width, height), WHITE)
    draw = ImageDraw.Draw(tile)
    draw.text((PAD, PAD), _cut_within(card.title, large, width - 2 * PAD), INK, large)
    top = PAD + 24
    for row in grid:
        for place, (picture, label) in enumerate(row):
            left = PAD + place * (side + GAP)
            tile.paste(_fitted(picture, side), (left, top))
            draw.text((left, top + side + 4), _cut(label, small, side), SOFT, small)
        top += side + 26
    for rows in words:
        for number, row in enumerate(rows):
            draw.text((PAD, top + 17 * number), row, INK, small)
        top += 17 * len(rows) + 4
    colour, thickness = (ALARM, 3) if card.alarm else (RULE, 1)
    draw.rectangle((0, 0, width - 1, height - 1), outline=colour, width=thickness)
    return tile


def _fitted(picture: Picture, side: int) -> Image.Image:
    """A square with the whole picture in its middle; small pictures keep their hard pixels."""
    image = Image.fromarray(picture)
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image = image.resize(size, Resampling.NEAREST if scale > 1 else Resampling.LANCZOS)
    square = Image.new("RGB", (side, side), WASH)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def _font(size: int) -> FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, FreeTypeFont), "Pillow's wheels bring FreeType"
    return font


def _wrapped(text: str, font: FreeTypeFont, width: int) -> list[str]:
    """A paragraph in rows of at most `width` pixels, at most WRAPPED of them."""
    rows: list[str] = []
    words = text.split()
    while words:
        if len(rows) == WRAPPED - 1:
            return [*rows, _cut(" ".join(words), font, width)]
        row = words.pop(0)
        while words and font.getlength(f"{row} {words[0]}") <= width:
            row = f"{row} {words.pop(0)}"
        rows.append(_cut(row, font, width))
    return rows


def _cut(text: str, font: FreeTypeFont, width: int) -> str:
    """The text without line breaks, and without what is too much of its end."""
    text = " ".join(text[:2000].split())
    if font.getlength(text) <= width:
        return text
    return _longest([f"{text[:kept]}..." for kept in range(len(text))], font, width)


def _cut_within(text: str, font: FreeTypeFont, width: int) -> str:
    """The same, cut in the middle: of a path, the end says most."""
    text = " ".join(text[:2000].split())
    if font.getlength(text) <= width:
        return text
    halves = (f"{text[: kept // 2]}...{text[kept // 2 - kept :]}" for kept in range(1, len(text)))
    return _longest(list(halves), font, width)


def _longest(texts: list[str], font: FreeTypeFont, width: int) -> str:
    """The longest that fits, of texts that grow; the shortest if none does."""
    low, high = 0, len(texts) - 1
    while low < high:
        middle = (low + high + 1) // 2
        fits = font.getlength(texts[middle]) <= width
        low, high = (middle, high) if fits else (low, middle - 1)
    return texts[low]


def _section(section: Section) -> Iterator[str]:
    yield f"<section>\n<h2>{_shown(section.title)}</h2>\n"
    if section.rows:
        head, *rows = section.rows
        yield '<div class="scroll"><table>\n'
        yield _row("th", head)
        yield from (_row("td", row) for row in rows)
        yield "</table></div>\n"
    if section.cards:
        yield '<div class="cards">\n'
        yield from chain.from_iterable(map(_card, section.cards))
        yield "</div>\n"
    yield "</section>\n"


def _row(tag: str, cells: Sequence[str]) -> str:
    inside = "".join(f"<{tag}>{_shown(cell)}</{tag}>" for cell in cells)
    return f"<tr>{inside}</tr>\n"


def _card(card: Card) -> Iterator[str]:
    kind = ' class="alarm"' if card.alarm else ""
    yield f'<article{kind}>\n<h3>{_shown(card.title)}</h3>\n<div class="pictures">\n'
    for picture, label in zip(card.pictures, card.labels, strict=True):
        yield f"<figure>{_img(picture, label)}<figcaption>{_shown(label)}</figcaption></figure>\n"
    yield "</div>\n"
    yield from (f"<p>{_shown(line)}</p>\n" for line in card.lines)
    yield "</article>\n"


def _img(picture: Picture, label: str) -> str:
    """The picture as text, no larger than a page needs."""
    image = Image.fromarray(reduced(picture))
    small = max(image.size) <= LOSSLESS
    stream = BytesIO()
    if small:
        image.save(stream, "PNG")
    else:
        image.save(stream, "JPEG", quality=88)
    kind, mark = ("png", ' class="small"') if small else ("jpeg", "")
    data = b64encode(stream.getvalue()).decode()
    return f'<img{mark} alt="{_shown(label)}" src="data:image/{kind};base64,{data}">'


def _shown(text: str) -> str:
    """The text for a page; file names may hold bytes that are no text at all."""
    return escape(text.encode(errors="backslashreplace").decode())
