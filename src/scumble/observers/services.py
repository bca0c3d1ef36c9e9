"""The far end of a tracker: a process of its own, which may hang or die without hurting the run.

Started as `python -m scumble.observers.services NAME`. It reads one JSON object a line: first a
`Hello`, then what there is to draw, last `{"end": true}`, or false after a failure. Lines that it
prints with `TOLD` in front are for the user; all else that it or a library prints is looked at
only if it dies.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

TOLD = "scumble: "
QUIET = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "finish_timeout_raises": True,
    "save_code": False,
    "silent": True,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}
"""Of Weights & Biases: nothing is sent but what the run itself tells."""


@dataclass(frozen=True, kw_only=True)
class Hello:
    """All that a service has to know of a run before its first step."""

    folder: str
    """The run's."""

    name: str
    project: str
    entity: str | None
    id: str
    """Of this run among all of the service."""

    after: int
    """The last step that stands; what was drawn of later ones is taken back."""

    job: dict[str, Any]
    """The settings, nested."""

    text: str
    """The same as YAML."""

    patience: float
    """Seconds in which the service has to answer at the beginning, and to be done at the end."""


@dataclass(frozen=True)
class Drawn:
    """One service, opened: what to do with values, pictures and the end."""

    values: Callable[[dict[str, Any], int], None]
    pictures: Callable[[dict[str, str], int], None]
    finish: Callable[[bool], None]
    """Told whether the run ended well."""


def main(service: str, lines: Iterable[bytes]) -> None:
    """Serve one run until its end, or until whoever writes the lines is gone."""
    from accelerate import PartialState

    PartialState(cpu=True)  # its trackers ask it who they are
    opened = OPENED[service]
    parsed = map(json.loads, lines)
    first = next(parsed, None)
    if first is None or "end" in first:
        return
    hello = Hello(**first)
    drawn = opened(hello)
    well = False  # whoever is killed says nothing
    for message in parsed:
        match message:
            case {"step": int(step), "values": dict(values)}:
                drawn.values(values, step)
            case {"step": int(step), "pictures": dict(pictures)}:
                drawn.pictures(pictures, step)
            case _:
                well = bool(message["end"])
                break
    _leave_after(hello.patience)
    drawn.finish(well)


def on_tensorboard(hello: Hello) -> Drawn:
    """Event files in the run's folder; steps that will be taken again are struck out."""
    from accelerate.tracking import TensorBoardTracker

    tracker = TensorBoardTracker("", Path(hello.folder) / "tensorboard", purge_step=hello.after + 1)
    tracker.start()
    indented = "\n".join(f"    {line}" for line in hello.text.splitlines())
    tracker.log({"job": indented}, step=hello.after)

    def pictures(files: dict[str, str], step: int) -> None:
        import numpy as np

        arrays = {tag: np.asarray(picture)[None] for tag, picture in _opened(files).items()}
        tracker.log_images(arrays, step=step, dataformats="NHWC")

    def values(numbers: dict[str, Any], step: int) -> None:
        tracker.log(numbers, step=step)

    return Drawn(values, pictures, lambda well: tracker.finish())


def on_wandb(hello: Hello) -> Drawn:
    """Weights & Biases; where it does not answer, its files are kept for `wandb sync`."""
    import wandb

    try:
        tracker = _wandb_run(hello, {})
    except Exception as error:
        wandb.teardown()  # else its own process still holds the id
        tracker = _wandb_run(hello, {"mode": "offline"})
        say(f"wandb cannot be reached ({_first_line(error)}); {_later(tracker)}")
    tracker.store_init_configuration(hello.job)

    def pictures(files: dict[str, str], step: int) -> None:
        tracker.log_images({tag: [one] for tag, one in _opened(files).items()}, step=step)

    def finish(well: bool) -> None:
        later = _later(tracker)
        try:
            tracker.tracker.finish(exit_code=0 if well else 1)
        except TimeoutError:
            say(f"wandb did not take everything in time; {later}")

    return Drawn(lambda values, step: tracker.log(values, step=step), pictures, finish)


def _later(tracker: Any) -> str:
    return f"`wandb sync {Path(tracker.tracker.dir).parent}` sends it later"


def _wandb_run(hello: Hello, changes: dict[str, Any]) -> Any:
    import wandb
    from accelerate.tracking import WandBTracker

    limits = {"init_timeout": hello.patience / 3, "finish_timeout": hello.patience * 0.8}
    known = wandb.Settings.model_fields  # their names come and go between releases
    wanted: dict[str, Any] = QUIET | limits
    settings = {name: value for name, value in wanted.items() if name in known}
    tracker = WandBTracker(
        hello.project,
        name=hello.name,
        entity=hello.entity,
        id=hello.id,
        resume="allow",
        dir=hello.folder,
        settings=wandb.Settings(**settings),
        **changes,
    )
    tracker.start()
    return tracker


OPENED: dict[str, Callable[[Hello], Drawn]] = {
    "tensorboard": on_tensorboard,
    "wandb": on_wandb,
}


def _opened(files: dict[str, str]) -> dict[str, Any]:
    from PIL import Image

    return {tag: Image.open(file).convert("RGB") for tag, file in files.items()}


def say(text: str) -> None:
    """Something for the user."""
    sys.stdout.write(f"{TOLD}{text}\n")
    sys.stdout.flush()


def _first_line(error: BaseException) -> str:
    words = str(error).strip().splitlines() or [type(error).__name__]
    return words[0].rstrip(".")


def _leave_after(seconds: float) -> None:
    """End this process then, whatever a library still waits for."""
    timer = threading.Timer(seconds, os._exit, (1,))
    timer.daemon = True
    timer.start()


def _taken_over() -> BinaryIO:
    """Standard input, which no other process inherits and no library asks questions of."""
    mine = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    return mine


if __name__ == "__main__":
    main(sys.argv[1], _taken_over())
