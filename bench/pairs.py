"""How fast the pair doctor is: names and sizes of 10,000 pairs, and the pixels of some.

`python bench/pairs.py [PAIRS]`, in a folder with room for 200 MB.
"""

from __future__ import annotations

import sys
import time
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageFilter

from scumble.data.pairs.collecting import of_folders
from scumble.data.pairs.doctor import Look, doctor


def jpeg(image: Image.Image) -> bytes:
    """A file's content."""
    stream = BytesIO()
    image.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def picture(side: int, seed: int) -> Image.Image:
    """Soft colours under fine texture."""
    dice = np.random.default_rng(seed)
    soft = Image.fromarray(dice.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize((side, side))
    fine = dice.integers(0, 256, (side // 3, side // 3, 3), dtype=np.uint8)
    return Image.blend(soft, Image.fromarray(fine).resize((side, side)), 0.3)


def written(folder: Path, count: int, side: int, kinds: int) -> None:
    """So many pairs, of so many different pictures; no two files are the same."""
    images = [picture(side, seed) for seed in range(kinds)]
    blurred = [one.filter(ImageFilter.GaussianBlur(2)) for one in images]
    for name, pictures in (("targets", images), ("references", blurred)):
        (folder / name).mkdir(parents=True)
        contents = [jpeg(one) for one in pictures]
        for number in range(count):
            told = contents[number % kinds]
            mark = b"\xff\xfe\x00\x0c" + f"{number:010}".encode()  # a comment
            (folder / name / f"{number:05}.jpg").write_bytes(told[:2] + mark + told[2:])


def main() -> None:
    """Print a table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    print("| what | pairs | seconds | pairs/s |\n| --- | --- | --- | --- |")
    with TemporaryDirectory() as place:
        folder = Path(place)
        written(folder / "small", count, 96, 8)
        start = time.perf_counter()
        sides = of_folders(folder / "small/targets", [folder / "small/references"], None)
        middle = time.perf_counter()
        report = doctor(sides, None)
        assert (report.pairs, report.findings) == (count, ())
        row("headers of both folders", count, middle - start)
        row("names, shapes, tags, copies", count, time.perf_counter() - middle)
        for side, many in ((512, 64), (1024, 40), (2048, 16)):
            written(folder / f"{side}", many, side, 4)
            sides = of_folders(folder / f"{side}/targets", [folder / f"{side}/references"], None)
            looked = doctor(sides, Look(sample=None)).looked
            assert looked is not None
            row(f"pixels of {side} x {side}", many, looked.seconds)


def row(what: str, pairs: int, seconds: float) -> None:
    """One line of the table."""
    print(f"| {what} | {pairs:,} | {seconds:.2f} | {pairs / seconds:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
