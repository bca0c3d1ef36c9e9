"""`conditioning`: references that are made of the pictures themselves."""

from collections.abc import Mapping
from typing import Any

from scumble.dialects.notes import Draft
from scumble.dialects.simpletuner.entry import Entry
from scumble.spec.document import as_section

KINDS = {
    **dict.fromkeys(("superresolution", "super_resolution", "lowres"), "superresolution"),
    **dict.fromkeys(("jpeg_artifacts", "jpeg", "compression"), "jpeg_artifacts"),
    **dict.fromkeys(("canny", "edges"), "canny"),
    **dict.fromkeys(("random_masks", "masks", "inpainting"), "random_masks"),
}
"""What there is here, by all its names."""

OTHERS = {
    **dict.fromkeys(("depth", "depth_map", "depth_midas"), "maps of depth"),
    **dict.fromkeys(("segmentation", "semantic_segmentation"), "maps of what is where"),
    **dict.fromkeys(("optical_flow", "sdr", "i2v_first_frame"), "references of other families"),
}

AS_THEY_ARE = {
    "superresolution": (
        *("blur_radius", "blur_type", "add_noise", "noise_level", "jpeg_quality"),
        "downscale_factor",
    ),
    "jpeg_artifacts": (
        *("quality_mode", "quality", "quality_range", "quality_list", "compression_rounds"),
        *("round_quality_decay", "subsampling", "pre_blur", "pre_blur_radius", "add_noise"),
        *("noise_level", "enhance_blocks", "block_noise_level"),
    ),
    "canny": ("low_threshold", "high_threshold"),
    "random_masks": ("mask_types", "mask_type_weights", "edge_feather", "mask_value"),
}
"""Parameters that are called alike on both sides."""

PAIRS = {
    "coverage": ("min_coverage", "max_coverage", (0.1, 0.5)),
    "counts": ("min_masks", "max_masks", (1, 5)),
    "rectangle_size": ("rect_min_size", "rect_max_size", (0.1, 0.4)),
    "circle_size": ("circle_min_radius", "circle_max_radius", (0.05, 0.2)),
    "brush_width": ("brush_min_width", "brush_max_width", (5, 40)),
    "brush_length": ("brush_min_length", "brush_max_length", (0.1, 0.5)),
    "irregular_points": ("irregular_min_points", "irregular_max_points", (5, 20)),
}
"""Of masks: two parameters there are one span here."""

RENAMED = {"output_mode": "output", "invert_mask": "invert"}
SUBSAMPLING = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
IDLE = {
    "optimize": "changes the size of a file that is never written, not the picture",
    "progressive": "changes the size of a file that is never written, not the picture",
    "instance_data_dir": "the references are made as they are needed, and not written down; "
    "`write_to` of a job keeps them",
    "cache_dir_vae": "latents are kept by what they are made of, in the run's own cache",
}
ABOUT = frozenset({"type", "conditioning_type", "captions", "params"})
"""Fields that say something else than how the picture is spoilt."""


def degradation(one: Entry, told: Mapping[str, Any], draft: Draft) -> dict[str, Any] | None:
    """The `degrade` of a reference; None where that is wrong, which is told."""
    where, named = one.where("conditioning"), str(told.get("type"))
    kind = KINDS.get(named)
    if kind is None:
        known = f"known: {', '.join(dict.fromkeys(KINDS.values()))}"
        problem = f"{OTHERS[named]} are not made here" if named in OTHERS else f"no '{named}' here"
        remedy = f"make them yourself, as a set of its own; {known}" if named in OTHERS else known
        draft.complain(where, problem, remedy)
        return None
    asked = {**told, **as_section(told.get("params"))}
    made: dict[str, Any] = {"kind": kind}
    for name in _known(kind):
        if asked.get(name) is not None:
            made[RENAMED.get(name, name)] = asked[name]
    if isinstance(made.get("subsampling"), int):
        made["subsampling"] = SUBSAMPLING.get(made["subsampling"], made["subsampling"])
    if kind == "random_masks":
        made |= _spans(asked) | _edges(asked)
    _strangers(one, kind, asked, draft)
    return made


def _known(kind: str) -> tuple[str, ...]:
    return (*AS_THEY_ARE[kind], *(RENAMED if kind == "random_masks" else ()))


def _spans(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {
        ours: [asked.get(least, spans[0]), asked.get(most, spans[1])]
        for ours, (least, most, spans) in PAIRS.items()
        if least in asked or most in asked
    }


def _edges(asked: Mapping[str, Any]) -> dict[str, Any]:
    if asked.get("edge_blur") is False:
        return {"edge_blur": 0.0}
    return {"edge_blur": asked["edge_blur_radius"]} if "edge_blur_radius" in asked else {}


def _strangers(one: Entry, kind: str, asked: Mapping[str, Any], draft: Draft) -> None:
    masks = {name for least, most, _ in PAIRS.values() for name in (least, most)}
    more = masks | {"edge_blur", "edge_blur_radius"} if kind == "random_masks" else set[str]()
    known = {*_known(kind), *more}
    for name in asked.keys() - known - ABOUT:
        if name in IDLE:
            draft.note("nothing", f"{one.file}: conditioning.{name}", IDLE[name])
        else:
            problem = f"{kind} has no parameter '{name}'"
            remedy = f"known: {', '.join(sorted(known))}"
            draft.complain(one.where("conditioning"), problem, remedy)
