"""The autoencoder between pixels and latents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from scumble.hardware.imports import from_this_machine

if TYPE_CHECKING:
    from collections.abc import Mapping


def skeleton(config: Mapping[str, Any]) -> nn.Module:
    """The autoencoder of a config.json, without weights."""
    from accelerate import init_empty_weights

    with from_this_machine():
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    with init_empty_weights(include_buffers=False):
        made = AutoencoderKL.from_config(dict(config))
    assert isinstance(made, AutoencoderKL)
    return made


def see(module: Any, pixels: Tensor) -> Tensor:
    """The middle of what the encoder makes of the pixels, shifted and scaled."""
    middle = module.encode(pixels.to(module.dtype)).latent_dist.mode()
    return (middle.float() - (module.config.shift_factor or 0.0)) * module.config.scaling_factor


def show(module: Any, latents: Tensor) -> Tensor:
    """Pixels of clean latents, not yet clamped."""
    raw = latents / module.config.scaling_factor + (module.config.shift_factor or 0.0)
    return module.decode(raw.to(module.dtype)).sample.float()
