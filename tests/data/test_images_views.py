"""What is made of a picture by its view: resized, cut, mirrored, coloured, degraded; and masks."""

import random
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from PIL import Image
from PIL.Image import Resampling, Transpose

from scumble.data import images
from scumble.data.images import alpha, grey, header, pixels
from scumble.data.sizes.frame import Frame, strict
from scumble.data.sizes.framer import framer
from scumble.data.sources.memory import Memory
from scumble.data.sources.record import Lent
from scumble.data.view import Colours, Degraded, View
from scumble.errors import FileError
from scumble.spec.degradation import Blur, Noise
from scumble.spec.sizing import AspectSizing, BucketsSizing, ShapesSizing

TURNS = (Transpose.FLIP_LEFT_RIGHT, Transpose.ROTATE_180, Transpose.FLIP_TOP_BOTTOM)
TURNS += (Transpose.TRANSPOSE, Transpose.ROTATE_90, Transpose.TRANSVERSE, Transpose.ROTATE_270)
"""How a camera held in orientation 2, 3, ... stores an upright picture."""

LOSSLESS = {"png": {}, "webp": {"lossless": True}, "tif": {}}
CUT = View(Frame((48, 80), (32, 53), (0, 10), (32, 32)))


def noise(height: int = 48, width: int = 80, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def whole(height: int, width: int, **settings: Any) -> View:
    """Nothing resized, nothing cut."""
    return View(Frame((height, width), (height, width), (0, 0), (height, width)), **settings)


def resized(height: int, width: int, to: tuple[int, int], interpolation: str) -> View:
    return View(Frame((height, width), to, (0, 0), to), interpolation)


def held(picture: Image.Image, orientation: int) -> tuple[Image.Image, Image.Exif]:
    """The picture as a camera held that way writes it, and what it writes of that."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return picture.transpose(TURNS[orientation - 2]) if orientation > 1 else picture, exif


def stored(
    path: Path, picture: Image.Image | np.ndarray, orientation: int = 1, **more: Any
) -> Path:
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    turned, exif = held(image, orientation)
    turned.save(path, exif=exif, **LOSSLESS.get(path.suffix[1:], {}), **more)
    return path


def lent(path: Path) -> Lent:
    """The same bytes, as a bucket hands them out."""
    return Lent(f"s3://bucket/{path.name}", lambda: Memory(path.name, path.read_bytes()))


# Orientation


@pytest.mark.parametrize("ending", LOSSLESS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_targets_references_and_masks_are_upright_however_they_were_held(
    tmp_path: Path, ending: str, orientation: int
) -> None:
    """One picture with transparency, as it is and turned; looked at in all three ways."""
    solid = noise(channels=4) | np.array([0, 0, 0, 1], dtype=np.uint8)
    upright = stored(tmp_path / f"up.{ending}", solid)
    turned = stored(tmp_path / f"a.{ending}", solid, orientation)
    for file in (turned, lent(turned)):
        told = header(file)
        assert (told.width, told.height, told.problem) == (80, 48, None)
        for read in (pixels, grey, alpha):
            assert np.array_equal(read(file, CUT), read(upright, CUT))
    assert np.array_equal(alpha(turned, whole(48, 80)), solid[..., 3])


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_strict_reference_held_otherwise_and_twice_as_large_shows_the_same(
    tmp_path: Path, orientation: int
) -> None:
    small = np.asarray(Image.fromarray(noise(6, 10)).resize((160, 96), Resampling.BICUBIC))
    large = Image.fromarray(small).resize((320, 192), Resampling.BICUBIC)
    frame = Frame((96, 160), (64, 107), (0, 20), (64, 64))
    target = pixels(stored(tmp_path / "a.png", small), View(frame)).astype(int)
    reference = stored(tmp_path / "b.png", large, orientation)
    shown = pixels(reference, View(strict(frame, 320, 192))).astype(int)
    assert np.abs(target - shown).mean() < 1


def marked(width: int, height: int) -> np.ndarray:
    """Three soft marks, one a channel, at the same shares of any size."""
    u, v = (np.arange(width) + 0.5) / width, (np.arange(height)[:, None] + 0.5) / height
    places = ((0.4, 0.4), (0.6, 0.45), (0.5, 0.6))
    marks = [np.exp(-((u - a) ** 2 + (v - b) ** 2) / 0.003) for a, b in places]
    return np.rint(255 * np.stack(marks, axis=2)).astype(np.uint8)


def centres(values: np.ndarray) -> np.ndarray:
    """Row and column of the middle of each mark."""
    weights = values.astype(float) + 1e-9
    rows, columns = np.mgrid[: len(values), : values.shape[1]]
    total = weights.sum(axis=(0, 1))
    return np.stack(
        [(weights * place[..., None]).sum(axis=(0, 1)) / total for place in (rows, columns)]
    )


def test_over_random_shapes_strict_references_lie_on_their_targets(tmp_path: Path) -> None:
    """Three marks settle where everything lies; at most a pixel apart, measured on the pixels."""
    dice = random.Random(0)
    cut, whole_picture = ShapesSizing(crop="random"), ShapesSizing(crop="none")
    listed = AspectSizing(kind="aspect", crop=True, crop_aspect="preserve")
    bucket = BucketsSizing(kind="buckets", minimum=64, maximum=512, random_crop=True)
    laws = [framer(sizing, 128, 16) for sizing in (cut, whole_picture, listed, bucket)]
    for n in range(200):
        width, height = dice.randint(80, 300), dice.randint(80, 300)
        growth = dice.uniform(0.5, 3)
        other = round(width * growth), round(height * growth)
        frame = dice.choice(laws).frame(width, height, lambda _: dice.random())
        target = stored(tmp_path / f"{n}.bmp", marked(width, height))
        reference = stored(tmp_path / f"{n}-reference.bmp", marked(*other))
        shown = pixels(target, View(frame)), pixels(reference, View(strict(frame, *other)))
        assert np.abs(centres(shown[0]) - centres(shown[1])).max() < 1


# Bytes that are no file


def test_lent_bytes_are_the_same_picture(tmp_path: Path) -> None:
    for ending in ("png", "jpg", "webp", "tif", "gif", "bmp", "avif"):
        path = stored(tmp_path / f"a.{ending}", noise())
        assert header(lent(path)) == header(path)
        assert np.array_equal(pixels(lent(path), CUT), pixels(path, CUT))


def test_odd_colours_and_faults_are_told_of_lent_bytes_too(tmp_path: Path) -> None:
    cmyk = stored(tmp_path / "a.jpg", Image.new("CMYK", (16, 16), (0, 255, 255, 0)), quality=100)
    assert np.abs(pixels(lent(cmyk), whole(16, 16)).astype(int) - (255, 0, 0)).max() <= 3
    deep = stored(tmp_path / "deep.png", np.array([[0, 32768, 65535]], dtype=np.uint16))
    assert pixels(lent(deep), whole(1, 3))[0, :, 0].tolist() == [0, 128, 255]
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert header(lent(tmp_path / "a.gif")).note == images.ANIMATED
    short = tmp_path / "short.jpg"
    short.write_bytes(stored(tmp_path / "b.jpg", noise()).read_bytes()[:-400])
    assert header(lent(short)).problem == images.CUT_SHORT
    assert header(Lent("row 7", lambda: Memory("row 7", b""))).problem == images.EMPTY
    assert header(Lent("row 8", lambda: Memory("row 8", b"<svg>"))).problem == images.FOREIGN


def gone() -> BinaryIO:
    raise ConnectionResetError("the bucket hung up")


def test_what_cannot_be_fetched_is_named_and_not_called_broken() -> None:
    file = Lent("s3://bucket/a.png", gone)
    assert header(file).problem == images.CLOSED
    for read in (pixels, grey, alpha):
        with pytest.raises(FileError, match=r"^s3://bucket/a\.png: cannot be opened \(the bucket"):
            read(file, whole(1, 1))


def test_lent_bytes_are_closed_after_use(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.png", noise())
    streams = [Memory("a", path.read_bytes()) for _ in range(4)]
    waiting = iter(streams)
    file = Lent("a", lambda: next(waiting))
    header(file)
    for read in (pixels, grey, alpha):
        read(file, CUT)
    assert all(stream.closed for stream in streams)


# Masks


def test_a_mask_may_be_kept_in_any_colours(tmp_path: Path) -> None:
    shades = np.array([[0, 255, 128, 3]], dtype=np.uint8)
    grey_image = Image.fromarray(shades)
    palette = Image.new("P", (4, 1))
    palette.putpalette([channel for shade in (3, 128, 255, 0) for channel in (shade,) * 3])
    palette.putdata([3, 2, 1, 0])
    kinds = {
        "grey.png": grey_image,
        "colour.png": grey_image.convert("RGB"),
        "palette.png": palette,
        "deep.png": Image.fromarray(shades.astype(np.uint16) * 257),
        "deep.tif": Image.fromarray(shades.astype(np.uint16) * 257),
        "solid.png": grey_image.convert("LA"),
        "cmyk.tif": grey_image.convert("RGB").convert("CMYK"),
    }
    for name, image in kinds.items():
        image.save(tmp_path / name)
        assert grey(tmp_path / name, whole(1, 4)).tolist() == shades.tolist(), name
    one_bit = grey_image.point([0] * 3 + [255] * 253).convert("1")
    one_bit.save(tmp_path / "bits.png")
    assert grey(tmp_path / "bits.png", whole(1, 4)).tolist() == [[0, 255, 255, 255]]


def test_a_mask_is_black_where_it_is_transparent(tmp_path: Path) -> None:
    image = Image.new("RGBA", (3, 1), (255, 255, 255, 255))
    image.putpixel((1, 0), (255, 255, 255, 0))
    image.putpixel((2, 0), (255, 255, 255, 100))
    image.save(tmp_path / "a.png")
    assert grey(tmp_path / "a.png", whole(1, 3)).tolist() == [[255, 0, 100]]
    deep = Image.fromarray(np.array([[65535, 257]], dtype=np.uint16))
    deep.save(tmp_path / "deep.png", transparency=65535)
    assert grey(tmp_path / "deep.png", whole(1, 2)).tolist() == [[0, 1]]


@pytest.mark.parametrize("to", [(10, 10), (33, 21), (200, 90), (20, 300)])
def test_a_resized_mask_neither_rings_nor_leaves_its_range(
    tmp_path: Path, to: tuple[int, int]
) -> None:
    mask = np.full((64, 64), 40, dtype=np.uint8)
    mask[:, 32:] = 200
    got = grey(stored(tmp_path / "a.png", mask), resized(64, 64, to, "lanczos"))
    assert got.shape == to
    assert (got.min(), got.max()) == (40, 200)
    assert (np.diff(got.astype(int), axis=1) >= 0).all()


def test_a_soft_edge_stays_soft_and_a_hard_one_becomes_the_share_it_covers(tmp_path: Path) -> None:
    slope = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))
    got = grey(stored(tmp_path / "a.png", slope), resized(64, 64, (16, 16), "lanczos"))
    assert got[0].tolist() == [n * 16 + 6 for n in range(16)]
    hard = np.zeros((64, 64), dtype=np.uint8)
    hard[:, 30:] = 255
    got = grey(stored(tmp_path / "b.png", hard), resized(64, 64, (16, 16), "auto"))
    assert got[0, 6:9].tolist() == [0, 128, 255]


def test_a_mask_asked_for_with_nearest_has_no_new_values(tmp_path: Path) -> None:
    mask = np.random.default_rng(1).choice(np.array([0, 255], dtype=np.uint8), (50, 70))
    got = grey(stored(tmp_path / "a.png", mask), resized(50, 70, (33, 91), "nearest"))
    assert set(np.unique(got)) == {0, 255}


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "CMYK", "I;16"])
def test_without_transparency_everything_is_solid(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (6, 4)).save(tmp_path / "a.tif")
    assert (alpha(tmp_path / "a.tif", whole(4, 6)) == 255).all()


def test_transparency_of_every_kind_is_a_mask(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "palette.png", transparency=b"\xff\x50")
    assert alpha(tmp_path / "palette.png", whole(1, 2)).tolist() == [[255, 80]]
    Image.new("LA", (2, 1), (9, 77)).save(tmp_path / "la.png")
    assert alpha(tmp_path / "la.png", whole(1, 2)).tolist() == [[77, 77]]
    Image.new("RGB", (2, 1), (1, 2, 3)).save(tmp_path / "key.png", transparency=(1, 2, 3))
    assert alpha(tmp_path / "key.png", whole(1, 2)).tolist() == [[0, 0]]
    deep = Image.fromarray(np.array([[65535, 257]], dtype=np.uint16))
    deep.save(tmp_path / "deep.png", transparency=257)
    assert alpha(tmp_path / "deep.png", whole(1, 2)).tolist() == [[255, 0]]


def test_a_mask_goes_the_way_of_its_picture(tmp_path: Path) -> None:
    """Cut and mirrored alike; colours and degradations leave it as it is."""
    seen = noise(channels=4)
    path = stored(tmp_path / "a.png", seen)
    frame = Frame((48, 80), (48, 80), (3, 5), (32, 64))
    view = View(
        frame, "lanczos", True, Colours(gamma=1.05), Degraded(Blur(kind="blur"), "trained", 1)
    )
    assert np.array_equal(alpha(path, view), seen[3:35, 5:69, 3][:, ::-1])
    mask = stored(tmp_path / "m.png", seen[..., 0])
    assert np.array_equal(grey(mask, view), seen[3:35, 5:69, 0][:, ::-1])


def test_a_broken_mask_or_another_one_is_refused(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.png", noise()[..., 0])
    for read in (grey, alpha):
        with pytest.raises(FileError, match="has changed since"):
            read(path, whole(80, 48))
    for name in ("cut.png", "cut.jpg", "cut.bmp"):
        whole_file = stored(tmp_path / f"whole-{name}", noise()).read_bytes()
        (tmp_path / name).write_bytes(whole_file[: len(whole_file) // 2])
        for read in (pixels, grey, alpha):
            with pytest.raises(FileError, match="cannot be decoded"):
                read(tmp_path / name, whole(48, 80))


# Resizing


@pytest.mark.parametrize(
    ("name", "to", "method"),
    [
        ("lanczos", (30, 50), Resampling.LANCZOS),
        ("bicubic", (30, 50), Resampling.BICUBIC),
        ("bilinear", (90, 50), Resampling.BILINEAR),
        ("nearest", (30, 99), Resampling.NEAREST),
        ("area", (30, 50), Resampling.BOX),
        ("auto", (30, 50), Resampling.BOX),
        ("auto", (48, 50), Resampling.BOX),
        ("auto", (60, 100), Resampling.LANCZOS),
        ("auto", (30, 100), Resampling.LANCZOS),
    ],
)
def test_pictures_are_resized_as_asked(
    tmp_path: Path, name: str, to: tuple[int, int], method: Resampling
) -> None:
    got = pixels(stored(tmp_path / "a.png", noise()), resized(48, 80, to, name))
    assert np.array_equal(got, np.asarray(Image.fromarray(noise()).resize((to[1], to[0]), method)))


def test_area_is_the_average_of_what_falls_together(tmp_path: Path) -> None:
    got = pixels(stored(tmp_path / "a.png", noise()), resized(48, 80, (12, 20), "area"))
    exact = noise().reshape(12, 4, 20, 4, 3).mean(axis=(1, 3))
    assert np.abs(got - exact).max() <= 1


@pytest.mark.parametrize("name", ["auto", "lanczos", "bicubic", "bilinear", "nearest", "area"])
def test_a_picture_at_its_size_is_never_resampled(tmp_path: Path, name: str) -> None:
    path = stored(tmp_path / "a.png", noise())
    assert np.array_equal(pixels(path, whole(48, 80, interpolation=name)), noise())


def test_a_large_jpeg_is_not_halved_where_single_pixels_are_asked_for(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.jpg", noise(640, 960), quality=95)
    got = pixels(path, resized(640, 960, (64, 96), "nearest"))
    with Image.open(path) as image:
        assert np.array_equal(got, np.asarray(image.resize((96, 64), Resampling.NEAREST)))


# Mirrored, coloured, degraded


def test_the_cut_is_made_before_the_picture_is_mirrored(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.png", noise())
    frame = Frame((48, 80), (48, 80), (3, 5), (32, 64))
    got = pixels(path, View(frame, flipped=True))
    assert np.array_equal(got, noise()[3:35, 5:69][:, ::-1])
    assert got.flags.writeable


def test_colours_are_changed_after_the_frame(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.png", noise())
    got = pixels(path, View(CUT.frame, colours=Colours(gamma=1.05)))
    plain = pixels(path, CUT)
    assert np.array_equal(got, np.rint(255 * (plain / 255) ** 1.05).astype(np.uint8))


def test_a_degradation_of_the_original_comes_before_the_frame(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.png", noise(480, 800))
    frame = Frame((480, 800), (48, 80), (0, 8), (48, 64))
    blur = Blur(kind="blur", radius=2.0)
    before = pixels(path, View(frame, degraded=Degraded(blur, "original", 7))).astype(int)
    after = pixels(path, View(frame, degraded=Degraded(blur, "trained", 7))).astype(int)
    plain = pixels(path, View(frame)).astype(int)
    assert before.shape == after.shape == (48, 64, 3)
    assert before.std() > 0.7 * plain.std() > 3 * after.std()


def test_a_degradation_is_what_its_key_says(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.png", noise())
    grain = Noise(kind="noise")
    one, same, other = (
        pixels(path, View(CUT.frame, degraded=Degraded(grain, "trained", key)))
        for key in (2**63 + 5, 2**63 + 5, 6)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
