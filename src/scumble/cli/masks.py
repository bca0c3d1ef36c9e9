"""`scumble data masks`: masks for a folder of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from scumble.errors import JobError, gather

if TYPE_CHECKING:
    from scumble.data.mask_makers.folder import Order, Outcome
    from scumble.data.mask_makers.makers import Maker, Rgb, Words

CLIPSEG = "CIDAS/clipseg-rd64-refined"
THRESHOLD = 0.4
TOLERANCE = 24
NAMED = 20
"""So many pictures of a kind are named on the screen; the rest are counted."""

Tolerance = Annotated[
    int | None,
    Option(min=0, max=255, help="Shades a background may differ by.", show_default=f"{TOLERANCE}"),
]
Network = Annotated[
    str | None,
    Option(help="For --text: a CLIPSeg or Grounding DINO folder or hub id.", show_default=CLIPSEG),
]
Threshold = Annotated[
    float | None,
    Option(min=0, max=1, help="For --text: how sure it has to be.", show_default=f"{THRESHOLD}"),
]

COLOURS: dict[str, tuple[int, int, int]] = {"white": (255, 255, 255), "black": (0, 0, 0)}


def masks(  # noqa: PLR0913  (each parameter is an option)
    pictures: Annotated[Path, Argument(metavar="DIR", help="A folder of pictures.")],
    out: Annotated[Path, Option("-o", "--out", help="Another folder, for the masks.")],
    text: Annotated[list[str] | None, Option(help="What is kept, in words; repeat it.")] = None,
    alpha: Annotated[bool, Option("--alpha", help="Keep what is opaque.")] = False,
    background: Annotated[
        str | None, Option(help="Keep what is not white, black, chroma or #RRGGBB.")
    ] = None,
    grabcut: Annotated[bool, Option("--grabcut", help="Keep what stands out in a box.")] = False,
    box: Annotated[
        str | None, Option(help="LEFT,TOP,RIGHT,BOTTOM from 0 to 1, for --grabcut.")
    ] = None,
    tolerance: Tolerance = None,
    model: Network = None,
    sam: Annotated[str | None, Option(help="For Grounding DINO: a SAM folder or hub id.")] = None,
    threshold: Threshold = None,
    device: Annotated[
        str | None, Option(help="For --text: auto, cpu, cuda.", show_default="auto")
    ] = None,
    grow: Annotated[int, Option(help="Pixels by which the white part grows; below 0 shrinks.")] = 0,
    blur: Annotated[float, Option(min=0, help="Pixels by which its edge is softened.")] = 0.0,
    invert: Annotated[bool, Option("--invert", help="Keep the rest instead.")] = False,
    existing: Annotated[str, Option(help="Masks that are there: skip, again.")] = "skip",
    sheet: Annotated[Path | None, Option(help="A PNG to look at: picture, mask, overlay.")] = None,
    processes: Annotated[int, Option(min=0, help="0: one for each core.")] = 0,
) -> None:
    """Make a mask for each picture, under its name: white is what will be learnt."""
    from scumble.cli.jobs import folder_named
    from scumble.data.mask_makers.folder import Finish, Order
    from scumble.data.sources import folder

    pictures = folder_named("DIR", pictures)
    words = _words(text or (), model, sam, threshold, device)
    if background in (None, "chroma"):
        _refuse_idle({"--tolerance": tolerance}, "--background COLOUR")
    shades = TOLERANCE if tolerance is None else tolerance
    order = Order(
        root=pictures,
        pictures=folder.listing(pictures).pictures,
        maker=_maker(words, alpha, background, box if not grabcut else box or "", shades),
        target=out,
        finish=Finish(invert=invert, grow=grow, blur=blur),
        again=_again(existing),
    )
    _run(order, sheet, processes)


def _refuse_idle(options: Mapping[str, object], owner: str) -> None:
    """JobError for options that were given and would do nothing."""
    said = [name for name, value in options.items() if value is not None]
    if said:
        problem = f"{', '.join(said)} {'goes' if len(said) == 1 else 'go'} with {owner} only"
        raise JobError(
            "data masks", problem, "leave it out" if len(said) == 1 else "leave them out"
        )


def _words(
    texts: Sequence[str],
    model: str | None,
    sam: str | None,
    threshold: float | None,
    device: str | None,
) -> Words:
    """What is looked for and by which networks, if any are asked."""
    from scumble.data.mask_makers.makers import Words

    if not texts:
        given = {"--model": model, "--sam": sam, "--threshold": threshold, "--device": device}
        _refuse_idle(given, "--text")
    if any(not text.strip() for text in texts):
        raise JobError("--text", "it is empty", 'say what is kept, such as --text "a cat"')
    return Words(
        texts=tuple(texts),
        model=model or CLIPSEG,
        sam=sam,
        threshold=THRESHOLD if threshold is None else threshold,
        device=device or "auto",
    )


def _run(order: Order, sheet: Path | None, processes: int) -> None:
    from scumble import disk
    from scumble.cli import show
    from scumble.cli.degrade import progress
    from scumble.data import parallel, twins
    from scumble.data.mask_makers import folder

    if not order.pictures:
        raise JobError(order.root, "there are no pictures", "name another folder")
    if sheet is not None:
        twins.apart(order.root, sheet)
        twins.apart(order.target, sheet)
    outcome = folder.fulfilled(order, processes or parallel.cores(), progress("masks made"))
    for line in _said(order, outcome):
        show.line(line)
    if sheet is not None:
        stream = BytesIO()
        folder.sheet(order, outcome).save(stream, "PNG")
        disk.write_whole(sheet, stream.getvalue())
        show.line(f"Look at {sheet}")
    gather("pictures without a mask", list(outcome.failed))


def _said(order: Order, outcome: Outcome) -> list[str]:
    made = f"{_masks(outcome.made)} made in {order.target}"
    if outcome.kept:
        made += f", {outcome.kept:,} were there and stay (--existing again makes them anew)"
    lines = [made]
    for ids, said in (
        (outcome.empty, "all black, so nothing would be learnt"),
        (outcome.full, "all white, so nothing changes"),
    ):
        if ids:
            rest = f" and {len(ids) - NAMED:,} more" if len(ids) > NAMED else ""
            verb = "is" if len(ids) == 1 else "are"
            lines.append(f"{_masks(len(ids))} {verb} {said}: {', '.join(ids[:NAMED])}{rest}")
    return lines


def _masks(count: int) -> str:
    return "1 mask" if count == 1 else f"{count:,} masks"


def _maker(
    words: Words, alpha: bool, background: str | None, box: str | None, tolerance: int
) -> Maker:
    """The one way that was asked for."""
    from scumble.data.mask_makers.makers import Alpha, Backdrop, GrabCut

    ways = {
        "--text": bool(words.texts),
        "--alpha": alpha,
        "--background": background is not None,
        "--grabcut": box is not None,
    }
    given = [name for name, asked in ways.items() if asked]
    if len(given) != 1:
        problem = f"{' and '.join(given)} are given" if given else "nothing says what is kept"
        raise JobError("data masks", problem, f"give one of {', '.join(ways)}")
    match given[0]:
        case "--text":
            return words
        case "--alpha":
            return Alpha()
        case "--background":
            return Backdrop(_colour(background or ""), tolerance)
        case _:
            return GrabCut(_box(box)) if box else GrabCut()


def _again(existing: str) -> bool:
    if existing not in ("skip", "again"):
        raise JobError("--existing", f"'{existing}' is not known", "say skip or again")
    return existing == "again"


def _colour(name: str) -> Rgb | None:
    """None for a screen of green or blue."""
    if name == "chroma":
        return None
    if name in COLOURS:
        return COLOURS[name]
    digits = name.removeprefix("#")
    try:
        if len(digits) != 6:
            raise ValueError
        red, green, blue = bytes.fromhex(digits)
    except ValueError:
        remedy = "say white, black, chroma or #RRGGBB"
        raise JobError("--background", f"'{name}' is not a colour", remedy) from None
    return red, green, blue


def _box(text: str) -> tuple[float, ...]:
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ValueError
    except ValueError:
        remedy = "such as 0.2,0.1,0.8,0.95: LEFT,TOP,RIGHT,BOTTOM as shares of the sides"
        raise JobError("--box", f"'{text}' is not a box", remedy) from None
    return left, top, right, bottom
