from __future__ import annotations

import re
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from scumble.data import sheet
from scumble.data.sheet import Card, Section


def flat(height: int, width: int, colour: tuple[int, int, int] = (10, 200, 30)) -> np.ndarray:
    return np.full((height, width, 3), colour, dtype=np.uint8)


def card(*pictures: np.ndarray, **changes) -> Card:
    values = {"title": "a.png", "labels": ("",) * len(pictures), "lines": ()} | changes
    return Card(pictures=pictures, **values)


def colours(image: Image.Image) -> set[object]:
    return {colour for _, colour in image.getcolors(1 << 24) or ()}


def test_cards_stand_in_columns() -> None:
    one = sheet.png([card(flat(20, 20))])
    assert sheet.png([card(flat(20, 20))] * 2).width == 2 * one.width - sheet.MARGIN
    assert sheet.png([card(flat(20, 20))] * 3, columns=1).height > 2.9 * (one.height - 32)
    assert sheet.png([card(flat(20, 20))] * 3).width == sheet.png([card(flat(2, 2))] * 2).width


def test_a_picture_is_shown_whole_in_the_middle_of_its_square() -> None:
    tall = flat(30, 10)
    tall[0], tall[-1] = (255, 0, 0), (0, 0, 255)
    image = np.asarray(sheet.png([card(tall)], side=90))
    red = np.argwhere((image == (255, 0, 0)).all(-1))
    blue = np.argwhere((image == (0, 0, 255)).all(-1))
    assert np.ptp(red[:, 1]) + 1 == np.ptp(blue[:, 1]) + 1 == 30
    assert blue[:, 0].max() - red[:, 0].min() + 1 == 90
    left = sheet.MARGIN + sheet.PAD
    assert (red[:, 1].min() - left, left + 90 - 1 - red[:, 1].max()) == (30, 30)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (700, 500)])
def test_any_shape_is_shown(shape: tuple[int, int]) -> None:
    assert (10, 200, 30) in colours(sheet.png([card(flat(*shape))]))


def test_only_an_alarm_is_red() -> None:
    red = (0xB3, 0x26, 0x1E)
    assert red in colours(sheet.png([card(flat(4, 4), alarm=True)]))
    assert red not in colours(sheet.png([card(flat(4, 4))]))


def test_more_pictures_than_fit_abreast_make_more_rows() -> None:
    four, five = (sheet.png([card(*[flat(8, 8)] * count)]) for count in (4, 5))
    assert five.width == four.width and five.height > four.height + 192


@pytest.mark.parametrize(
    "text",
    ["word " * 400, "x" * 5000, "two\nlines\ttabs", "", " ", "\u732b \u0001 \U0001f408", "\udcff"],
    ids=["long", "endless", "lines", "empty", "blank", "foreign", "no text"],
)
def test_no_text_leaves_its_card(text: str) -> None:
    image = np.asarray(sheet.png([card(flat(9, 9), title=text, labels=(text,), lines=(text,) * 2)]))
    right = image[:, -sheet.MARGIN - sheet.PAD + 2 : -sheet.MARGIN - 1]
    assert (right[sheet.MARGIN + 1 : -sheet.MARGIN - 1] == 255).all()
    assert image.shape[0] < 500


def test_what_is_cut_says_so_and_keeps_the_end_of_a_path() -> None:
    font = sheet._font(15)
    title = sheet._cut_within("photos/" * 30 + "cat-0042.png", font, 300)
    assert title.startswith("photos/") and "..." in title and title.endswith("0042.png")
    assert font.getlength(title) <= 300
    rows = sheet._wrapped("a tabby cat " * 100, font, 300)
    assert len(rows) == sheet.WRAPPED and rows[-1].endswith("...")
    assert sheet._wrapped("short", font, 300) == ["short"]


def test_nothing_to_show_is_an_empty_sheet() -> None:
    assert sheet.png([]).width > 0
    assert Image.open(BytesIO(sheet.png_bytes([card()]))).format == "PNG"


def test_every_picture_has_a_label() -> None:
    with pytest.raises(AssertionError):
        Card(title="a", pictures=(flat(2, 2),), labels=(), lines=())


class Page(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def images(self) -> list[Image.Image]:
        sources = [attrs["src"] or "" for tag, attrs in self.tags if tag == "img"]
        return [Image.open(BytesIO(b64decode(src.split(",", 1)[1]))) for src in sources]


EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>&amp;'


def test_words_are_shown_and_never_run() -> None:
    evil = card(flat(3, 3), title=EVIL, labels=(EVIL,), lines=(EVIL,))
    page = Page(sheet.html(EVIL, [Section(title=EVIL, rows=((EVIL,), (EVIL,)), cards=(evil,))]))
    assert [tag for tag, _ in page.tags].count("img") == 1
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert page.text.count(EVIL) == 8


def test_a_page_needs_no_other_file() -> None:
    text = sheet.html("sheet", [Section(title="cats", cards=(card(flat(600, 900)),))])
    assert all(src.startswith("data:image/") for src in re.findall(r'src="([^"]*)', text))
    assert not re.search(r"https?:|url\(|@import", text)
    assert "default-src 'none'" in text


def test_small_pictures_keep_every_pixel_and_large_ones_are_made_small() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 100, 3), dtype=np.uint8)
    large = card(noise, flat(1200, 900))
    first, second = Page(sheet.html("s", [Section(title="", cards=(large,))])).images()
    assert np.array_equal(np.asarray(first), noise)
    assert second.size == (384, 512)


def test_any_file_name_can_be_written() -> None:
    text = sheet.html("\u732b", [Section(title="caf\u00e9 \udcff", cards=(card(title="\udcff"),))])
    assert "\u732b" in text and "\\udcff" in text.encode().decode()
