"""What a user of sd-scripts has on his desk: four model files, pictures, a dataset file."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from scumble.dialects.kohya.job import Converted, converted
from scumble.errors import leaves

DATASET = """
[general]
caption_extension = ".txt"

[[datasets]]
resolution = [1024, 1024]
batch_size = 2
enable_bucket = true

  [[datasets.subsets]]
  image_dir = "cats"
  num_repeats = 3
"""


def header(file: Path, *names: str) -> Path:
    """A safetensors file whose tensors have these names and no values."""
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    text = json.dumps(dict.fromkeys(names, empty)).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text)
    return file


def laid_out(desk: Path, dataset: str = DATASET) -> list[str]:
    """Make it all, and the words of the shortest command that trains with it."""
    header(desk / "flux1-dev.safetensors", "guidance_in.in_layer.bias", "img_in.weight")
    for name in ("clip_l", "t5xxl", "ae"):
        header(desk / f"{name}.safetensors", "weight")
    for folder in ("cats", "dogs", "masks"):
        (desk / folder).mkdir(exist_ok=True)
    (desk / "dataset.toml").write_text(dataset, encoding="utf-8")
    return [
        "--pretrained_model_name_or_path=flux1-dev.safetensors",
        "--clip_l=clip_l.safetensors",
        "--t5xxl=t5xxl.safetensors",
        "--ae=ae.safetensors",
        "--dataset_config=dataset.toml",
        "--output_dir=out",
        "--network_module=networks.lora_flux",
    ]


def job(desk: Path, *more: str, dataset: str = DATASET) -> Converted:
    """What the shortest command with these further words comes to."""
    return converted([*laid_out(desk, dataset), *more], desk)


def problems(desk: Path, *more: str, dataset: str = DATASET) -> list[str]:
    """All that is wrong with it."""
    try:
        job(desk, *more, dataset=dataset)
    except ExceptionGroup as group:
        return [str(error) for error in leaves(group)]
    return []


def told(made: Converted, where: str) -> list[str]:
    """What is told of an option or a place."""
    return [f"{note.about}: {note.text}" for note in made.notes if where in note.where]
