"""Dataset files of sd-scripts: inheritance, validation, masks, metadata, and what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scumble.spec.sizing import BucketsSizing
from scumble.spec.sources import TableSource
from tests.dialects.kohya_desk import DATASET, job, laid_out, problems, told

SUBSET = '\n[[datasets.subsets]]\nimage_dir = "cats"\n'


def test_the_nearest_value_counts_and_false_is_a_value(tmp_path: Path) -> None:
    text = (
        "[general]\nflip_aug = true\nnum_repeats = 2\nkeep_tokens = 1\n"
        "[[datasets]]\nresolution = 512\nnum_repeats = 3\n"
        '[[datasets.subsets]]\nimage_dir = "cats"\nnum_repeats = 4\nflip_aug = false\n'
        '[[datasets.subsets]]\nimage_dir = "dogs"\n'
    )
    cats, dogs = job(tmp_path, "--train_batch_size=5", "--flip_aug", dataset=text).job.data
    assert (cats.repeats, cats.flip, cats.batch_size) == (4, False, 5)
    assert (dogs.repeats, dogs.flip, dogs.caption_edits.keep_tokens) == (3, True, 1)


def test_one_folder_at_three_resolutions_is_three_sets(tmp_path: Path) -> None:
    one = "\n[[datasets]]\nresolution = [{0}, {0}]\nbatch_size = {1}\n" + SUBSET
    text = "".join(one.format(*pair) for pair in ((1024, 2), (768, 3), (512, 4)))
    made = job(tmp_path, dataset=text).job.data
    assert [(each.id, each.resolution, each.batch_size) for each in made] == [
        ("cats", 1024, 2),
        ("cats-768", 768, 3),
        ("cats-512", 512, 4),
    ]


def test_the_validation_table_is_measured_and_not_trained_on(tmp_path: Path) -> None:
    text = DATASET + (
        "\n[validation]\nresolution = [512, 512]\nbatch_size = 1\n"
        '[[validation.subsets]]\nimage_dir = "dogs"\nnum_repeats = 9\ncaption_extension = ".txt"\n'
    )
    made = job(tmp_path, "--validate_every_n_steps=7", "--validation_seed=3", dataset=text).job
    held = made.data[1]
    assert (held.id, held.held_out, held.repeats, held.resolution) == ("dogs", 1.0, 1, 512)
    wanted = made.validation.held_out
    assert (wanted.every, wanted.seed, wanted.times) == (7, 3, (0.2, 0.4, 0.6, 0.8))


def test_a_split_may_stand_in_a_subset_and_spares_regularisation(tmp_path: Path) -> None:
    text = (
        "[[datasets]]\nresolution = 512\nvalidation_seed = 5\n"
        '[[datasets.subsets]]\nimage_dir = "cats"\nvalidation_split = 0.2\n'
        '[[datasets.subsets]]\nimage_dir = "dogs"\nis_reg = true\nvalidation_split = 0.2\n'
    )
    cats, dogs = job(tmp_path, "--prior_loss_weight=0.5", dataset=text).job.data
    assert (cats.held_out, cats.held_out_seed) == (0.2, 5)
    assert dogs.held_out == 0 and dogs.regularisation and dogs.loss_weight == 0.5


def test_masks(tmp_path: Path) -> None:
    text = "[[datasets]]\nresolution = 512\n" + SUBSET
    made = job(
        tmp_path, "--masked_loss", dataset=text + 'conditioning_data_dir = "masks"\n'
    ).job.data[0]
    assert made.mask is not None and made.mask.folder == "masks"
    alpha = job(tmp_path, dataset=text + "alpha_mask = true\n").job.data[0].mask
    assert alpha is not None and alpha.alpha and alpha.missing == "whole"
    said = problems(tmp_path, dataset=text + 'conditioning_data_dir = "masks"\n')
    assert len(said) == 1 and "add --masked_loss" in said[0]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ('interpolation_type = "lanczos"', "lanczos"),
        ('resize_interpolation = "cubic"', "bicubic"),
        ("", "bicubic"),  # the guide's default; the program at 48d368fa has area or lanczos
    ],
)
def test_both_names_of_the_interpolation_are_one(key: str, expected: str, tmp_path: Path) -> None:
    text = f"[[datasets]]\nresolution = 512\n{key}\n{SUBSET}"
    assert job(tmp_path, dataset=text).job.data[0].interpolation == expected


def test_what_is_wrong_is_told_with_line_and_what_may_be_meant(tmp_path: Path) -> None:
    text = (
        '[general]\nflip_ago = true\n[[datasets]]\nresolution = "512"\nimage_dir = "cats"\n'
        "[[datasets.subsets]]\nnum_repeats = 1.0\n[[datasets.subsets]]\n"
        'image_dir = "cats"\nkeep_tokens = true\n[validaton]\nx = 1\n'
    )
    said = "\n".join(problems(tmp_path, dataset=text))
    for part in (
        "dataset.toml:2: general.flip_ago: there is no such key; did you mean flip_aug?",
        "dataset.toml:4: datasets.0.resolution: must be a whole number or two of them",
        "dataset.toml:5: datasets.0.image_dir: does not belong in [[datasets]]",
        "dataset.toml:7: datasets.0.subsets.0.num_repeats: must be a whole number, not 1.0",
        "dataset.toml:6: datasets.0.subsets.0: says no pictures",
        "dataset.toml:10: datasets.0.subsets.1.keep_tokens: must be a whole number, not true",
        "dataset.toml:11: validaton: there is no such table in a dataset file; did you mean val",
    ):
        assert part in said, part


def test_a_key_outside_of_all_tables_is_told_where_it_belongs(tmp_path: Path) -> None:
    said = problems(
        tmp_path, dataset="validation_split = 0.1\n[[datasets]]\nresolution=512" + SUBSET
    )
    assert len(said) == 1 and said[0].endswith("put it under [general]")


def test_a_folder_that_is_not_there_is_told_with_its_line(tmp_path: Path) -> None:
    text = "[[datasets]]\nresolution = 512\n" + SUBSET.replace("cats", "cat")
    said = problems(tmp_path, dataset=text)
    assert len(said) == 1 and "dataset.toml:4: datasets.0.subsets.0.image_dir: there is" in said[0]


def test_json_says_the_same_as_toml(tmp_path: Path) -> None:
    tree = {"datasets": [{"resolution": 512, "subsets": [{"image_dir": "cats"}]}]}
    (tmp_path / "d.json").write_text(json.dumps(tree))
    text = "[[datasets]]\nresolution = 512\n" + SUBSET
    plain = job(tmp_path, dataset=text).job.data
    assert job(tmp_path, "--dataset_config=d.json").job.data == plain


def test_a_second_subset_of_the_same_folder_is_left_out_and_told(tmp_path: Path) -> None:
    made = job(tmp_path, dataset="[[datasets]]\nresolution = 512\n" + SUBSET * 2)
    assert len(made.job.data) == 1 and "left out" in told(made, "subsets.1")[0]


def test_metadata_files_become_tables(tmp_path: Path) -> None:
    about = {"cats/a.png": {"caption": "a cat", "tags": "red, big"}, "b": {"tags": "dog"}}
    (tmp_path / "meta.json").write_text(json.dumps(about))
    text = '[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nmetadata_file = "meta.json"\n'
    made = job(tmp_path, dataset=text)
    source = made.job.data[0].source
    assert isinstance(source, TableSource)
    rows = [json.loads(line) for line in made.files[source.file].splitlines()]
    assert rows == [
        {"image": "cats/a.png", "caption": "a cat,red, big"},
        {"image": "b", "caption": "dog"},
    ]


def test_folders_named_by_their_repeats(tmp_path: Path) -> None:
    from scumble.dialects.kohya.job import converted

    plain = [word for word in laid_out(tmp_path) if "dataset_config" not in word]
    more = ["--train_data_dir=cats", "--reg_data_dir=dogs", "--resolution=768,512"]
    cats, dogs = converted([*plain, *more, "--enable_bucket"], tmp_path).job.data
    assert cats.repeats_in_names and cats.resolution == (768, 512)
    assert dogs.repeats_in_names and dogs.regularisation


def test_bucket_limits_are_rounded_to_the_step(tmp_path: Path) -> None:
    text = (
        "[[datasets]]\nresolution = 512\nenable_bucket = true\nmin_bucket_reso = 300\n"
        "max_bucket_reso = 1000\n" + SUBSET
    )
    sizing = job(tmp_path, dataset=text).job.data[0].sizing
    assert isinstance(sizing, BucketsSizing)
    assert (sizing.minimum, sizing.maximum) == (256, 1024)
    said = problems(
        tmp_path, dataset=text.replace("max_bucket_reso = 1000", "bucket_reso_steps=32")
    )
    assert len(said) == 1 and "no multiple of 64" in said[0]
