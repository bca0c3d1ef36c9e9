"""Make captioned picture sets from emoji that npm packages ship: the example data, or large sets.

`--set style`, `subject`, `mixed`, `edit` and `repair` make the data under `examples/`; `--set full`
makes a set of about 1,300 pictures, `--set base` all that `builtin:emoji-flux` is made from, `--set
pairs` what `builtin:emoji-kontext` is, all on demand and not committed. The same package versions
and the same Pillow give the same bytes. Needs `npm` to get the packages, and Pillow.
"""

import argparse
import hashlib
import io
import json
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import emoji_edits
from emoji_edits import Pair, Pictures
from emoji_words import words
from PIL import Image, ImageOps

T = TypeVar("T")
MIT = """\
Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""

APACHE = """\
Licensed under the Apache License, Version 2.0 (the "License");
you may not use these files except in compliance with the License.
You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software
distributed under the License is distributed on an "AS IS" BASIS,
WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
See the License for the specific language governing permissions and
limitations under the License.
"""


CC_BY = """\
The graphics are licensed under the Creative Commons Attribution 4.0 International
License (CC-BY 4.0): https://creativecommons.org/licenses/by/4.0/
"""

HELD_OUT = 20
"""One name in so many is kept from the base model, in every style."""
SUBJECT = re.compile(r"\bcat face\b")
"""The character that the base model never sees: its faces are for DreamBooth examples."""
NEW_STYLE = "twemoji"
"""The style that the base model never sees: it is for examples of learning a style."""
TONES = {
    "1F3FB": "light",
    "1F3FC": "medium-light",
    "1F3FD": "medium",
    "1F3FE": "medium-dark",
    "1F3FF": "dark",
}


@dataclass(frozen=True)
class Package:
    """One version of an npm package, and the hash of its archive."""

    name: str
    version: str
    sha256: str

    @property
    def archive(self) -> str:
        """The file name that `npm pack` gives it."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


@dataclass(frozen=True)
class Style:
    """One way of drawing emoji: where the pictures are, how they are named and saved."""

    package: Package
    folder: str
    suffix: str
    caption: str
    title: str
    terms: str
    saved_as: str
    saved_with: dict[str, Any]


FLUENT_PACKAGE = Package(
    name="@lobehub/fluent-emoji-3d",
    version="1.1.0",
    sha256="c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
)
NOTO_PACKAGE = Package(
    name="emoji-datasource-google",
    version="16.0.0",
    sha256="fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
)
TWEMOJI_PACKAGE = Package(
    name="emoji-datasource-twitter",
    version="16.0.0",
    sha256="f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
)
NAMES_PACKAGE = NOTO_PACKAGE
"""Its `emoji.json` names the pictures of all packages."""

STYLES = {
    "fluent": Style(
        package=FLUENT_PACKAGE,
        folder="package/assets",
        suffix=".webp",
        caption="a 3d emoji of {}",
        title="Fluent Emoji by Microsoft, 3D style",
        terms=f"Copyright (c) Microsoft Corporation.\nCopyright (c) 2023 LobeHub\n\n{MIT}",
        saved_as=".webp",
        saved_with={"quality": 92, "method": 6},
    ),
    "noto": Style(
        package=NOTO_PACKAGE,
        folder="package/img/google/64",
        suffix=".png",
        caption="a flat noto emoji of {}",
        title="Noto Emoji by Google",
        terms=f"Noto Emoji, Copyright Google LLC\n\n{APACHE}",
        saved_as=".png",
        saved_with={"optimize": True},
    ),
    "twemoji": Style(
        package=TWEMOJI_PACKAGE,
        folder="package/img/twitter/64",
        suffix=".png",
        caption="a twemoji of {}",
        title="Twemoji by Twitter, Inc and other contributors",
        terms=f"Copyright 2020 Twitter, Inc and other contributors\n\n{CC_BY}",
        saved_as=".png",
        saved_with={"optimize": True},
    ),
}

