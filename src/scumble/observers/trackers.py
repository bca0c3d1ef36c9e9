"""TensorBoard and Weights & Biases: curves, pictures and messages of a run, through accelerate.

Each service has a process of its own (`scumble.observers.services`), because its library may be
slow to import, hang on a dead network or end the program it is in. Here events become lines for
it. Whatever happens there, the run goes on; it is told once, as news.
"""

from __future__ import annotations

import json
import netrc
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from scumble import launch
from scumble.disk import write_whole
from scumble.errors import JobError, gather
from scumble.events import (
    Drifted,
    Encoded,
    Event,
    Failed,
    Fetched,
    Finished,
    Measured,
    Previewed,
    Saved,
    Scanned,
    Scored,
    Started,
    StepDone,
    Stopped,
    Weights,
)
from scumble.observers.outbox import Line, Outbox
from scumble.observers.scalars import Scalars
from scumble.observers.sentences import sentence
from scumble.observers.services import TOLD, Hello
from scumble.spec.job import JobSpec
from scumble.spec.tracking import TrackerName, TrackingSpec

PATIENCE = 45.0
"""Seconds that a service has at the end of a run."""

HASTE = 5.0
"""The same after a run that failed or was stopped at once."""

PROMPT_LETTERS = 60
MODULES: Mapping[TrackerName, str] = {"tensorboard": "tensorboard", "wandb": "wandb"}
"""What has to be installed; the extras are called alike."""

