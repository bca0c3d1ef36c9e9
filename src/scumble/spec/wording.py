"""What pydantic finds wrong with a job, in plain sentences with a way out."""

import json
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from scumble.errors import JobError
from scumble.spec.document import Document, Path, as_section, dotted, said
from scumble.spec.schema import Place, job_shape, walk

KNOWN_AS = {
    "lr": "training.learning_rate",
    "unet_lr": "training.learning_rate",
    "max_train_steps": "training.steps",
    "iterations": "training.steps",
    "train_batch_size": "training.batch_size",
    "gradient_accumulation_steps": "training.units_per_step",
    "max_grad_norm": "training.clip_norm",
    "lr_scheduler": "training.schedule",
    "lr_warmup_steps": "training.schedule.warmup_steps",
    "dim": "adapter.rank",
    "network_dim": "adapter.rank",
    "lora_rank": "adapter.rank",
    "network_alpha": "adapter.alpha",
    "lora": "adapter",
    "network": "adapter",
    "dataset": "data",
    "datasets": "data",
    "num_repeats": "data.ID.repeats",
    "image_dir": "data.ID.folder",
    "output_name": "name",
    "flavor": "model.flavour",
    "pretrained_model_name_or_path": "model.path",
    "mixed_precision": "hardware.precision",
}
"""Names that other tools, or habit, give to our settings."""


SWITCHES = {
    "true": "true",
    "yes": "true",
    "on": "true",
    "false": "false",
    "no": "false",
    "off": "false",
}


def complain(error: ValidationError, document: Document) -> None:
    """Note each thing pydantic found, once, in the document."""
    told: set[Path] = set()
    for detail in error.errors(include_url=False):
        path, place = locate(detail["loc"])
        if detail["type"].startswith("union_tag"):
            path, place = _to_tag(path, place, detail)
        general = detail["type"] == "value_error"
        if _follows_from_others(detail) or (path in told and not general):
            continue
        told.add(path)
        problem, remedy = _words(detail, path, place)
        document.problems.append(JobError(document.where(path), problem, remedy))


def locate(loc: Path) -> tuple[Path, Place | None]:
    """The path as the user writes it, and what belongs there; None for a key nobody knows.

    pydantic also names the kind of a section, and the alternative of a value that it tried.
    """
    path: Path = ()
    place = job_shape()
    for part in loc:
        if part in place.variants:
            place = place.variants[str(part)]
        elif part in place.fields:
            path, place = (*path, part), place.fields[str(part)]
        elif isinstance(part, int) and place.items is not None:
            path, place = (*path, part), place.items
        elif place.fields:
            return (*path, part), None
        else:
            break
    return path, place


def suggestion(key: str, section: Place | None) -> str:
    """A way out for a key that a section does not have."""
    here = list(section.every_field) if section else []
    elsewhere: dict[str, list[str]] = {}
    for path, _, _ in walk():
        elsewhere.setdefault(path.rsplit(".", 1)[-1], []).append(path.replace(".ID.", ".0."))
    if near := get_close_matches(key, here, n=1, cutoff=0.75):
        return f"did you mean `{near[0]}`?"
    if key in KNOWN_AS:
        return f"did you mean `{KNOWN_AS[key].replace('.ID.', '.0.')}`?"
    if near := get_close_matches(key, elsewhere, n=1, cutoff=0.8):
        paths = elsewhere[near[0]]
        least = min(path.count(".") for path in paths)
        near = list(dict.fromkeys(path for path in paths if path.count(".") == least))
        return f"did you mean {' or '.join(f'`{path}`' for path in near[:3])}?"
    if near := get_close_matches(key, here, n=1):
        return f"did you mean `{near[0]}`?"
    if here:
        return f"known here: {', '.join(here)}"
    return "see `scumble explain`"


def explained(path: Path) -> str:
    """How to read more about a setting."""
    name = dotted(tuple(part for part in path if isinstance(part, str)))
    return f"see `scumble explain{' ' if name else ''}{name}`"


