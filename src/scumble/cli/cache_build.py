"""`scumble cache build`: predict, refuse, encode in one or several processes, look again."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread

from scumble.caching import complete, fits
from scumble.cli import show
from scumble.data import asked, inventory, leases, origins, shards
from scumble.data.library import Library
from scumble.disk import made
from scumble.errors import JobError
from scumble.events import Encoded, Event
from scumble.families import encoding
from scumble.families.encoding import Recipes
from scumble.families.filling import Ahead, Filling, ahead, fill, room
from scumble.observers.sentences import sentence, size
from scumble.preflight.fetching import fetched
from scumble.preflight.plan import Plan, prepared
from scumble.spec.job import JobSpec

QUIET_SECONDS = 5.0  # between two lines of progress
GRACE_SECONDS = 5.0  # for processes that were told to stop
HALF_DONE = "the others' work is kept; put it right and start again"


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Who encodes."""

    command: tuple[str, ...]
    """The job and its settings, as they were typed."""

    devices: tuple[str, ...]
    """One for each process; none: all where the job says."""

    count: int


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A job whose cache can be asked and filled."""

    plan: Plan
    library: Library
    recipes: Recipes
    roots: dict[str, str]
    """Folder, bucket or table of each set."""

    @property
    def filling(self) -> Filling:
        """All of it, in this process."""
        plan = self.plan
        return Filling(model=plan.model, place=plan.place, tokens=plan.tokens, kept=plan.job.cache)


def workers(command: tuple[str, ...], processes: int | None, devices: str | None) -> Workers:
    """Who encodes, as the options have it."""
    named = tuple(one.strip() for one in devices.split(",")) if devices is not None else ()
    if not all(named):
        raise JobError("--devices", f"'{devices}' names none", "write it like cuda:0,cuda:1")
    if named and processes not in (None, len(named)):
        problem = f"{processes} is not the number of devices, which is {len(named)}"
        raise JobError("--processes", problem, "leave it out: each device has a process of its own")
    return Workers(command=command, devices=named, count=len(named) or processes or 1)


def opened(job: JobSpec, base: Path) -> Opened:
    """Everything hashed and counted; nothing is encoded yet."""
    plan = fetched(job, base, prepared(job, base, weigh=False), lines(), weigh=False)
    recipes = encoding.recipes(plan.model, plan.place, plan.tokens, plan.job.cache, read=True)
    assert recipes is not None
    return Opened(
        plan=plan,
        library=plan.library(recipes, plan.hashes(read=True)),
        recipes=recipes,
        roots={one.spec.id: scan.root for one, scan in zip(plan.sets, plan.scans, strict=True)},
    )


def build(job: JobSpec, base: Path, workers: Workers) -> int:
    """Fill the cache, and look that it is full; says the exit code."""
    if job.cache.mode == "on_demand":
        problem = "this job encodes on the way and keeps nothing, so there is nothing to build"
        raise JobError("cache.mode", problem, "set it to `ahead`")
    one = opened(job, base)
    made(one.plan.cache)
    with leases.leased(one.plan.cache, one.plan.shelves()):
        for folder in inventory.FOLDERS:
            shards.sweep(one.plan.cache / folder)
        missing = ahead(one.library, one.plan.texts())
        _announce(one, missing)
        if missing.entries and (workers.count > 1 or workers.devices):
            _together(workers)
        plan, library = complete(job, base, one.plan, lines())
        return _looked_again(replace(one, plan=plan, library=library))


def one_part(job: JobSpec, base: Path, part: str) -> None:
    """Be one of several processes: make part `i/n` of what is missing."""
    one = opened(job, base)
    own = ahead(one.library, one.plan.texts()).part(part_told(part))
    with leases.leased(one.plan.cache, one.plan.shelves()):
        tell = lines()
        for event in fill(one.filling, one.library, own, {}):
            tell(event)


def part_told(told: str) -> tuple[int, int]:
    """Part 0 of 2 for `0/2`."""
    match = re.fullmatch(r"(\d+)/(\d+)", told)
    if match is None or not int(match[1]) < int(match[2]):
        raise JobError("--part", f"'{told}' is none", "write it like 0/2")
    return int(match[1]), int(match[2])


def _announce(one: Opened, missing: Ahead) -> None:
    """What is to come; DiskError when the disk is too small for it."""
    if not missing.entries:
        return
    told = ", ".join(
        f"{count:,} {name}" + ("s" if count > 1 else "")
        for name, count in missing.counts().items()
        if count
    )
    needed, free = room(one.filling, one.library, missing), shutil.disk_usage(one.plan.cache).free
    show.line(f"To encode: {told}; {size(needed)}, of {size(free)} that are free.")
    fits(needed, one.plan.cache)


def lines() -> Callable[[Event], None]:
    """Shows events as lines, progress not more often than every few seconds."""
    shown = [0.0]

    def tell(event: Event) -> None:
        now = time.monotonic()
        match event:
            case Encoded() if event.done < event.total and now - shown[0] < QUIET_SECONDS:
                return
            case _:
                shown[0] = now
                show.line(sentence(event))

    return tell


def _together(workers: Workers) -> None:
    """Several processes, each with its part, and their lines as they come."""
    running = []
    for number in range(workers.count):
        settings = [f"hardware.device={workers.devices[number]}"] if workers.devices else []
        command = [*workers.command, *settings, "--part", f"{number}/{workers.count}"]
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "scumble", "cache", "build", *command],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="backslashreplace",
            )
        )
    relays = [
        Thread(target=_relay, args=(process, f"[{number}/{workers.count}] "))
        for number, process in enumerate(running, 1)
    ]
    _each(relays, Thread.start)
    try:
        _each(relays, Thread.join)
    finally:
        ended(running)
    failed = [number for number, process in enumerate(running, 1) if process.wait() != 0]
    if failed:
        which = ", ".join(map(str, failed))
        problem = f"process {which} of {workers.count} ended with an error, told above"
        raise JobError("cache build", problem, HALF_DONE)


def ended(running: Sequence[subprocess.Popen[str]]) -> None:
    """End those that are still at work. Ctrl-C reaches them, too, and they put their things away
    before they go, if they are given the time.
    """
    until = time.monotonic() + GRACE_SECONDS
    while any(one.poll() is None for one in running) and time.monotonic() < until:
        time.sleep(0.05)
    for one in running:
        if one.poll() is None:
            one.terminate()


def _each(relays: Sequence[Thread], act: Callable[[Thread], None]) -> None:
    for relay in relays:
        act(relay)


def _relay(process: subprocess.Popen[str], prefix: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        show.line(prefix + line.rstrip("\n"))
    process.stdout.close()


def _looked_again(one: Opened) -> int:
    """Read the columns of all shards anew, and record what made the entries."""
    left = ahead(one.library, one.plan.texts())
    for name, root in one.roots.items():
        told = asked.record(one.library, name, one.recipes.pictures, one.recipes.texts)
        origins.write(origins.at(one.plan.cache, name, root), told)
    found = inventory.shards(one.plan.cache)
    total = f"{size(sum(shard.bytes for shard in found))} in {one.plan.cache}"
    if left.entries:
        show.line(f"Not complete: {left.entries:,} entries are still missing; {total}.")
        return 2
    show.line(f"Complete: every entry that a run will ask for is there; {total}.")
    return 0
