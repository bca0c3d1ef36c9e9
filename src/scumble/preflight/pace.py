"""Which runs are alike in pace and memory, and where this machine remembers what they took."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from scumble.families.builtin import home
from scumble.launch import launched
from scumble.preflight.plan import Plan
from scumble.trainer import records
from scumble.trainer.guard import Guard, own_process

ELSEWHERE = {"device", "precision"}
"""Settings of the hardware section that stand in `work` as what they came to."""


def work(plan: Plan, tokens: float) -> dict[str, Any]:
    """All that decides how long a step takes and how much memory it needs; `tokens`: of a unit.

    Names, folders, steps, seeds and captions are no part of it. Counts of pictures are only in
    so far as they move the mean size of a unit, which is taken to two digits.
    """
    job, order = plan.job, plan.order
    shelves = [one for pool in range(len(order.pools)) for one in order.shelves(0, pool)]
    masked = {"text_mask": True} if plan.model.masked else {}
    narrow = dict(plan.model.quantising.parts)
    return {
        **masked,
        **({"quantised": narrow} if narrow else {}),
        **_extra(plan),
        "model": f"{plan.family.name} {plan.family.flavour} {_shape(plan)}",
        "adapter": job.adapter.model_dump(mode="json", exclude={"alpha"}),
        "trained": [sum(map(len, plan.layers.values())), plan.trained_parameters],
        "sizes": sorted({(*shelf.size, shelf.batch) for shelf in shelves}),
        "tokens_in_unit": float(f"{tokens:.2g}"),
        "text_tokens": plan.tokens,
        "units_per_step": job.training.units_per_step,
        "optimizer": job.training.optimizer.model_dump(mode="json"),
        "loss": str(job.objective.loss),
        "hardware": job.hardware.model_dump(mode="json", exclude=ELSEWHERE),
        "precision": plan.place.precision,
        "encodes": [not plan.keeps_pictures, not plan.keeps_texts, _fresh(plan)],
        "device": device_name(plan.place.device),
        "world": launched().world,
    }


def file_of(about: Mapping[str, Any]) -> Path:
    """Where this machine remembers such runs; there need be no such file."""
    text = json.dumps(about, sort_keys=True, default=str)
    return home() / "pace" / f"{blake2b(text.encode(), digest_size=12).hexdigest()}.json"


def remembered(about: Mapping[str, Any]) -> records.Series:
    """Seconds per step of earlier runs; empty if there were none."""
    return records.read(file_of(about)).get("pace", records.Series())


def guard(plan: Plan, tokens: float, entered: float) -> Guard:
    """What watches a run of this plan that was begun at that time of the monotonic clock."""
    about = work(plan, tokens)
    return Guard(file_of(about), about, plan.place.device, own=own_process(entered))


def device_name(device: torch.device) -> str:
    """The card or the processor, as it calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _shape(plan: Plan) -> str:
    """Of the denoiser, whichever way its config is written."""
    shapes = [(name, tuple(one.shape)) for name, one in plan.denoiser.named_parameters()]
    return blake2b(repr(sorted(shapes)).encode(), digest_size=6).hexdigest()


def _extra(plan: Plan) -> dict[str, Any]:
    """What makes passes through the network besides those that learn."""
    law = plan.job.objective.rollout
    prior = sorted(one.spec.id for one in plan.sets if one.spec.prior_preservation)
    walks = {} if law is None else {"rollout": law.model_dump(mode="json")}
    return walks | ({"prior_preservation": len(prior) / len(plan.sets)} if prior else {})


def _fresh(plan: Plan) -> bool:
    return any(one.spec.variants == "fresh" for one in plan.sets)
