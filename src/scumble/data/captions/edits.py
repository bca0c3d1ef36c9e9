"""The text of an example at one time: a pure function of its texts, the settings and a key."""

from __future__ import annotations

from collections.abc import Sequence

from scumble import dice
from scumble.data.captions import tags, wildcards
from scumble.data.captions.draws import pick
from scumble.data.captions.when import When, silent
from scumble.spec.captions import CaptionEdits

Key = tuple[int, str, int, int, str]
"""Seed of the job, set, epoch, turn in the epoch, id of the target."""

EMPTY = ""
"""What is told when a caption is left out, and of a picture of which nothing may be told."""

MOST_FILLINGS = 64
"""So many fillings of a caption's wildcards are still written down beforehand."""

ANYTIME = When(epoch=0, step=1, steps=1)
"""For edits that do not change with the time."""


def told(texts: Sequence[str], edits: CaptionEdits, *, dropout: float, key: Key, when: When) -> str:
    """What the network is told: one of the texts with prefix, wildcards and tags, or `EMPTY`.

    With `edits.variants`, wildcards and tags do not follow the key itself, but one of so many
    numbers that it draws.
    """
    if not texts or silent(edits, when):
        return EMPTY
    if dropout > 0 and dice.uniform(*key, "dropout") < dropout:
        return EMPTY
    text = texts[0] if len(texts) == 1 else texts[pick(len(texts), *key, "line")]
    if edits.variants is None or not _drawn(edits):
        return _edited(text, edits, when, key)
    seed, dataset, _, _, id = key
    number = pick(edits.variants, *key, "variant")
    return _edited(text, edits, when, _version(seed, dataset, id, number))


def possible(
    texts: Sequence[str], edits: CaptionEdits, *, dropout: float, key: tuple[int, str, str]
) -> tuple[str, ...] | None:
    """Every different text that `told` can give in any turn; the key is seed, set and id.

    None when these are too many or change with the step: then only a walk through the turns of
    the run tells.
    """
    if not texts or dropout >= 1 or edits.dropout_every_epochs == 1:
        return (EMPTY,)
    found = dict.fromkeys([EMPTY] if dropout > 0 or edits.dropout_every_epochs > 0 else [])
    for text in texts:
        versions = _versions(text, edits, key)
        if versions is None:
            return None
        found |= dict.fromkeys(versions)
    return tuple(found)


def changes_with_step(edits: CaptionEdits) -> bool:
    """Whether equal keys give other texts at other steps, so that none can be cached for long."""
    return edits.warmup_steps > 0


def idle(edits: CaptionEdits) -> tuple[str, ...]:
    """Names of settings that are set, but change nothing because another one is not; to be told."""
    still = not tags.move(edits)
    unused = {
        "keep_tokens": still and edits.keep_tokens > 0,
        "keep_tokens_separator": still and bool(edits.keep_tokens_separator),
        "separator": still and edits.separator != "," and not edits.secondary_separator,
        "warmup_minimum": edits.warmup_minimum > 1 and not edits.warmup_steps,
        "variants": edits.variants is not None and not _drawn(edits),
    }
    return tuple(name for name, vain in unused.items() if vain)


def _drawn(edits: CaptionEdits) -> bool:
    """Whether more than dropout and the choice of a line is random."""
    return edits.wildcards or edits.shuffle or edits.tag_dropout > 0


def _version(seed: int, dataset: str, id: str, number: int) -> tuple[int | str, ...]:
    """What the draws of a variant follow: neither epoch nor turn."""
    return (seed, dataset, id, "variant", number)


def _versions(text: str, edits: CaptionEdits, key: tuple[int, str, str]) -> tuple[str, ...] | None:
    """What can become of one text, dropout aside; None for too many."""
    if changes_with_step(edits):
        return None
    if edits.variants is not None and _drawn(edits):
        keys = [_version(*key, number) for number in range(edits.variants)]
        return tuple(_edited(text, edits, ANYTIME, one) for one in keys)
    if tags.move(edits):
        return None
    framed = _framed(text, edits)
    if edits.wildcards:
        filled = wildcards.fillings(framed, most=MOST_FILLINGS)
        return filled and tuple(_separated(one, edits) for one in filled)
    return (_separated(framed, edits),)


def _edited(text: str, edits: CaptionEdits, when: When, key: tuple[int | str, ...]) -> str:
    text = _framed(text, edits)
    if edits.wildcards:
        text = wildcards.filled(text, *key, "wildcards")
    if tags.move(edits):
        text = tags.arranged(text, edits, when, key)
    return _separated(text, edits)


def _framed(text: str, edits: CaptionEdits) -> str:
    if edits.prefix:
        text = f"{edits.prefix} {text}"
    return f"{text} {edits.suffix}" if edits.suffix else text


def _separated(text: str, edits: CaptionEdits) -> str:
    """With tags that had to stay together parted at last."""
    second = edits.secondary_separator
    return text.replace(second, edits.separator) if second else text
