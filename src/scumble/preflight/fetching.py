"""Weights that are still on the hub: fetched once all else is known to be in order, and told of."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event as Flag
from threading import Thread

from scumble.events import Event, Fetched
from scumble.families import hub, weights
from scumble.families.hub_errors import shown_size
from scumble.preflight.plan import Plan, prepared
from scumble.spec.job import JobSpec
from scumble.spec.model import ModelSpec

Tell = Callable[[Event], None]
EVERY_SECONDS = 5.0


def fetched(job: JobSpec, base: Path, plan: Plan, tell: Tell, *, weigh: bool = True) -> Plan:
    """The plan with all its weights on this machine; `job`, `base` and `weigh` as it was made.

    What is fetched is planned anew, for only now can its shapes be compared with its configs.
    """
    if not plan.model.absent:
        return plan
    with _told(plan, tell):
        weights.opened(plan.family, plan.job.model, base, fetch=True)
    return prepared(job, base, weigh=weigh)


def sentence(model: weights.Model) -> str | None:
    """What is fetched before a run can begin; None if nothing is."""
    if not model.absent:
        return None
    parts = [
        f"{name} {shown_size(source.absent)} ({source.told.removesuffix(' on the hub')})"
        for name, source in model.parts.items()
        if source.absent
    ]
    return f"{shown_size(model.absent)} will be fetched from the hub first: {', '.join(parts)}"


def repositories(wanted: ModelSpec) -> list[str]:
    """The repositories that a job names; some may be folders of that name."""
    named = [wanted.path, *wanted.parts.values()]
    found = [
        hub.repository(text) or (hub.in_repository(text) or [None])[0] for text in named if text
    ]
    return sorted({repo for repo in found if repo})


@contextmanager
def _told(plan: Plan, tell: Tell) -> Iterator[None]:
    """Tell now and then how much has come: by the size of the hub's cache, so that it does not
    matter how the library fetches."""
    repos, done, total = repositories(plan.job.model), Flag(), plan.model.absent
    begun, before = time.perf_counter(), hub.stored_bytes(repos)

    def show() -> None:
        come = hub.stored_bytes(repos) - before
        tell(_progress(repos, min(come, total), total, begun))

    def watch() -> None:
        while not done.wait(EVERY_SECONDS):
            show()

    tell(_progress(repos, 0, total, begun))
    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        with hub.silent():
            yield
    finally:
        done.set()
        watcher.join()
    tell(_progress(repos, total, total, begun))


def _progress(repos: Sequence[str], come: int, total: int, begun: float) -> Fetched:
    seconds = time.perf_counter() - begun
    return Fetched(repositories=tuple(repos), bytes=come, total=total, seconds=seconds)
