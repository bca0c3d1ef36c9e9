"""At which size a set is trained: its fields, and what config.json says for all sets."""

import math
from typing import Any

from scumble.dialects.notes import Draft
from scumble.dialects.simpletuner.entry import Entry
from scumble.spec.document import as_entries, as_section, said

STEPS = {"qwen_image": 32, "deepfloyd": 32}
"""Sides are multiples of this in these families, whatever `aspect_bucket_alignment` says."""

LIMITS = ("minimum_image_size", "maximum_image_size", "target_downsample_size")
MOST_MEGAPIXELS = 20
MOST_FOR_ALL = 5
LEAST_PIXELS = 512
STYLES = {"center": "centre", "face": "centre"}


def sized(one: Entry, draft: Draft) -> dict[str, Any]:
    """`resolution`, `sizing` and `variants` of a set."""
    sizing: dict[str, Any] = {
        "kind": "aspect",
        "resolution_type": kind(one),
        "crop": one["crop"],
        "crop_style": STYLES.get(one["crop_style"], one["crop_style"]),
        "step": step(one),
    }
    if one["crop_style"] == "face":
        words = "faces are not looked for: pictures are cut at their centre"
        draft.note("not yet", f"{one.file}: crop_style", words)
    sizing |= _limits(one, draft) | _shapes(one, draft)
    return {"resolution": resolution(one, draft), "sizing": sizing} | _variants(one, draft)


def kind(one: Entry) -> str:
    """What the numbers of a set count."""
    return one["resolution_type"] or one.settings["resolution_type"]


def step(one: Entry) -> int:
    """What sides are multiples of."""
    settings = one.settings
    forced = STEPS.get(settings["model_family"] or "")
    if forced and not settings["i_know_what_i_am_doing"]:
        return forced
    return int(settings["aspect_bucket_alignment"])


def resolution(one: Entry, draft: Draft) -> int | float:
    """Pixels, or megapixels where it is an area."""
    own = one.said("resolution")
    value = one["resolution"] if own else one.settings["resolution"]
    where = one.where("resolution") if own else "resolution"
    if isinstance(value, bool) or not isinstance(value, int | float):
        if own:
            return 1024  # told where the fields are checked
        remedy = "write it without quotes, such as 1024"
        draft.complain(where, f"must be a number, not {said(value)}", remedy)
        return 1024
    if value <= 0:
        draft.complain(where, f"{value} is no size", "write it such as 1024")
        return 1024
    if kind(one) == "area":
        if value >= MOST_MEGAPIXELS:
            remedy = 'write about 1, or set "resolution_type": "pixel_area"'
            draft.complain(where, f"{value} would be megapixels, for that is `area`", remedy)
        return float(value)
    if not float(value).is_integer():
        remedy = 'write it such as 1024, or set "resolution_type": "area" for megapixels'
        draft.complain(where, f"must be a whole number of pixels, not {value}", remedy)
        return 1024
    return int(value)


def _limits(one: Entry, draft: Draft) -> dict[str, float]:
    """The smallest size, and what large pictures are brought to before the cut."""
    found = {name: value for name in LIMITS if (value := _limit(one, name, draft)) is not None}
    if "maximum_image_size" in found and "target_downsample_size" not in found:
        where = one.where("maximum_image_size") if one.said("maximum_image_size") else LIMITS[1]
        remedy = "say what they are brought to by target_downsample_size"
        draft.complain(where, "says nothing of what becomes of larger pictures", remedy)
    both = LIMITS[1:]
    idle = not one["crop"] and any(name in found for name in both)
    if idle and any(one.said(name) for name in both):
        words = "has no effect without `crop`: pictures are brought to the trained size at once"
        draft.note("nothing", f"{one.file}: maximum_image_size", words)
    if idle or not all(name in found for name in both):
        found = {name: value for name, value in found.items() if name == LIMITS[0]}
    return found


