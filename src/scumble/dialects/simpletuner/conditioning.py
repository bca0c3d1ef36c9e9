"""What is shown along with the pictures of a set, and its masks: conditioning sets, by id."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scumble.dialects.notes import Draft
from scumble.dialects.simpletuner import data_captions, data_sizes, data_sources, models
from scumble.dialects.simpletuner.degrading import degradation
from scumble.dialects.simpletuner.entry import Entry
from scumble.dialects.simpletuner.settings import Settings
from scumble.spec.document import as_entries, as_section

SHOWN = ("reference_strict", "reference_loose", "controlnet")
MASKS = ("mask", "segmentation")
SIZES = (
    *("resolution", "resolution_type", "crop", "crop_style", "crop_aspect", "crop_aspect_buckets"),
    *("maximum_image_size", "target_downsample_size", "max_upscale_threshold"),
)
SEEN = (
    *("repeats", "probability", "train_batch_size", "max_num_samples", "minimum_image_size"),
    *("start_epoch", "start_step", "end_epoch", "timestep_sampling_offset"),
    *("minimum_aspect_ratio", "maximum_aspect_ratio", "vae_cache_clear_each_epoch"),
)
"""Fields that count in the set whose pictures these belong to, and not in their own."""

MEGAPIXEL = 1024
"""Side of the square whose area Qwen-Image-Edit-2509 and its like were published with."""

Made = dict[str, Any]


@dataclass(frozen=True)
class Linked:
    """A conditioning set, or a part of `conditioning`, that belongs to a set."""

    kind: str
    target: Entry
    entry: Entry | None = None
    made: Mapping[str, Any] | None = None
    """How it is made of the set's own pictures."""


def edits(settings: Settings) -> bool:
    """Whether the model is shown pictures."""
    return models.kind(settings) is not None and models.flavour(settings).shown


def companions(one: Entry, everything: Sequence[Entry], draft: Draft) -> Made:
    """`references`, `reference_sampling` and `mask` of a set."""
    found = [*_named(one, everything, draft), *_made(one, draft)]
    for link in found:
        if link.kind not in (*SHOWN, *MASKS):
            where = (link.entry or one).where("conditioning_type")
            remedy = f"write {', '.join((*SHOWN, *MASKS))}"
            draft.complain(where, "nothing says what the set is for", remedy)
    for link in found:
        _followed(link, draft)
    shown = [link for link in found if link.kind in SHOWN]
    return _references(one, shown, draft) | _mask(one, found, draft)


def _named(one: Entry, everything: Sequence[Entry], draft: Draft) -> Iterator[Linked]:
    """Sets that `conditioning_data` lists, then those that name this one as their source."""
    told = one["conditioning_data"]
    ids = [told] if isinstance(told, str) else [str(each) for each in as_entries(told)]
    known = {each.id: each for each in everything if each.kind == "conditioning"}
    for id in ids:
        entry = known.get(id)
        if entry is None:
            there = f"known: {', '.join(known)}" if known else "there is none in this file"
            problem = f"names '{id}', which is no conditioning set here, or disabled"
            draft.complain(one.where("conditioning_data"), problem, there)
        else:
            yield Linked(_kind(entry), one, entry)
    for entry in known.values():
        if entry["source_dataset_id"] == one.id and entry.id not in ids:
            yield Linked(_kind(entry), one, entry)


def _followed(link: Linked, draft: Draft) -> None:
    """Tell of fields that say something else than those of the pictures they belong to."""
    if link.entry is None:
        return
    loose = link.kind in ("reference_loose", "controlnet")
    for key in SEEN if loose else (*SIZES, *SEEN):
        if link.entry.said(key) and link.entry[key] != link.target[key]:
            words = f"is as in {link.target.id}, to which its pictures belong"
            draft.note("nothing", link.entry.where(key), words)


def _kind(entry: Entry) -> str:
    told = entry["conditioning_type"]
    return told or ("reference_strict" if edits(entry.settings) else "")


def _made(one: Entry, draft: Draft) -> Iterator[Linked]:
    """References that `conditioning` makes of the set's own pictures."""
    told = one["conditioning"]
    for part in as_entries(told) or ([told] if told else []):
        section = as_section(part)
        kind = section.get("conditioning_type") or "reference_strict"
        if kind in MASKS:
            remedy = "make them yourself, as a set of masks"
            problem = "masks for the loss are not made of the pictures"
            draft.complain(one.where("conditioning"), problem, remedy)
        else:
            yield Linked(kind, one, made=section)


def _references(one: Entry, shown: list[Linked], draft: Draft) -> Made:
    if not shown or not _can_be_shown(one, shown, draft):
        return {}
    settings = one.settings
    sampling = _sampling(settings, len(shown), draft)
    if settings["model_flavour"] == "edit-v1" and sampling == "combined" and len(shown) > 1:
        words = f"edit-v1 is shown one picture: the others of {one.id} are left out"
        draft.note("nothing", "conditioning_multidataset_sampling", words)
        shown = shown[:1]
    made = _called_apart([_reference(link, len(shown), sampling, draft) for link in shown])
    several = {"reference_sampling": sampling} if len(made) > 1 else {}
    return {"references": made} | several