STYLE_SET = (
    "a red apple, a strawberry, an avocado, a croissant, a hamburger, a birthday cake, "
    "a whale, a fox face, a snail, an octopus, a butterfly, a turtle, an elephant, "
    "a cactus, a sunflower, a smiling face with sunglasses, a thinking face, a sleeping face, "
    "a robot face, a rocket, a bicycle, a sailboat, a racing car, a helicopter, a camera, "
    "a guitar, an alarm clock, an electric light bulb, a teddy bear, an umbrella, an old key, "
    "a crown"
)

STYLE_HELD_OUT = (
    "a banana, grapes, a watermelon, a pineapple, a doughnut, a slice of pizza, an owl, "
    "a frog face, a crab, a tulip, a mushroom, an alien, a ghost, a house, a bus, an airplane, "
    "a tractor, a trumpet, a violin, a hammer, a balloon, a t-shirt, a snowman, a basketball"
)

SUBJECT_VIEWS = (
    "a crying cat face",
    "a cat face with tears of joy",
    "a cat face with a wry smile",
    "a pouting cat face",
    "a smiling cat face with an open mouth",
)
"""What an example of one subject is trained on; the other faces are held out."""

SUBJECT_CLASS = (
    "a bear face, a cow face, a fox face, a frog face, a horse face, a lion face, a monkey face, "
    "a mouse face, a pig face, a rabbit face, a tiger face, a wolf face"
)
"""Others of its class, which the base model knows: what it is not to forget meanwhile."""

SUBJECT_TOKEN = "sks"
"""The rare word that names the subject."""

SQUARE_SET = (
    "a cat face, a panda face, a frog face, an owl, a crab, a lemon, a carrot, a pretzel, "
    "a slice of pizza, a doughnut, a house, a tractor, an airplane, a wrapped present, "
    "a trumpet, a grinning face"
)

WIDE_SET = (
    ("a dog face", "a monkey face", "a mouse face"),
    ("a banana", "grapes", "a peach"),
    ("a bus", "a taxi", "a fire engine"),
    ("a rose", "a tulip", "a sunflower"),
    ("a soccer ball", "a baseball", "a basketball"),
    ("a violin", "a saxophone", "an accordion"),
    ("a whale", "an anchor", "a sailboat"),
    ("a hammer", "a wrench", "a screwdriver"),
)

WIDE_SIZE = (240, 160)

PAIRED = ("noto", "fluent")
"""The styles that pairs are made of."""

EDIT_PAIRS = {"seen": 60, "held-out": 20}
REPAIR_PICTURES = {"seen": 48, "held-out": 20}
LEFT_OUT = {"Component", "Flags", "Symbols", "family", "person-symbol"}
"""Categories and subcategories whose names say little about what is to be seen."""


def fetched(package: Package, folder: Path) -> Path:
    """The package's archive in the folder, got with npm if it is not there yet."""
    archive = folder / package.archive
    if not archive.exists():
        wanted = f"{package.name}@{package.version}"
        subprocess.run(["npm", "pack", "--silent", wanted], cwd=folder, check=True)
    if hashlib.sha256(archive.read_bytes()).hexdigest() != package.sha256:
        raise SystemExit(f"{archive} is not the archive that this script was written for")
    return archive


def files_in(archive: Path, folder: str) -> dict[str, bytes]:
    """The plain files of one folder of an archive, by name; nothing is unpacked to disk."""
    found = {}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if member.isfile() and path.parent == PurePosixPath(folder):
                stream = tar.extractfile(member)
                assert stream is not None
                found[path.name] = stream.read()
    return found