def _limit(one: Entry, name: str, draft: Draft) -> int | float | None:
    """A limit in the unit of the set; those of config.json are megapixels for areas."""
    area = kind(one) != "pixel"
    value = one[name]
    if not isinstance(value, int | float):
        return _for_all(one, name, draft) if value is None else None
    amount = value**2 / 1e6 if kind(one) == "pixel_area" else value
    large = area and amount >= MOST_MEGAPIXELS
    small = not area and value < LEAST_PIXELS and one.settings["model_family"] != "deepfloyd"
    if large or small:
        unit = "megapixels" if area else "pixels"
        many = "many" if large else "few"
        problem = f"{amount:g} {unit} are too {many}: perhaps a slip of the pen"
        remedy = "resolution_type says what it counts: pixel_area and pixel pixels, area megapixels"
        draft.complain(one.where(name), problem, remedy)
    return float(value)


def _for_all(one: Entry, name: str, draft: Draft) -> int | float | None:
    value = one.settings[name]
    if value is None or kind(one) == "pixel":
        return None if value is None else float(value)
    if value > MOST_FOR_ALL:
        problem = f"{value:g} would be megapixels: for all sets it is never pixels of `pixel_area`"
        draft.complain(name, problem, "write it in the data sets themselves")
    return math.sqrt(value * 1e6) if kind(one) == "pixel_area" else float(value)


def _shapes(one: Entry, draft: Draft) -> dict[str, Any]:
    """What pictures are cut to."""
    aspect = one["crop_aspect"]
    listed = aspect in ("random", "closest")
    buckets = as_entries(one["crop_aspect_buckets"])
    if listed and not buckets:
        remedy = 'add "crop_aspect_buckets": [1.0, 1.5]'
        draft.complain(one.where("crop_aspect"), f"{aspect} needs a list of shapes", remedy)
    if not one["crop"]:
        for name in ("crop_aspect", "crop_aspect_buckets"):
            if one.said(name) and one[name] != "square":
                words = "has no effect without `crop`: pictures keep their own shape"
                draft.note("nothing", f"{one.file}: {name}", words)
        return {}
    made: dict[str, Any] = {"crop_aspect": aspect}
    limit = one["max_upscale_threshold"]
    if not listed:
        if one.said("max_upscale_threshold") or one.said("crop_aspect_buckets"):
            words = "go with `crop_aspect` random or closest alone"
            names = f"{one.file}: crop_aspect_buckets, max_upscale_threshold"
            draft.note("nothing", names, words)
        return made
    if limit is not None:
        made["max_upscale_threshold"] = limit
    return made | _buckets(one, buckets, draft)


def _buckets(one: Entry, buckets: list[Any], draft: Draft) -> dict[str, Any]:
    """Listed shapes: numbers, or objects with a weight each."""
    where, weighted = one.where("crop_aspect_buckets"), [as_section(each) for each in buckets]
    shapes = [_shape(each) for each in buckets]
    if any(shape is None for shape in shapes):
        remedy = 'write 1.5, or {"aspect": 1.5, "weight": 0.5}'
        draft.complain(where, "a shape is a number, width over height", remedy)
        return {}
    made: dict[str, Any] = {"crop_aspect_buckets": shapes}
    if any(weighted):
        weights = [each.get("weight", 0) for each in weighted]
        if not all(isinstance(each, int | float) for each in weights) or not math.isclose(
            math.fsum(weights), 1.0, abs_tol=1e-3
        ):
            draft.complain(where, "the weights do not add up to 1", "change some of them")
        elif one["crop_aspect"] == "random":
            made["crop_aspect_weights"] = weights
    return made


def _shape(bucket: Any) -> float | None:
    table = as_section(bucket)
    value: Any = table.get("aspect", table.get("aspect_bucket")) if table else bucket
    match value:
        case bool():
            return None
        case int() | float():
            return float(value) if value > 0 else None
        case _:
            return None


def _variants(one: Entry, draft: Draft) -> dict[str, Any]:
    """Whether each epoch has cuts of its own."""
    drawn = one["crop"] and one["crop_aspect"] == "random"
    if drawn and not one.settings["aspect_bucket_disable_rebuild"]:
        return {"variants": "epoch"}
    if not one["vae_cache_clear_each_epoch"]:
        return {}
    if one["crop_style"] == "random" or one["conditioning"]:
        return {"variants": "epoch"}
    words = "has no effect: nothing of these pictures is drawn at random"
    draft.note("nothing", one.where("vae_cache_clear_each_epoch"), words)
    return {}
