"""config.json, config.toml and config.env: how keys and values are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scumble.dialects.notes import Draft
from scumble.dialects.simpletuner.page import filled
from scumble.dialects.simpletuner.reading import configuration, opened, read
from scumble.errors import leaves
from tests.dialects.simpletuner_desk import BASE, job, problems, told, tree


def values(text: str, name: str = "config.json", *words: str, **environment: str) -> dict[str, Any]:
    """What a text says, all of which is right."""
    draft, document = Draft(), opened(text, name)
    found = configuration(document, environment, draft, words)
    assert document.problems + draft.problems == []
    return found.told


def wrong(text: str, name: str = "config.json", *words: str, **environment: str) -> list[str]:
    """What is wrong with a text."""
    draft, document = Draft(), opened(text, name)
    configuration(document, environment, draft, words)
    return [str(one) for one in document.problems + draft.problems]


def test_keys_may_have_dashes_and_files_comments_and_trailing_commas() -> None:
    text = '{\n// a comment\n"--lora_rank": 4, "seed": 7, /* and */ "--lora_alpha": 2.5,\n}'
    assert values(text) == {"lora_rank": 4, "seed": 7, "lora_alpha": 2.5}


def test_null_is_as_if_the_key_were_not_there() -> None:
    assert values('{"lora_alpha": null, "validation_prompt": ""}') == {}


@pytest.mark.parametrize(
    ("written", "meant"),
    [("true", True), ('"true"', True), ('"Yes"', True), ("false", False), ('"off"', False)],
)
def test_a_switch_in_quotes_is_a_switch(written: str, meant: bool) -> None:
    assert values(f'{{"gradient_checkpointing": {written}}}') == {"gradient_checkpointing": meant}


def test_false_in_quotes_turns_off_what_is_on_by_default(tmp_path: Path) -> None:
    assert tree(tmp_path)["hardware"]["gradient_checkpointing"]
    off = tree(tmp_path, gradient_checkpointing="false")
    assert not off["hardware"]["gradient_checkpointing"]


def test_numbers_may_stand_in_quotes_and_lists_for_commas() -> None:
    text = '{"learning_rate": "1e-4", "lora_rank": "16", "validation_resolution": [512, "768x512"]}'
    assert values(text) == {
        "learning_rate": 1e-4,
        "lora_rank": 16,
        "validation_resolution": "512,768x512",
    }


def test_a_key_that_takes_an_object_takes_one_and_others_do_not() -> None:
    kept = values('{"model_kwargs": {"match_target_res": true}}')
    assert kept == {"model_kwargs": {"match_target_res": True}}
    assert "optimizer: must be a text, not a section" in wrong('{"optimizer": {"a": 1}}')[0]


def test_toml_says_the_same_with_and_without_a_table() -> None:
    flat = 'model_type = "lora"\nlora_rank = 8\n'
    assert values(flat, "config.toml") == {"model_type": "lora", "lora_rank": 8}
    assert values(f"[config]\n{flat}", "config.toml") == {"model_type": "lora", "lora_rank": 8}


def test_variables_of_config_env_are_keys() -> None:
    text = """
    # what is trained
    export MODEL_TYPE='lora'
    MODEL_NAME="black-forest-labs/FLUX.1-dev"   # the base
    MAX_NUM_STEPS=500
    CHECKPOINTING_STEPS=50
    USE_GRADIENT_CHECKPOINTING=true
    TRAINER_EXTRA_ARGS="--lora_rank=4"
    TRAINER_EXTRA_ARGS+=" --use_ema --validation_prompt 'a cat'"
    """
    assert values(text, "config.env") == {
        "model_type": "lora",
        "pretrained_model_name_or_path": "black-forest-labs/FLUX.1-dev",
        "max_train_steps": 500,
        "checkpoint_step_interval": 50,
        "gradient_checkpointing": True,
        "lora_rank": 4,
        "use_ema": True,
        "validation_prompt": "a cat",
    }


def test_a_line_of_config_env_that_is_no_variable_is_told_by_its_number() -> None:
    assert wrong("LORA_RANK=4\nlora rank 4\n", "config.env")[0].startswith("config.env:2:")
    assert "quote that is not closed" in wrong("LORA_RANK='4\n", "config.env")[0]


def test_older_names_and_names_that_say_the_contrary() -> None:
    text = '{"checkpointing_steps": 9, "save_total_limit": 2, "vae_cache_preprocess": false}'
    assert values(text) == {
        "checkpoint_step_interval": 9,
        "checkpoints_total_limit": 2,
        "vae_cache_ondemand": True,
    }
    assert values('{"lr_scheduler": "cosine_with_warmup"}') == {"lr_scheduler": "cosine"}


def test_the_only_key_that_begins_so_is_meant_and_told() -> None:
    draft = Draft()
    found = configuration(opened('{"validation_guidance_resc": 0.5}', "c.json"), {}, draft)
    assert found.told == {"validation_guidance_rescale": 0.5}
    assert draft.notes[0].text.startswith("is taken for validation_guidance_rescale")


def test_strange_keys_are_told_all_at_once_with_their_lines() -> None:
    text = '{\n"lora_rnk": 4,\n"learning_rat_": 1,\n"lora": 1,\n"lora_rank": 2}'
    first, second, third = wrong(text)
    assert first == "config.json:2: lora_rnk: there is no such key; did you mean lora_rank?"
    assert second.startswith("config.json:3:") and "learning_rate" in second
    assert third.startswith("config.json:4: lora: more than one key begins so")


def test_values_of_the_wrong_kind_are_told() -> None:
    text = '{"lora_rank": 4.5, "seed": true, "model_type": "lor", "use_ema": "perhaps"}'
    whole, seed, choice, flag = wrong(text)
    assert whole == (
        "config.json:1: lora_rank: must be a whole number, not 4.5; "
        "write it without quotes or a point"
    )
    assert "must be a whole number, not true" in seed
    assert "'lor' is not one of its values; did you mean lora?" in choice
    assert "must be true or false, not 'perhaps'" in flag


def test_the_environment_stands_in_texts_and_is_missed_by_name() -> None:
    text = '{"output_dir": "{env:HERE}/runs"}'
    assert values(text, HERE="/data") == {"output_dir": "/data/runs"}
    assert "there is no variable HERE" in wrong(text)[0]


def test_the_same_key_twice_under_two_names_is_told() -> None:
    assert "keep one of them" in wrong('{"validation_steps": 5, "validation_step_interval": 6}')[0]
    assert values('{"validation_steps": 5, "validation_step_interval": 5}') != {}


def test_the_command_line_is_over_the_file() -> None:
    text = '{"lora_rank": 4, "seed": 3}'
    assert values(text, "config.json", "lora_rank=8", "--use_ema") == {
        "lora_rank": 8,
        "seed": 3,
        "use_ema": True,
    }


def test_what_is_wrong_on_the_command_line_is_told_as_it_was_typed(tmp_path: Path) -> None:
    assert problems(tmp_path, BASE, "lora_rank=many")[0].startswith("lora_rank=many: must be")
    assert problems(tmp_path, BASE, "lora_rnk=3")[0].startswith("lora_rnk=3: there is no such key")


def test_a_dotted_word_is_a_setting_of_the_job(tmp_path: Path) -> None:
    made = job(tmp_path, BASE, "training.steps=7", "data.cats.repeats=3", "lora_rank=2").job
    assert (made.training.steps, made.data[0].repeats) == (7, 3)


def test_what_other_programs_leave_in_the_file_is_named(tmp_path: Path) -> None:
    made = job(tmp_path, __active_tab__="basic", crepa_enabled=True, wan_force_2_1=True)
    assert told(made, "__active_tab__") == ["nothing: is not a setting of a run"]
    assert "research" in told(made, "crepa_enabled")[0]
    assert "models and services that are not read here" in told(made, "wan_force_2_1")[0]


def test_what_is_no_list_of_keys_is_told() -> None:
    for text, words in (("[1]", "no list of keys"), ("{", "not valid JSON"), ("", "no list of")):
        with pytest.raises(ExceptionGroup) as caught:
            read(text, "config.json")
        assert words in str(next(leaves(caught.value)))


def test_a_problem_of_the_job_is_told_with_the_key_and_its_line(tmp_path: Path) -> None:
    said = problems(tmp_path, lora_rank=0)
    assert said[0].startswith("config.json: lora_rank (adapter.rank): must be")


def test_the_page_holds_the_tables_of_now() -> None:
    page = Path("docs/simpletuner.md").read_text(encoding="utf-8")
    assert filled(page) == page, "run scripts/make_docs.py"