def told_of(style: Style, packages: Path) -> Iterator[tuple[dict[str, Any], dict[str, bytes]]]:
    """The entries with a telling name, in Unicode's order, each with all files of the style."""
    names = files_in(fetched(NAMES_PACKAGE, packages), "package")["emoji.json"]
    files = files_in(fetched(style.package, packages), style.folder)
    for entry in sorted(json.loads(names), key=lambda entry: entry["sort_order"]):
        told = not LEFT_OUT & {entry["category"], entry["subcategory"]}
        if told and "obsoleted_by" not in entry:
            yield entry, files


def pictures_by_words(style: Style, packages: Path) -> dict[str, bytes]:
    """Each picture of the style that has a telling name, in Unicode's order.

    Gendered emoji replace the general ones where both look alike. One name is given twice, to a
    person and to a man in a tuxedo; the later is the one it fits.
    """
    found = {}
    for entry, files in told_of(style, packages):
        file = named(entry["image"], style)
        if file in files:
            found[words(entry["name"])] = files[file]
    return found


def tones_by_words(style: Style, packages: Path) -> dict[str, bytes]:
    """The same people and hands in the five skin tones of Unicode."""
    found = {}
    for entry, files in told_of(style, packages):
        toned = entry.get("skin_variations", {})
        for code, tone in ((code, tone) for code, tone in TONES.items() if code in toned):
            file = named(toned[code]["image"], style)
            if file in files:
                found[f"{words(entry['name'])}, {tone} skin tone"] = files[file]
    return found


def named(image: str, style: Style) -> str:
    """The file of a style that shows what the names' package calls `image`."""
    return str(PurePosixPath(image).with_suffix(style.suffix))


def held_out(thing: str) -> bool:
    """Whether the base model does not see the thing; a skin tone goes with what it is a tone of."""
    told = hashlib.blake2b(thing.split(",")[0].encode(), digest_size=4).digest()
    return int.from_bytes(told, "big") % HELD_OUT == 0


def kept_in(thing: str) -> str:
    """Whether the base model sees the thing, does not, or never sees what it is about."""
    if SUBJECT.search(thing):
        return "subject"
    return "held-out" if held_out(thing) else "seen"


def drawn_in(style: Style, packages: Path, kept: str, side: int) -> tuple[Pictures, Pictures]:
    """The pictures of a style that are kept so, and those in skin tones, by words."""

    def opened(found: dict[str, bytes]) -> Pictures:
        return {
            thing: on_white(one, side) for thing, one in found.items() if kept_in(thing) == kept
        }

    plain, tones = pictures_by_words(style, packages), tones_by_words(style, packages)
    return opened(plain), opened(tones)


def pairs_of(drawn: dict[str, tuple[Pictures, Pictures]]) -> Iterator[tuple[str, Pair]]:
    """All pairs of one kind after another, with the kind."""
    for style, (plain, tones) in drawn.items():
        yield from (("recolour", one) for one in emoji_edits.recoloured(style, plain, 2))
        yield from (("repair", one) for one in emoji_edits.repaired(style, plain, 2))
        yield from (("tone", one) for one in emoji_edits.toned(style, plain, tones, 2))
    flat, solid = drawn["noto"][0], drawn["fluent"][0]
    yield from (("redraw", one) for one in emoji_edits.redrawn(flat, solid))


def save_pair(pair: Pair, out: Path) -> None:
    """Target and instruction in one folder, the reference of the same name in the other."""
    exact = replace(STYLES["noto"], saved_as=".png", saved_with={"optimize": True})
    save(pair.target, pair.instruction, pair.stem, exact, out / "target")
    save(pair.reference, None, pair.stem, exact, out / "reference")


def save_pairs(packages: Path, out: Path, *, side: int) -> None:
    """All pairs of the base model for edits, seen and held out, by kind."""
    for kept in ("seen", "held-out"):
        shown = {name: drawn_in(STYLES[name], packages, kept, side) for name in PAIRED}
        for kind, pair in pairs_of(shown):
            if pair.plain_to_see:
                save_pair(pair, out / kept / kind)
    for name in PAIRED:
        save_notice(STYLES[name], out / name)


