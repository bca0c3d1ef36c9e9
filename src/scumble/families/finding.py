"""Find all parts of a job's model, or tell everything that is missing at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from scumble.errors import FileError, JobError, ScumbleError, gather, leaves
from scumble.families import from_hub, hub, sources
from scumble.families.builtin import BUILTIN, materialised
from scumble.families.family import Family
from scumble.families.places import here, meant, nowhere
from scumble.families.recognising import PICKLES
from scumble.families.sources import Sought, Source
from scumble.spec.model import ModelSpec

BUILT = "builtin:"
FILES = (".safetensors", ".sft", ".gguf", *PICKLES)
"""Endings of what is meant as a file, even where it could be a repository's name."""

TITLE = "the model is not complete"


def located(path: str, base: Path) -> Path:
    """The folder or file that `model.path` means on this machine; FileError if there is none.

    Builtin models are made on the spot when missing; JobError for one that does not exist.
    """
    if (place := _here("model.path", path, base)) is None:
        raise nowhere("model.path", path, base)
    return place


def _here(where: str, path: str, base: Path) -> Path | None:
    if path.startswith(BUILT):
        return _builtin(path.removeprefix(BUILT))
    return here(where, path, base)


def _builtin(name: str) -> Path:
    if name not in BUILTIN:
        near = get_close_matches(name, BUILTIN, n=1)
        remedy = f"did you mean '{BUILT}{near[0]}'?" if near else f"known: {', '.join(BUILTIN)}"
        raise JobError("model.path", f"there is no builtin model '{name}'", remedy)
    return materialised(name)


@dataclass(frozen=True)
class Search:
    """A model's parts are looked for, each by itself."""

    family: Family
    wanted: ModelSpec
    base: Path
    fetch: bool
    names: tuple[str, ...]
    """The parts that are looked for."""

    def part(self, name: str) -> Source:
        """Where a part lies; ScumbleError, or a group of them, for what is not there."""
        sought = Sought(self.family, name)
        if (own := self.wanted.parts.get(name)) is not None:
            return self._own(sought, own)
        if self.wanted.path is None:
            problem = f"nothing says where {sought.part.loose.called} lies"
            remedy = f"name a file, such as {sought.part.loose.example}, or set `model.path`"
            raise JobError(sought.where, problem, remedy)
        return self._of_model(sought, self.wanted.path)

    def _asking(self, where: str) -> from_hub.Asking:
        """A revision is one of the repository that `path` names; others know nothing of it."""
        revision = self.wanted.revision if where == "model.path" else None
        return from_hub.Asking(revision, self.fetch)

    @cached_property
    def _model(self) -> Path | None:
        """Where `model.path` leads on this machine."""
        path = self.wanted.path
        return None if path is None else _here("model.path", path, self.base)

    def _own(self, sought: Sought, text: str) -> Source:
        place = _here(sought.where, text, self.base)
        if place is None:
            return self._asked(sought, text, sought.where)
        if place.is_dir():
            return sources.in_own_folder(sought, place)
        return self._with_words(sought, sources.in_file(sought, place))

    def _of_model(self, sought: Sought, text: str) -> Source:
        place = self._model
        if place is None:
            return self._asked(sought, text, "model.path")
        if place.is_dir():
            _refuse_strange(self.family, place)
            found = sources.in_model_folder(sought, place)
            whole = text.startswith(BUILT)
            return replace(found, told=f"{text}/{sought.part.folder}") if whole else found
        _refuse_without_denoiser(self.family, place)
        if not sources.holds(sought.part, place):
            loose = sought.part.loose
            problem = f"{place.name} does not hold {loose.called}"
            raise JobError(sought.where, problem, f"name a file, such as {loose.example}")
        return sources.in_file(sought, place)

    def _asked(self, sought: Sought, text: str, where: str) -> Source:
        """From the hub, if the text can mean something there."""
        asking = self._asking(where)
        if file := hub.in_repository(text):
            return self._fetched(text, lambda: from_hub.in_hub_file(sought, *file, asking))
        if not text.endswith(FILES) and (repo := hub.repository(text)):
            whole = where == "model.path"
            ask = from_hub.in_repository if whole else from_hub.in_own_repository
            return self._fetched(text, lambda: ask(sought, repo, asking))
        raise nowhere(where, text, self.base)

    def _fetched(self, text: str, ask: Callable[[], Source]) -> Source:
        """What the hub has; what it says of an id that may be a misspelt path tells both."""
        try:
            return ask()
        except FileError as error:
            if error.where != text:
                raise
            place = meant(text, self.base)
            problem = f"{error.problem} (on this machine there is no {place})"
            raise FileError(text, problem, error.remedy) from None

    def _with_words(self, sought: Sought, found: Source) -> Source:
        """A tokenizer goes with a vocabulary: that of the model's folder where both agree."""
        part, folder = sought.part, self._model
        if part.tokenizer is None or folder is None or not folder.is_dir():
            return found
        config, words = folder / part.folder / "config.json", folder / part.tokenizer
        if not config.is_file() or not sources.has_words(words):
            return found
        rows = sources.config_of(config.parent, part).get("vocab_size")
        return replace(found, tokenizer=words) if rows == found.config["vocab_size"] else found


