"""Small jobs on real files, through the front door."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from scumble.families import weights
from scumble.families.family import Family
from scumble.run import Outcome, train
from scumble.spec.job import JobSpec
from scumble.spec.model import ModelSpec


def pictures(folder: Path, sizes: list[tuple[int, int]], *, seed: int = 0) -> Path:
    """Captioned pictures of these widths and heights."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for number, (width, height) in enumerate(sizes):
        small = random.integers(0, 255, (4, 4, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        picture.save(folder / f"p{number:02d}.png")
        (folder / f"p{number:02d}.txt").write_text(f"picture {number} of {folder.name}\n")
    return folder


def opened(family: Family, path: str | Path) -> weights.Model:
    """The model at a path."""
    wanted = ModelSpec(family=family.name, flavour=family.flavour, path=str(path))
    return weights.opened(family, wanted, Path())


def job(root: Path, **changes: Any) -> JobSpec:
    """Two sets of different buckets, dropout and accumulation; `changes` by dotted path with __."""
    if not (root / "square").exists():
        pictures(root / "square", [(64, 64)] * 5)
        pictures(root / "wide", [(96, 64)] * 3, seed=1)
    value: dict[str, Any] = {
        "name": "toy",
        "model": {
            "family": "flux",
            "flavour": "dev",
            "path": "builtin:tiny-flux",
            "text_tokens": 40,
        },
        "data": [
            {"id": "square", "folder": "square", "resolution": 32, "caption_dropout": 0.3},
            {"id": "wide", "folder": "wide", "resolution": 32, "repeats": 2},
        ],
        "adapter": {"rank": 4, "dropout": 0.2},
        "training": {
            "steps": 4,
            "batch_size": 2,
            "units_per_step": 2,
            "learning_rate": 1e-2,
            "seed": 7,
        },
        "validation": {"every": 0},
        "saving": {"every": 2, "keep": 0},
        "export": {"proof": "in_process"},
        "hardware": {"precision": "fp32", "device": "cpu"},
        "output_dir": str(root / "out"),
    }
    for path, new in changes.items():
        *parents, leaf = path.split("__")
        section = value
        for parent in parents:
            section = section.setdefault(parent, {})
        section[leaf] = new
    return JobSpec.model_validate(value)


def trained(root: Path, **changes: Any) -> Outcome:
    """Run it."""
    return train(job(root, **changes), root)


def checkpoint(root: Path, step: int, name: str = "toy") -> dict[str, Tensor]:
    """Every tensor of a checkpoint, adapter and optimizer."""
    folder = root / "out" / name / "checkpoints" / f"step-{step:06d}"
    return load_file(folder / "adapter.safetensors") | load_file(folder / "optimizer.safetensors")


def journal(root: Path, event: str, name: str = "toy") -> list[dict[str, Any]]:
    """What the run's journal tells of one kind of event."""
    lines = (root / "out" / name / "journal.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == event]
