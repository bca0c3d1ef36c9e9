"""What the data room hands to everyone else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

TEXT = "text"
"""Field of a text's entry that may have a length of its own, [tokens, features]."""

TEXT_MASK = "text_mask"
"""Field of a text's entry where padding is hidden: 1 for words, 0 for padding, [tokens], uint8."""


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
    """What the loss of each place is multiplied with, at the size of the latents; None: 1."""

    masks_heeded: float = 1.0
    """Share of the examples that keep their mask while training."""

    teach: Bool[Tensor, " batch"] | None = None
    """Which examples are to be answered as the base model answers them; None: none of them. Always
    on the CPU, for it decides what is done next."""

    time_offset: float = 0.0
    """Added to the normal number that a time is made of."""

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


def stacked(entries: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Entries as one value with a batch axis.

    Texts of different lengths are padded with zeros, and a mask tells their words; all else is
    alike in shape.
    """
    lengths = [len(entry[TEXT]) for entry in entries if TEXT in entry]
    if len(set(lengths)) > 1:
        entries = [_padded(entry, max(lengths)) for entry in entries]
    return {field: torch.stack([entry[field] for entry in entries]) for field in entries[0]}


def _padded(entry: Mapping[str, Tensor], length: int) -> dict[str, Tensor]:
    text = entry[TEXT]
    free = length - len(text)
    words = torch.ones(len(text), dtype=torch.uint8, device=text.device)
    mask = entry.get(TEXT_MASK, words)
    return {**entry, TEXT: pad(text, (0, 0, 0, free)), TEXT_MASK: pad(mask, (0, free))}