SECRETS = ("WANDB_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def checked(spec: TrackingSpec) -> None:
    """Raise for every service that is not installed or has no key, before anything is loaded."""
    problems = []
    for service in spec.trackers:
        if find_spec(MODULES[service]) is None:
            remedy = f'pip install "scumble[{service}]"'
            problems.append(JobError("tracking.to", f"{service} is not installed", remedy))
        elif service == "wandb" and _online() and not _has_key():
            remedy = "`wandb login`, set WANDB_API_KEY, or set WANDB_MODE=offline"
            problems.append(JobError("tracking.to", "wandb has no key on this machine", remedy))
    gather("trackers cannot start", [*problems])


def _online() -> bool:
    return os.environ.get("WANDB_MODE", "online") in ("online", "run", "shared")


def _has_key() -> bool:
    """Whether one may be there; only where wandb would find none for certain is it False."""
    if any(os.environ.get(name) for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")):
        return True
    configured = Path(os.environ.get("WANDB_CONFIG_DIR", "~/.config/wandb")).expanduser()
    if any(folder.joinpath("settings").is_file() for folder in (configured, Path("wandb"))):
        return True  # a mode, a server or a key may be set there
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    told = os.environ.get("NETRC")
    files = [Path(told)] if told else [Path("~/.netrc"), Path("~/_netrc")]
    return any(_in_netrc(file.expanduser(), host) for file in files)


def _in_netrc(file: Path, host: str) -> bool:
    try:
        return netrc.netrc(file).authenticators(host) is not None
    except FileNotFoundError:
        return False
    except (netrc.NetrcParseError, OSError):
        return True  # it is wandb's to say what is wrong with it


def opened(job: JobSpec, folder: Path, text: str) -> list[Tracker]:
    """A tracker for each service that the job names; `text` is the resolved job."""
    spec, found = job.tracking, []
    foreign = job.origin is not None and job.origin.tool == "sd-scripts"
    for service in spec.trackers:
        hello = Hello(
            folder=str(folder.resolve()),
            name=spec.run or job.name,
            project=spec.project,
            entity=spec.entity,
            id=_id(folder) if service == "wandb" else "",
            after=0,
            job=job.model_dump(mode="json"),
            text=text,
            patience=PATIENCE,
        )
        command = (sys.executable, "-P", "-m", "scumble.observers.services", service)
        besides = Scalars(job) if foreign else _nothing
        found.append(Tracker(service, hello, command, every=spec.every, besides=besides))
    return found


def closed(trackers: Sequence[Tracker]) -> list[str]:
    """End them all at once; what is to be said of it. Takes no longer than the most patient.

    After Ctrl-C they are not waited for; they end by themselves, in the same time.
    """
    for tracker in trackers:
        tracker.end()
    said: list[str] = []
    try:
        for tracker in trackers:
            said += tracker.close()
    except KeyboardInterrupt:
        said.append("The services that follow the run were not waited for.")
    return said


def _id(folder: Path) -> str:
    """What tells this run from others of its project: kept in its folder, so that it goes on."""
    file = folder / "wandb" / "run-id"
    known = file.read_text(errors="replace").strip() if file.is_file() else ""
    if not re.fullmatch(r"[0-9a-f]{16}", known):
        known = secrets.token_hex(8)
        write_whole(file, known.encode() + b"\n")
    return known


def _nothing(event: Event) -> dict[str, float]:
    return {}


class Tracker:
    """Tells one service of a run's events. `news` says what went wrong; `close` at the end."""

    def __init__(
        self,
        service: str,
        hello: Hello,
        command: Sequence[str],
        *,
        every: int = 1,
        besides: Callable[[Event], dict[str, float]] = _nothing,
    ) -> None:
        """`besides`: what else is drawn of an event, such as curves by another tool's names."""
        self._service, self._hello, self._every = service, hello, every
        self._besides = besides
        self._command = command
        self._outbox: Outbox | None = None
        self._step = 0
        self._examples_per_step = 0.0
        self._begun = self._ended = self._dead = False
        self._until = 0.0

    def __call__(self, event: Event) -> None:
        """Pass an event on; never waits. The first starts the service, and may raise."""
        if self._outbox is None:
            self._outbox = Outbox(self._command, _environment())
        besides = self._besides(event)
        match event:
            case Started():
                self._begin(event)
            case Scanned() | Fetched() | Encoded() | Saved():
                pass
            case StepDone():
                self._step = event.step
                if event.step % self._every == 0:
                    values = self._values(event) | besides
                    self._put({"step": event.step, "values": values}, spare=True)
            case Previewed():
                self._put({"step": event.step, "pictures": _pictures(event)})
            case Measured() | Scored() | Drifted():
                self._put({"step": event.step, "values": _of_held_out(event) | besides})
            case _:
                self._message(event)

    def news(self) -> list[str]:
        """What the user should know of the service since the last look; each thing once."""
        if self._dead or self._outbox is None:
            return []
        told = self._printed(self._outbox)
        if (words := self._outbox.died()) is not None:
            self._dead = True
            if not words.startswith(TOLD):  # else that is what it died of, and told
                words = without_secrets(words)
                told.append(f"{self._service} failed and is told nothing more ({words}).")
        return told

    def end(self) -> None:
        """There is nothing more to tell; from now on its time runs."""
        patience = self._hello.patience if self._ended else min(HASTE, self._hello.patience)
        self._until = time.monotonic() + patience
        if self._outbox is not None:
            self._outbox.put(_line({"end": self._ended}))
            self._outbox.end()

    def close(self) -> list[str]:
        """Wait until its time is up, and no longer; what is to be said of it."""
        if self._outbox is None:
            return []
        done = self._outbox.wait(self._until if self._begun else 0.0)
        told = self.news() if done else self._printed(self._outbox)
        lost = self._outbox.lost
        if self._begun and not self._dead and not done:
            kept = f"; `wandb sync {self._hello.folder}/wandb/*run-*` sends what it has kept"
            told.append(f"{self._service} was not done in time{kept if self._wandb else ''}.")
        if self._begun and not self._dead and lost:
            told.append(f"{self._service} was too slow: {lost:,} steps are not drawn there.")
        self._outbox.close()
        return told

    @staticmethod
    def _printed(outbox: Outbox) -> list[str]:
        """What its process has printed for the user."""
        lines = [line for line in outbox.printed() if line.startswith(TOLD)]
        return [without_secrets(f"{line.removeprefix(TOLD)}.") for line in lines]

    @property
    def _wandb(self) -> bool:
        return self._service == "wandb"

    def _begin(self, event: Started) -> None:
        self._step, self._begun = event.after, True
        self._examples_per_step = event.examples / max(event.steps_per_epoch, 1e-9)
        self._put(asdict(self._hello) | {"after": event.after})
        self._message(event)

    def _message(self, event: Event) -> None:
        match event:
            case Finished() | Stopped():
                self._ended = True
            case Failed():
                self._put_text("Failed", " ".join((sentence(event), *event.problems)))
                return
            case _:
                pass
        self._put_text(type(event).__name__, sentence(event))

    def _put_text(self, name: str, text: str) -> None:
        self._put({"step": self._step, "values": {f"run/{name}": without_secrets(text)}})

    def _put(self, message: Mapping[str, object], *, spare: bool = False) -> None:
        if (
            self._begun and self._outbox is not None
        ):  # earlier ones stand in the journal; the service has no run for them yet
            self._outbox.put(_line(message, spare=spare))

    def _values(self, event: StepDone) -> dict[str, float]:
        return {
            "train/loss": event.loss,
            "train/learning_rate": event.learning_rate,
            "train/gradient_norm": event.gradient_norm,
            "train/seconds_per_step": event.seconds,
            "train/examples_per_second": self._examples_per_step / max(event.seconds, 1e-9),
            **({} if event.prior_loss is None else {"train/prior_loss": event.prior_loss}),
        }


def _of_held_out(event: Measured | Scored | Drifted) -> dict[str, float]:
    match event:
        case Measured():
            return _held_out(event)
        case Scored():
            return _pairs(event)
        case Drifted():
            average = {} if event.ema is None else {"drift/drift (EMA)": event.ema}
            return {"drift/drift": event.drift, **average}


def _held_out(event: Measured) -> dict[str, float]:
    """The mean, that of each noise level, and of each set where there are several."""
    levels = {f"held_out/loss at {time:g}": band.mean for time, band in event.by_time}
    sets = {f"held_out/loss of {name}": band.mean for name, band in event.sets.items()}
    average = {} if event.ema is None else {"held_out/loss (EMA)": event.ema.mean}
    return {"held_out/loss": event.mean, **average, **levels, **(sets if len(sets) > 1 else {})}


def _pairs(event: Scored) -> dict[str, float]:
    """The mean ratio, and the share of pairs that are nearer than a copy."""
    if event.ratio is None:
        return {}
    share = event.better / len(event.pairs)
    return {"pairs/ratio to a copy": event.ratio.mean, "pairs/better than a copy": share}


def _pictures(event: Previewed) -> dict[str, str]:
    """The file of each prompt's picture, under a tag that stays the same and tells an average's."""
    kinds = event.weights or ("raw",) * len(event.pictures)
    counts: dict[Weights, int] = {"raw": 0, "ema": 0}
    found = {}
    for file, prompt, kind in zip(event.pictures, event.prompts, kinds, strict=True):
        tag = f"preview/{counts[kind]:02d} {_short(prompt)}{' (EMA)' if kind == 'ema' else ''}"
        found[tag] = str(file.resolve())
        counts[kind] += 1
    return found


def _short(prompt: str) -> str:
    words = " ".join(re.sub(r"[^\w .,'-]", " ", prompt).split())
    return words[:PROMPT_LETTERS].strip() or "no prompt"


def _line(message: Mapping[str, object], *, spare: bool = False) -> Line:
    return Line(json.dumps(message).encode() + b"\n", spare)


def _environment() -> dict[str, str]:
    """Ours, for a process that trains nothing, sees no card and reports no errors of its own."""
    kept = {name: value for name, value in os.environ.items() if name not in launch.VARIABLES}
    quiet = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "WANDB_ERROR_REPORTING": "false"}
    return kept | quiet


def without_secrets(text: str, names: Iterable[str] = SECRETS) -> str:
    """The text with the values of these variables made unreadable, should a library quote them."""
    for name in names:
        if value := os.environ.get(name):
            text = text.replace(value, "***")
    return text
