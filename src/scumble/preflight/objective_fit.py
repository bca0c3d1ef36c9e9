"""Settings of the objective that do not fit the rest of the job, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Iterator

from scumble.errors import JobError, gather
from scumble.objective import rollout
from scumble.spec.adapter import FullSpec
from scumble.spec.job import JobSpec
from scumble.spec.rollout import RolloutSpec

TITLE = "the objective does not fit the job"
LOOKS = 64  # steps at which a ramp is looked at


def checked(job: JobSpec) -> None:
    """An ExceptionGroup of all that does not fit."""
    gather(TITLE, [*_of_times(job), *_of_priors(job), *_of_walks(job)])


def remarks(job: JobSpec) -> tuple[str, ...]:
    """What there is to say of a job that is otherwise in order, in sentences."""
    law, training = job.objective.rollout, job.training
    if law is None:
        return ()
    asked = walks(law, training.steps, training.batch_size) * training.units_per_step
    return (
        f"`objective.rollout` asks the network {about(asked)} more often in a step on the average, "
        f"without gradients ({law.sampler}, up to {law.most} steps for an example).",
    )


def about(count: float) -> str:
    """A number of times, as exactly as an average deserves."""
    told = f"{count:.0f}" if count >= 10 else f"{count:.1f}"
    return "about once" if told == "1.0" else f"about {told} times"


def walks(law: RolloutSpec, steps: int, examples: int) -> float:
    """How often so many examples that walk together ask the network in one of the run's steps, on
    the average: as often as the one among them that walks furthest."""
    looks = sorted({1 + number * (steps - 1) // LOOKS for number in range(LOOKS + 1)})
    found = [_furthest(law, rollout.share(law, step), examples) for step in looks]
    return rollout.questions(law.sampler) * sum(found) / len(found)


def _furthest(law: RolloutSpec, share: float, examples: int) -> float:
    """The mean of the largest of so many draws: the chances that one lies above 0, 1, 2 ..."""
    reached = (1 - share + share * _at_most(law, steps) for steps in range(law.most))
    return sum(1 - one**examples for one in reached)


def _at_most(law: RolloutSpec, steps: int) -> float:
    """The chance that an example which is walked takes no more steps."""
    part = min(1.0, (steps + 0.5) / law.most)
    match law.draw:
        case "uniform":
            return (steps + 1) / (law.most + 1)
        case "early":
            return math.sqrt(part)
        case "late":
            return 1 - math.sqrt(1 - part)


def _of_times(job: JobSpec) -> Iterator[JobError]:
    law = job.objective.times.law
    for one in job.data:
        if one.time_offset != 0 and law != "sigmoid":
            problem = f"it moves the law `sigmoid` alone, and `objective.times.law` is {law}"
            remedy = "leave it out, or set `objective.times.law: sigmoid`"
            yield JobError(f"data.{one.id}.time_offset", problem, remedy)


def _of_priors(job: JobSpec) -> Iterator[JobError]:
    """Sets on which the base model is asked what it would answer."""
    asked = [one for one in job.data if one.prior_preservation]
    if not asked:
        return
    where = f"data.{asked[0].id}.prior_preservation"
    match job.adapter:
        case FullSpec():
            problem = (
                "the base model is asked at every step, and `adapter.kind: full` would have to "
                "fetch all of its weights and put them back each time"
            )
            remedy = "train an adapter, or set `regularisation: true`, which learns the pictures"
            yield JobError(where, problem, remedy)
        case _:
            pass
    if all(one.prior_preservation for one in job.data if one.held_out < 1):
        problem = "every set has it, so that nothing but the base model is learnt"
        yield JobError(where, problem, "leave it out for the pictures that are to be learnt")


def _of_walks(job: JobSpec) -> Iterator[JobError]:
    law, training = job.objective.rollout, job.training
    if law is None:
        return
    if job.objective.prediction != "raw":
        problem = "a walk follows the network's answers as velocities"
        remedy = "leave `objective.prediction` at raw, or leave `rollout` out"
        yield JobError("objective.rollout", problem, remedy)
    if training.epochs is None and law.start_step >= training.steps:
        problem = f"the run has {training.steps:,} steps, so that nothing is ever walked"
        yield JobError("objective.rollout.start_step", problem, "lower it, or leave `rollout` out")