def _words(detail: ErrorDetails, path: Path, place: Place | None) -> tuple[str, str]:
    given: Any = detail["input"]
    match detail["type"]:
        case "extra_forbidden":
            return _unknown(path, detail["loc"])
        case "missing" | "union_tag_not_found":
            return "is missing", f"add {place.wanted if place else 'it'}; {explained(path)}"
        case "value_error":
            problem, _, remedy = detail["msg"].removeprefix("Value error, ").partition("; ")
            return problem, remedy or explained(path)
        case "json_invalid":
            return "a text holds half of a character (a lone surrogate)", "write the character"
        case "union_tag_invalid":
            given = as_section(given)[str(path[-1])]
        case _:
            pass
    if place is None:
        return detail["msg"], explained(path)
    return wrong(given, place, path)


def wrong(given: Any, place: Place, path: Path) -> tuple[str, str]:
    """What to say of a value that does not belong there."""
    quoted = isinstance(given, str) and "string" not in place.accepts
    shown = f"the text {said(given)}" if quoted else said(given)
    if isinstance(given, list) and not given:
        shown = "an empty one"
    return f"must be {place.wanted}, not {shown}", _remedy(given, place, path)


def _remedy(given: Any, place: Place, path: Path) -> str:
    match given:
        case None:
            return "give it a value or leave it out"
        case str():
            return _remedy_for_text(given, place, path)
        case bool() | int() | float() if "string" in place.accepts and not place.values:
            return "put it in quotes if it is meant as a text"
        case float() if "integer" in place.accepts and given.is_integer():
            return f"write {int(given)}"
        case dict() if "array" in place.accepts:
            return "begin each entry with `- `"
        case list() if place.fields or place.variants:
            return "write its settings as `name: value`, without `- ` or brackets"
        case _:
            return explained(path)


def _remedy_for_text(given: str, place: Place, path: Path) -> str:
    if near := get_close_matches(given.lower(), place.values, n=1):
        return f"did you mean `{near[0]}`?"
    if "array" in place.accepts and len(given) <= 60:
        return f"write a list: [{json.dumps(given, ensure_ascii=False)}]"
    if place.accepts & {"integer", "number"} and _number(given):
        return f"write it without quotes or underscores: {_number(given)}"
    if "boolean" in place.accepts and given.lower() in SWITCHES:
        return f"write {SWITCHES[given.lower()]}, without quotes"
    return explained(path)


def _number(text: str) -> str:
    try:
        float(text)
    except ValueError:
        return ""
    return text.replace("_", "").strip()


def _unknown(path: Path, loc: Path) -> tuple[str, str]:
    _, section = locate(loc[:-1])
    _, whole = locate(_untagged(loc[:-1]))
    key = str(path[-1])
    if whole is not None and whole.tag and key in whole.every_field:
        tags = [tag for tag, variant in whole.variants.items() if key in variant.fields]
        kinds = " or ".join(f"`{tag}`" for tag in tags)
        return f"is only for `{whole.tag}` {kinds}", f"change `{whole.tag}` or remove this"
    return "there is no such setting", suggestion(key, section)


def _untagged(loc: Path) -> Path:
    """The location of the union of which the last part names the kind, else itself."""
    _, before = locate(loc[:-1])
    return loc[:-1] if loc and before is not None and loc[-1] in before.variants else loc


def _to_tag(path: Path, place: Place | None, detail: ErrorDetails) -> tuple[Path, Place | None]:
    tag = (place and place.tag) or detail.get("ctx", {})["discriminator"].strip("'")
    kinds = tuple(place.variants) if place else ()
    words = " or ".join(f"`{kind}`" for kind in kinds)
    values = Place(type=words, wanted=words, accepts=frozenset({"string"}), values=kinds)
    return (*path, tag), values


def _follows_from_others(detail: ErrorDetails) -> bool:
    """A list whose entries are all wrong is also called too short; it is not."""
    return detail["type"] == "too_short" and bool(detail["input"])
