"""What the data room hands to everyone else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Examples of one size, read from the cache."""

    latents: Float[Tensor, "batch channels height width"]
    """Clean, in float32."""

    words: dict[str, Tensor]
    """The text as the network is told it, [batch, ...]."""

    frames: Int[Tensor, "batch 8"]
    """Original h w, resized h w, corner top left, size h w; in pixels."""

    ids: tuple[str, ...]
    """Data set and picture of each example, for messages."""

    captions: tuple[str, ...]
    """The text of each example as it was used."""

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The same with every tensor the network sees changed, such as moved to a device."""
        words = {name: change(tensor) for name, tensor in self.words.items()}
        return replace(self, latents=change(self.latents), words=words)