def _refuse_strange(family: Family, folder: Path) -> None:
    """FileError for a folder that has nothing of a diffusers folder."""
    if any((folder / part.folder).is_dir() for part in family.parts.values()):
        return
    problem = f"{folder} is no diffusers folder: it has no folder '{next(iter(_folders(family)))}'"
    loose = sorted(file.name for file in folder.glob("*.safetensors"))
    if (folder / "config.json").is_file():
        problem = f"{folder} is one part of a model"
        remedy = (
            f"give the folder above it, or name this one in `model.parts` ({_of(family, folder)})"
        )
    elif loose:
        names = ", ".join(loose[:4]) + (", ..." if len(loose) > 4 else "")
        remedy = f"name the files in it ({names}) as `model.path` and `model.parts`"
    else:
        remedy = "give a folder with model_index.json, a single file, or builtin:tiny-flux"
    raise FileError("model.path", problem, remedy)


def _of(family: Family, folder: Path) -> str:
    """What a part's folder may be named as: by the folder's name, else any part."""
    known = [name for name, part in family.parts.items() if part.folder == folder.name]
    return ", ".join(known or family.parts)


def _folders(family: Family) -> list[str]:
    return [part.folder for part in family.parts.values()]


def _refuse_without_denoiser(family: Family, file: Path) -> None:
    """FileError for a file that is not what a model's path can be."""
    denoiser = Sought(family, "denoiser")
    if not sources.holds(denoiser.part, file):
        raise sources.stranger(denoiser, file)


def found(search: Search) -> Mapping[str, Source]:
    """All parts, or an ExceptionGroup of all that stands in the way."""
    problems: list[ScumbleError] = [*_unknown(search)]
    there: dict[str, Source] = {}
    for name in search.names:
        try:
            there[name] = search.part(name)
        except (ScumbleError, ExceptionGroup) as problem:
            problems += _told(problem)
    problems = problems or [*_strangers(search.family, there)]
    problems = problems or [*_misfits(search.family, there)]
    gather(TITLE, [*{str(problem): problem for problem in problems}.values()])
    return there


def _told(problem: Exception) -> Iterator[ScumbleError]:
    """The errors of a user's making in it; whatever else is there is ours, and escapes."""
    for one in leaves(problem):
        match one:
            case ScumbleError():
                yield one
            case _:
                raise one


def _unknown(search: Search) -> Iterator[JobError]:
    """Names in `model.parts` that are no parts; names of folders and files are known as well."""
    family = search.family
    names = {name: name for name in family.parts}
    names |= {part.folder: name for name, part in family.parts.items()}
    names |= {Path(part.loose.example).stem: name for name, part in family.parts.items()}
    for name in search.wanted.parts.keys() - family.parts.keys():
        near = get_close_matches(name, names, n=1)
        remedy = (
            f"did you mean '{names[near[0]]}'?" if near else f"known: {', '.join(family.parts)}"
        )
        yield JobError(f"model.parts.{name}", f"{family.name} has no such part", remedy)


def _strangers(family: Family, there: Mapping[str, Source]) -> Iterator[JobError]:
    """Parts that are not of this flavour."""
    for need in family.needs:
        if need.part not in there:
            continue
        source = there[need.part]
        value = source.config.get(need.setting, need.unsaid)
        if value != need.value:
            what = need.otherwise.get(value, f"has {need.setting} {value} in place of {need.value}")
            problem = f"the {need.part} in {source.told} {what}"
            remedy = f"name weights of {family.name} {family.flavour}, or the flavour that they are"
            yield JobError("model.flavour", problem, remedy)


def _misfits(family: Family, there: Mapping[str, Source]) -> Iterator[JobError]:
    """Parts that do not go together. Those that are not here yet are left for when they are:
    their configs may only stand in."""
    denoiser = there["denoiser"]
    for fit in family.fits:
        if fit.part not in there:
            continue
        source = there[fit.part]
        gives, takes = source.config.get(fit.gives), denoiser.config.get(fit.takes)
        if source.absent or denoiser.absent or not isinstance(gives, int) or takes is None:
            continue
        if gives * fit.times != takes:
            problem = f"{source.told} gives {gives * fit.times} features ({fit.gives})"
            problem += f", and the denoiser takes {takes} ({fit.takes})"
            called = family.parts[fit.part].loose.called.split(maxsplit=1)[1]
            yield JobError(
                f"model.parts.{fit.part}", problem, f"name the {called} that it goes with"
            )
