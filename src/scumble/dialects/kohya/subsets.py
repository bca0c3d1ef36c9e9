"""One subset of a dataset file: its values by inheritance, and the pictures it stands for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scumble.dialects.kohya.dataset_keys import BY_NAME, OPTION_OF
from scumble.dialects.kohya.settings import Settings
from scumble.dialects.kohya.table import OPTIONS
from scumble.dialects.notes import Draft

INTERPOLATIONS = {
    **{name: name for name in ("lanczos", "bicubic", "bilinear", "nearest", "area")},
    "linear": "bilinear",
    "cubic": "bicubic",
    "box": "area",
}
DEFAULT_INTERPOLATION = "bicubic"
"""What the guide says; the program at 48d368fa takes area or lanczos, which is `auto` here."""


@dataclass(frozen=True)
class Subset:
    """Where a value is looked for, from the nearest place to the furthest."""

    tables: tuple[Mapping[str, Any], ...]
    settings: Settings
    where: str
    """What messages call it."""

    measured: bool = False
    """It is one of `[validation]`: nothing of it is trained on."""

    def __getitem__(self, key: str) -> Any:
        """The first value that is given: here, in the dataset, under [general], by an option."""
        for table in self.tables:
            if key in table:
                return table[key]
        option = OPTION_OF.get(key, key)
        own = key in ("is_reg", "conditioning_data_dir")
        return self.settings[option] if option in OPTIONS and not own else BY_NAME[key].default

    def said(self, key: str) -> bool:
        """Whether a table itself gives the value."""
        return any(key in table for table in self.tables)


def native(one: Subset, draft: Draft) -> dict[str, Any]:
    """The set of pictures, without its id."""
    _told(one, draft)
    random = one["random_crop"] or one["color_aug"]
    edge = one["resolution"]
    made = {
        "subfolders": False,
        "resolution": edge,
        "sizing": _sizing(one),
        "interpolation": _interpolation(one, draft),
        "flip": one["flip_aug"],
        "colour": one["color_aug"],
        "batch_size": one["batch_size"],
        "repeats": 1 if one.measured else one["num_repeats"],
        "caption_ending": ending(one),
        "caption_dropout": float(one["caption_dropout_rate"]),
        "caption_edits": _edits(one),
        "adopt": "sd-scripts" if one.settings["cache_latents_to_disk"] else "none",
    }
    if random:
        made["variants"] = "fresh"
    if one["class_tokens"] is not None:
        made["prompt"] = one["class_tokens"]
    return made | _purpose(one) | _mask(one, draft) | _folder(one, draft)


def ending(one: Subset) -> str:
    """How its caption files end; the dot is added where it is missing."""
    text = one["caption_extension"]
    misspelt = one.settings["caption_extention"]  # the option that sd-scripts once had
    if misspelt is not None and not one.said("caption_extension"):
        text = misspelt
    return text if text.startswith(".") else f".{text}"


def _sizing(one: Subset) -> dict[str, Any]:
    made: dict[str, Any] = {"kind": "buckets", "enable": one["enable_bucket"]}
    made["random_crop"] = one["random_crop"]
    if one["enable_bucket"]:
        step = one["bucket_reso_steps"]
        made |= {
            "minimum": one["min_bucket_reso"] // step * step or step,
            "maximum": -(-one["max_bucket_reso"] // step) * step,
            "step": step,
            "no_upscale": one["bucket_no_upscale"],
        }
    return made


def _interpolation(one: Subset, draft: Draft) -> str:
    ours = one["interpolation_type"] if one.said("interpolation_type") else None
    name = ours or one["resize_interpolation"] or DEFAULT_INTERPOLATION
    if name not in INTERPOLATIONS:
        known = ", ".join(INTERPOLATIONS)
        draft.complain(one.where, f"'{name}' is no interpolation", f"known: {known}")
    return INTERPOLATIONS.get(name, DEFAULT_INTERPOLATION)


def _edits(one: Subset) -> dict[str, Any]:
    wildcards = one["enable_wildcard"]
    return {
        "prefix": one["caption_prefix"],
        "suffix": one["caption_suffix"],
        "lines": "choose" if wildcards else "first",
        "wildcards": wildcards,
        "dropout_every_epochs": one["caption_dropout_every_n_epochs"],
        "shuffle": one["shuffle_caption"],
        "keep_tokens": one["keep_tokens"],
        "keep_tokens_separator": one["keep_tokens_separator"],
        "separator": one["caption_separator"],
        "secondary_separator": one["secondary_separator"],
        "tag_dropout": float(one["caption_tag_dropout_rate"]),
        "warmup_minimum": one["token_warmup_min"],
        "warmup_steps": float(one["token_warmup_step"]),
    }


def _purpose(one: Subset) -> dict[str, Any]:
    """Whether it is trained on, measured, or holds the model back."""
    if one.measured:
        return {"held_out": 1.0}
    if one["is_reg"]:
        return {"regularisation": True, "loss_weight": float(one.settings["prior_loss_weight"])}
    split = float(one["validation_split"])
    return {"held_out": split, "held_out_seed": one["validation_seed"]} if split else {}


def _mask(one: Subset, draft: Draft) -> dict[str, Any]:
    folder = one["conditioning_data_dir"]
    if folder is not None and not one.settings["masked_loss"]:
        remedy = "add --masked_loss, or leave conditioning_data_dir out"
        draft.complain(one.where, "has masks that --masked_loss does not ask for", remedy)
    if folder is not None:
        return {"mask": {"folder": _there(one, folder, "conditioning_data_dir", draft)}}
    return {"mask": {"alpha": True, "missing": "whole"}} if one["alpha_mask"] else {}


def _folder(one: Subset, draft: Draft) -> dict[str, Any]:
    folder = one["image_dir"] if one.said("image_dir") else None
    if one.said("metadata_file"):
        return {}
    return {} if folder is None else {"folder": _there(one, folder, "image_dir", draft)}


def _there(one: Subset, folder: str, key: str, draft: Draft) -> str:
    place: Path = one.settings.path(folder)
    if not place.is_dir():
        problem = f"there is no folder {place}" if not place.exists() else f"{place} is no folder"
        draft.complain(f"{one.where}.{key}", problem, "mend the path")
    return folder


def _told(one: Subset, draft: Draft) -> None:
    """What of the subset has no effect here."""
    attributes = one["custom_attributes"] if one.said("custom_attributes") else {}
    if attributes.get("diff_output_preservation"):
        words = "diff_output_preservation is not there yet: such pictures are trained as they are"
        draft.note("not yet", f"{one.where}.custom_attributes", words)
    if one.said("face_crop_aug_range"):
        words = "pictures are cut without regard to faces"
        draft.note("not yet", f"{one.where}.face_crop_aug_range", words)
    for key in ("network_multiplier", "cache_info"):
        if one.said(key):
            words = "sd-scripts reads it and does nothing with it"
            reason = words if key == "network_multiplier" else "every folder is looked at anew"
            draft.note("nothing", f"{one.where}.{key}", reason)
