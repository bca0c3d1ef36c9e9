"""FLUX.1's layers: as Black Forest Labs published them, and as diffusers names them.

kohya's sd-scripts and ComfyUI spell adapters with the authors' names, whose fused layers (`qkv`,
`linear1`) are several of ours. Text encoders have one set of names everywhere.
"""

from scumble.adapters.keys import Network, Row

DOUBLE, BLOCK = "double_blocks.{}", "transformer_blocks.{}"
SINGLE, ALONE = "single_blocks.{}", "single_transformer_blocks.{}"
TIME = "time_text_embed"


def _side(theirs: str, ours: str, attention: tuple[str, str, str], back: str) -> tuple[Row, ...]:
    """The layers of a double block's picture or text half."""
    mixed = tuple(f"{BLOCK}.attn.{name}" for name in attention)
    return (
        Row(f"{DOUBLE}.{theirs}_mod.lin", (f"{BLOCK}.norm1{ours}.linear",)),
        Row(f"{DOUBLE}.{theirs}_attn.qkv", mixed, (1, 1, 1)),
        Row(f"{DOUBLE}.{theirs}_attn.proj", (f"{BLOCK}.attn.{back}",)),
        Row(f"{DOUBLE}.{theirs}_mlp.0", (f"{BLOCK}.ff{ours}.net.0.proj",)),
        Row(f"{DOUBLE}.{theirs}_mlp.2", (f"{BLOCK}.ff{ours}.net.2",)),
    )


TRANSFORMER = Network(
    rows=(
        *_side("img", "", ("to_q", "to_k", "to_v"), "to_out.0"),
        *_side("txt", "_context", ("add_q_proj", "add_k_proj", "add_v_proj"), "to_add_out"),
        Row(
            f"{SINGLE}.linear1",
            (*(f"{ALONE}.attn.{name}" for name in ("to_q", "to_k", "to_v")), f"{ALONE}.proj_mlp"),
            (1, 1, 1, 4),
        ),
        Row(f"{SINGLE}.linear2", (f"{ALONE}.proj_out",)),
        Row(f"{SINGLE}.modulation.lin", (f"{ALONE}.norm.linear",)),
        Row("img_in", ("x_embedder",)),
        Row("txt_in", ("context_embedder",)),
        Row("time_in.in_layer", (f"{TIME}.timestep_embedder.linear_1",)),
        Row("time_in.out_layer", (f"{TIME}.timestep_embedder.linear_2",)),
        Row("vector_in.in_layer", (f"{TIME}.text_embedder.linear_1",)),
        Row("vector_in.out_layer", (f"{TIME}.text_embedder.linear_2",)),
        Row("guidance_in.in_layer", (f"{TIME}.guidance_embedder.linear_1",)),
        Row("guidance_in.out_layer", (f"{TIME}.guidance_embedder.linear_2",)),
        Row("final_layer.linear", ("proj_out",)),
        Row("final_layer.adaLN_modulation.1", ("norm_out.linear",), swapped=True),
    ),
    tensors=(
        (f"{DOUBLE}.img_attn.norm.query_norm.scale", f"{BLOCK}.attn.norm_q.weight"),
        (f"{DOUBLE}.img_attn.norm.key_norm.scale", f"{BLOCK}.attn.norm_k.weight"),
        (f"{DOUBLE}.txt_attn.norm.query_norm.scale", f"{BLOCK}.attn.norm_added_q.weight"),
        (f"{DOUBLE}.txt_attn.norm.key_norm.scale", f"{BLOCK}.attn.norm_added_k.weight"),
        (f"{SINGLE}.norm.query_norm.scale", f"{ALONE}.attn.norm_q.weight"),
        (f"{SINGLE}.norm.key_norm.scale", f"{ALONE}.attn.norm_k.weight"),
    ),
    prefixes={
        "diffusers": "transformer.",
        "kohya": "lora_unet_",
        "comfy": "diffusion_model.",
    },
    also={
        "base_model.model.": "peft",
        "base_model.model.transformer.": "peft",
        "lora_transformer_": "OneTrainer",
        "lycoris_": "LyCORIS",
        "model.diffusion_model.": "comfy",
        "": "bare names",
    },
    kohya={"ss_network_module": "networks.lora_flux", "ss_base_model_version": "flux1"},
)


def _alike(*layers: str) -> tuple[Row, ...]:
    return tuple(Row(layer, (layer,)) for layer in layers)


LAYER = "text_model.encoder.layers.{}"
CLIP_LAYERS = (
    *(f"{LAYER}.self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "out_proj")),
    *(f"{LAYER}.mlp.{name}" for name in ("fc1", "fc2")),
)
CLIP = Network(
    rows=(
        *_alike(*CLIP_LAYERS),
        *(Row(one.removeprefix("text_model."), (one,)) for one in CLIP_LAYERS),  # transformers 5
    ),
    prefixes={
        "diffusers": "text_encoder.",
        "kohya": "lora_te1_",
        "comfy": "text_encoders.clip_l.transformer.",
    },
    also={"text_encoders.clip_l.": "comfy", "lora_te_": "kohya", "base_model.model.": "peft"},
)

T5_BLOCK = "encoder.block.{}"
T5 = Network(
    rows=_alike(
        *(f"{T5_BLOCK}.layer.0.SelfAttention.{name}" for name in "qkvo"),
        *(f"{T5_BLOCK}.layer.1.DenseReluDense.{name}" for name in ("wi_0", "wi_1", "wo")),
    ),
    prefixes={
        "diffusers": "text_encoder_2.",
        "kohya": "lora_te3_",
        "comfy": "text_encoders.t5xxl.transformer.",
    },
    also={"text_encoders.t5xxl.": "comfy", "lora_te2_": "OneTrainer", "base_model.model.": "peft"},
)

KEYS = {"denoiser": TRANSFORMER, "clip": CLIP, "t5": T5}
