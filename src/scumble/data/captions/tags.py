"""A caption as tags: some stay in their places, the others are shuffled, dropped or held back.

As sd-scripts does it, whose users have captions written for it: tags are always joined by a
comma and a space, and marks between tags are looked for only where tags move.
"""

from __future__ import annotations

from scumble.data.captions.draws import SPAN, numbers
from scumble.data.captions.when import When, tags_used
from scumble.spec.captions import CaptionEdits


def move(edits: CaptionEdits) -> bool:
    """Whether captions are taken apart into tags at all."""
    return edits.shuffle or edits.tag_dropout > 0 or edits.warmup_steps > 0


def arranged(text: str, edits: CaptionEdits, when: When, key: tuple[int | str, ...]) -> str:
    """The tags of a caption at one time: held back by warm-up, then shuffled, then dropped."""
    first, moving, last = _parted(text, edits)
    if edits.warmup_steps > 0:
        moving = moving[: tags_used(len(moving), edits, when)]
    if edits.shuffle and len(moving) > 1:
        order = numbers(len(moving), *key, "shuffle")
        moving = [moving[at] for at in sorted(range(len(moving)), key=order.__getitem__)]
    if edits.tag_dropout > 0:
        drawn, limit = numbers(len(moving), *key, "tags"), edits.tag_dropout * SPAN
        moving = [tag for tag, number in zip(moving, drawn, strict=True) if number >= limit]
    return ", ".join([*first, *moving, *last])


def _parted(text: str, edits: CaptionEdits) -> tuple[list[str], list[str], list[str]]:
    """Tags that stay at the beginning, those that move, those that stay at the end."""
    mark = edits.keep_tokens_separator
    if mark and mark in text:
        parts = [*text.split(mark, 2), ""]
        first, moving, last = (_tags(part, edits.separator) for part in parts[:3])
        return first, moving, last
    tags = [tag.strip() for tag in text.split(edits.separator)]  # empty ones stay, as they do there
    return tags[: edits.keep_tokens], tags[edits.keep_tokens :], []


def _tags(text: str, separator: str) -> list[str]:
    return [tag for part in text.split(separator) if (tag := part.strip())]
