"""A configuration of SimpleTuner as a job, with all that there is to tell about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scumble.dialects import fates
from scumble.dialects.notes import Draft, Note
from scumble.dialects.simpletuner import adapting, models, noising, previewing, rules, running
from scumble.dialects.simpletuner.backends import data
from scumble.dialects.simpletuner.optimizing import optimizing
from scumble.dialects.simpletuner.reading import Configuration, configuration
from scumble.dialects.simpletuner.settings import Settings
from scumble.dialects.simpletuner.table import OPTIONS
from scumble.errors import JobError, ScumbleError, gather
from scumble.spec.document import Document
from scumble.spec.job import JobSpec

TITLE = "this configuration cannot run"
NAME = "config.json"
PLAIN = frozenset({"data_backend_config", "output_dir", "model_type", "model_family"})
"""Keys that a run needs: whether they matter is no question."""

UNSET = {"gradient_checkpointing_interval": 1, "optimizer_cpu_offload_method": "none"}
"""Values that mean nothing, in SimpleTuner, too."""


@dataclass(frozen=True, kw_only=True)
class Around:
    """What a configuration does not say itself."""

    base: Path
    """Where relative paths start: the folder that the command is started in."""

    words: Sequence[str] = ()
    """`key=value` from the command line: over the file. Those with a dot in the key are settings of
    the job."""

    under: Document | None = None
    """An environment's config.env: under the file."""

    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """What `{env:NAME}` stands for."""

    processes: int = 1
    """How many train together."""

    run: str | None = None
    """What the run is called where the configuration does not say: the environment's name."""


@dataclass(frozen=True)
class Converted:
    """What a configuration comes to."""

    job: JobSpec
    notes: tuple[Note, ...]
    files: dict[str, str]
    """Files that the job reads and that are still to be written, by path."""


def converted(told: Mapping[str, Any], base: Path, *, words: Sequence[str] = ()) -> Converted:
    """The job of a configuration that has been read; an ExceptionGroup of all that is wrong."""
    return from_document(Document(NAME, dict(told)), Around(base=base, words=words))


def from_document(document: Document, around: Around) -> Converted:
    """The same with the lines of its keys, and with all that stands around it."""
    draft = Draft()
    asked, places = settings(document, around, draft)
    for option in (OPTIONS[key] for key in asked.told):
        fates.told(option, asked[option.name], option.name, draft)
    fill(asked, draft)
    running.named(asked, around.run, draft)
    gather(TITLE, fates.once([_placed(problem, places) for problem in draft.problems]))
    for key in _idle(asked, draft, places):
        draft.note("nothing", key, fates.IDLE)
    job = _validated(draft, asked, places, around.words)
    return Converted(job, tuple(dict.fromkeys(draft.notes)), draft.files)


def settings(
    document: Document, around: Around, draft: Draft
) -> tuple[Settings, Mapping[str, str]]:
    """All keys that were given, and what messages call each."""
    words = [word for word in around.words if not _is_native(word)]
    draft.problems.extend(document.problems)
    found = configuration(document, around.environment, draft, words)
    if around.under is not None:
        draft.problems.extend(around.under.problems)
        lower = configuration(around.under, around.environment, draft)
        found = Configuration({**lower.told, **found.told}, {**lower.places, **found.places})
    told = {key: one for key, one in found.told.items() if UNSET.get(key) != one}
    asked = Settings(told, around.base, around.processes, around.environment)
    if (meant := adapting.model_type(asked)) is not None and "model_type" not in told:
        draft.note(
            "hint", "model_type", f"is not given: {meant} is taken, as other keys speak of it"
        )
        asked = replace(asked, told={**told, "model_type": meant})
    return asked, found.places


def _is_native(word: str) -> bool:
    return "." in word.partition("=")[0]


def fill(asked: Settings, draft: Draft) -> None:
    """Put all that the keys say into the draft, and what is wrong with it."""
    rules.pairs(asked, draft)
    models.model(asked, draft)
    adapting.adapter(asked, draft)
    noising.objective(asked, draft)
    running.training(asked, draft)
    optimizing(asked, draft)
    running.saving(asked, draft)
    data(asked, draft)
    previewing.previews(asked, draft)
    previewing.held_out(asked, draft)
    running.tracking(asked, draft)


def _idle(asked: Settings, draft: Draft, places: Mapping[str, str]) -> list[str]:
    def without(key: str) -> Draft:
        other, fewer = Draft(), asked.without(key)
        fill(fewer, other)
        running.named(fewer, None if key == "tracker_run_name" else draft.tree["name"], other)
        return other

    said = [OPTIONS[key] for key in asked.told if key in places and key not in PLAIN]
    acting = [one for one in said if one.fate == "acts" and asked[one.name] != one.default]
    return list(fates.idle(acting, draft, without))


def _placed(problem: ScumbleError, places: Mapping[str, str]) -> ScumbleError:
    """The problem with the file and the line of the key that it is about."""
    key, comma, rest = problem.where.partition(", ")
    if key not in places:
        return problem
    return JobError(f"{places[key]}{comma}{rest}", problem.problem, problem.remedy)


def _validated(
    draft: Draft, asked: Settings, places: Mapping[str, str], words: Sequence[str]
) -> JobSpec:
    """The job; what its schema finds wrong is told with the key that said it."""

    def called(path: str) -> str:
        found = [one.name for one in fates.saying(path, OPTIONS.values())]
        given = [places[key] for key in found if key in asked.told and key in places]
        if given:
            return f"{', '.join(given)} ({path})"
        return f"{', '.join(found)} ({path})" if found else f"{NAME}: {path}"

    native = [word for word in words if _is_native(word)]
    return fates.validated(draft.tree, NAME, called, native)
