"""How Qwen-Image reads texts: in a published frame of words, with the pictures shown along or not.

`TEXT`, `EDIT` and `EDIT_PLUS` give a family its `words`, `read` and `text_length`; `PART` and
`SEEING_PART` are how the encoder lies on disk; `text_toy.write_toy` writes a small one.

Frames and figures are those of the pipelines of diffusers 0.42.1 (QwenImagePipeline, -EditPipeline
and -EditPlusPipeline). Positions are those the models were trained with: from transformers 5 on the
pipelines lose those of pictures (diffusers issue 14194), which `as_published` puts right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from scumble.families.encoders import qwen_vl
from scumble.families.encoders.qwen_vl import GRIDS, IDS, PATCHES, PICTURE, PLACES, SPOTS
from scumble.families.family import Config, Entry, Loose, Modules, Part, Prompt, Tools
from scumble.families.flux.files import numbered
from scumble.families.tensor_files import Shape

NAME = "qwen"
"""The part that reads texts."""

STEP = 32  # sides of a picture that is shown to the reader are multiples of it
SHOWN = "<|vision_start|><|image_pad|><|vision_end|>"
TAIL = "<|im_end|>\n<|im_start|>assistant\n"
TAIL_TOKENS = 5


@dataclass(frozen=True)
class Template:
    """What stands around a text, and how many tokens of that are not told."""

    system: str
    drop: int
    """Tokens before the text; the published number, whatever the tokenizer makes of the words."""

    announced: str = SHOWN
    """What stands before the text for each picture; `{}` is its number."""

    @property
    def head(self) -> str:
        """All that stands before the pictures and the text."""
        return f"<|im_start|>system\n{self.system}<|im_end|>\n<|im_start|>user\n"

    def words(self, tools: Tools, prompt: Prompt) -> Entry:
        """A text and its pictures as numbers. Texts are cut after `prompt.tokens` tokens, end of
        the frame included; pictures do not count."""
        pieces: Any = tools[NAME].pieces
        shown = "".join(self.announced.format(n + 1) for n in range(len(prompt.pictures)))
        said = prompt.text.replace(PICTURE, "")  # marks are for pictures alone
        raw = pieces(self.head + shown + said + TAIL)["input_ids"]
        mark = pieces.convert_tokens_to_ids(PICTURE)
        grids = [qwen_vl.grid(*one.shape[:2]) for one in prompt.pictures]
        left, ids = iter(grids), list[int]()
        for one in raw:
            ids += [mark] * math.prod(next(left)) if one == mark else [one]
        del ids[self.drop + prompt.tokens + sum(map(math.prod, grids)) :]
        numbers = torch.tensor(ids)
        entry = {IDS: numbers, PLACES: qwen_vl.places(ids, mark, grids)}
        if not prompt.pictures:
            return entry
        sides = [(1, *(qwen_vl.MERGE * one for one in grid)) for grid in grids]
        return entry | {
            PATCHES: torch.cat([qwen_vl.patches(one) for one in prompt.pictures]),
            GRIDS: torch.tensor(sides),
            SPOTS: (numbers == mark).nonzero()[:, 0],
        }

    def read(self, modules: Modules, entries: Sequence[Entry]) -> list[Entry]:
        """Each text by itself, without padding, so that it comes out the same in any company."""
        told = (qwen_vl.read(modules[NAME], one)[self.drop :] for one in entries)
        return [{"text": one} for one in told]

    def length(self, text: str, sights: Sequence[tuple[int, int]], tokens: int) -> int:
        """About how many tokens are told of a text with pictures of these heights and widths, for
        forecasts: rather too many."""
        seen = sum(math.prod(qwen_vl.grid(*one)) + 8 for one in sights)
        return min(len(text.encode()) // 2 + 1 + TAIL_TOKENS, tokens) + seen


TEXT = Template(
    "Describe the image by detailing the color, shape, size, texture, quantity, text, spatial"
    " relationships of the objects and background:",
    drop=34,
)
EDIT = Template(
    "Describe the key features of the input image (color, shape, size, texture, objects,"
    " background), then explain how the user's text instruction should alter or modify the image."
    " Generate a new image that meets the user's requirements while maintaining consistency with"
    " the original input where appropriate.",
    drop=64,
)
EDIT_PLUS = Template(EDIT.system, drop=64, announced="Picture {}: " + SHOWN)


def glanced(area: int, height: int, width: int) -> tuple[int, int]:
    """Height and width at which a picture of that shape has about that area, in steps of 32."""
    across = math.sqrt(area * width / height)
    sides = (across * height / width, across)
    rows, columns = (max(1, round(one / STEP)) * STEP for one in sides)
    return rows, columns


GLANCE = partial(glanced, 1024 * 1024)
"""Of the edit model that is shown one picture."""

GLANCE_PLUS = partial(glanced, 384 * 384)
"""Of the edit models that are shown several."""


@dataclass(frozen=True)
class Lexicon:
    """The tokenizer, counted as texts are cut: with the end of the frame."""

    pieces: Any

    def __len__(self) -> int:
        return len(self.pieces)

    def __call__(self, text: str) -> Mapping[str, Sequence[int]]:
        """`input_ids` of a text and of what is always said after it."""
        return {"input_ids": self.pieces(text + TAIL)["input_ids"]}


def tokenizer(folder: Path) -> Lexicon:
    """The tokenizer of a folder, read from this disk alone."""
    return Lexicon(qwen_vl.tokenizer(folder))


def skeleton(config: Config, *, sees: bool) -> nn.Module:
    """The reader without weights; one that sees has a vision tower."""
    return qwen_vl.skeleton(config, sees=sees)


def as_published(encoder: Any) -> RemovableHandle:
    """Let a text encoder of transformers 5 place the pictures that a pipeline shows it, as
    transformers 4 did; without that they are read like words in a row. The handle undoes it."""

    def told(_: nn.Module, given: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        kinds = (named["input_ids"] == encoder.config.image_token_id).int()
        return given, {**named, "mm_token_type_ids": kinds}

    return encoder.register_forward_pre_hook(told, with_kwargs=True)


CONFIG = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "model_type": "qwen2_5_vl_text",
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 128000,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 1_000_000.0,
        "mrope_section": [16, 24, 24],
    },
    "use_sliding_window": False,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "image_token_id": 151655,
    "vision_start_token_id": 151652,
    "vision_config": {
        "model_type": "qwen2_5_vl",
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 3584,
        "hidden_act": "silu",
        "patch_size": qwen_vl.PATCH,
        "spatial_merge_size": qwen_vl.MERGE,
        "temporal_patch_size": qwen_vl.FRAMES,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
    },
}
"""Of Qwen2.5-VL-7B-Instruct, which Qwen-Image reads texts with."""

HEAD = 128  # features of an attention head of the 7B model
LANGUAGE, EYES = "language_model", "visual"


def sizes(shapes: Mapping[str, Shape]) -> Config:
    """What the shapes of its tensors tell. ValueError for a width of no whole heads."""
    words, width = shapes[f"{LANGUAGE}.embed_tokens.weight"]
    first = f"{LANGUAGE}.layers.0"
    if width % HEAD:
        raise ValueError(f"its {width} features are no multiple of Qwen2.5-VL's heads of {HEAD}")
    told: dict[str, Any] = {
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": shapes[f"{first}.mlp.gate_proj.weight"][0],
        "num_hidden_layers": numbered(shapes, f"{LANGUAGE}.layers.{{}}."),
        "num_attention_heads": width // HEAD,
        "num_key_value_heads": shapes[f"{first}.self_attn.k_proj.weight"][0] // HEAD,
    }
    if any(name.startswith(f"{EYES}.") for name in shapes):
        told["vision_config"] = CONFIG["vision_config"] | _eyes(shapes)
    return told


def _eyes(shapes: Mapping[str, Shape]) -> Config:
    return {
        "depth": numbered(shapes, f"{EYES}.blocks.{{}}."),
        "hidden_size": shapes[f"{EYES}.patch_embed.proj.weight"][0],
        "intermediate_size": shapes[f"{EYES}.blocks.0.mlp.gate_proj.weight"][0],
        "out_hidden_size": shapes[f"{EYES}.merger.mlp.2.weight"][0],
    }


PART = Part(
    "text_encoder",
    "model",
    "tokenizer",
    text_is_measured=True,
    aliases=(
        ("model.language_model.", f"{LANGUAGE}."),
        ("model.visual.", f"{EYES}."),
        ("model.", f"{LANGUAGE}."),
    ),
    tokenized=tokenizer,
    nested="text_config",
    beside=qwen_vl.OUTSIDE,
    idle=("lm_head.weight", "*rotary_emb.inv_freq", "visual.*", "model.visual.*"),
    loose=Loose(
        called="a Qwen2.5-VL text encoder",
        example="qwen_2.5_vl_7b.safetensors",
        signs=(
            "model.layers.0.self_attn.q_proj.bias",
            "model.language_model.layers.0.self_attn.q_proj.bias",
            "language_model.layers.0.self_attn.q_proj.bias",
        ),
        within=("", "text_encoders.qwen25_7b.transformer.", "text_encoders.qwen25_7b."),
        published=CONFIG,
        sizes=sizes,
    ),
)
"""Of models whose texts are read by themselves: the vision tower is left where it is."""

SEEING_PART = replace(PART, idle=PART.idle[:2])
"""Of models whose texts are read with pictures."""
