"""Whether an edit is worth more than none: outputs beside a plain copy of what was shown.

Nothing is drawn anew, so a comparison can be repeated: a pair always begins at the same noise,
whatever it is in one batch with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from scumble import dice
from scumble.data.batch import Batch
from scumble.events import Scored
from scumble.objective.process import Latents
from scumble.validation.held_out import band_of
from scumble.validation.walks import Start, Words

Distances = Mapping[str, tuple[float, float]]
"""Of each pair, named like `SET/cat.png`: of the output and of the copy, to the target."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Contest:
    """Held-out pairs of one size, with the copies that their outputs are measured against."""

    batch: Batch
    copies: Latents
    """Each pair's first reference at the size of its target."""

    without: Words | None = None
    """What the outputs are led away from, [batch, ...]."""

    def start(self, seed: int) -> Start:
        """Where the outputs begin: at a noise that seed and name decide."""
        shape = self.batch.latents.shape[1:]
        noises = [
            torch.randn(shape, generator=dice.generator(seed, "pairs", id)) for id in self.batch.ids
        ]
        return Start(
            noise=torch.stack(noises),
            words=self.batch.words,
            without=self.without,
            references=self.batch.references,
            frames=self.batch.frames,
        )


def distances(
    contests: Iterable[Contest], paint: Callable[[Start], Latents], seed: int
) -> Distances:
    """Root mean squares of what parts outputs and copies from the targets, by id, in their order.

    `paint` makes clean latents; the device is waited for once, at the end.
    """
    ids: list[str] = []
    found: list[Tensor] = []
    for one in contests:
        outputs = paint(one.start(seed))
        device = outputs.device
        target, copies = one.batch.latents.to(device), one.copies.to(device)
        found.append(torch.stack([_apart(outputs, target), _apart(copies, target)], dim=1))
        ids += one.batch.ids
    rows = torch.cat(found).tolist() if found else []
    return dict(sorted((id, (row[0], row[1])) for id, row in zip(ids, rows, strict=True)))


def _apart(one: Latents, other: Latents) -> Tensor:
    """Of each example, in float32."""
    return (one.float() - other.float()).square().flatten(1).mean(1).sqrt()


def scored(step: int, found: Distances, conditions: str) -> Scored:
    """The event that tells of it. A pair whose copy is its target has no ratio and is named."""
    alike = tuple(id for id, (_, copy) in found.items() if copy == 0)
    pairs = {id: row for id, row in found.items() if id not in alike}
    ratios = [output / copy for output, copy in pairs.values()]
    return Scored(
        step=step,
        ratio=band_of(ratios) if ratios else None,
        better=sum(ratio < 1 for ratio in ratios),
        pairs=pairs,
        alike=alike,
        conditions=conditions,
        seconds=0.0,
    )
