"""Small models that come with the package, so that everything runs without a download.

`emoji-flux` (dev) was trained, on emoji at 64 px (`docs/builtin-models.md`); it comes along whole.
`tiny-flux` (dev), `tiny-flux-schnell` and `tiny-flux-kontext` are FLUX in shape and toys in size.
Their transformer and text encoders are random numbers from a seed. Their autoencoder is built
rather than trained: the encoder averages 8x8 pixels and spreads their colour over 16 channels, the
decoder blows the colours up again smoothly, so that a preview is a blurred picture instead of
noise. Made once per machine, as a diffusers folder.
"""

from __future__ import annotations

import json
import os
import shutil
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from scumble.dice import generator
from scumble.errors import DiskError
from scumble.families.encoders import clip, t5, vae
from scumble.families.flux.network import FluxConfig, FluxTransformer

VERSION = 1  # a change of what is made changes the folder's name
HEAD = 32
WIDTH = 64  # features of text and summary
CHANNELS = 16
STEADY = 100.0  # a constant channel that keeps the group norms from seeing the picture

TRANSFORMER = {
    "_class_name": "FluxTransformer2DModel",
    "patch_size": 1,
    "in_channels": 64,
    "num_layers": 2,
    "num_single_layers": 4,
    "attention_head_dim": HEAD,
    "num_attention_heads": 4,
    "joint_attention_dim": WIDTH,
    "pooled_projection_dim": WIDTH,
    "guidance_embeds": True,
    "axes_dims_rope": [8, 12, 12],
}
AUTOENCODER = {
    "_class_name": "AutoencoderKL",
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [CHANNELS] * 4,
    "layers_per_block": 1,
    "latent_channels": 16,
    "norm_num_groups": 1,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "scaling_factor": 4.0,
    "shift_factor": -0.05,
}
SYMBOLS = [*(chr(code) for code in range(33, 127)), " "]
BEGIN, END = 2 * len(SYMBOLS), 2 * len(SYMBOLS) + 1
CLIP = {
    "architectures": ["CLIPTextModel"],
    "model_type": "clip_text_model",
    "vocab_size": 2 * len(SYMBOLS) + 2,
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "projection_dim": WIDTH,
    "max_position_embeddings": clip.LENGTH,
    "hidden_act": "quick_gelu",
    "bos_token_id": BEGIN,
    "eos_token_id": END,
    "pad_token_id": END,
}
PIECES = ["<pad>", "</s>", "<unk>", "\u2581", *string.ascii_letters, *string.digits]
PIECES += [*string.punctuation, *(f"\u2581{letter}" for letter in string.ascii_lowercase)]
T5 = {
    "architectures": ["T5EncoderModel"],
    "model_type": "t5",
    "vocab_size": len(PIECES),
    "d_model": WIDTH,
    "d_kv": 16,
    "d_ff": 2 * WIDTH,
    "num_layers": 2,
    "num_heads": 4,
    "feed_forward_proj": "gated-gelu",
    "is_encoder_decoder": False,
}
TOYS: Mapping[str, Mapping[str, Any]] = {
    "tiny-flux": {},
    "tiny-flux-schnell": {"guidance_embeds": False},
    "tiny-flux-kontext": {},
}
"""Names, and what each changes in the transformer's config."""

TRAINED: Mapping[str, Path] = {"emoji-flux": Path(__file__).parent / "emoji_flux"}
"""Those that come with their weights, as diffusers folders."""

BUILTIN = (*TRAINED, *TOYS)
"""All of them."""


def home() -> Path:
    """Where this machine keeps builtin models: SCUMBLE_HOME, else the user's cache folder."""
    if told := os.environ.get("SCUMBLE_HOME"):
        return Path(told)
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "scumble"


