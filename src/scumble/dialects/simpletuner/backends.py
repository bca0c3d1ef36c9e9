"""multidatabackend.json as the sets of a job."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scumble.dialects.notes import Draft
from scumble.dialects.simpletuner import data_captions, data_file, data_sizes, data_sources
from scumble.dialects.simpletuner.conditioning import MASKS, companions, edits
from scumble.dialects.simpletuner.data_weights import uniform
from scumble.dialects.simpletuner.entry import REGULARISATION, Entry
from scumble.dialects.simpletuner.settings import Settings
from scumble.errors import JobError, ScumbleError, gather
from scumble.spec.dataset import DatasetSpec

TITLE = "these data sets cannot be used"
CACHES = ("cache_dir_vae", "cache_dir")
SPLIT = 0.1
"""What is kept from training of a set that is named for validation and is the only one."""


def data(asked: Settings, draft: Draft) -> None:
    """Put the sets into the draft, and what is wrong with them."""
    draft.put("data", [])
    found = data_file.read(asked, draft)
    if draft.problems and not found:
        return
    _folders(found, draft)
    _links(found, draft)
    data_sources.keys(found, draft)
    sets = list(data_file.images(found))
    trained = [one for one in sets if one.kind == "image" and one["probability"] > 0]
    weights = uniform(trained, asked, draft)
    for one in sets:
        weighted = {"probability": weights[one.id]} if one.id in weights else {}
        draft.tree["data"].append(native(one, found, draft) | weighted)
    _enough(asked, sets, draft)
    _measured(asked, sets, draft)


def native(one: Entry, everything: Sequence[Entry], draft: Draft) -> dict[str, Any]:
    """One set as a job has it."""
    if one.name != one.id:
        draft.note("hint", one.where("id"), f"is called {one.name} here")
    made: dict[str, Any] = {"id": one.name}
    made |= data_sources.source(one, draft)
    made |= data_sizes.sized(one, draft)
    made |= data_captions.captioned(
        one, data_captions.filters(_texts(one, everything), draft), draft
    )
    return made | _mixed(one, draft) | companions(one, everything, draft)


def _texts(one: Entry, everything: Sequence[Entry]) -> Entry | None:
    """The text cache of a set: the one it names, the default one, or the first."""
    caches = [each for each in everything if each.kind == "text_embeds"]
    if one.said("text_embeds"):
        return next((each for each in caches if each.id == one["text_embeds"]), None)
    return next((each for each in caches if each["default"]), caches[0] if caches else None)


def _mixed(one: Entry, draft: Draft) -> dict[str, Any]:
    """How often and when the set is seen, and what is learnt from it."""
    if one["repeats"] < 0:
        draft.complain(one.where("repeats"), "is below 0", "write 0 for once, 1 for twice")
    made: dict[str, Any] = {
        "repeats": max(one["repeats"], 0) + 1,
        "batch_size": one["train_batch_size"],
        "limit": one["max_num_samples"],
        "minimum_aspect": one["minimum_aspect_ratio"],
        "maximum_aspect": one["maximum_aspect_ratio"],
        "start_epoch": max(one["start_epoch"], 1),
        "start_step": one["start_step"],
        "end_epoch": one["end_epoch"],
        "time_offset": float(one["timestep_sampling_offset"]),
        "prior_preservation": one.holds_back,
        "short": "fill",
        "skip_bad": bool(one.settings["ignore_missing_files"]),
    }
    if one.kind == "eval":
        made |= {"held_out": 1.0, "repeats": 1, "prior_preservation": False}
    if one["probability"] <= 0:
        made["disabled"] = True
        draft.note("nothing", one.where("probability"), "is not above 0: the set is left out")
    elif one["probability"] != 1:
        made["probability"] = float(one["probability"])
    return made


def _folders(found: list[Entry], draft: Draft) -> None:
    """Caches that would lie in one folder, which SimpleTuner refuses, and users look for."""
    first: dict[str, Entry] = {}
    for one in found:
        key = "cache_dir" if one.is_cache else "cache_dir_vae"
        if not one.said(key):
            continue
        place = str(one.settings.path(one[key]))
        other = first.setdefault(place, one)
        if other is not one and not (other.is_cache and one.is_cache):
            problem = f"is the cache of {other.id}, too"
            draft.complain(one.where(key), problem, "give each a folder of its own")


def _links(found: list[Entry], draft: Draft) -> None:
    """Ids that lead nowhere, and conditioning sets that nobody asks for."""
    for key in ("text_embeds", "image_embeds", "conditioning_image_embeds"):
        known = [one.id for one in found if one.kind == key]
        for one in found:
            if one.said(key) and one[key] not in known:
                there = f"known: {', '.join(known)}" if known else "there is none in this file"
                problem = f"names '{one[key]}', which is no entry of {key}"
                draft.complain(one.where(key), problem, there)
    sets = [one.id for one in data_file.images(found)]
    listed = {id for one in data_file.images(found) for id in _asked_for(one)}
    for one in found:
        source = one["source_dataset_id"]
        if source is not None and source not in sets:
            problem = f"names '{source}', which is no set of pictures"
            draft.complain(one.where("source_dataset_id"), problem, f"known: {', '.join(sets)}")
        elif one.kind == "conditioning" and one.id not in listed and source is None:
            words = "no set names it by conditioning_data: it is not used"
            draft.note("nothing", one.where(), words)


def _asked_for(one: Entry) -> list[str]:
    told = one["conditioning_data"]
    return [told] if isinstance(told, str) else list(told or ())


def _enough(asked: Settings, sets: list[Entry], draft: Draft) -> None:
    """Something to learn from at the first step, and references for a model that needs them."""
    trained = [one for one in sets if one.kind == "image" and one["probability"] > 0]
    where = str(asked["data_backend_config"]) if isinstance(asked[data_file.NAME], str) else "data"
    if not trained:
        remedy = "add a set of dataset_type image, or enable one"
        draft.complain(where, "there is no set to learn from", remedy)
    elif not any(one["start_epoch"] <= 1 and one["start_step"] <= 1 for one in trained):
        remedy = "let one begin with start_epoch 1 and start_step 0"
        draft.complain(where, "no set is there at the first step", remedy)
    shown = [each for each in draft.tree["data"] if each.get("references")]
    if edits(asked) and sets and not shown and not draft.problems:
        problem = f"{asked['model_family']} {asked['model_flavour']} needs references, and no set "
        remedy = "add conditioning_data, or `conditioning`, which makes them of the pictures"
        draft.complain(where, f"{problem}has any", remedy)
    if asked["model_type"] == "full" and any(one.holds_back for one in trained):
        words = "without an adapter there is no base model left to answer: trained as they are"
        draft.note("nothing", f"{where}: {REGULARISATION[0]}", words)
        for made in draft.tree["data"]:
            made["prior_preservation"] = False


def _measured(asked: Settings, sets: list[Entry], draft: Draft) -> None:
    """`eval_dataset_id`: sets of pairs that previews are made of. They are kept from training."""
    told = asked["eval_dataset_id"]
    ids = [part.strip() for part in str(told or "").split(",") if part.strip()]
    by_id = {one.id: one for one in sets}
    for id in ids:
        if id not in by_id:
            known = f"known: {', '.join(by_id)}"
            draft.complain("eval_dataset_id", f"'{id}' is no set of pictures", known)
    named = [by_id[id] for id in ids if id in by_id]
    if not edits(asked):
        if named and any(one.kind != "eval" for one in named):
            words = "only models that edit are shown pictures in previews: all sets are trained on"
            draft.note("nothing", "eval_dataset_id", words)
        return
    if not ids and not any(one.kind == "eval" for one in sets):
        words = "is not given: no pairs are kept from training, and previews show none"
        draft.note("hint", "eval_dataset_id", words)
    for one in _kept(named, sets, draft):
        made = next(each for each in draft.tree["data"] if each["id"] == one.name)
        made.pop("share", None)
        made["prior_preservation"] = False
        made["held_out"] = SPLIT if _alone(named, sets) else 1.0
    if len(named) == 1:
        draft.put("validation.pairs.dataset", named[0].name)


def _alone(named: list[Entry], sets: list[Entry]) -> bool:
    trained = [one for one in sets if one.kind == "image" and one["probability"] > 0]
    return all(one in named for one in trained)


def _kept(named: list[Entry], sets: list[Entry], draft: Draft) -> Iterator[Entry]:
    """Those that would else be trained on."""
    for one in named:
        if one.kind == "eval":
            continue
        if one["disable_validation"]:
            problem = "has disable_validation, and is named for validation"
            draft.complain(one.where("disable_validation"), problem, "leave one of both out")
        how = "a tenth of it" if _alone(named, sets) else "it"
        words = f"{one.id}: {how} is measured and painted, and not trained on"
        draft.note("hint", "eval_dataset_id", words)
        yield one


def secrets(asked: Settings) -> dict[str, str]:
    """Keys to buckets that the file holds, by the variables that a run takes them from."""
    draft = Draft()
    return data_sources.keys(data_file.read(asked, draft), draft)


def alone(file: Path, base: Path) -> tuple[list[dict[str, Any]], Draft]:
    """The sets of a file without config.json, as a job would have them; an ExceptionGroup of all
    that is wrong."""
    import os

    draft = Draft()
    told = {"data_backend_config": str(file.absolute()), "model_family": "flux"}
    asked = Settings(told, base, environment=dict(os.environ))
    if _has_references(asked):
        asked = Settings({**told, "model_flavour": "kontext"}, base, environment=asked.environment)
    data(asked, draft)
    gather(TITLE, list({str(one): one for one in draft.problems}.values()))
    words = (
        "stand in config.json alone, and are SimpleTuner's defaults here: sizes, captions, batch"
    )
    draft.note("hint", "settings for all sets", words)
    return [_checked(one) for one in draft.tree["data"]], draft


def _has_references(asked: Settings) -> bool:
    """Whether some set of the file shows pictures along with others."""
    return any(
        one["conditioning"]
        or (one.kind == "conditioning" and one["conditioning_type"] not in MASKS)
        for one in data_file.read(asked, Draft())
    )


def _checked(made: dict[str, Any]) -> dict[str, Any]:
    try:
        spec = DatasetSpec.model_validate(made)
    except ValidationError as error:
        problems = [_schema(made["id"], detail["msg"]) for detail in error.errors()]
        raise ExceptionGroup(TITLE, problems) from None
    return spec.model_dump(mode="json", exclude_defaults=True)


def _schema(id: str, words: str) -> ScumbleError:
    problem, _, remedy = words.removeprefix("Value error, ").partition("; ")
    return JobError(f"data.{id}", problem, remedy or "see `scumble explain data`")
