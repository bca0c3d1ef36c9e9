"""Put the folder together from which `builtin:emoji-flux` is trained.

`python scripts/emoji_flux/start.py AUTOENCODER TEXTS OUT` takes the `vae` that autoencoder.py made
and what texts.py made, and adds a transformer with first weights: normal with a spread of
1 / sqrt(inputs), all modulations and the last layer zero, so that every block begins as the
identity (Peebles and Xie 2023, adaLN-Zero).
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from scumble import dice
from scumble.families.builtin import index, scheduler
from scumble.families.flux.network import FluxConfig, FluxTransformer

TRANSFORMER: dict[str, Any] = {
    "_class_name": "FluxTransformer2DModel",
    "patch_size": 1,
    "in_channels": 64,
    "num_layers": 2,
    "num_single_layers": 3,
    "attention_head_dim": 32,
    "num_attention_heads": 7,
    "joint_attention_dim": 192,
    "pooled_projection_dim": 128,
    "guidance_embeds": True,
    "axes_dims_rope": [8, 12, 12],
}
ZERO = ("norm1.linear", "norm1_context.linear", ".norm.linear", "norm_out.linear")
NAMES = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")


def first(name: str, shape: tuple[int, ...]) -> Tensor:
    """A tensor's first value, by its name."""
    if len(shape) == 1:
        return (
            torch.ones(shape) if "norm_" in name and name.endswith("weight") else torch.zeros(shape)
        )
    if any(part in name for part in ZERO) or name.startswith("proj_out."):
        return torch.zeros(shape)
    return torch.randn(shape, generator=dice.generator("emoji-flux", name)) / shape[1] ** 0.5


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("autoencoder", "texts", "out"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    out: Path = given.out
    shutil.copytree(given.autoencoder, out / "vae", dirs_exist_ok=True)
    for name in NAMES:
        shutil.copytree(given.texts / name, out / name, dirs_exist_ok=True)
    known = FluxConfig.__dataclass_fields__
    config = {key: value for key, value in TRANSFORMER.items() if key in known}
    with torch.device("meta"):
        made = FluxTransformer(FluxConfig(**config | {"axes_dims_rope": (8, 12, 12)}))
    tensors = {name: first(name, tuple(one.shape)) for name, one in made.state_dict().items()}
    print(sum(one.numel() for one in tensors.values()), "numbers in the transformer")
    (out / "transformer").mkdir(exist_ok=True)
    save_file(
        tensors, out / "transformer" / "diffusion_pytorch_model.safetensors", {"format": "pt"}
    )
    wanted = {"transformer/config": TRANSFORMER, "model_index": index()}
    wanted["scheduler/scheduler_config"] = scheduler(dynamic=True)
    for name, value in wanted.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / f"{name}.json").write_text(json.dumps(value, indent=2) + "\n")


if __name__ == "__main__":
    main()
