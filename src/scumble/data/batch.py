"""What the data room hands to everyone else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Examples of one size, with references alike in number and size."""

    latents: Float[Tensor, "batch channels height width"]
    """Clean, in float32."""

    words: dict[str, Tensor]
    """The text as the network is told it, [batch, ...]."""

    frames: Int[Tensor, "batch 8"]
    """Original h w, resized h w, corner top left, size h w; in pixels."""

    weights: Float[Tensor, " batch"]
    """Factor on each example's loss."""

    slots: tuple[int, ...]
    """Each example's place in its unit of work."""

    ids: tuple[str, ...]
    """Data set and picture of each example, for messages."""

    captions: tuple[str, ...]
    """The text of each example as it was used."""

    references: tuple[Tensor, ...] = ()
    """Clean latents of the pictures shown along, in order, each [batch, channels, h, w]."""

    masks: Float[Tensor, "batch 1 height width"] | None = None
    """Where the loss counts, from 0 to 1, at the size of the latents; None: everywhere."""

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The same with every tensor the network sees changed, such as moved to a device."""
        return replace(
            self,
            latents=change(self.latents),
            words={name: change(tensor) for name, tensor in self.words.items()},
            weights=change(self.weights),
            references=tuple(change(tensor) for tensor in self.references),
            masks=None if self.masks is None else change(self.masks),
        )
