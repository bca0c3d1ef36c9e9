"""Forward passes that a step makes besides those it learns from."""

from __future__ import annotations

from scumble.preflight import objective_fit
from scumble.preflight.plan import Plan


def forwards(plan: Plan) -> float:
    """Of an example on the average, without gradients: its walk, or the base model's answer."""
    taught = _taught(plan)
    law, steps = plan.job.objective.rollout, plan.job.training.steps
    return taught + (0.0 if law is None else (1 - taught) * objective_fit.walks(law, steps, 1))


def _taught(plan: Plan) -> float:
    """Share of the examples that the base model answers, too, over all sets."""
    prior = {one.spec.id for one in plan.sets if one.spec.prior_preservation}
    if not prior:
        return 0.0
    theirs = everyone = 0.0
    for pool, quota in enumerate(plan.order.units_per_round):
        shelves = plan.order.shelves(0, pool)
        units = sum(shelf.units for shelf in shelves)
        for shelf in shelves:
            examples = shelf.examples * quota / units
            everyone += examples
            theirs += examples if shelf.dataset in prior else 0.0
    return theirs / everyone
