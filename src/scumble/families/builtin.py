"""Small models that come with the package, so that everything runs without a download.

`emoji-flux` (dev) was trained, on emoji at 64 px (`docs/builtin-models.md`); it comes along whole.
`emoji-kontext` was trained further from it, on pairs; its transformer comes along, and its folder
is put together once per machine, with emoji-flux's other parts.
`tiny-flux` (dev), `tiny-flux-schnell` and `tiny-flux-kontext` are FLUX in shape and toys in size.
Their transformer and text encoders are random numbers from a seed. Their autoencoder is built
rather than trained: the encoder averages 8x8 pixels and spreads their colour over 16 channels, the
decoder blows the colours up again smoothly, so that a preview is a blurred picture instead of
noise. Made once per machine, as a diffusers folder.

`tiny-qwen-image` (base), `tiny-qwen-edit` (edit-v1) and `tiny-qwen-edit-plus` (edit-v2) are
Qwen-Image in shape, made in the same way.
"""

from __future__ import annotations

import os
import shutil
import string
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from scumble.errors import DiskError
from scumble.families.encoders import clip, t5, vae
from scumble.families.flux.network import FluxConfig, FluxTransformer
from scumble.families.qwen.toy import PIPELINES, write_tiny_qwen
from scumble.families.toy_parts import (
    CHANNELS,
    STEADY,
    VERSION,
    centre,
    constant,
    sampler,
    signed_colours,
    spread,
    write_json,
    write_part,
)

HEAD = 32
WIDTH = 64  # features of text and summary

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

COMPOSED: Mapping[str, tuple[Path, ...]] = {
    "emoji-kontext": (Path(__file__).parent / "emoji_kontext", TRAINED["emoji-flux"])
}
"""Those that come with some of their parts; where the first folder has none, the second's is it."""

BUILTIN = (*TRAINED, *COMPOSED, *TOYS, *PIPELINES)
"""All of them."""


def home() -> Path:
    """Where this machine keeps builtin models: SCUMBLE_HOME, else the user's cache folder."""
    if told := os.environ.get("SCUMBLE_HOME"):
        return Path(told)
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "scumble"


def materialised(name: str) -> Path:
    """The diffusers folder of a builtin model; one that is made is made whole or not at all."""
    if name in TRAINED:
        return TRAINED[name]
    final = home() / "builtin" / f"{name}-{_made_of(name)}"
    if final.is_dir():
        return final
    partial = final.with_name(f".{final.name}.{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        if name in COMPOSED:
            compose(partial, COMPOSED[name])
        elif name in PIPELINES:
            write_tiny_qwen(partial, name)
        else:
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


def _made_of(name: str) -> str:
    """What else its folder is called by."""
    return stamp(COMPOSED[name]) if name in COMPOSED else str(VERSION)


def stamp(parts: Sequence[Path]) -> str:
    """Stands for these folders as they are: another package, moved or newer, has another."""
    told = blake2b(digest_size=6)
    for part in parts:
        for file in sorted(file for file in part.rglob("*") if file.is_file()):
            found = file.stat()
            told.update(f"{file} {found.st_size} {found.st_mtime_ns}\n".encode())
    return told.hexdigest()


def compose(folder: Path, parts: Sequence[Path]) -> None:
    """One folder of several: each part and file from the first of them that has it.

    Links where the machine makes them, copies where it does not.
    """
    for part in parts:
        for entry in sorted(part.iterdir()):
            place = folder / entry.name
            if place.exists():
                continue
            try:
                place.symlink_to(entry, target_is_directory=entry.is_dir())
            except OSError:  # Windows allows it to few
                (shutil.copytree if entry.is_dir() else shutil.copyfile)(entry, place)


def write_tiny_flux(folder: Path, changes: Mapping[str, Any]) -> None:
    """The toy as a diffusers folder; `changes` go into the transformer's config."""
    transformer = TRANSFORMER | dict(changes)
    names = FluxConfig.__dataclass_fields__
    config = {name: value for name, value in transformer.items() if name in names}
    config["axes_dims_rope"] = tuple(transformer["axes_dims_rope"])
    dynamic = bool(transformer["guidance_embeds"])
    write_part(folder / "transformer", transformer, FluxTransformer(FluxConfig(**config)))
    write_part(folder / "text_encoder", CLIP, clip.skeleton(CLIP), weights="model")
    write_part(folder / "text_encoder_2", T5, t5.skeleton(T5), weights="model")
    write_part(folder / "vae", AUTOENCODER, vae.skeleton(AUTOENCODER), values=autoencoder_values)
    write_json(folder / "scheduler" / "scheduler_config.json", scheduler(dynamic=dynamic))
    write_json(folder / "model_index.json", index())
    _tokenizers(folder)


def autoencoder_values(name: str, shape: tuple[int, ...]) -> Tensor:
    """Channels: each colour and its negative, then a constant and its negative.

    Colours are counted from white, so that the zeros around a picture are white. Blocks between
    the ends add nothing; silu(x) - silu(-x) = x makes the last activation disappear.
    """
    if len(shape) == 4 and "sampler" in name:
        return sampler(shape, smooth=name.startswith("decoder"))
    special = {
        "encoder.conv_in.weight": lambda: centre(signed_colours().T, shape),
        "encoder.conv_in.bias": lambda: constant() - signed_colours().sum(0),
        "encoder.conv_out.weight": lambda: centre(spread() @ signed_colours(), shape),
        "encoder.conv_out.bias": lambda: torch.cat([torch.zeros(16), torch.full((16,), -30.0)]),
        "decoder.conv_in.weight": lambda: centre(signed_colours().T @ spread().T[:, :16], shape),
        "decoder.conv_in.bias": constant,
        "decoder.conv_out.weight": lambda: centre(signed_colours(), shape),
        "decoder.conv_out.bias": lambda: torch.ones(shape),
    }
    if name in special:
        return special[name]()
    if name.endswith("conv_norm_out.weight"):
        return torch.full(shape, STEADY * (2 / CHANNELS) ** 0.5)
    return torch.zeros(shape)


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


def _tokenizers(folder: Path) -> None:
    from transformers import CLIPTokenizer, T5Tokenizer

    vocabulary = {symbol: number for number, symbol in enumerate(SYMBOLS)}
    vocabulary |= {f"{symbol}</w>": len(SYMBOLS) + at for at, symbol in enumerate(SYMBOLS)}
    vocabulary |= {"<|startoftext|>": BEGIN, "<|endoftext|>": END}
    letters = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=clip.LENGTH)
    letters.save_pretrained(folder / "tokenizer")
    scored = [(piece, -float(number)) for number, piece in enumerate(PIECES)]
    T5Tokenizer(vocab=scored, extra_ids=0).save_pretrained(folder / "tokenizer_2")