def save_edit(packages: Path, out: Path) -> None:
    """Pairs of the edit that the base model never sees, of both its styles alike."""
    for kept, many in EDIT_PAIRS.items():
        for name in PAIRED:
            plain, _ = drawn_in(STYLES[name], packages, kept, 64)
            found = [pair for pair in emoji_edits.greyed(name, plain) if pair.plain_to_see]
            for pair in by_lot(found, many // len(PAIRED), lambda pair: pair.stem):
                save_pair(pair, out / kept)
    for name in PAIRED:
        save_notice(STYLES[name], out / name)


def save_repair(packages: Path, out: Path) -> None:
    """Whole pictures in the new style; what spoils them is the job's own affair."""
    style = STYLES[NEW_STYLE]
    exact = replace(style, caption="repair the picture")
    pictures = pictures_by_words(style, packages)
    for kept, many in REPAIR_PICTURES.items():
        there = [thing for thing in pictures if kept_in(thing) == kept]
        save_singles(by_lot(there, many, str), pictures, exact, out / kept, side=64)
    save_notice(style, out)


def by_lot(found: list[T], many: int, name: Callable[[T], str]) -> list[T]:
    """Some of them; which, follows from their names."""

    def lot(one: T) -> bytes:
        return hashlib.blake2b(name(one).encode()).digest()

    return sorted(found, key=lot)[:many]


def save_base(packages: Path, out: Path, *, side: int) -> None:
    """All pictures of the base model by style, what is held out, the subject, and a new style."""
    for name, style in STYLES.items():
        exact = replace(style, saved_as=".png", saved_with={"optimize": True})
        plain, tones = pictures_by_words(style, packages), tones_by_words(style, packages)
        for pictures, part in ((plain, name), (tones, f"{name}-tones")):
            for thing in pictures:
                folder = out / ("new" if name == NEW_STYLE else ".") / kept_in(thing) / part
                save_singles([thing], pictures, exact, folder, side=side)
        save_notice(style, out / name)


def on_white(picture: bytes, side: int) -> Image.Image:
    """The picture on a white square; one that is not square is fitted, not stretched."""
    drawn = Image.open(io.BytesIO(picture)).convert("RGBA")
    paper = Image.new("RGBA", drawn.size, "white")
    flat = Image.alpha_composite(paper, drawn).convert("RGB")
    return ImageOps.pad(flat, (side, side), Image.Resampling.LANCZOS, color="white")


def in_a_row(pictures: Iterable[bytes]) -> Image.Image:
    """Three pictures side by side at the size they were drawn in, with even gaps."""
    width, height = WIDE_SIZE
    paper, side = Image.new("RGB", WIDE_SIZE, "white"), 64
    gap = (width - 3 * side) // 4
    for place, picture in enumerate(pictures):
        at = (gap + place * (side + gap), (height - side) // 2)
        paper.paste(on_white(picture, side), at)
    return paper


def save(picture: Image.Image, caption: str | None, stem: str, style: Style, out: Path) -> None:
    """Write a picture and its caption beside it; the stem is made of what is seen."""
    out.mkdir(parents=True, exist_ok=True)
    plain = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\b(an?|the) ", "", stem))
    picture.save(out / f"{plain}{style.saved_as}", **style.saved_with)
    if caption is not None:
        (out / f"{plain}.txt").write_text(f"{caption}\n", encoding="utf-8", newline="\n")


def save_notice(style: Style, out: Path) -> None:
    """Say whose pictures these are, what was done to them and on what terms they are passed on."""
    out.mkdir(parents=True, exist_ok=True)
    package, names = style.package, NAMES_PACKAGE
    text = (
        f"{style.title}, from the npm package {package.name} {package.version}.\n"
        "Changed: put on white, some of them resized or set side by side, and saved anew.\n\n"
        f"{style.terms}\n----\n\n"
        f"Captions are made from emoji.json of the npm package {names.name} {names.version}.\n\n"
        f"Copyright (c) 2013 Cal Henderson\n\n{MIT}"
    )
    (out / "NOTICE").write_text(text, encoding="utf-8", newline="\n")


def save_singles(
    shown: Iterable[str], pictures: dict[str, bytes], style: Style, out: Path, *, side: int
) -> None:
    """One square picture for each of the things shown."""
    for thing in shown:
        save(on_white(pictures[thing], side), style.caption.format(thing), thing, style, out)


def save_subject(pictures: dict[str, bytes], style: Style, out: Path) -> None:
    """One character's faces, named by a rare word: some to train on, the others held out."""
    # two names have the same picture; the first is the one it fits
    once = {pictures[thing]: thing for thing in reversed(pictures) if SUBJECT.search(thing)}
    for thing in reversed(once.values()):
        named = thing.replace("cat face", f"{SUBJECT_TOKEN} cat face")
        folder = out / ("seen" if thing in SUBJECT_VIEWS else "held-out")
        exact = replace(style, saved_as=".png", saved_with={"optimize": True})
        save(on_white(pictures[thing], 64), style.caption.format(named), thing, exact, folder)
    exact = replace(style, saved_as=".png", saved_with={"optimize": True})
    save_singles(SUBJECT_CLASS.split(", "), pictures, exact, out / "class", side=64)


def save_rows(pictures: dict[str, bytes], style: Style, out: Path) -> None:
    """The wide pictures, each with a caption that lists what stands in it."""
    for first, second, third in WIDE_SET:
        row = in_a_row(pictures[thing] for thing in (first, second, third))
        caption = f"three flat noto emoji in a row: {first}, {second} and {third}"
        save(row, caption, f"{first} {second} {third}", style, out)


def make(arguments: argparse.Namespace, packages: Path) -> None:
    """Write the set that was asked for."""
    out: Path = arguments.out
    match arguments.set:
        case "base":
            save_base(packages, out, side=arguments.side)
        case "pairs":
            save_pairs(packages, out, side=arguments.side)
        case "edit":
            save_edit(packages, out)
        case "repair":
            save_repair(packages, out)
        case _:
            make_of_one_style(arguments, packages, out)
    print(f"{out} now holds {len(list(out.rglob('*.txt')))} captioned pictures")


def make_of_one_style(arguments: argparse.Namespace, packages: Path, out: Path) -> None:
    """A set whose pictures are shown by themselves."""
    shown = {"style": "twemoji", "subject": "fluent", "mixed": "noto", "full": arguments.style}
    style = STYLES[shown[arguments.set]]
    pictures = pictures_by_words(style, packages)
    if arguments.set == "full":
        save_singles(pictures, pictures, style, out, side=arguments.side)
    elif arguments.set == "style":
        save_singles(STYLE_SET.split(", "), pictures, style, out / "seen", side=64)
        save_singles(STYLE_HELD_OUT.split(", "), pictures, style, out / "held-out", side=64)
    elif arguments.set == "subject":
        save_subject(pictures, style, out)
    else:
        save_singles(SQUARE_SET.split(", "), pictures, style, out / "noto", side=128)
        save_rows(pictures, style, out / "wide")
    save_notice(style, out)


def main() -> None:
    """Read the command line and make a set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--set",
        choices=("style", "subject", "mixed", "edit", "repair", "full", "base", "pairs"),
        required=True,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--style", choices=tuple(STYLES), default="fluent", help="for --set full")
    parser.add_argument("--side", type=int, default=128, help="pixels; not of examples")
    parser.add_argument(
        "--packages", type=Path, help="folder that keeps the packages for next time"
    )
    arguments = parser.parse_args()
    with TemporaryDirectory() as temporary:
        packages = arguments.packages or Path(temporary)
        packages.mkdir(parents=True, exist_ok=True)
        make(arguments, packages)


if __name__ == "__main__":
    main()
