"""The place of an example in its run, and what captions make of that."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scumble.spec.captions import CaptionEdits


@dataclass(frozen=True, slots=True)
class When:
    """When an example is shown."""

    epoch: int
    """From 0."""

    step: int
    """From 1."""

    steps: int
    """Of the whole run."""


def silent(edits: CaptionEdits, when: When) -> bool:
    """Whether the epoch is one without captions; users count epochs from 1, and so is meant."""
    every = edits.dropout_every_epochs
    return every > 0 and (when.epoch + 1) % every == 0


def tags_used(count: int, edits: CaptionEdits, when: When) -> int:
    """How many of `count` tags that may move are used by then: all, once warm-up is over."""
    length = edits.warmup_steps
    if 0 < length < 1:
        length = math.floor(length * when.steps)
    taken, least = when.step - 1, edits.warmup_minimum
    if taken >= length:
        return count
    return min(count, math.floor(taken * (count - least) / length) + least)
