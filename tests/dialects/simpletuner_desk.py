"""What a user of SimpleTuner has on his desk: pictures, a data file, a configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scumble.dialects.simpletuner.job import Around, Converted, converted, from_document
from scumble.dialects.simpletuner.reading import opened
from scumble.errors import leaves

GUIDES = Path(__file__).parent / "guides_simpletuner"

PLAIN: list[dict[str, Any]] = [
    {
        "id": "cats",
        "type": "local",
        "instance_data_dir": "cats",
        "caption_strategy": "textfile",
        "cache_dir_vae": "cache/vae/cats",
    },
    {"id": "texts", "dataset_type": "text_embeds", "default": True, "cache_dir": "cache/text"},
]
PAIRS: list[dict[str, Any]] = [
    {
        "id": "edited",
        "instance_data_dir": "cats",
        "caption_strategy": "textfile",
        "conditioning_data": ["before"],
        "cache_dir_vae": "cache/vae/edited",
    },
    {
        "id": "before",
        "instance_data_dir": "before",
        "conditioning_type": "reference_strict",
        "caption_strategy": None,
        "cache_dir_vae": "cache/vae/before",
    },
]
HELD: list[dict[str, Any]] = [
    *PAIRS,
    {
        "id": "kept",
        "instance_data_dir": "dogs",
        "caption_strategy": "textfile",
        "conditioning_data": ["kept-before"],
        "cache_dir_vae": "cache/vae/kept",
    },
    {
        "id": "kept-before",
        "instance_data_dir": "before",
        "conditioning_type": "reference_strict",
        "caption_strategy": None,
        "cache_dir_vae": "cache/vae/kept-before",
    },
]
MEASURED: list[dict[str, Any]] = [
    *PLAIN,
    {
        "id": "eval",
        "dataset_type": "eval",
        "instance_data_dir": "dogs",
        "caption_strategy": "textfile",
        "cache_dir_vae": "cache/vae/eval",
    },
]
BARE: list[dict[str, Any]] = [
    {"id": "cats", "instance_data_dir": "cats", "cache_dir_vae": "cache/vae/cats"},
    {"id": "dogs", "instance_data_dir": "dogs", "cache_dir_vae": "cache/vae/dogs"},
]
MASKED: list[dict[str, Any]] = [
    {**BARE[0], "conditioning_data": "masks"},
    {"id": "masks", "instance_data_dir": "dogs", "conditioning_type": "segmentation"},
]
TWO: list[dict[str, Any]] = [
    {**PAIRS[0], "conditioning_data": ["before", "after"]},
    PAIRS[1],
    {**PAIRS[1], "id": "after", "instance_data_dir": "dogs", "cache_dir_vae": "cache/vae/after"},
]
TABLE: list[dict[str, Any]] = [
    {**BARE[0], "caption_strategy": "parquet", "metadata_backend": "parquet"}
    | {"parquet": {"path": "table.parquet"}},
]
LOKR = {"algo": "lokr", "multiplier": 1.0, "linear_dim": 10000, "linear_alpha": 1, "factor": 16}

BASE: dict[str, Any] = {
    "model_type": "lora",
    "model_family": "flux",
    "model_flavour": "dev",
    "data_backend_config": "plain.json",
    "max_train_steps": 100,
}
QWEN = {**BASE, "model_family": "qwen_image", "model_flavour": "v1.0"}
KONTEXT = {**BASE, "model_flavour": "kontext", "data_backend_config": "pairs.json"}


def laid_out(desk: Path) -> Path:
    """Make it all."""
    for folder in ("cats", "dogs", "before"):
        (desk / folder).mkdir(exist_ok=True)
    files = {
        "plain": PLAIN,
        "pairs": PAIRS,
        "held": HELD,
        "measured": MEASURED,
        "bare": BARE,
        "masked": MASKED,
        "two": TWO,
        "table": TABLE,
        "cropped": [{**PLAIN[0], "crop": True}],
        "lycoris": LOKR,
        "loha": {"algo": "loha", "multiplier": 1.0, "linear_dim": 8, "linear_alpha": 1},
        "prompts": {"snow": "a cat in snow", "sea": {"prompt": "a cat at sea"}},
        "targets": ["to_q", "to_v"],
    }
    for name, content in files.items():
        (desk / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    for number in range(3):
        (desk / "cats" / f"{number}.png").touch()
    (desk / "dogs" / "0.png").touch()
    (desk / "old.safetensors").touch()
    (desk / "table.parquet").touch()
    return desk


def job(desk: Path, told: dict[str, Any] = BASE, *words: str, **more: Any) -> Converted:
    """What a configuration with these further keys comes to."""
    return converted({**told, **more}, laid_out(desk), words=words)


def tree(desk: Path, told: dict[str, Any] = BASE, *words: str, **more: Any) -> dict[str, Any]:
    """Its job as plain values."""
    return job(desk, told, *words, **more).job.model_dump(mode="json")


def problems(desk: Path, told: dict[str, Any] = BASE, *words: str, **more: Any) -> list[str]:
    """All that is wrong with it."""
    try:
        job(desk, told, *words, **more)
    except ExceptionGroup as group:
        return [str(error) for error in leaves(group)]
    return []


def told(made: Converted, where: str) -> list[str]:
    """What is told of a key or a place."""
    return [f"{note.about}: {note.text}" for note in made.notes if where in note.where]


def guide(desk: Path, names: list[str], *words: str, **environment: str) -> Converted:
    """What the files of a guide come to, the later ones over the earlier."""
    whole: dict[str, Any] = {}
    document = opened("{}", "config.json")
    for name in names:
        document = opened((GUIDES / name).read_text(encoding="utf-8"), name)
        assert not document.problems
        whole |= document.tree
    document.tree = whole
    around = Around(base=laid_out(desk), words=words, environment=environment)
    return from_document(document, around)
