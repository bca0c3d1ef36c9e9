"""What toys are made of: random weights from a seed, and autoencoders that are built.

A built autoencoder averages pixels and spreads their colour over the latents on the way in, and
blows the colours up again smoothly on the way out. Channels are each colour and its negative, then
a constant and its negative, which keeps the norms from seeing the picture.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from scumble.dice import generator

VERSION = 1  # a change of what is made changes the folder's name
CHANNELS = 16
STEADY = 100.0  # a constant channel that keeps the norms from seeing the picture

Values = Callable[[str, tuple[int, ...]], Tensor]
"""A part's tensor, from its name and shape."""


def write_part(
    folder: Path,
    config: Mapping[str, Any],
    module: nn.Module,
    *,
    weights: str = "diffusion_pytorch_model",
    values: Values | None = None,
) -> None:
    """A part's config and weights; random ones unless `values` makes them."""
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    make = values or (lambda name, shape: random_value(folder.name, name, shape))
    write_json(folder / "config.json", config)
    tensors = {name: make(name, shape).contiguous() for name, shape in shapes.items()}
    save_file(tensors, folder / f"{weights}.safetensors", {"format": "pt"})


def write_json(file: Path, value: Mapping[str, Any]) -> None:
    """Settings as a file; its folder is made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def random_value(part: str, name: str, shape: tuple[int, ...]) -> Tensor:
    """Weights that keep the size of what goes through them; norms near one, biases near zero."""
    drawn = torch.randn(shape, generator=generator("tiny-flux", VERSION, part, name))
    if name == "encoder.embed_tokens.weight":
        return random_value(part, "shared.weight", shape)
    if len(shape) == 1:
        norm = "norm" in name and name.endswith("weight") and "linear" not in name
        return 0.05 * drawn + (1.0 if norm else 0.0)
    if "embed" in name.rsplit(".", 2)[-2]:
        return drawn
    return drawn / shape[-1] ** 0.5


def signed_colours() -> Tensor:
    """[3, channels]: colour c goes to channels 2c and, negative, 2c + 1."""
    signs = torch.zeros(3, CHANNELS)
    for colour in range(3):
        signs[colour, 2 * colour], signs[colour, 2 * colour + 1] = 1.0, -1.0
    return signs


def constant() -> Tensor:
    """[channels]: what is there whatever the picture."""
    values = torch.zeros(CHANNELS)
    values[6], values[7] = STEADY, -STEADY
    return values


def spread() -> Tensor:
    """[32, 3]: three orthonormal directions in the 16 latents; no spread around them."""
    drawn = torch.randn(16, 3, generator=generator("tiny-flux", VERSION, "directions"))
    directions = torch.linalg.qr(drawn.double()).Q.float()
    return torch.cat([directions, torch.zeros(16, 3)])


def centre(matrix: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A convolution that looks at one pixel, from what that pixel's channels become."""
    weight = torch.zeros(shape)
    weight[:, :, 1, 1] = matrix
    return weight


def sampler(shape: tuple[int, ...], *, smooth: bool) -> Tensor:
    """Down: the mean of 2x2. Up: a small blur after the doubling; the constants stay sharp."""
    line = torch.tensor([0.25, 0.5, 0.25] if smooth else [0.5, 0.5, 0.0])
    weight = torch.zeros(shape)
    for channel in range(CHANNELS):
        weight[channel, channel] = torch.outer(line, line)
    if smooth:
        weight[6:8] = 0.0
        weight[6, 6, 1, 1] = weight[7, 7, 1, 1] = 1.0
    return weight
