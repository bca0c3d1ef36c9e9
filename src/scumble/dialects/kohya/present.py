"""What of a command can be followed today, where the rest need not stop it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scumble.dialects.kohya.notes import Note
from scumble.spec.adapter import LoraSpec

if TYPE_CHECKING:
    from scumble.dialects.kohya.job import Converted
    from scumble.spec.job import JobSpec

TRAINED = "denoiser"
CALLED = {"clip": "CLIP-L", "t5": "T5"}


def without_encoders(made: Converted) -> Converted:
    """The same without the text encoders, which are not trained yet, and a note that says so.

    A command that trains nothing else stays as it is, and is refused as every such job.
    """
    match made.job.adapter:
        case LoraSpec(parts=parts) if TRAINED in parts and len(parts) > 1:
            named = " and ".join(CALLED.get(part, part) for part in parts if part != TRAINED)
            text = (
                f"{named} would be trained too, and is not yet: the transformer alone is, "
                "as with --network_train_unet_only"
            )
            note = Note("not yet", "LoRA of text encoders", text)
            return replace(made, job=_alone(made.job), notes=(*made.notes, note))
        case _:
            return made


def _alone(job: JobSpec) -> JobSpec:
    adapter = job.adapter
    assert isinstance(adapter, LoraSpec)
    rates = {part: rate for part, rate in job.training.rates.items() if part == TRAINED}
    up_rate = adapter.up_rate
    if isinstance(up_rate, dict):
        up_rate = {part: rate for part, rate in up_rate.items() if part == TRAINED}
    changed = adapter.model_copy(update={"parts": (TRAINED,), "up_rate": up_rate})
    training = job.training.model_copy(update={"rates": rates})
    return job.model_copy(update={"adapter": changed, "training": training})
