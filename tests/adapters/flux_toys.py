"""FLUX's layers by name and shape, at real size and at toy size, without any weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
from torch import nn

from scumble.adapters.lora import LoraTensors
from scumble.families.flux.network import FluxConfig, FluxTransformer

REAL = FluxConfig(guidance_embeds=True)
TOY = FluxConfig(
    in_channels=4,
    num_layers=1,
    num_single_layers=1,
    attention_head_dim=4,
    num_attention_heads=2,
    joint_attention_dim=6,
    pooled_projection_dim=5,
    guidance_embeds=True,
    axes_dims_rope=(2, 2),
)
CLIP_SHAPES = {"fc1": (3072, 768), "fc2": (768, 3072)}
T5_SHAPES = {"wi_0": (10240, 4096), "wi_1": (10240, 4096), "wo": (4096, 10240)}


@cache
def network(config: FluxConfig = REAL) -> nn.Module:
    """Without weights."""
    with torch.device("meta"):
        return FluxTransformer(config)


def linears(config: FluxConfig = REAL) -> dict[str, tuple[int, int]]:
    """Outputs and inputs of every linear layer of ours."""
    found = network(config).named_modules()
    return {n: (m.out_features, m.in_features) for n, m in found if isinstance(m, nn.Linear)}


def clip() -> dict[str, tuple[int, int]]:
    """CLIP-L's trained layers."""
    kinds = [f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")] + ["mlp.fc1", "mlp.fc2"]
    return {
        f"text_model.encoder.layers.{number}.{kind}": CLIP_SHAPES.get(kind[4:], (768, 768))
        for number in range(12)
        for kind in kinds
    }


def t5() -> dict[str, tuple[int, int]]:
    """T5-XXL's trained layers."""
    kinds = [f"0.SelfAttention.{name}" for name in "qkvo"]
    kinds += [f"1.DenseReluDense.{name}" for name in T5_SHAPES]
    return {
        f"encoder.block.{number}.layer.{kind}": T5_SHAPES.get(kind.split(".")[-1], (4096, 4096))
        for number in range(24)
        for kind in kinds
    }


def shapes_only(
    layers: Mapping[str, tuple[int, int]], rank: int, alpha: float
) -> dict[str, LoraTensors]:
    """Changes on the meta device. Layers that see the same input share one down matrix."""
    downs: dict[tuple[str, int], torch.Tensor] = {}
    made = {}
    for name, (outputs, inputs) in layers.items():
        within = name.rpartition(".")[0].removesuffix(".attn") if _fused(name) else name
        text = "add_" in name
        down = downs.setdefault((f"{within}{text}", inputs), _meta(rank, inputs))
        made[name] = LoraTensors(down, _meta(outputs, rank), alpha)
    return made


def _fused(name: str) -> bool:
    last = name.rpartition(".")[2]
    return last in ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj", "proj_mlp")


def _meta(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")
