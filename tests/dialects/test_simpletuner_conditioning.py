"""Conditioning sets of SimpleTuner: references, masks, what is made of the pictures themselves, and
which sets validation takes its pairs from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from scumble.dialects.simpletuner import degrading
from scumble.spec.degradation import JpegArtifacts, RandomMasks, Superresolution
from scumble.spec.sizing import AspectSizing
from scumble.spec.sources import HubSource
from tests.dialects.backends_desk import (
    LORA,
    QWEN,
    Entry,
    entry,
    notes,
    problems,
    read,
    sets,
    shown,
)

TEXTFILE = {"caption_strategy": "textfile"}
KONTEXT: dict[str, Any] = {**LORA, "model_flavour": "kontext"}
AFTER = entry("after", conditioning_data=["before"], **TEXTFILE)
BOTH = entry("after", conditioning_data=["before", "style"], **TEXTFILE)
V1: dict[str, Any] = {**QWEN, "model_flavour": "edit-v1"}
V2: dict[str, Any] = {**QWEN, "model_flavour": "edit-v2"}
MATCHED = {"model_kwargs": {"match_target_res": True}}


def test_the_kontext_guide_needs_no_dataset_type(tmp_path: Path) -> None:
    (one,) = sets(tmp_path, [AFTER, shown()], **KONTEXT)
    (reference,) = one.references
    assert (reference.id, reference.folder, reference.fit) == ("before", "before", "strict")
    assert reference.captions is None and one.unpaired == "error"
    assert reference.area is None and one.captions == "textfile"


def test_a_strict_reference_follows_its_target_and_says_so(tmp_path: Path) -> None:
    draft = read(tmp_path, [AFTER, shown(resolution=256, crop=True, repeats=0)], **KONTEXT)
    assert [len(notes(draft, f"before.{key}")) for key in ("resolution", "crop", "repeats")] == [
        *(1, 1, 0)
    ]
    loose = shown(conditioning_type="reference_loose", resolution=256, repeats=3)
    draft = read(tmp_path, [AFTER, loose], **KONTEXT)
    assert not notes(draft, "before.resolution") and notes(draft, "before.repeats")


def test_the_first_of_the_qwen_guides_has_one_reference_and_its_cache(tmp_path: Path) -> None:
    target = {**AFTER, "conditioning_image_embeds": "embeds"}
    reference = entry("before", dataset_type="conditioning", conditioning_type="reference_strict")
    embeds = {"id": "embeds", "dataset_type": "conditioning_image_embeds", "cache_dir": "c"}
    draft = read(tmp_path, [target, reference, embeds], **V1)
    assert draft.problems == [] and notes(draft, "conditioning_image_embeds")
    (one,) = draft.tree["data"]
    assert one["references"] == [{"id": "before", "folder": "before"}]
    without = problems(tmp_path, [target, reference], **V1)
    assert "names 'embeds', which is no entry of conditioning_image_embeds" in without[0]


def test_the_second_shows_all_references_at_a_megapixel(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    target = entry("after", conditioning_data=names, **TEXTFILE)
    told = [
        target,
        *(entry(name, conditioning_type="reference_strict") for name in names),
    ]
    (one,) = sets(tmp_path, told, **V2)
    assert [each.id for each in one.references] == names
    assert one.reference_sampling == "combined"
    assert [each.area for each in one.references] == [1024] * 3
    assert all(each.captions is None for each in one.references), "the target's captions stay"
    small = sets(tmp_path, told, **V2, **MATCHED)[0]
    assert [each.area for each in small.references] == [None] * 3


@pytest.mark.parametrize(
    ("keys", "sampling"),
    [
        (KONTEXT, "random"),
        ({**KONTEXT, "conditioning_multidataset_sampling": "combined"}, "combined"),
        ({**V2, "conditioning_multidataset_sampling": "random"}, "random"),
        (V2, "combined"),
    ],
    ids=str,
)
def test_several_references_take_turns_or_stand_together(
    keys: dict[str, Any], sampling: str, tmp_path: Path
) -> None:
    (one,) = sets(tmp_path, [BOTH, shown(), shown("style")], **keys)
    assert one.reference_sampling == sampling and len(one.references) == 2


def test_the_first_edit_model_is_shown_one_picture(tmp_path: Path) -> None:
    told = [BOTH, shown(), shown("style")]
    draft = read(tmp_path, told, **V1, conditioning_multidataset_sampling="combined")
    assert [one["id"] for one in draft.tree["data"][0]["references"]] == ["before"]
    assert "shown one picture" in notes(draft, "conditioning_multidataset_sampling")[0]
    assert len(sets(tmp_path, told, **V1)[0].references) == 2, "they take turns"


def test_a_loose_reference_has_a_size_of_its_own(tmp_path: Path) -> None:
    loose = shown(conditioning_type="reference_loose", resolution=0.25, resolution_type="area")
    (one,) = sets(tmp_path, [AFTER, loose], **KONTEXT)
    (reference,) = one.references
    assert (reference.fit, reference.resolution) == ("loose", 500)
    assert isinstance(reference.sizing, AspectSizing)
    assert reference.sizing.resolution_type == "pixel_area"
    (one,) = sets(
        tmp_path, [AFTER, {**loose, "resolution": 512, "resolution_type": None}], **KONTEXT
    )
    assert one.references[0].resolution is None and one.references[0].fit == "loose"


def test_captions_of_references(tmp_path: Path) -> None:
    def said(told: Entry, several: bool = False, **keys: Any) -> tuple[Any, Any]:
        more = [shown("style")] if several else []
        (one,) = sets(tmp_path, [BOTH if several else AFTER, told, *more], **{**KONTEXT, **keys})
        return one.references[0].captions, one.references[0].prompt

    omitted = {name: value for name, value in shown().items() if name != "caption_strategy"}
    prompt = shown(caption_strategy="instanceprompt", instance_prompt="deblur")
    assert said(shown()) == (None, None)
    assert said(omitted) == (None, None), "one set alone: the target's"
    assert said(omitted, several=True) == ("filename", None), "as SimpleTuner: file names"
    assert said(omitted, several=True, caption_strategy="textfile") == ("textfile", None)
    assert said(prompt) == ("prompt", ("deblur",))
    draft = read(tmp_path, [AFTER, prompt], **KONTEXT)
    assert "take the place of those of after" in notes(draft, "before.caption_strategy")[0]
    combined = {**KONTEXT, "conditioning_multidataset_sampling": "combined"}
    (wrong,) = problems(tmp_path, [BOTH, prompt, shown("style")], **combined)
    assert "shown together cannot have captions of their own; write null" in wrong
    assert problems(tmp_path, [BOTH, omitted, shown("style")], **combined) == []


def test_halves_of_one_picture_are_target_and_reference(tmp_path: Path) -> None:
    def half(id: str, number: int, **fields: Any) -> Entry:
        cut = {"enabled": True, "image_count": 2, "select_index": number}
        column = f"description.description_{number}"
        return {
            "id": id,
            "type": "huggingface",
            "dataset_name": "someone/pairs",
            "caption_strategy": "huggingface",
            "metadata_backend": "huggingface",
            "huggingface": {"caption_column": column, "composite_image_config": cut},
            **fields,
        }

    right = {
        "dataset_type": "conditioning",
        "conditioning_type": "reference_strict",
        "source_dataset_id": "left",
    }
    for listed in ({"conditioning_data": ["right"]}, {}):
        told = [half("left", 0, **listed), half("right", 1, **right)]
        (one,) = sets(tmp_path, told, **KONTEXT)
        (reference,) = one.references
        assert isinstance(one.source, HubSource) and isinstance(reference.source, HubSource)
        assert [(each.slices, each.slice) for each in (one.source, reference.source)] == [
            (2, 0),
            (2, 1),
        ]
        assert one.source.caption_column == "description.description_0"
        assert reference.captions is None


def test_masks_and_maps_of_what_is_where(tmp_path: Path) -> None:
    target = entry(conditioning_data="masks")
    (one,) = sets(tmp_path, [target, entry("masks", conditioning_type="mask")])
    assert one.mask is not None and one.mask.folder == "masks"
    assert (one.mask.binary, one.mask.probability, one.mask.normalise) == (False, 1, False)
    told = [target, entry("masks", conditioning_type="segmentation")]
    (one,) = sets(tmp_path, told, masked_loss_probability=0.25)
    assert one.mask is not None and (one.mask.binary, one.mask.probability) == (True, 0.25)
    two = {**target, "conditioning_data": ["masks", "more"]}
    more = entry("more", conditioning_type="mask")
    assert "second set of masks" in problems(tmp_path, [two, told[1], more])[0]
    mixed = {**target, "conditioning_data": ["masks", "before"], **TEXTFILE}
    (one,) = sets(tmp_path, [mixed, told[1], shown()], **KONTEXT)
    assert one.mask is not None and len(one.references) == 1


def test_references_that_are_made_of_the_pictures(tmp_path: Path) -> None:
    spoilt = {
        "type": "superresolution",
        "blur_radius": 3.0,
        "noise_level": 0.02,
        "captions": ["deblur", "sharpen image"],
    }
    (one,) = sets(tmp_path, [entry(conditioning=[spoilt], **TEXTFILE)], **KONTEXT)
    (reference,) = one.references
    assert isinstance(reference.degrade, Superresolution)
    assert (reference.degrade.blur_radius, reference.at, reference.fit) == (
        3.0,
        "original",
        "strict",
    )
    assert (reference.captions, reference.prompt) == ("prompt", ("deblur", "sharpen image"))
    silent = entry(conditioning={**spoilt, "captions": False}, **TEXTFILE)
    assert sets(tmp_path, [silent], **KONTEXT)[0].references[0].captions is None
    worse = {"type": "jpeg", "params": {"quality_mode": "range", "quality_range": [10, 30]}}
    both = entry(conditioning=[spoilt, worse])
    (one,) = sets(tmp_path, [both], **KONTEXT)
    assert one.reference_sampling == "random" and len(one.references) == 2
    assert isinstance(one.references[1].degrade, JpegArtifacts)
    assert one.references[1].degrade.quality_range == (10, 30), "nested parameters count"
    (one,) = sets(tmp_path, [entry(conditioning=[worse, worse])], **KONTEXT)
    assert [each.id for each in one.references] == ["made-jpeg_artifacts", "made-jpeg_artifacts-2"]
    combined = {**KONTEXT, "conditioning_multidataset_sampling": "combined"}
    assert "captions of their own" in problems(tmp_path, [both], **combined)[0]


def test_parameters_of_masks_go_by_two_names_there_and_one_here(tmp_path: Path) -> None:
    told = {
        "type": "inpainting",
        "min_coverage": 0.2,
        "max_masks": 3,
        "brush_min_width": 7,
        "edge_blur": False,
        "output_mode": "masked_image",
        "invert_mask": True,
    }
    (one,) = sets(tmp_path, [entry(conditioning=told, **TEXTFILE)], **KONTEXT)
    degrade = one.references[0].degrade
    assert isinstance(degrade, RandomMasks)
    assert (degrade.coverage, degrade.counts, degrade.brush_width) == ((0.2, 0.5), (1, 3), (7, 40))
    assert (degrade.edge_blur, degrade.output, degrade.invert) == (0, "masked_image", True)


def test_every_generator_has_all_parameters_of_ours_under_some_name() -> None:
    ours = {"superresolution": Superresolution, "jpeg_artifacts": JpegArtifacts}
    for kind, spec in ours.items():
        assert set(degrading.AS_THEY_ARE[kind]) == set(spec.model_fields) - {"kind"}
    masks = {*degrading.AS_THEY_ARE["random_masks"], *degrading.PAIRS, *degrading.RENAMED.values()}
    assert masks | {"edge_blur"} == set(RandomMasks.model_fields) - {"kind"}


def test_a_named_set_is_a_split_for_validation_and_not_trained_on(tmp_path: Path) -> None:
    told = [
        entry("val", conditioning_data="val-before", **TEXTFILE),
        shown("val-before"),
        AFTER,
        shown(),
    ]
    draft = read(tmp_path, told, **KONTEXT, eval_dataset_id="val")
    val, after = draft.tree["data"]
    assert (val["held_out"], "held_out" in after) == (1.0, False)
    assert draft.tree["validation"]["pairs"]["dataset"] == "val"
    assert "not trained on" in notes(draft, "eval_dataset_id")[0]
    alone = read(tmp_path, told[2:], **KONTEXT, eval_dataset_id="after")
    assert alone.tree["data"][0]["held_out"] == 0.1, "something must be left to train on"
    assert "a tenth" in notes(alone, "eval_dataset_id")[0]
    unset = read(tmp_path, told, **KONTEXT)
    assert "no pairs are kept" in notes(unset, "eval_dataset_id")[0]
    plain = read(tmp_path, [entry(), entry("val")], **LORA, eval_dataset_id="val")
    assert not plain.tree["data"][1].get("held_out")
    assert "only models that edit" in notes(plain, "eval_dataset_id")[0]
    (wrong,) = problems(tmp_path, told, **KONTEXT, eval_dataset_id="vla")
    assert "'vla' is no set of pictures; known: val, after" in wrong


WRONG: list[tuple[str, list[Entry], dict[str, Any], str]] = [
    ("no reference", [entry()], KONTEXT, "flux kontext needs references, and no set has any; add"),
    ("disabled", [AFTER, shown(disabled=True)], KONTEXT, "no conditioning set here, or disabled"),
    ("no editor", [AFTER, shown()], LORA, "ControlNets are not trained here; choose"),
    (
        "no editor, made",
        [entry(conditioning={"type": "canny"})],
        LORA,
        "flux dev is shown no pictures",
    ),
    (
        "controlnet",
        [AFTER, shown(conditioning_type="controlnet")],
        V1,
        "controlnet is nothing that Qwen-Image-Edit is trained with",
    ),
    (
        "no type",
        [entry(conditioning_data="m"), entry("m", dataset_type="conditioning")],
        LORA,
        "nothing says what the set is for",
    ),
    ("depth", [entry(conditioning={"type": "depth_midas"})], KONTEXT, "maps of depth are not made"),
    ("unknown", [entry(conditioning={"type": "blurr"})], KONTEXT, "no 'blurr' here; known: super"),
    (
        "parameter",
        [entry(conditioning={"type": "canny", "low": 3})],
        KONTEXT,
        "canny has no parameter 'low'; known: high_threshold",
    ),
    (
        "made masks",
        [entry(conditioning={"type": "masks", "conditioning_type": "mask"})],
        KONTEXT,
        "masks for the loss are not made of the pictures",
    ),
]


@pytest.mark.parametrize(
    ("told", "keys", "said"), [one[1:] for one in WRONG], ids=[one[0] for one in WRONG]
)
def test_what_is_wrong_is_said(
    told: list[Entry], keys: dict[str, Any], said: str, tmp_path: Path
) -> None:
    found = problems(tmp_path, told, **keys)
    assert any(re.search(re.escape(said), one) for one in found), found


def test_kontext_takes_a_controlnet_set_as_its_reference(tmp_path: Path) -> None:
    told = [AFTER, shown(conditioning_type="controlnet")]
    assert sets(tmp_path, told, **KONTEXT)[0].references[0].fit == "loose"
    made = entry(conditioning={"type": "canny", "conditioning_type": "controlnet"}, **TEXTFILE)
    assert sets(tmp_path, [made], **KONTEXT)[0].references[0].degrade is not None


def test_a_conditioning_set_that_nobody_asks_for_is_told(tmp_path: Path) -> None:
    draft = read(tmp_path, [entry(), entry("masks", conditioning_type="mask")])
    assert "no set names it" in notes(draft, "masks")[0]
    assert draft.tree["data"][0].get("mask") is None
