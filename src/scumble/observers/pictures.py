"""The previews of a run as they lie in its folder: `samples/step-000250/00-cat.png` and `.json`.

A picture that cannot be read is left out by whoever shows it; it never stops a report.
"""

import base64
import functools
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

THUMBNAIL_PIXELS = 256


Box = tuple[int, int, int, int]
"""Left, top, right, bottom: pixels."""


@dataclass(frozen=True, kw_only=True)
class Preview:
    """One picture, and what its sidecar says of it."""

    step: int
    index: int
    file: Path
    about: dict[str, Any]

    @property
    def prompt(self) -> str:
        """The prompt it was made from; without a sidecar, the picture's short name."""
        return str(self.about.get("prompt", self.file.stem.partition("-")[2]))

    @property
    def weights(self) -> str:
        """`raw`, or `ema` where a moving average made it; empty in a run that keeps none."""
        return str(self.about.get("weights", ""))

    @property
    def title(self) -> str:
        """The prompt, and whose picture it is where there are two kinds."""
        return labelled(self.prompt, self.weights)

    @property
    def parts(self) -> dict[str, Box]:
        """What it shows and where, from the left: references, `output`, `target`; empty where all
        of it is output."""
        match self.about.get("shows"):
            case dict(shows):
                return {str(word): _box(told) for word, told in shows.items()}
            case _:
                return {}

    @property
    def output(self) -> Box | None:
        """Where what the model has made stands in it; None: it is all of it."""
        return self.parts.get("output")


def labelled(text: str, weights: str) -> str:
    """A text about what these weights have made; `weights` may be empty."""
    return f"{text} ({'EMA' if weights == 'ema' else weights})" if weights else text


def _box(told: Any) -> Box:
    left, top, right, bottom = map(int, told)
    return left, top, right, bottom


Rows = dict[tuple[int, str, str], dict[int, Preview]]
"""For each prompt, by its place, its words and the weights, the picture of each step."""


def previews(folder: Path) -> Rows:
    """All previews of a run folder, prompts in order, steps in order; an average's after those of
    the weights themselves."""
    rows: Rows = {}
    for file in sorted(folder.glob("samples/step-*/*.png")):
        step = re.fullmatch(r"step-(\d+)", file.parent.name)
        index = re.match(r"\d+", file.name)
        if step is None or index is None:
            continue
        about = _sidecar(file.with_suffix(".json"))
        preview = Preview(step=int(step[1]), index=int(index[0]), file=file, about=about)
        row = (preview.index, preview.prompt, preview.weights)
        rows.setdefault(row, {})[preview.step] = preview
    return dict(sorted(rows.items(), key=lambda row: (row[0][:2], row[0][2] == "ema")))


def samples(folder: Path, step: int) -> Path:
    """Where a run's previews of a step lie."""
    return folder / "samples" / f"step-{step:06d}"


def made_as(folder: Path, wanted: Mapping[str, Any]) -> Path | None:
    """The picture in a folder whose sidecar says all of this; None where there is none such."""
    told = json.loads(json.dumps(wanted))  # as a sidecar has it: lists, and no tuples
    for file in sorted(folder.glob("*.png")):
        about = _sidecar(file.with_suffix(".json"))
        if all(name in about and about[name] == value for name, value in told.items()):
            return file
    return None


def opened(file: Path, box: Box | None = None) -> Image.Image | None:
    """The picture in RGB, or the part in the box; None when the file is no whole picture."""
    try:
        with Image.open(file) as picture:
            whole = picture.convert("RGB")
            return whole.crop(box) if box else whole
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def thumbnail(file: Path, box: Box | None = None) -> tuple[str, int] | None:
    """The picture, or the part in the box, as a small WebP in base64, and its width before; None
    when unreadable."""
    return _thumbnail(file, file.stat().st_mtime_ns, box)


@functools.lru_cache(maxsize=1024)
def _thumbnail(file: Path, written: int, box: Box | None) -> tuple[str, int] | None:
    """Kept between reports of one run, until the file is written anew."""
    picture = opened(file, box)
    if picture is None:
        return None
    width = picture.width
    picture.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.LANCZOS)
    packed = io.BytesIO()
    picture.save(packed, "WEBP", quality=82, method=4)
    return base64.b64encode(packed.getvalue()).decode(), width


def _sidecar(file: Path) -> dict[str, Any]:
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    match about:
        case dict():
            return about
        case _:
            return {}
