import pytest

from scumble.checkpoint.folder import changes, options, refuse_fixed


def test_a_setting_an_older_release_did_not_know_is_no_change() -> None:
    then = {"adapter.rank": 4, "data.0.id": "a"}
    now = {"adapter.rank": 4, "adapter.rank_dropout": 0.0, "data.0.id": "a", "data.1.id": "b"}
    assert changes(then, now) == [("data.1.id", None, "b")]


def test_where_things_lie_is_no_change_but_what_they_are_is() -> None:
    then = {"model.path": "/a", "name": "x", "cache.folder": None, "base_model": "1"}
    now = {"model.path": "/b", "name": "y", "cache.folder": "/c", "base_model": "2"}
    assert changes(then, now) == [("base_model", "1", "2")]


def test_only_what_a_checkpoint_cannot_outlive_is_refused() -> None:
    refuse_fixed([("training.steps", 4, 8), ("adapter.dropout", 0.0, 0.1)], 4)
    with pytest.raises(ExceptionGroup) as group:
        refuse_fixed([("adapter.targets.0", "to_q", "to_k"), ("base_model", "1", "2")], 4)
    assert len(group.value.exceptions) == 2


def test_an_option_that_was_not_there_is_a_change_and_an_empty_mapping_is_none() -> None:
    where = "training.optimizer.options"
    then, now = {where: {}}, {f"{where}.eps": 1e-9, f"{where}.betas.0": 0.8}
    assert changes(then, now) == [(f"{where}.eps", None, 1e-9), (f"{where}.betas.0", None, 0.8)]
    assert changes(now, then) == [(f"{where}.eps", 1e-9, None), (f"{where}.betas.0", 0.8, None)]
    assert changes({f"{where}.eps": 1e-9}, now) == [(f"{where}.betas.0", None, 0.8)]


def test_options_are_read_back_from_what_a_checkpoint_has_of_them() -> None:
    where = "training.optimizer.options"
    facts = {f"{where}.betas.0": 0.8, f"{where}.betas.1": 0.9, f"{where}.eps": 1.0, "name": "x"}
    assert options(facts) == {"betas": [0.8, 0.9], "eps": 1.0}
    assert options({where: {}, "training.steps": 3}) == {}


def test_what_entries_are_kept_in_is_a_change_and_where_they_lie_is_none() -> None:
    then = {"cache.text_dtype": "auto", "cache.folder": None, "weights.t5": "1"}
    now = {"cache.text_dtype": "fp8", "cache.folder": "c", "weights.t5": "2"}
    assert changes(then, now) == [("cache.text_dtype", "auto", "fp8"), ("weights.t5", "1", "2")]
