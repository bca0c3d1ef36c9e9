"""Which encoders stay in memory while a run trains, why, and how much of it they take."""

from __future__ import annotations

from collections.abc import Sequence

from scumble.families.reader import readers
from scumble.preflight import quantising
from scumble.preflight.plan import Plan


def sees(plan: Plan) -> bool:
    """Whether the autoencoder stays: some pictures are encoded when their turn comes."""
    return not plan.keeps_pictures or any(one.spec.variants == "fresh" for one in plan.sets)


def reads(plan: Plan) -> bool:
    """Whether the text encoders stay."""
    return not plan.keeps_texts or bool(_read_anew(plan))


def sentences(plan: Plan) -> list[str]:
    """What `scumble check` says of them; nothing where all encoders leave."""
    said = []
    fresh = ", ".join(one.spec.id for one in plan.sets if one.spec.variants == "fresh")
    if sees(plan):
        why = f" for {fresh} (`variants: fresh`)"
        nothing = ": nothing is kept (`cache.mode: on_demand`)"
        held = _held(plan, ["autoencoder"])
        said.append(
            f"The autoencoder stays loaded, {held}{why if plan.keeps_pictures else nothing}."
        )
    if trained := plan.model.trained:
        stay = "stays" if len(trained) == 1 else "stay"
        held = _held(plan, trained)
        said.append(f"{' and '.join(trained)} {stay} loaded, {held}: captions are read each step.")
    if reads(plan) and readers(plan.model):
        shown = f"they are shown the new pictures of {', '.join(_read_anew(plan))}"
        why = shown if plan.keeps_texts else "captions are encoded when their turn comes"
        said.append(f"The text encoders stay loaded, {_held(plan, readers(plan.model))}: {why}.")
    return said


def _read_anew(plan: Plan) -> list[str]:
    """Sets whose texts are read with pictures that are new each time."""
    if plan.family.glance is None:
        return []
    specs = [one.spec for one in plan.sets]
    return [one.id for one in specs if one.references and one.variants == "fresh"]


def _held(plan: Plan, parts: Sequence[str]) -> str:
    """Bytes of these parts' weights where they compute."""
    return quantising.held(plan.model, parts, plan.place)
