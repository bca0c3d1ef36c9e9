"""Made-up runs: what observers would have been told."""

import json
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from scumble.events import Event, Finished, Previewed, Saved, Started, StepDone


def started(folder: Path, *, after: int = 0, steps: int = 100, every: int = 0) -> Started:
    return Started(
        name="my-cat",
        folder=folder,
        after=after,
        steps=steps,
        preview_every=every,
        save_every=every,
        keep=3,
        device="cpu",
        precision="float32",
        trained_parameters=1234,
        examples=8,
        steps_per_epoch=4.0,
    )


def step(number: int, loss: float = 0.5, seconds: float = 1.0, *, applied: bool = True) -> StepDone:
    return StepDone(
        step=number,
        loss=loss,
        learning_rate=1e-4,
        gradient_norm=0.1,
        seconds=seconds,
        applied=applied,
    )


def paced(folder: Path, *, steps: int, every: int, pace: list[float]) -> Iterator[Event]:
    """A run with a slow beginning; step n takes `pace[n % len(pace)]` seconds after that."""
    yield started(folder, steps=steps, every=every)
    yield Previewed(step=0, pictures=(), prompts=(), seconds=22.0)
    slow = {1: 90.0, 2: 8.0}
    for number in range(1, steps + 1):
        yield step(number, seconds=slow.get(number, pace[number % len(pace)]))
        if number % every == 0 or number == steps:
            yield Saved(step=number, folder=folder / "checkpoints", seconds=4.0)
            yield Previewed(step=number, pictures=(), prompts=(), seconds=20.0)
    yield Finished(step=steps, seconds=1.0)


def cost(event: Event) -> float:
    """The seconds an event of a run stands for."""
    match event:
        case StepDone() | Previewed() | Saved():
            return event.seconds
        case _:
            return 0.0


def preview(
    folder: Path, number: int, prompts: tuple[str, ...], size: tuple[int, int] = (32, 32)
) -> None:
    """Lay pictures and sidecars of one step into a run folder."""
    place = folder / "samples" / f"step-{number:06d}"
    place.mkdir(parents=True)
    for index, prompt in enumerate(prompts):
        file = place / f"{index:02d}-cat.png"
        Image.new("RGB", size, (number % 256, 80, 120)).save(file)
        about = {"prompt": prompt, "seed": 42 + index, "width": size[0], "height": size[1]}
        file.with_suffix(".json").write_text(json.dumps(about))
