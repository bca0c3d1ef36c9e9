"""What every dialect does with its table of options: tell of those that do nothing, find those that
change nothing, and name the option behind what the job's schema finds wrong."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from scumble.dialects.notes import About, Draft
from scumble.dialects.option import Option
from scumble.errors import JobError, ScumbleError, leaves
from scumble.spec.job import JobSpec
from scumble.spec.load import read_job

FATES: dict[str, About] = {"recorded": "recorded", "nothing": "nothing", "not yet": "not yet"}
IDLE = "changes nothing: the job is the same without it"


def told(option: Option, value: Any, where: str, draft: Draft) -> None:
    """Tell of an option that the job does not follow, or refuse it."""
    if value == option.default or option.fate == "acts":
        return
    if option.fate == "refused":
        draft.complain(where, option.words, "leave it out")
    else:
        draft.note(FATES[option.fate], where, option.words)


def idle(
    given: Iterable[Option], draft: Draft, without: Callable[[str], Draft], mark: str = ""
) -> Iterator[str]:
    """Options that could as well be left out: without each the job would be the same.

    Found by leaving it out, so that no option of the table can be forgotten by those who read it.
    `mark` is what stands before an option's name where a note names it.
    """
    mentioned = " ".join(note.where for note in draft.notes)
    for option in given:
        if re.search(rf"(?<![\w-]){mark}{option.name}\b", mentioned):
            continue
        other = without(option.name)
        if not other.problems and _without_origin(other) == _without_origin(draft):
            yield option.name


def _without_origin(draft: Draft) -> dict[str, Any]:
    return {name: section for name, section in draft.tree.items() if name != "origin"}


def validated(
    tree: dict[str, Any], name: str, called: Callable[[str], str], overrides: Sequence[str] = ()
) -> JobSpec:
    """The job; what its schema finds wrong is told under what `called` makes of a setting's path,
    such as the option that said it. An ExceptionGroup of it all."""
    text = json.dumps(tree, default=str)
    try:
        return read_job(text, name=name, format="json", overrides=overrides)
    except* ScumbleError as group:
        problems = [
            JobError(called(error.where.split(": ")[-1]), error.problem, error.remedy)
            for error in leaves(group)
            if isinstance(error, ScumbleError)
        ]
        raise ExceptionGroup(group.message, once(problems)) from None


def saying(path: str, options: Iterable[Option]) -> list[Option]:
    """The options that act on the setting of a path; numbers in it are places in lists."""
    general = re.sub(r"\.\d+\b", "", path)
    return [one for one in options if {path, general} & set(one.targets)]


def once(problems: Sequence[ScumbleError]) -> list[ScumbleError]:
    """Each problem once, however often the same is found."""
    return list({str(problem): problem for problem in problems}.values())