def materialised(name: str) -> Path:
    """The diffusers folder of a builtin model; a toy's is made whole or not at all."""
    if name in TRAINED:
        return TRAINED[name]
    final = home() / "builtin" / f"{name}-{VERSION}"
    if final.is_dir():
        return final
    partial = final.with_name(f".{final.name}.{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        write_tiny_flux(partial, TOYS[name])
        partial.rename(final)
    except (OSError, SafetensorError) as error:
        if final.is_dir():  # somebody else was faster
            return final
        remedy = "set SCUMBLE_HOME to a folder that can be written to"
        raise DiskError(final, f"the builtin model cannot be made ({error})", remedy) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return final


def write_tiny_flux(folder: Path, changes: Mapping[str, Any]) -> None:
    """The toy as a diffusers folder; `changes` go into the transformer's config."""
    transformer = TRANSFORMER | dict(changes)
    names = FluxConfig.__dataclass_fields__
    config = {name: value for name, value in transformer.items() if name in names}
    config["axes_dims_rope"] = tuple(transformer["axes_dims_rope"])
    dynamic = bool(transformer["guidance_embeds"])
    _part(folder / "transformer", transformer, FluxTransformer(FluxConfig(**config)))
    _part(folder / "text_encoder", CLIP, clip.skeleton(CLIP), weights="model")
    _part(folder / "text_encoder_2", T5, t5.skeleton(T5), weights="model")
    _part(folder / "vae", AUTOENCODER, vae.skeleton(AUTOENCODER), values=autoencoder_values)
    _json(folder / "scheduler" / "scheduler_config.json", scheduler(dynamic=dynamic))
    _json(folder / "model_index.json", index())
    _tokenizers(folder)


def _part(
    folder: Path,
    config: Mapping[str, Any],
    module: nn.Module,
    *,
    weights: str = "diffusion_pytorch_model",
    values: Any = None,
) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    make = values or (lambda name, shape: random_value(folder.name, name, shape))
    _json(folder / "config.json", config)
    tensors = {name: make(name, shape).contiguous() for name, shape in shapes.items()}
    save_file(tensors, folder / f"{weights}.safetensors", {"format": "pt"})


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


def autoencoder_values(name: str, shape: tuple[int, ...]) -> Tensor:
    """Channels: each colour and its negative, then a constant and its negative.

    Colours are counted from white, so that the zeros around a picture are white. Blocks between
    the ends add nothing; silu(x) - silu(-x) = x makes the last activation disappear.
    """
    if len(shape) == 4 and "sampler" in name:
        return _sampler(shape, smooth=name.startswith("decoder"))
    special = {
        "encoder.conv_in.weight": lambda: _centre(_signed_colours().T, shape),
        "encoder.conv_in.bias": lambda: _constant() - _signed_colours().sum(0),
        "encoder.conv_out.weight": lambda: _centre(_spread() @ _halved(), shape),
        "encoder.conv_out.bias": lambda: torch.cat([torch.zeros(16), torch.full((16,), -30.0)]),
        "decoder.conv_in.weight": lambda: _centre(_signed_colours().T @ _spread().T[:, :16], shape),
        "decoder.conv_in.bias": _constant,
        "decoder.conv_out.weight": lambda: _centre(_halved(), shape),
        "decoder.conv_out.bias": lambda: torch.ones(shape),
    }
    if name in special:
        return special[name]()
    if name.endswith("conv_norm_out.weight"):
        return torch.full(shape, STEADY * (2 / CHANNELS) ** 0.5)
    return torch.zeros(shape)


def _signed_colours() -> Tensor:
    """[3, channels]: colour c goes to channels 2c and, negative, 2c + 1."""
    signs = torch.zeros(3, CHANNELS)
    for colour in range(3):
        signs[colour, 2 * colour], signs[colour, 2 * colour + 1] = 1.0, -1.0
    return signs


def _halved() -> Tensor:
    """[3, channels]: silu(x) - silu(-x) is x already, so each sign counts once."""
    return _signed_colours()


def _constant() -> Tensor:
    values = torch.zeros(CHANNELS)
    values[6], values[7] = STEADY, -STEADY
    return values


def _spread() -> Tensor:
    """[32, 3]: three orthonormal directions in the 16 latents; no spread around them."""
    drawn = torch.randn(16, 3, generator=generator("tiny-flux", VERSION, "directions"))
    directions = torch.linalg.qr(drawn.double()).Q.float()
    return torch.cat([directions, torch.zeros(16, 3)])


def _centre(matrix: Tensor, shape: tuple[int, ...]) -> Tensor:
    weight = torch.zeros(shape)
    weight[:, :, 1, 1] = matrix
    return weight


def _sampler(shape: tuple[int, ...], *, smooth: bool) -> Tensor:
    """Down: the mean of 2x2. Up: a small blur after the doubling; the constants stay sharp."""
    line = torch.tensor([0.25, 0.5, 0.25] if smooth else [0.5, 0.5, 0.0])
    weight = torch.zeros(shape)
    for channel in range(CHANNELS):
        weight[channel, channel] = torch.outer(line, line)
    if smooth:
        weight[6:8] = 0.0
        weight[6, 6, 1, 1] = weight[7, 7, 1, 1] = 1.0
    return weight


def scheduler(*, dynamic: bool) -> dict[str, Any]:
    """The sampler's config as FLUX.1 publishes it; `dynamic` for dev."""
    return {
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "base_image_seq_len": 256,
        "base_shift": 0.5,
        "max_image_seq_len": 4096,
        "max_shift": 1.15,
        "num_train_timesteps": 1000,
        "shift": 3.0 if dynamic else 1.0,
        "use_dynamic_shifting": dynamic,
    }


def index() -> dict[str, Any]:
    """The model_index.json of a FLUX pipeline."""
    return {
        "_class_name": "FluxPipeline",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "T5TokenizerFast"],
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }


def _json(file: Path, value: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _tokenizers(folder: Path) -> None:
    from transformers import CLIPTokenizer, T5Tokenizer

    vocabulary = {symbol: number for number, symbol in enumerate(SYMBOLS)}
    vocabulary |= {f"{symbol}</w>": len(SYMBOLS) + at for at, symbol in enumerate(SYMBOLS)}
    vocabulary |= {"<|startoftext|>": BEGIN, "<|endoftext|>": END}
    letters = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=clip.LENGTH)
    letters.save_pretrained(folder / "tokenizer")
    scored = [(piece, -float(number)) for number, piece in enumerate(PIECES)]
    T5Tokenizer(vocab=scored, extra_ids=0).save_pretrained(folder / "tokenizer_2")
