"""Data files of SimpleTuner: sizes, captions, mixing, sources, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scumble.dialects.simpletuner import backends
from scumble.dialects.simpletuner.entry_keys import FIELDS
from scumble.dialects.simpletuner.settings import Settings
from scumble.spec.sizing import AspectSizing
from scumble.spec.sources import HubSource, S3Source, TableSource
from tests.dialects.backends_desk import FILE, Entry, entry, notes, problems, read, sets

TEXTS: Entry = {"id": "texts", "type": "local", "dataset_type": "text_embeds", "default": True}
AWS = {
    "type": "aws",
    "aws_bucket_name": "pictures",
    "aws_region_name": None,
    "aws_endpoint_url": "http://127.0.0.1:9000",
    "aws_access_key_id": "my-key",
    "aws_secret_access_key": "my-secret",
}
HUB = {"type": "huggingface", "dataset_name": "someone/pictures"}
CSV = {
    "type": "csv",
    "caption_strategy": "csv",
    "csv_file": "t.csv",
    "csv_url_column": "url",
    "csv_caption_column": "text",
    "csv_cache_dir": "c",
}


def sizing(desk: Path, **fields: Any) -> AspectSizing:
    (one,) = sets(desk, [entry(**fields)])
    assert isinstance(one.sizing, AspectSizing)
    return one.sizing


def test_the_dreambooth_guide_makes_four_sets_of_which_two_hold_the_model_back(
    tmp_path: Path,
) -> None:
    def one(id: str, folder: str, size: int, least: int, **fields: Any) -> Entry:
        return {
            "id": id,
            "type": "local",
            "instance_data_dir": folder,
            "caption_strategy": "instanceprompt",
            "cache_dir_vae": f"vae/{id}",
            "resolution": size,
            "resolution_type": "pixel_area",
            "minimum_image_size": least,
            **fields,
        }

    cat = {"instance_prompt": "subjectname", "repeats": 100, "crop": False}
    man = {"instance_prompt": "a picture of a man", "repeats": 0, "is_regularisation_data": True}
    made = sets(
        tmp_path,
        [
            one("subjectname-data-512px", "subject", 512, 192, **cat),
            one("subjectname-data-1024px", "subject", 1024, 768, **cat),
            one("regularisation-data", "class", 512, 192, **man),
            one("regularisation-data-1024px", "class", 1024, 768, **man),
            TEXTS,
        ],
    )
    assert [each.id for each in made][0::2] == ["subjectname-data-512px", "regularisation-data"]
    assert [(each.resolution, each.repeats) for each in made] == [
        *((512, 101), (1024, 101), (512, 1), (1024, 1))
    ]
    assert [each.prior_preservation for each in made] == [False, False, True, True]
    assert made[0].captions == "prompt" and made[0].prompt == ("subjectname",)
    law = made[1].sizing
    assert isinstance(law, AspectSizing) and (law.minimum_image_size, law.step) == (768, 64)
    assert made[0].short == "fill" and made[0].caption_dropout == pytest.approx(0.1)


@pytest.mark.parametrize("spelling", ["is_regularisation_data", "is_regularization_data"])
def test_both_spellings_hold_the_model_back(spelling: str, tmp_path: Path) -> None:
    cat, man = sets(tmp_path, [entry(), entry("man", **{spelling: True})])
    assert (cat.prior_preservation, man.prior_preservation) == (False, True)


def test_a_whole_model_has_nothing_to_be_held_back_by(tmp_path: Path) -> None:
    told = [entry(), entry("man", is_regularisation_data=True)]
    draft = read(tmp_path, told, model_type="full")
    assert not draft.tree["data"][1]["prior_preservation"]
    assert "no base model left" in notes(draft, "is_regularisation_data")[0]


@pytest.mark.parametrize(("told", "seen"), [({}, 1), ({"repeats": 0}, 1), ({"repeats": 9}, 10)])
def test_repeats_come_on_top_of_the_first_time(told: Entry, seen: int, tmp_path: Path) -> None:
    assert sets(tmp_path, [entry(**told)])[0].repeats == seen


def test_what_a_set_leaves_out_stands_in_config_json(tmp_path: Path) -> None:
    told = [{"id": "cat", "type": "local", "instance_data_dir": "cat"}]
    (one,) = sets(
        tmp_path,
        told,
        resolution=0.5,
        resolution_type="area",
        minimum_image_size=0.25,
        caption_strategy="instance_prompt",
        instance_prompt="a sks cat",
        caption_dropout_probability=0.0,
        aspect_bucket_alignment=32,
        ignore_missing_files=True,
    )
    law = one.sizing
    assert isinstance(law, AspectSizing)
    assert (one.resolution, law.resolution_type, law.minimum_image_size) == (0.5, "area", 0.25)
    assert (one.captions, one.prompt, one.caption_dropout) == ("prompt", ("a sks cat",), 0)
    assert law.step == 32 and one.skip_bad


def test_limits_for_all_sets_are_megapixels_where_sizes_are_areas(tmp_path: Path) -> None:
    (one,) = sets(tmp_path, [entry()], minimum_image_size=0.25)
    assert isinstance(one.sizing, AspectSizing) and one.sizing.minimum_image_size == 500
    (said,) = problems(tmp_path, [entry()], minimum_image_size=512)
    assert said.startswith("minimum_image_size: 512 would be megapixels")


def test_qwen_has_a_step_of_its_own(tmp_path: Path) -> None:
    (one,) = sets(tmp_path, [entry()], model_family="qwen_image", model_flavour="v1.0")
    assert isinstance(one.sizing, AspectSizing) and one.sizing.step == 32


def test_crops(tmp_path: Path) -> None:
    law = sizing(tmp_path, crop=True, crop_style="center", crop_aspect="preserve")
    assert (law.crop, law.crop_style, law.crop_aspect) == (True, "centre", "preserve")
    law = sizing(
        tmp_path,
        crop=True,
        crop_aspect="random",
        crop_aspect_buckets=[{"aspect_bucket": 1, "weight": 0.75}, {"aspect": 1.5, "weight": 0.25}],
        max_upscale_threshold=0.2,
    )
    assert (law.crop_aspect_buckets, law.crop_aspect_weights) == ((1.0, 1.5), (0.75, 0.25))
    assert law.max_upscale_threshold == 0.2
    both: Entry = {"maximum_image_size": 1536, "target_downsample_size": 1024}
    assert sizing(tmp_path, crop=True, **both).target_downsample_size == 1024
    draft = read(tmp_path, [entry(**both, crop_aspect="closest", crop_aspect_buckets=[1.0])])
    assert "maximum_image_size" not in draft.tree["data"][0]["sizing"]
    assert len(notes(draft, "maximum_image_size")) == 1 and notes(draft, "crop_aspect")


def test_cuts_that_are_drawn_anew_are_versions_for_each_epoch(tmp_path: Path) -> None:
    listed: Entry = {"crop": True, "crop_aspect": "random", "crop_aspect_buckets": [1.0, 1.5]}
    assert sets(tmp_path, [entry(**listed)])[0].variants == "epoch"
    kept = sets(tmp_path, [entry(**listed)], aspect_bucket_disable_rebuild=True)
    assert kept[0].variants == 1
    again: Entry = {"vae_cache_clear_each_epoch": True}
    assert sets(tmp_path, [entry(**again)])[0].variants == "epoch"
    draft = read(tmp_path, [entry(**again, crop_style="corner")])
    assert "nothing of these pictures is drawn" in notes(draft, "vae_cache_clear")[0]


def test_captions_and_what_becomes_of_them(tmp_path: Path) -> None:
    (tmp_path / "filters.txt").write_text("(photo)?\n\ns/dog/cat/\nplain words\n")
    texts = {**TEXTS, "caption_filter_list": "filters.txt"}
    shuffle = {"enable": True, "count": 3, "position_start": 2, "split_on": "comma"}
    told = entry(
        caption_strategy="textfile",
        prepend_instance_prompt=True,
        instance_prompt="sks",
        caption_shuffle=shuffle,
    )
    (one,) = sets(tmp_path, [told, texts])
    edits = one.caption_edits
    assert (one.captions, edits.lines, edits.prefix) == ("textfile", "choose", "sks")
    assert edits.filters == ("(photo)?", "s/(photo)?//", "s/dog/cat/", "plain words")
    assert (edits.shuffle, edits.variants, edits.keep_tokens) == (True, 4, 2)
    (one,) = sets(tmp_path, [entry(caption_strategy="textfile", disable_multiline_split=True)])
    assert one.caption_edits.lines == "join"
    (one,) = sets(tmp_path, [entry(only_instance_prompt=True, instance_prompt=["a", "b"])])
    assert (one.captions, one.prompt) == ("prompt", ("a", "b"))
    assert sets(tmp_path, [entry()])[0].captions == "filename"


def test_filters_are_those_of_the_text_cache_that_a_set_names(tmp_path: Path) -> None:
    other = {**TEXTS, "id": "other", "default": False, "caption_filter_list": ["ugly"]}
    cat, dog = sets(tmp_path, [entry(), entry("dog", text_embeds="other"), TEXTS, other])
    assert (cat.caption_edits.filters, dog.caption_edits.filters) == ((), ("ugly",))


def test_mixing(tmp_path: Path) -> None:
    told = entry(
        probability=2,
        train_batch_size=3,
        max_num_samples=5,
        start_epoch=2,
        start_step=10,
        end_epoch=4,
        timestep_sampling_offset=0.5,
        minimum_aspect_ratio=0.5,
        maximum_aspect_ratio=2,
    )
    cat, dog, *rest = sets(tmp_path, [told, entry("dog"), entry("off", disabled=True)])
    assert not rest
    assert (cat.probability, cat.batch_size, cat.limit) == (2, 3, 5)
    assert (cat.start_epoch, cat.start_step, cat.end_epoch, cat.time_offset) == (2, 10, 4, 0.5)
    assert (cat.minimum_aspect, cat.maximum_aspect) == (0.5, 2)
    assert (dog.probability, dog.start_epoch) == (1, 1)
    assert sets(tmp_path, [entry(), entry("dog", probability=0)])[1].disabled


def test_uniform_makes_a_large_set_no_more_likely(tmp_path: Path) -> None:
    for name, count in (("cat", 2), ("dog", 6)):
        (tmp_path / name).mkdir()
        for number in range(count):
            (tmp_path / name / f"{number}.png").touch()
    told = [entry(repeats=0), entry("dog", repeats=0)]
    cat, dog = sets(tmp_path, told, data_backend_sampling="uniform")
    assert (cat.probability, dog.probability) == (2.0, pytest.approx(4 / 6, abs=1e-5))
    assert [one.probability for one in sets(tmp_path, told)] == [1, 1]
    draft = read(tmp_path, [entry(), entry("hub", **HUB)], data_backend_sampling="uniform")
    assert "not yet" in notes(draft, "uniform")[0]


def test_sources(tmp_path: Path) -> None:
    (tmp_path / "t.csv").touch()
    (tmp_path / "t.parquet").touch()
    hub = {
        **HUB,
        "dataset_config": "large",
        "split": "test",
        "revision": "main",
        "streaming": True,
        "huggingface": {"image_column": "picture", "caption_column": ["short.en", "long"]},
    }
    table = {"metadata_backend": "parquet", "caption_strategy": "parquet"}
    columns = {"path": "t.parquet", "filename_column": "file", "fallback_caption_column": "alt"}
    made = sets(
        tmp_path,
        [
            entry("a", **AWS, aws_data_prefix="cats"),
            entry("b", **CSV),
            entry("c", **hub),
            entry("d", **table, parquet=columns),
        ],
        parquet_caption_column="said",
    )
    bucket, csv, dataset, parquet = (one.source for one in made)
    assert bucket == S3Source(
        kind="s3", bucket="pictures", prefix="cats", endpoint="http://127.0.0.1:9000"
    )
    assert csv == TableSource(kind="table", file="t.csv", image_column="url", caption_column="text")
    assert isinstance(dataset, HubSource) and dataset.caption_column == ("short.en", "long")
    assert (dataset.config, dataset.split, dataset.streaming) == ("large", "test", True)
    assert isinstance(parquet, TableSource) and parquet.folder == "d"
    assert (parquet.image_column, parquet.caption_column) == ("file", "said")
    assert [one.captions for one in made] == ["filename", "column", "column", "column"]


def test_keys_to_a_bucket_stay_out_of_the_job(tmp_path: Path) -> None:
    draft = read(tmp_path, [entry(**AWS)])
    assert "my-secret" not in json.dumps(draft.tree)
    asked = Settings({"data_backend_config": FILE, "model_family": "flux"}, tmp_path)
    assert backends.secrets(asked) == {
        "AWS_ACCESS_KEY_ID": "my-key",
        "AWS_SECRET_ACCESS_KEY": "my-secret",
    }
    fewer = {name: value for name, value in AWS.items() if "key" not in name}
    assert (
        "needs aws_access_key_id, aws_secret_access_key" in problems(tmp_path, [entry(**fewer)])[0]
    )
    known = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    assert read(tmp_path, [entry(**fewer)], env=known).problems == []
    other = entry("dog", **{**AWS, "aws_access_key_id": "another"})
    assert "another key" in problems(tmp_path, [entry(**AWS), other])[0]


def test_placeholders_comments_and_trailing_commas(tmp_path: Path) -> None:
    (tmp_path / "flux-cat-home").mkdir()
    text = """[ // mine
      {"id": "cat", "_comment": "whatever", "crop": "false", /* half */
       "instance_data_dir": "{model_family}-{id}-{env:WHERE}", "resolution": 512,},
    ]"""
    (one,) = sets(tmp_path, text, env={"WHERE": "home"})
    assert one.folder == "flux-cat-home"
    assert "{env:WHERE}: there is no such variable" in problems(tmp_path, text)[0]


def test_ids_that_a_job_cannot_have_are_changed_and_told(tmp_path: Path) -> None:
    draft = read(tmp_path, [entry("my cat's pictures")])
    assert draft.tree["data"][0]["id"] == "my_cat_s_pictures"
    assert "is called my_cat_s_pictures here" in notes(draft, "my cat's pictures.id")[0]


def test_a_field_without_effect_is_named_once_with_the_reason(tmp_path: Path) -> None:
    told = {"cache_dir_vae": "vae/{id}", "scan_for_errors": True, "end_step": 100}
    draft = read(tmp_path, [entry(**told), entry("dog", **told)])
    for name in told:
        assert len({one for one in draft.notes if name in one.where}) == 1
    assert notes(draft, "end_step")[0].startswith("not yet")
    quiet = read(tmp_path, [entry(scan_for_errors=False, vae_cache_clear_each_epoch=False)])
    assert quiet.notes == []


def test_every_field_acts_or_says_why_not() -> None:
    assert len({field.name for field in FIELDS}) == len(FIELDS)
    for field in FIELDS:
        assert field.words, field.name
        assert field.fate != "acts" or field.words.startswith("data"), field.name


def test_sets_for_measuring(tmp_path: Path) -> None:
    cat, unseen = sets(tmp_path, [entry(), entry("unseen", dataset_type="eval", repeats=5)])
    assert (cat.held_out, unseen.held_out, unseen.repeats) == (0, 1, 1)


def test_a_data_file_by_itself_becomes_the_data_of_a_job(tmp_path: Path) -> None:
    for name in ("after", "before"):
        (tmp_path / name).mkdir()
    told = [
        {"id": "after", "instance_data_dir": "after", "conditioning_data": "before"},
        {"id": "before", "instance_data_dir": "before", "conditioning_type": "reference_loose"},
    ]
    (tmp_path / FILE).write_text(json.dumps(told))
    (one,), draft = backends.alone(tmp_path / FILE, tmp_path)
    assert one["references"] == [{"id": "before", "folder": "before", "fit": "loose"}]
    assert "config.json alone" in notes(draft, "settings for all sets")[0]


WRONG: list[tuple[str, list[Any] | str, str]] = [
    ("no id", [{"instance_data_dir": "cat"}], ":2: entry 1: has no id"),
    ("empty id", [entry("")], "has no id"),
    ("same id", [entry(), entry()], "is the id of another set, too"),
    (
        "kind",
        [entry(dataset_type="imgae")],
        "'imgae' is not one of its values; did you mean image?",
    ),
    ("sound", [entry(dataset_type="audio")], "sets of audio go with families that are not here"),
    ("resolution type", [entry(resolution_type="px")], "known: pixel, area, pixel_area"),
    ("crop aspect", [entry(crop_aspect="wide")], "known: square, preserve, random, closest"),
    ("crop style", [entry(crop_style="middle")], "known: random, corner, center"),
    ("in quotes", [entry(resolution="1024")], ".resolution: must be a number, not '1024'"),
    ("broken edge", [entry(resolution=512.5)], "must be a whole number of pixels, not 512.5"),
    ("huge area", [entry(resolution=1024, resolution_type="area")], "1024 would be megapixels"),
    ("no target", [entry(maximum_image_size=1024, crop=True)], "by target_downsample_size"),
    ("20 MP", [entry(minimum_image_size=1024, resolution_type="area", resolution=1.0)], "too many"),
    ("few px", [entry(minimum_image_size=256, resolution_type="pixel")], "256 pixels are too few"),
    ("shapes", [entry(crop=True, crop_aspect="closest")], "closest needs a list of shapes"),
    (
        "a shape",
        [entry(crop=True, crop_aspect="closest", crop_aspect_buckets=["3:2"])],
        "write 1.5",
    ),
    (
        "weights",
        [
            entry(
                crop=True,
                crop_aspect="random",
                crop_aspect_buckets=[{"aspect": 1, "weight": 0.5}, {"aspect": 2, "weight": 0.4}],
            )
        ],
        "the weights do not add up to 1",
    ),
    ("filters", [entry(caption_filter_list=["a"])], "goes with text_embeds alone; move it"),
    ("parquet", [entry(caption_strategy="parquet")], "parquet needs the table that it reads"),
    ("no table", [entry(metadata_backend="parquet")], "parquet needs a table"),
    ("hub", [entry(caption_strategy="huggingface")], "huggingface goes with a set of that type"),
    ("of hub", [entry(**HUB, caption_strategy="textfile")], "nothing that a data set of the hub"),
    ("hub name", [entry(type="huggingface")], "of type huggingface needs dataset_name"),
    ("csv", [entry(type="csv", caption_strategy="csv")], "of type csv needs csv_file, csv_url_col"),
    ("csv texts", [entry(**{**CSV, "caption_strategy": "textfile"})], "from its table alone"),
    ("csv gone", [entry(**CSV)], "there is no file"),
    ("aws", [entry(type="aws")], "of type aws needs aws_bucket_name, aws_region_name"),
    ("webshart", [entry(type="webshart")], "shards of webshart are not read"),
    ("memory", [entry(type="memory")], "pictures do not lie in `memory`"),
    ("removed", [entry(disable_vae_cache=True)], "`vae_cache_disable` of config.json is; leave it"),
    ("slider", [entry(slider_strength=-1)], "sliders are not trained here"),
    ("defaults", [entry(), TEXTS, {**TEXTS, "id": "b"}], "second default among text_embeds"),
    ("text cache", [entry(text_embeds="gone")], "names 'gone', which is no entry of text_embeds"),
    ("image cache", [entry(image_embeds="gone"), TEXTS], "is no entry of image_embeds"),
    ("one cache", [entry(cache_dir_vae="v"), entry("b", cache_dir_vae="v")], "is the cache of cat"),
    ("both caches", [entry(cache_dir_vae="v"), {**TEXTS, "cache_dir": "v"}], "is the cache of cat"),
    (
        "conditioning",
        [entry(conditioning_data="gone")],
        "names 'gone', which is no conditioning set",
    ),
    (
        "source",
        [entry(), entry("b", conditioning_type="mask", source_dataset_id="x")],
        "no set of p",
    ),
    ("nothing", [entry(dataset_type="eval")], "there is no set to learn from"),
    ("later", [entry(start_epoch=2)], "no set is there at the first step"),
    ("field", [entry(instance_promt="a")], "there is no such field; did you mean instance_prompt?"),
    (
        "inner field",
        [entry(**HUB, huggingface={"colum": 1})],
        "huggingface.colum: there is no such",
    ),
    ("no prompt", [entry(caption_strategy="instanceprompt")], "there is no instance_prompt"),
    ("prefix", [entry(prepend_instance_prompt=True)], "to put before captions"),
    (
        "shuffle",
        [entry(caption_shuffle={"enable": True, "split_on": "tab"})],
        "'tab' splits nothing",
    ),
    (
        "slices",
        [
            entry(
                **HUB,
                huggingface={
                    "composite_image_config": {"enabled": True, "image_count": 2, "select_index": 2}
                },
            )
        ],
        "no part 2 of 2",
    ),
    ("count in quotes", [entry(repeats="10")], ".repeats: must be a whole number, not '10'"),
    ("a number", [entry(instance_data_dir=5)], ".instance_data_dir: must be a text, not 5"),
    ("shuffles", [entry(caption_shuffle={"enable": True, "count": "x"})], "whole number, not 'x'"),
    ("below 0", [entry(repeats=-1)], "write 0 for once"),
    ("a word", ["cat"], "is no object with fields"),
    ("no list", '{"id": "cat"}', f"{FILE}: is no list of data sets"),
    ("not JSON", '[{"id": "cat",, }]', f"{FILE}:1: this is not valid JSON"),
]


@pytest.mark.parametrize(
    ("told", "said"), [one[1:] for one in WRONG], ids=[one[0] for one in WRONG]
)
def test_what_is_wrong_is_said(told: list[Any] | str, said: str, tmp_path: Path) -> None:
    listed = [one for one in told if isinstance(one, dict)] if isinstance(told, list) else told
    found = problems(tmp_path, listed if listed or isinstance(told, str) else json.dumps(told))
    assert any(said in one for one in found), found
    assert all(one.count("; ") >= 1 for one in found)


def test_a_problem_is_told_with_its_line_and_its_set(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    text = '[\n {"id": "cat",\n  "instance_data_dir": "cat",\n  "crop_style": "middle"}\n]'
    assert problems(tmp_path, text)[0].startswith(f"{FILE}:4: cat.crop_style: 'middle'")


def test_all_folders_that_are_missing_are_told_at_once(tmp_path: Path) -> None:
    text = json.dumps([entry("cat"), entry("dog")])
    found = problems(tmp_path, text)
    assert len(found) == 2 and all("there is no folder" in one for one in found)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    from scumble.dialects.notes import Draft

    draft = Draft()
    backends.data(Settings({"data_backend_config": "gone.json"}, tmp_path), draft)
    assert "gone.json cannot be read" in str(draft.problems[0])
    backends.data(Settings({}, tmp_path), draft)
    assert "nothing says which pictures" in str(draft.problems[1])
