"""`scumble data preview`: see what the model will see, before it is trained on it."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from scumble.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scumble.data.order import Order
    from scumble.data.picture_set import PictureSet
    from scumble.spec.job import JobSpec

PAGE = Path("preview.html")
MOST_ON_SHEET = 200
"""Cards of the PNG, which cannot be scrolled as easily as the page."""

Job = Annotated[str, typer.Argument(metavar="JOB", help="A job file, or example=NAME.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as data.0.resolution=768."),
]
Out = Annotated[Path, Option("-o", "--out", help="The page; a PNG of the same name beside it.")]
Count = Annotated[int, Option(min=1, max=200, help="Examples of each set.")]
Epoch = Annotated[int, Option(min=1, help="As they are in this epoch.")]


def preview(
    job: Job, overrides: Overrides = None, out: Out = PAGE, count: Count = 8, epoch: Epoch = 1
) -> None:
    """Show what the model will see: cuts, references, masks, captions, sizes; needs no weights."""
    from scumble.cli.jobs import open_job
    from scumble.preflight.located import located

    wanted, base = open_job(job, overrides or ())
    wanted = located(wanted, base)
    _free_to_write(out, wanted)
    sets, order = _mixed(wanted, base)

    from scumble.data import proofs, sheet
    from scumble.disk import write_whole

    shown = proofs.sections(sets, order, count=count, epoch=epoch - 1)
    page, picture = out.with_suffix(".html"), out.with_suffix(".png")
    write_whole(page, sheet.html(f"{wanted.name}, epoch {epoch}", shown).encode())
    cards = list(chain.from_iterable(one.cards for one in shown))[:MOST_ON_SHEET]
    write_whole(picture, sheet.png_bytes(cards))
    for file in (page, picture):
        typer.echo(str(file))


def _free_to_write(out: Path, job: JobSpec) -> None:
    """JobError unless it is a page outside of all folders of pictures."""
    if out.suffix.lower() not in (".html", ".png"):
        raise JobError("--out", f"'{out}' does not end in .html", "name a page, as preview.html")
    for one in job.data:
        masks = one.mask.folder if one.mask is not None else None
        for folder in (one.folder, masks, *(each.folder for each in one.references)):
            if folder is not None and out.resolve().is_relative_to(Path(folder).resolve()):
                problem = f"'{out}' lies among the pictures of '{one.id}'"
                raise JobError("--out", problem, "nothing is written there; name another place")


def _mixed(job: JobSpec, base: Path) -> tuple[Sequence[PictureSet], Order]:
    """Every set of a located job, cut to size, and their order; all that is wrong at once."""
    from scumble import families
    from scumble.errors import gather
    from scumble.preflight import mixture

    used, _ = mixture.chosen(job)
    family = families.find(used.model.family, used.model.flavour)
    gather("the data cannot be used", mixture.refused(used, family))
    sets = mixture.sets(used, mixture.scans(used, used.cache_folder), family)
    return sets, mixture.order(used, sets)