def _can_be_shown(one: Entry, shown: list[Linked], draft: Draft) -> bool:
    """Whether the model is shown pictures at all; it is told where not."""
    settings = one.settings
    if not edits(settings):
        family = " ".join(filter(None, (settings["model_family"], settings["model_flavour"])))
        problem = f"{family} is shown no pictures; ControlNets are not trained here"
        remedy = "choose a model_flavour that edits, such as kontext or edit-v2"
        where = one.where("conditioning_data" if one.said("conditioning_data") else "conditioning")
        draft.complain(where, problem, remedy)
        return False
    for link in shown if settings["model_family"] == "qwen_image" else ():
        if link.kind == "controlnet":
            place = (link.entry or one).where("conditioning_type")
            problem = "controlnet is nothing that Qwen-Image-Edit is trained with"
            draft.complain(place, problem, "write reference_strict or reference_loose")
    return True


def _called_apart(made: list[Made]) -> list[Made]:
    """References that are made in the same way need different names, too."""
    names = [each.get("id") for each in made]
    return [
        {**each, "id": f"{each['id']}-{number + 1}"} if each.get("id") in names[:number] else each
        for number, each in enumerate(made)
    ]


def _sampling(settings: Settings, count: int, draft: Draft) -> str:
    """All of them, or one of them each time: as told, and all for models of several pictures."""
    key = "conditioning_multidataset_sampling"
    plain = settings[key]
    several = settings["model_family"] == "qwen_image" and settings["model_flavour"] != "edit-v1"
    if count == 1 or not several:
        return plain
    if key not in settings.told:
        words = "combined: all references of a picture are shown; `random` shows one of them"
        draft.note("hint", key, words)
        return "combined"
    if plain == "random":
        draft.note("hint", key, "random: one reference of each picture is shown at a time")
    return plain


def _reference(link: Linked, count: int, sampling: str, draft: Draft) -> Made:
    made: Made = {}
    if link.entry is None:
        told = link.made or {}
        degrade = degradation(link.target, told, draft)
        made |= {"id": f"made-{degrade['kind']}", "degrade": degrade} if degrade else {}
        made |= {"at": "original"}
    else:
        made |= {"id": link.entry.name} | data_sources.source(link.entry, draft)
        made |= _loose(link.entry, link.target, draft) if link.kind != "reference_strict" else {}
    if _packed(link.target.settings):
        made["area"] = MEGAPIXEL
    return made | _said(link, count, sampling, draft)


def _packed(settings: Settings) -> bool:
    """Models of several references show each at a megapixel, unless the targets' size is asked."""
    asked = as_section(settings["model_kwargs"])
    several = settings["model_family"] == "qwen_image" and settings["model_flavour"] != "edit-v1"
    return several and not asked.get("match_target_res")


def _loose(entry: Entry, target: Entry, draft: Draft) -> Made:
    """A size of its own, where it is another than the target's."""
    made, theirs = (data_sizes.sized(one, Draft()) for one in (entry, target))
    data_sizes.sized(entry, draft)
    for each in (made, theirs):
        each["sizing"].pop("minimum_image_size", None)  # references are never left out for it
    if (made["resolution"], made["sizing"]) == (theirs["resolution"], theirs["sizing"]):
        return {"fit": "loose"}
    sizing = made["sizing"]
    side = made["resolution"]
    if sizing["resolution_type"] == "area":
        side = round(math.sqrt(side * 1e6))
        sizing = {**sizing, "resolution_type": "pixel_area"}
    return {"fit": "loose", "resolution": side, "sizing": sizing}


def _said(link: Linked, count: int, sampling: str, draft: Draft) -> Made:
    """Captions of its own, which take the place of the target's.

    Where a set says nothing of captions, SimpleTuner takes file names as soon as several sets
    take turns; `null` keeps the target's.
    """
    combined, where = count > 1 and sampling == "combined", link.target.where("conditioning")
    if link.entry is None:
        told = (link.made or {}).get("captions")
        texts = [told] if isinstance(told, str) else [str(each) for each in as_entries(told)]
        made: Made = {"captions": "prompt", "prompt": texts} if texts else {}
    else:
        where = link.entry.where("caption_strategy")
        made = _own(link.entry, turns=count > 1 and sampling == "random", draft=draft)
    if made and combined:
        problem = "references that are shown together cannot have captions of their own"
        remedy = "write null, or set conditioning_multidataset_sampling to random"
        draft.complain(where, problem, remedy)
        return {}
    if made and link.entry is not None:
        words = f"its captions take the place of those of {link.target.id}; null keeps those"
        draft.note("hint", where, words)
    return made


def _own(entry: Entry, *, turns: bool, draft: Draft) -> Made:
    """The captions of a conditioning set, if it has any that count."""
    told = "caption_strategy" in entry.fields
    if told and entry["caption_strategy"] is None:
        return {}
    if not turns and (not told or entry["caption_strategy"] == "huggingface"):
        return {}
    made = data_captions.source(entry, data_captions.strategy(entry), draft)
    return {name: value for name, value in made.items() if value is not None}


def _mask(one: Entry, found: list[Linked], draft: Draft) -> Made:
    masks = [link.entry for link in found if link.kind in MASKS and link.entry is not None]
    if not masks:
        return {}
    for more in masks[1:]:
        problem = f"is a second set of masks for {one.id}, beside {masks[0].id}"
        draft.complain(more.where("conditioning_type"), problem, "join them in one folder")
    made = data_sources.source(masks[0], draft)
    if masks[0]["conditioning_type"] == "segmentation":
        made |= {"binary": True, "probability": one.settings["masked_loss_probability"]}
    return {"mask": made} if made else {}
