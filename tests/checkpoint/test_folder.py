import pytest

from scumble.checkpoint.folder import changes, refuse_fixed


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
