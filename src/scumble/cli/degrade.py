"""`scumble data degrade`: references made from their targets, written to a folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

from typer import Argument, Option

from scumble.errors import JobError, ScumbleError, gather, leaves

if TYPE_CHECKING:
    from scumble.data.degradations.folder import Order, Outcome
    from scumble.spec.dataset import DatasetSpec
    from scumble.spec.job import JobSpec
    from scumble.spec.references import ReferenceSpec

SET = "pictures"
"""What the set is called where there is no job."""

TOLD_EVERY = 5.0
"""Seconds between two lines about how far it is."""


def degrade(  # noqa: PLR0913  (each parameter is an option)
    job: Annotated[str | None, Argument(metavar="[JOB]", help="A job file.")] = None,
    overrides: Annotated[
        list[str] | None, Argument(metavar="[KEY=VALUE]...", help="Settings of the job.")
    ] = None,
    source: Annotated[Path | None, Option("--from", help="A folder, instead of a job.")] = None,
    to: Annotated[Path | None, Option("--to", help="Where to, with --from.")] = None,
    kind: Annotated[str | None, Option(help="What is done, such as jpeg_artifacts.")] = None,
    settings: Annotated[
        list[str] | None, Option("--set", help="KEY=VALUE of that kind, such as quality=25.")
    ] = None,
    seed: Annotated[
        int | None, Option(min=0, help="Of all that is drawn, with --from.", show_default="0")
    ] = None,
    variants: Annotated[
        int, Option(min=1, help="Versions of each, in folders variant-1, variant-2...")
    ] = 1,
    ending: Annotated[str, Option(help="png, webp (both lossless) or jpg.")] = "png",
    processes: Annotated[int, Option(min=0, help="0: one for each core.")] = 0,
    again: Annotated[bool, Option("--again", help="Make those anew that are there.")] = False,
) -> None:
    """Write what `degrade` makes of pictures, under the same names, to another folder."""
    from scumble.cli import show
    from scumble.cli.jobs import open_job
    from scumble.data import parallel

    if (job is None) == (source is None):
        remedy = "give a job, or --from DIR --to DIR --kind KIND"
        raise JobError("data degrade", "one of JOB and --from is needed, not both", remedy)
    if source is not None:
        wanted, base = _job_of_folder(source, to, kind, settings or (), seed or 0), Path()
    elif job is not None:
        _refuse_beside_a_job({"--to": to, "--kind": kind, "--set": settings, "--seed": seed})
        wanted, base = open_job(job, overrides or ())
    else:
        raise AssertionError("one of the two is there")
    orders = [_with(one, variants, ending, again) for one in _orders(wanted, base)]
    problems = []
    for order in orders:
        outcome = _fulfilled(order, processes or parallel.cores())
        show.line(_said(order, outcome))
        problems += outcome.failed
    gather("pictures that could not be degraded", problems)


def progress(noun: str) -> Callable[[int, int], None]:
    """A listener that says every few seconds how far things are."""
    from scumble.cli import show

    last = time.monotonic()

    def tell(done: int, of: int) -> None:
        nonlocal last
        if time.monotonic() - last >= TOLD_EVERY:
            last = time.monotonic()
            show.line(f"{done:,} of {of:,} {noun}")

    return tell


def _job_of_folder(
    source: Path, to: Path | None, kind: str | None, settings: Sequence[str], seed: int
) -> JobSpec:
    """A job that says the same as the options, so that both are checked and told alike."""
    from scumble.cli.jobs import folder_named
    from scumble.spec.load import read_job

    if to is None or kind is None:
        raise JobError("data degrade", "--from needs --to and --kind", "add both")
    source = folder_named("--from", source)
    _known(kind, settings)
    reference = {"degrade": {"kind": kind}, "at": "original", "write_to": str(to.absolute())}
    whole = {
        "name": "degrade",
        "model": {"family": "flux", "flavour": "dev", "path": "unused"},
        "data": [{"id": SET, "folder": str(source.absolute()), "references": [reference]}],
        "training": {"steps": 1, "seed": seed},
    }
    place = f"data.{SET}.references.0.degrade"
    overrides = [f"{place}.{one}" for one in settings]
    try:
        return read_job(json.dumps(whole), name="--set", format="json", overrides=overrides)
    except* JobError as group:
        own = [_as_typed(error, f"{place}.") for error in leaves(group)]
        raise ExceptionGroup("these settings cannot be", own) from None


def _as_typed(error: BaseException, place: str) -> ScumbleError:
    """A problem of the made-up job, told of the option."""
    assert isinstance(error, JobError)
    return JobError(error.where.replace(place, "--set "), error.problem, error.remedy)


def _known(kind: str, settings: Sequence[str]) -> None:
    """JobErrors unless there is such a kind with such settings."""
    from scumble.spec.degradation import DegradationSpec

    sections = get_args(get_args(DegradationSpec)[0])
    kinds = {get_args(one.model_fields["kind"].annotation)[0]: one for one in sections}
    if kind not in kinds:
        raise JobError("--kind", f"'{kind}' is not known", _meant(kind, kinds))
    fields = [name for name in kinds[kind].model_fields if name != "kind"]
    keys = {text: text.partition("=")[0].partition(".")[0].strip() for text in settings}
    unknown: list[ScumbleError] = [
        JobError(f"--set {text}", f"{kind} has no setting '{key}'", _meant(key, fields))
        for text, key in keys.items()
        if key not in fields
    ]
    gather("these settings cannot be", unknown)


def _meant(word: str, known: Iterable[str]) -> str:
    known = list(known)
    near = get_close_matches(word, known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"


def _refuse_beside_a_job(given: Mapping[str, object]) -> None:
    """What a job says is not said twice."""
    said = [name for name, value in given.items() if value not in (None, [])]
    if said:
        problem = f"{', '.join(said)} {'goes' if len(said) == 1 else 'go'} with --from only"
        remedy = "set `references` (and `training.seed`) in the job instead"
        raise JobError("data degrade", problem, remedy)


def _orders(job: JobSpec, base: Path) -> Iterator[Order]:
    """One for each reference of the job that is to be written; JobError if there is none."""
    found = False
    for dataset in job.data:
        for number, reference in enumerate(dataset.references):
            if not dataset.disabled and reference.write_to is not None:
                found = True
                place = f"data.{dataset.id}.references.{number}"
                yield _order(job, dataset, reference, place, base)
    if not found:
        problem = "no reference of the job has both `degrade` and `write_to`"
        raise JobError("data degrade", problem, "set `write_to` to a folder beside the pictures")


def _order(
    job: JobSpec, dataset: DatasetSpec, reference: ReferenceSpec, place: str, base: Path
) -> Order:
    from scumble.data.degradations.folder import Order
    from scumble.data.sources.listing import listed
    from scumble.data.sources.record import Where

    assert reference.degrade is not None and reference.write_to is not None
    if dataset.repeats_in_names:
        problem = "`write_to` does not go with `repeats_in_names`: one folder for several sets"
        raise JobError(place, problem, "write these sets out one by one")
    where = Where(
        id=dataset.id,
        folder=dataset.folder,
        source=dataset.source,
        subfolders=dataset.subfolders,
    )
    folder = None if dataset.folder is None else base / Path(dataset.folder).expanduser()
    return Order(
        set=f"{dataset.id}.{reference.id or place.rpartition('.')[2]}",
        root=folder,
        pictures=listed(where, base, job.cache_folder).pictures,
        spec=reference.degrade,
        target=base / Path(reference.write_to).expanduser(),
        seed=job.training.seed,
    )


def _with(order: Order, variants: int, ending: str, again: bool) -> Order:
    from dataclasses import replace

    from scumble.data.degradations.folder import SAVED

    for known in SAVED:
        if ending == known:
            return replace(order, variants=variants, ending=known, again=again)
    raise JobError("--ending", f"'{ending}' is not known", f"known: {', '.join(SAVED)}")


def _fulfilled(order: Order, processes: int) -> Outcome:
    from scumble.data.degradations.folder import fulfilled

    if not order.pictures:
        raise JobError(order.root or order.set, "there are no pictures", "name another folder")
    return fulfilled(order, processes, progress("pictures degraded"))


def _said(order: Order, outcome: Outcome) -> str:
    kept = f", {outcome.kept:,} were there already" if outcome.kept else ""
    failed = f", {len(outcome.failed):,} could not be read" if outcome.failed else ""
    return f"{order.spec.kind}: {outcome.made:,} pictures made in {order.target}{kept}{failed}"
