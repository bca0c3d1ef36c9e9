"""What an adapter file makes of a text, held against what the run made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from scumble.adapters.layouts import Changes
from scumble.adapters.names import DENOISER
from scumble.adapters.worn import put_on
from scumble.events import State, Verdict
from scumble.families import weights
from scumble.families.family import Entry, Prompt
from scumble.validation import probes

if TYPE_CHECKING:
    from scumble.validation.stage import Stage


def read_again(stage: Stage, changes: Changes, bar: float) -> Iterator[Verdict]:
    """The run's text read by the encoders that a file changes; `bar` is the most it may be off."""
    beside = sorted(changes.keys() - {DENOISER})
    if not beside:
        return
    names = " and ".join(beside)
    if stage.kit is None or stage.kit.probes.plain is None:
        words = f"what it makes of {names} was not looked at: no run has kept a text to compare"
        yield Verdict(name="texts", state="unknown", text=words)
        return
    kept, found = stage.kit.probes.text, _read(stage, changes, str(stage.kit.about["prompt"]))
    off = max(probes.off(one.float().cpu(), kept[name].float()) for name, one in found.items())
    state: State = "ok" if off <= bar else "failed"
    words = f"a text read by its {names} is off by {off:.1e} from what was trained, at most"
    yield Verdict(name="texts", state=state, text=f"{words} {bar:.0e}")


@torch.no_grad()
def _read(stage: Stage, changes: Changes, prompt: str) -> Entry:
    """What the changed encoders alone make of it."""
    model, family = stage.model, stage.family
    tokens = model.tokens(stage.spec.text_tokens)
    words = family.words(weights.tools(model), Prompt(prompt, tokens, masked=model.masked))
    moved = {name: one.to(stage.place.device) for name, one in words.items()}
    encoders: Mapping[str, nn.Module] = {
        part: weights.loaded(model, part, dtype=stage.place.dtype, device=stage.place.device)
        for part in changes
        if part != DENOISER
    }
    for part, module in encoders.items():
        put_on(module, changes[part], family.parts[part].aliases, 1.0)
    with stage.place.autocast():
        (read,) = family.read(encoders, [moved])
    return {name: one for name, one in read.items() if family.text_parts.get(name) in encoders}
