"""The autoencoder of Qwen-Image: that of the Wan video models, given films of one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from scumble.hardware.imports import from_this_machine

if TYPE_CHECKING:
    from collections.abc import Mapping


def skeleton(config: Mapping[str, Any]) -> nn.Module:
    """The autoencoder of a config.json, without weights."""
    from accelerate import init_empty_weights

    with from_this_machine():
        from diffusers.models.autoencoders.autoencoder_kl_qwenimage import AutoencoderKLQwenImage

    known = {name: value for name, value in config.items() if not name.startswith("_")}
    with init_empty_weights(include_buffers=False):
        made = AutoencoderKLQwenImage.from_config(known)
    assert isinstance(made, AutoencoderKLQwenImage)
    return made


def see(module: Any, pixels: Tensor) -> Tensor:
    """The middle of what the encoder makes of the pixels, as far from the mean as is usual."""
    film = module.encode(pixels[:, :, None].to(module.dtype)).latent_dist.mode()
    mean, spread = _usual(module, film)
    return (film[:, :, 0].float() - mean) / spread


def show(module: Any, latents: Tensor) -> Tensor:
    """Pixels of clean latents; this autoencoder clamps them itself."""
    mean, spread = _usual(module, latents)
    raw = latents * spread + mean
    return module.decode(raw[:, :, None].to(module.dtype)).sample[:, :, 0].float()


def _usual(module: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over many pictures: [channels, 1, 1] each."""
    told = (module.config.latents_mean, module.config.latents_std)
    mean, spread = (torch.tensor(one, device=like.device)[:, None, None] for one in told)
    return mean, spread
