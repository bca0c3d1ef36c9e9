"""What a user of SimpleTuner has on his desk: folders of pictures and multidatabackend.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scumble.dialects.notes import Draft
from scumble.dialects.simpletuner import backends
from scumble.dialects.simpletuner.settings import Settings
from scumble.spec.dataset import DatasetSpec

FILE = "multidatabackend.json"
LORA: dict[str, Any] = {"model_type": "lora", "model_family": "flux", "model_flavour": "dev"}
QWEN: dict[str, Any] = {"model_type": "lora", "model_family": "qwen_image"}

Entry = dict[str, Any]


def entry(id: str = "cat", **fields: Any) -> Entry:
    """A set of pictures in a folder of its own name."""
    return {"id": id, "type": "local", "instance_data_dir": id, "resolution": 512, **fields}


def shown(id: str = "before", **fields: Any) -> Entry:
    """A set of references."""
    return entry(
        id, **{"conditioning_type": "reference_strict", "caption_strategy": None, **fields}
    )


def read(
    desk: Path, told: list[Entry] | str, env: dict[str, str] | None = None, **keys: Any
) -> Draft:
    """What a data file comes to, its folders there; `keys` are those of config.json."""
    text = told if isinstance(told, str) else json.dumps(told, indent=1)
    (desk / FILE).write_text(text, encoding="utf-8")
    for one in told if isinstance(told, list) else ():
        if isinstance(one.get("instance_data_dir"), str):
            (desk / one["instance_data_dir"]).mkdir(parents=True, exist_ok=True)
    draft = Draft()
    all_keys = {**LORA, **keys, "data_backend_config": FILE}
    backends.data(Settings(all_keys, desk, environment=env or {}), draft)
    return draft


def sets(desk: Path, told: list[Entry] | str, **keys: Any) -> list[DatasetSpec]:
    """The sets of a job that a file comes to, which has nothing wrong with it."""
    draft = read(desk, told, **keys)
    assert [str(one) for one in draft.problems] == []
    return [DatasetSpec.model_validate(one) for one in draft.tree["data"]]


def problems(desk: Path, told: list[Entry] | str, **keys: Any) -> list[str]:
    """All that is wrong with a file."""
    return [str(one) for one in read(desk, told, **keys).problems]


def notes(draft: Draft, where: str) -> list[str]:
    """What is told of a field or a key."""
    return [f"{one.about}: {one.text}" for one in draft.notes if where in one.where]
