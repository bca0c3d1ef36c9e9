"""Pictures as they are found in the wild: turned, see-through, broken, enormous."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from PIL.Image import Resampling, Transpose

from scumble.data import images
from scumble.data.images import header, pixels
from scumble.data.sizes.frame import Frame
from scumble.data.view import View
from scumble.errors import FileError

TURNS = (Transpose.FLIP_LEFT_RIGHT, Transpose.ROTATE_180, Transpose.FLIP_TOP_BOTTOM)
TURNS += (Transpose.TRANSPOSE, Transpose.ROTATE_90, Transpose.TRANSVERSE, Transpose.ROTATE_270)
"""How a camera held in orientation 2, 3, ... stores an upright picture."""

WHITE, RED = (255, 255, 255), (255, 0, 0)


def noise(height: int = 48, width: int = 80) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width] / 20
    waves = np.stack([np.sin(rows), np.cos(columns), np.sin(rows + columns)], axis=2)
    return (127 + 120 * waves).astype(np.uint8)


def whole(height: int, width: int) -> View:
    """Nothing resized, nothing cut."""
    return View(Frame((height, width), (height, width), (0, 0), (height, width)))


def saved(path: Path, picture: np.ndarray | Image.Image, **options: Any) -> Path:
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    image.save(path, **options)
    return path


def turned(path: Path, upright: np.ndarray, orientation: int, **options: Any) -> Path:
    """The picture as a camera held that way writes it."""
    image = Image.fromarray(upright)
    if orientation > 1:
        image = image.transpose(TURNS[orientation - 2])
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(path, image, exif=exif, **options)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def squeezed_zeros(count: int) -> bytes:
    packer, block = zlib.compressobj(9), bytes(1 << 20)
    parts = [packer.compress(block[: min(len(block), count - n)]) for n in range(0, count, 1 << 20)]
    return b"".join(parts) + packer.flush()


def black_png(path: Path, width: int, height: int) -> Path:
    """One bit per pixel and never in memory."""
    rows = squeezed_zeros(height * (1 + (width + 7) // 8))
    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    path.write_bytes(images.PNG + start + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_png_held_in_any_way_is_the_upright_picture(tmp_path: Path, orientation: int) -> None:
    path = turned(tmp_path / "a.png", noise(), orientation)
    told = header(path)
    assert (told.width, told.height, told.problem) == (80, 48, None)
    assert np.array_equal(pixels(path, whole(48, 80)), noise())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_any_way_of_holding_gives_the_same_after_resizing(tmp_path: Path, orientation: int) -> None:
    view = View(Frame((48, 80), (32, 53), (0, 10), (32, 32)))
    upright = pixels(turned(tmp_path / "up.png", noise(), 1), view)
    assert np.array_equal(pixels(turned(tmp_path / "a.png", noise(), orientation), view), upright)


@pytest.mark.parametrize("ending", ["jpg", "webp", "tif", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_other_formats_are_turned_upright_too(
    tmp_path: Path, ending: str, orientation: int
) -> None:
    path = turned(tmp_path / f"a.{ending}", smooth(48, 80), orientation, quality=95)
    told = header(path)
    assert (told.width, told.height, told.problem) == (80, 48, None)
    off = pixels(path, whole(48, 80)).astype(int) - smooth(48, 80)
    assert np.abs(off).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_large_jpeg_is_halved_while_decoding_and_still_upright(
    tmp_path: Path, orientation: int
) -> None:
    path = turned(tmp_path / "a.jpg", smooth(640, 960), orientation, quality=95)
    view = View(Frame((640, 960), (96, 144), (0, 24), (96, 96)))
    exact = Image.fromarray(smooth(640, 960)).resize((144, 96), Resampling.LANCZOS)
    off = pixels(path, view).astype(int) - np.asarray(exact)[:, 24:120]
    assert np.abs(off).mean() < 1.5
    assert np.array_equal(pixels(path, view), pixels(path, view))


@pytest.mark.parametrize("late", [False, True])
def test_a_png_may_tell_its_orientation_before_or_after_its_pixels(
    tmp_path: Path, late: bool
) -> None:
    plain = saved(tmp_path / "plain.png", noise()).read_bytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    place = plain.index(b"IEND" if late else b"IDAT") - 4
    block = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    path = tmp_path / "a.png"
    path.write_bytes(plain[:place] + block + plain[place:])
    assert (header(path).width, header(path).height) == (48, 80)
    assert np.array_equal(pixels(path, whole(80, 48)), np.rot90(noise(), -1))


def test_a_png_may_tell_its_orientation_in_text(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    data, info = exif.tobytes(), PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n    {len(data)}\n{data.hex()}\n", zip=True)
    path = saved(tmp_path / "a.png", noise(), pnginfo=info)
    assert np.array_equal(pixels(path, whole(48, 80)), noise()[::-1, ::-1])


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0junk"])
def test_a_broken_exif_block_is_passed_over(tmp_path: Path, exif: bytes) -> None:
    path = saved(tmp_path / "a.png", noise())
    plain = path.read_bytes()
    place = plain.index(b"IDAT") - 4
    path.write_bytes(plain[:place] + chunk(b"eXIf", exif) + plain[place:])
    assert header(path).problem is None
    assert np.array_equal(pixels(path, whole(48, 80)), noise())


# Colours


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (4, 2), (*RED, 0))
    image.putpixel((0, 0), (*RED, 255))
    image.putpixel((1, 0), (*RED, 128))
    got = pixels(saved(tmp_path / "a.png", image), whole(2, 4))
    assert [tuple(got[0, n]) for n in range(3)] == [RED, (255, 127, 127), WHITE]


def test_a_gif_may_be_transparent(tmp_path: Path) -> None:
    image = Image.new("RGBA", (4, 4), (*RED, 255))
    image.paste((0, 0, 0, 0), (0, 0, 2, 4))
    got = pixels(saved(tmp_path / "a.gif", image), whole(4, 4))
    assert (got[:, :2] == WHITE).all()
    assert (got[:, 2:] == RED).all()


def test_grey_with_alpha_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("LA", (2, 1), (0, 255))
    image.putpixel((1, 0), (0, 0))
    got = pixels(saved(tmp_path / "a.png", image), whole(1, 2))
    assert got.tolist() == [[[0, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize("transparency", [1, b"\xff\x00"])
def test_a_palette_may_have_a_transparent_colour(tmp_path: Path, transparency: object) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    path = saved(tmp_path / "a.png", image, transparency=transparency)
    assert pixels(path, whole(1, 2)).tolist() == [[list(RED), list(WHITE)]]


def test_a_palette_without_transparency_is_looked_up(tmp_path: Path) -> None:
    image = Image.fromarray(noise()).quantize(256)
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(pixels(saved(tmp_path / "a.png", image), whole(48, 80)), expected)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_grey_of_16_bits_is_scaled_and_not_clipped(tmp_path: Path, ending: str) -> None:
    values = np.array([[0, 129, 257, 32768, 65534, 65535]], dtype=np.uint16)
    path = saved(tmp_path / f"a.{ending}", values)
    assert header(path).problem is None
    assert pixels(path, whole(1, 6))[0, :, 0].tolist() == [0, 1, 1, 128, 255, 255]


@pytest.mark.parametrize("transparent", [False, True])
def test_colours_of_16_bits_are_scaled_and_not_clipped(tmp_path: Path, transparent: bool) -> None:
    row = struct.pack(">x6H", 65535, 32768, 0, 256, 255, 0)
    start = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    start += chunk(b"tRNS", struct.pack(">3H", 1, 2, 3)) if transparent else b""
    data = start + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(images.PNG + data)
    got = pixels(tmp_path / "a.png", whole(1, 2))
    assert got.tolist() == [[[255, 128, 0], [1, 0, 0]]]


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    got = pixels(saved(tmp_path / "a.jpg", image, quality=100), whole(16, 16))
    assert np.abs(got.astype(int) - RED).max() <= 3


@pytest.mark.parametrize("mode", ["1", "L"])
def test_black_and_white_become_three_channels(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (2, 1))
    image.putpixel((1, 0), 255)
    got = pixels(saved(tmp_path / "a.png", image), whole(1, 2))
    assert got.tolist() == [[[0, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_of_an_animation_the_first_frame_is_used_and_told(tmp_path: Path, ending: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, (0, 0, 255), WHITE)]
    options = {"save_all": True, "append_images": frames[1:], "duration": 100}
    path = saved(tmp_path / f"a.{ending}", frames[0], **options, lossless=True)
    assert header(path).note == images.ANIMATED
    assert (pixels(path, whole(8, 8)) == RED).all()


def test_of_several_pages_the_first_is_used_and_told(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (8, 8), colour) for colour in (RED, WHITE)]
    path = saved(tmp_path / "a.tif", pages[0], save_all=True, append_images=pages[1:])
    assert header(path).note == images.MANY_PAGES
    assert (pixels(path, whole(8, 8)) == RED).all()


def test_a_still_picture_needs_no_note(tmp_path: Path) -> None:
    paths = [saved(tmp_path / f"a.{e}", noise()) for e in ("png", "gif", "webp", "tif", "jpg")]
    assert [header(path).note for path in paths] == [None] * 5


# Sizes


def test_a_picture_at_its_size_is_only_cut(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", noise())
    got = pixels(path, View(Frame((48, 80), (48, 80), (3, 5), (32, 64))))
    assert np.array_equal(got, noise()[3:35, 5:69])
    assert got.flags.writeable


def test_other_sizes_are_resampled_and_then_cut(tmp_path: Path) -> None:
    got = pixels(
        saved(tmp_path / "a.png", noise()), View(Frame((48, 80), (24, 40), (0, 8), (24, 24)))
    )
    exact = Image.fromarray(noise()).resize((40, 24), Resampling.LANCZOS)
    assert np.array_equal(got, np.asarray(exact)[:, 8:32])


def test_a_picture_that_is_not_the_one_framed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"a\.png: has changed since it was looked at"):
        pixels(saved(tmp_path / "a.png", noise()), whole(80, 48))


def test_a_bomb_is_told_by_its_header(tmp_path: Path) -> None:
    path = black_png(tmp_path / "a.png", 20_000, 20_000)
    assert path.stat().st_size < 100_000
    told = header(path)
    assert (told.width, told.height, told.problem) == (20_000, 20_000, images.TOO_LARGE)


def test_a_huge_picture_below_the_limit_is_no_problem_and_no_warning(tmp_path: Path) -> None:
    path = black_png(tmp_path / "a.png", 13_000, 13_000)
    assert header(path).problem is None


# Damage


def test_a_file_without_bytes_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert header(tmp_path / "a.png").problem == images.EMPTY


@pytest.mark.parametrize("data", [b"x", b"Dear diary, ...\n" * 100, b"<svg></svg>"])
def test_a_text_by_a_pictures_name_is_told(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    assert header(tmp_path / "a.png").problem == images.FOREIGN
    with pytest.raises(FileError, match=r"a\.png: cannot be decoded"):
        pixels(tmp_path / "a.png", whole(1, 1))


def test_a_picture_by_another_formats_name_is_read(tmp_path: Path) -> None:
    saved(tmp_path / "a.png", noise()).rename(tmp_path / "a.jpg")
    assert header(tmp_path / "a.jpg").problem is None
    assert np.array_equal(pixels(tmp_path / "a.jpg", whole(48, 80)), noise())


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "gif", "tif", "avif"])
def test_a_file_that_is_cut_short_is_told(tmp_path: Path, ending: str, share: float) -> None:
    path = saved(tmp_path / f"a.{ending}", noise())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert header(path).problem == images.CUT_SHORT
    with pytest.raises(FileError, match="cannot be decoded"):
        pixels(path, whole(48, 80))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_is_cut_short_even_if_the_thumbnail_in_it_is_whole(
    tmp_path: Path, progressive: bool
) -> None:
    thumbnail, exif = io.BytesIO(), Image.Exif()
    Image.fromarray(noise(16, 16)).save(thumbnail, "JPEG")
    exif[0x927C] = thumbnail.getvalue()
    path = saved(tmp_path / "a.jpg", noise(), exif=exif, progressive=progressive)
    assert header(path).problem is None
    data = path.read_bytes()[:-500]
    assert images.JPEG_END in data
    path.write_bytes(data)
    assert header(path).problem == images.CUT_SHORT


@pytest.mark.parametrize("ending", ["png", "jpg", "gif"])
def test_a_copy_whose_end_was_only_reserved_is_cut_short(tmp_path: Path, ending: str) -> None:
    path = saved(tmp_path / f"a.{ending}", noise(300, 400))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    assert header(path).problem == images.CUT_SHORT


def test_a_copy_of_which_nothing_but_the_length_arrived_is_cut_short(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bytes(100_000))
    assert header(tmp_path / "a.png").problem == images.CUT_SHORT


@pytest.mark.parametrize("behind", [b"\0" * 100_000, b"\r\n", b"SEFT trailer of a phone" * 9])
@pytest.mark.parametrize("ending", ["png", "jpg", "gif", "webp", "bmp"])
def test_what_lies_behind_a_whole_picture_does_no_harm(
    tmp_path: Path, ending: str, behind: bytes
) -> None:
    path = saved(tmp_path / f"a.{ending}", noise())
    path.write_bytes(path.read_bytes() + behind)
    assert header(path).problem is None


def test_a_whole_picture_is_not_decoded(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", noise())
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 10] ^= 0xFF
    path.write_bytes(data)
    assert header(path).problem is None
    with pytest.raises(FileError, match="cannot be decoded"):
        pixels(path, whole(48, 80))


def floats(path: Path) -> Path:
    return saved(path, np.zeros((4, 4), dtype=np.float32))


def integers(path: Path) -> Path:
    return saved(path, np.zeros((4, 4), dtype=np.int32))


def lab(path: Path) -> Path:
    return saved(path, Image.new("LAB", (4, 4)))


@pytest.mark.parametrize("make", [floats, integers, lab])
def test_colours_that_nobody_can_place_are_told(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    assert header(make(tmp_path / "a.tif")).problem == images.ODD


def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    assert header(tmp_path / "a.png").problem == images.CLOSED
    with pytest.raises(FileError, match=r"a\.png"):
        pixels(tmp_path / "a.png", whole(1, 1))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", noise())
    path.chmod(0)
    assert header(path).problem == images.CLOSED


def test_every_problem_has_a_remedy() -> None:
    told = {images.EMPTY, images.CLOSED, images.FOREIGN, images.CUT_SHORT, images.TOO_LARGE}
    assert images.REMEDIES.keys() == told | {images.ODD, images.DAMAGED}
