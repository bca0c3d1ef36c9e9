"""A command line of flux_train_network.py as a job, with all that there is to tell about it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scumble.dialects import fates
from scumble.dialects.kohya import arguments, combinations, config_file, learning, prompts, weights
from scumble.dialects.kohya import files as output_files
from scumble.dialects.kohya.datasets import data
from scumble.dialects.kohya.network import adapter
from scumble.dialects.kohya.settings import Settings
from scumble.dialects.kohya.table import OPTIONS
from scumble.dialects.notes import Draft, Note
from scumble.errors import JobError, ScumbleError, gather
from scumble.spec.dataset import DatasetSpec
from scumble.spec.job import JobSpec

TITLE = "this command cannot run"
NAME = "the command line"
STRANGE = re.compile(r"[^\w.-]+")
UNNAMED = "last"
"""What sd-scripts calls a file without --output_name."""

PLAIN = frozenset(
    {*weights.PARTS, "dataset_config", "network_module", "output_dir", "config_file"}
    | {"output_config", *output_files.OPTIONS}
)
"""Options that a command needs, or that stand for others: whether they matter is no question."""


@dataclass(frozen=True)
class Converted:
    """What a command line comes to."""

    job: JobSpec
    notes: tuple[Note, ...]
    files: dict[str, str]
    """Tables that the job reads and that are still to be written, by path."""


def settings(words: Sequence[str], base: Path, *, processes: int = 1) -> tuple[Settings, Draft]:
    """The options of a command line over those of `--config_file`, and what is wrong with them."""
    draft = Draft()
    told, problems = arguments.read(words)
    draft.problems.extend(problems)
    whole, strangers = config_file.under(Settings(told, base, processes), draft.problems)
    for key in strangers:
        draft.note("nothing", f"--config_file {key}", "is no option, to sd-scripts either")
    return whole, draft


def converted(words: Sequence[str], base: Path) -> Converted:
    """The job of a command line; an ExceptionGroup of all that is wrong with it."""
    asked, draft = settings(words, base)
    return from_settings(asked, draft)


def from_settings(asked: Settings, draft: Draft) -> Converted:
    """The job of these options, added to what is already to be told."""
    for option in (OPTIONS[name] for name in asked.told):
        fates.told(option, asked[option.name], option.flag, draft)
    fill(asked, draft)
    gather(TITLE, fates.once(draft.problems))
    for name in _idle(asked, draft):
        draft.note("nothing", f"--{name}", fates.IDLE)
    job = fates.validated(draft.tree, NAME, _flagged)
    return Converted(job, tuple(dict.fromkeys(draft.notes)), draft.files)


def fill(asked: Settings, draft: Draft) -> None:
    """Put all that the options say into the draft, and what is wrong with it."""
    combinations.pairs(asked, draft)
    guided = weights.model(asked, draft)
    _told_to_the_model(asked, draft, guided=guided)
    groups = data(asked, draft)
    adapter(asked, draft)
    learning.objective(asked, draft)
    learning.training(asked, draft)
    learning.saving(asked, draft)
    output_files.files(asked, draft)
    prompts.previews(asked, draft, guided=guided)
    learning.held_out(asked, draft)
    learning.tracking(asked, draft)
    combinations.hints(asked, draft, guided=guided)
    _named(asked, groups, draft)


def _told_to_the_model(asked: Settings, draft: Draft, *, guided: bool) -> None:
    draft.put("model.text_tokens", asked["t5xxl_max_token_length"])
    draft.put("model.text_mask", asked["apply_t5_attn_mask"])
    if guided:
        draft.put("model.guidance", asked["guidance_scale"])
    files, factors = asked["base_weights"] or [], asked["base_weights_multiplier"] or []
    padded = [*factors, *(1.0 for _ in files[len(factors) :])]
    merged = [
        {"file": file, "strength": factor} for file, factor in zip(files, padded, strict=False)
    ]
    draft.put("model.merged", merged)
    for file in files:
        weights.there(asked, "base_weights", file, draft)
    if asked["network_weights"] is not None:
        weights.there(asked, "network_weights", asked["network_weights"], draft)


def _named(asked: Settings, groups: list[list[str]], draft: Draft) -> None:
    if asked["output_dir"] is None:
        draft.complain("--output_dir", "is missing", "say where the file goes: --output_dir=FOLDER")
    name = asked["output_name"] or UNNAMED
    plain = STRANGE.sub("_", name).lstrip("-.")[:100] or UNNAMED
    if plain != name:
        words = f"the run's folder is called {plain}; the file is called as you say"
        draft.note("hint", "--output_name", words)
    draft.put("name", plain)
    folder = asked["output_dir"] or "outputs"
    draft.put("output_dir", folder)
    origin = {"tool": "sd-scripts", "settings": {**asked.all(), "datasets": groups}}
    draft.put("origin", {**origin, "output_dir": folder, "output_name": asked["output_name"]})


def _idle(asked: Settings, draft: Draft) -> list[str]:
    def without(name: str) -> Draft:
        other = Draft()
        fill(asked.without(name), other)
        return other

    said = [OPTIONS[name] for name in asked.told if name not in PLAIN]
    acting = [one for one in said if one.fate == "acts" and asked[one.name] != one.default]
    return list(fates.idle(acting, draft, without, mark="--"))


def _flagged(path: str) -> str:
    flags = [one.flag for one in fates.saying(path, OPTIONS.values())]
    return f"{', '.join(flags)} ({path})" if flags else f"{NAME}: {path}"


def data_alone(file: Path, base: Path) -> tuple[list[dict[str, Any]], Draft]:
    """The sets of a dataset file, as a job would have them; an ExceptionGroup of all that is
    wrong."""
    draft = Draft()
    data(Settings({"dataset_config": str(file.absolute())}, base), draft)
    gather(TITLE, fates.once(draft.problems))
    found: list[dict[str, Any]] = []
    for one in draft.tree["data"]:
        try:
            made = DatasetSpec.model_validate(one)
        except ValidationError as error:
            problems = [_schema(one["id"], detail["msg"]) for detail in error.errors()]
            raise ExceptionGroup(TITLE, problems) from None
        found.append(made.model_dump(mode="json", exclude_defaults=True))
    return found, draft


def _schema(id: str, words: str) -> ScumbleError:
    problem, _, remedy = words.removeprefix("Value error, ").partition("; ")
    return JobError(f"data.{id}", problem, remedy or "see `scumble explain data`")
