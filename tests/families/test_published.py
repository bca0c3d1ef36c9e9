"""The settings that shapes tell, beside the config.json files of black-forest-labs/FLUX.1-dev."""

from __future__ import annotations

from typing import Any

import pytest

from scumble.families.flux import files as flux_files
from scumble.families.flux import model as flux

Facts = dict[str, Any]

TRANSFORMER: Facts = {
    "_class_name": "FluxTransformer2DModel",
    "attention_head_dim": 128,
    "guidance_embeds": True,
    "in_channels": 64,
    "joint_attention_dim": 4096,
    "num_attention_heads": 24,
    "num_layers": 19,
    "num_single_layers": 38,
    "patch_size": 1,
    "pooled_projection_dim": 768,
}
VAE: Facts = {
    "_class_name": "AutoencoderKL",
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "force_upcast": True,
    "in_channels": 3,
    "latent_channels": 16,
    "layers_per_block": 2,
    "mid_block_add_attention": True,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 1024,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "use_post_quant_conv": False,
    "use_quant_conv": False,
}
TEXT_ENCODER: Facts = {
    "architectures": ["CLIPTextModel"],
    "hidden_act": "quick_gelu",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 77,
    "model_type": "clip_text_model",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "projection_dim": 768,
    "vocab_size": 49408,
}
TEXT_ENCODER_2: Facts = {
    "architectures": ["T5EncoderModel"],
    "d_ff": 10240,
    "d_kv": 64,
    "d_model": 4096,
    "dropout_rate": 0.1,
    "eos_token_id": 1,
    "feed_forward_proj": "gated-gelu",
    "layer_norm_epsilon": 1e-06,
    "model_type": "t5",
    "num_heads": 64,
    "num_layers": 24,
    "pad_token_id": 0,
    "relative_attention_max_distance": 128,
    "relative_attention_num_buckets": 32,
    "tie_word_embeddings": False,
    "vocab_size": 32128,
}
"""Without what they say of training alone, and what does not change a network's answer: CLIP's
file names 2 as its end, for which the library takes the largest number, 49,407; ours says so."""

PUBLISHED = [
    ("denoiser", TRANSFORMER, 11_901_408_320),
    ("denoiser", TRANSFORMER | {"guidance_embeds": False}, 11_891_178_560),
    ("autoencoder", VAE, 83_819_683),
    ("clip", TEXT_ENCODER, 123_060_480),
    ("t5", TEXT_ENCODER_2, 4_762_310_656),
]


@pytest.mark.parametrize(
    ("part", "facts", "numbers"), PUBLISHED, ids=["dev", "schnell", "ae", "clip", "t5"]
)
def test_shapes_tell_what_the_published_config_says(part: str, facts: Facts, numbers: int) -> None:
    """On the meta device, at the published size."""
    module, loose = flux.skeleton(part, facts), flux_files.PARTS[part].loose
    tensors = module.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    sizes = loose.sizes(shapes)
    config = {**loose.published, **sizes}
    assert {name: config[name] for name in facts} == facts
    again = flux.skeleton(part, config).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in again.items()} == shapes
    assert sum(one.numel() for one in module.parameters()) == numbers


@pytest.mark.parametrize("part", flux_files.PARTS)
def test_nothing_that_shapes_tell_is_taken_from_the_published_config(part: str) -> None:
    """A setting that stands in where shapes could tell would be wrong for another size."""
    loose = flux_files.PARTS[part].loose
    facts = {one: told for one, told, _ in reversed(PUBLISHED)}[part]
    small = facts | HALVED[part]
    shapes = {
        name: tuple(tensor.shape)
        for name, tensor in flux.skeleton(part, small).state_dict().items()
    }
    config = {**loose.published, **loose.sizes(shapes)}
    assert {name: config[name] for name in facts} == small


HALVED: dict[str, Facts] = {
    "denoiser": {"num_layers": 2, "num_single_layers": 3, "num_attention_heads": 2}
    | {"joint_attention_dim": 96, "pooled_projection_dim": 32, "in_channels": 384},
    "autoencoder": {"block_out_channels": [32, 64, 96, 128], "layers_per_block": 1}
    | {"latent_channels": 4, "use_quant_conv": True, "use_post_quant_conv": True},
    "clip": {"hidden_size": 128, "projection_dim": 128, "intermediate_size": 96}
    | {"num_hidden_layers": 3, "num_attention_heads": 2, "vocab_size": 1000}
    | {"max_position_embeddings": 32},
    "t5": {"d_model": 96, "d_kv": 32, "d_ff": 64, "num_heads": 2, "num_layers": 3}
    | {"vocab_size": 500, "relative_attention_num_buckets": 16},
}
