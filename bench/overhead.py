"""What the trainer costs beyond the mathematics: our loop against a bare one, interleaved.

Same toy FLUX, same adapters, same optimizer, data in memory, one thread. Counts dispatched aten
operations per step and compares CPU seconds (of all threads, the feeder's included) over pairs of
runs in turn. `python bench/overhead.py [PAIRS]`
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from scumble import families
from scumble.adapters.attach import attach, chosen
from scumble.data.batch import Batch
from scumble.data.order import Order, Pool, Shelf, Unit
from scumble.families import weights
from scumble.families.family import Knobs, Scene, Told
from scumble.hardware.blocks import Net, plain
from scumble.hardware.device import Place
from scumble.spec.adapter import LoraSpec
from scumble.spec.model import ModelSpec
from scumble.spec.objective import ObjectiveSpec
from scumble.spec.training import TrainingSpec
from scumble.trainer import optimizers
from scumble.trainer.draws import Drawer
from scumble.trainer.feeder import Feeder, Source
from scumble.trainer.loop import Dates, Parts, train
from scumble.trainer.step import Method

MODEL = ModelSpec(family="flux", flavour="dev", path="builtin:tiny-flux")
EXAMPLES, BATCH, TOKENS, STEPS = 16, 2, 64, 10
CPU = torch.device("cpu")
FLUX = families.find("flux", "dev")
PLACE = Place(CPU, torch.float32)


class Counted(TorchDispatchMode):
    """Counts what reaches the dispatcher from this thread."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def dataset() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents, text and summary of a few made-up examples."""
    make = torch.Generator().manual_seed(0)
    latents = torch.randn(EXAMPLES, 16, 16, 16, generator=make)
    text = torch.randn(EXAMPLES, TOKENS, 64, generator=make)
    return latents, text, torch.randn(EXAMPLES, 64, generator=make)


def model():
    """A toy with fresh adapters, and their optimizer."""
    opened = weights.opened(FLUX, MODEL, Path())
    denoiser = weights.loaded(opened, "denoiser", dtype=torch.float32, device=CPU)
    layers = chosen(denoiser, "attention", FLUX.targets)
    adapters = attach(denoiser, layers, LoraSpec(rank=16), seed=0)
    rows = adapters.parameters().values()
    return denoiser, adapters, optimizers.made(TrainingSpec(steps=1).optimizer, rows, 1e-4)


def bare() -> Callable[[int], None]:
    """The loop one would write by hand."""
    denoiser, adapters, optimizer = model()
    latents, text, summary = dataset()
    net, frames = Net(denoiser, plain), torch.zeros(BATCH, 8, dtype=torch.int64)
    parameters = list(adapters.parameters().values())
    shift = FLUX.process.shift(64)

    def run(steps: int) -> None:
        for _ in range(steps):
            rows = torch.randint(EXAMPLES, (BATCH,))
            clean = latents[rows]
            noise = torch.randn_like(clean)
            times = torch.sigmoid(torch.randn(BATCH))
            times = shift * times / (1 + (shift - 1) * times)
            noisy = torch.lerp(clean, noise, times[:, None, None, None])
            told = Told(values={"text": text[rows], "summary": summary[rows]})
            told = FLUX.tell(told, Scene(frames=frames), Knobs(guidance=1.0))
            answer = FLUX.predict(net, noisy, times, told)
            loss = functional.mse_loss(answer, noise - clean)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            loss.item()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return run


def ours(*, thread: bool) -> Callable[[int], None]:
    """The same through the trainer."""
    denoiser, adapters, optimizer = model()
    latents, text, summary = dataset()
    frames = torch.zeros(BATCH, 8, dtype=torch.int64)

    def read(unit: Unit, step: int) -> list[Batch]:
        rows = torch.tensor([row.member for row in unit.rows])
        words = {"text": text[rows], "summary": summary[rows]}
        names = ("x",) * BATCH
        batch = Batch(
            latents=latents[rows],
            words=words,
            frames=frames,
            weights=torch.ones(BATCH),
            slots=tuple(range(BATCH)),
            ids=names,
            captions=names,
        )
        return [batch]

    members = tuple(range(EXAMPLES))
    shelf = Shelf(dataset="x", size=(128, 128), members=members, batch=BATCH, passes=1)
    source = Source(
        order=Order([Pool(shelves=lambda epoch, step: (shelf,))], seed=0, units_per_step=1),
        drawer=Drawer(0, ObjectiveSpec()),
        read=read,
        device=CPU,
    )
    method = Method(
        family=FLUX,
        net=Net(denoiser, plain),
        place=PLACE,
        knobs=Knobs(guidance=1.0),
        objective=ObjectiveSpec(),
    )

    def run(steps: int) -> None:
        with Feeder(source, first=1, last=steps) as feeder:
            parts = Parts(
                method=method,
                adapters=adapters,
                optimizer=optimizer,
                feed=feeder.step if thread else source.step,
                preview=lambda step: (_ for _ in ()).throw(AssertionError),
                save=lambda step: None,  # pyright: ignore[reportArgumentType]
                stop=lambda: None,
            )
            for _ in train(parts, TrainingSpec(steps=steps), Dates(previews=0, saves=0)):
                pass

    return run


def operations(run: Callable[[int], None]) -> float:
    """Per step, after a step to warm up."""
    run(1)
    with Counted() as counted:
        run(STEPS)
    return counted.count / STEPS


def main() -> None:
    """Print the two ratios."""
    torch.set_num_threads(1)
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    counts = operations(bare()), operations(ours(thread=False))
    ratio = counts[1] / counts[0]
    print(f"operations per step   bare {counts[0]:7.0f}   ours {counts[1]:7.0f}   x{ratio:.3f}")
    runs = bare(), ours(thread=True)
    seconds: tuple[list[float], list[float]] = ([], [])
    for run in runs:
        run(STEPS)
    for pair in range(pairs):
        for side in (0, 1) if pair % 2 else (1, 0):
            start = time.process_time()
            runs[side](STEPS)
            seconds[side].append((time.process_time() - start) / STEPS)
    medians = [statistics.median(side) * 1000 for side in seconds]
    of_pairs = sorted(b / a for a, b in zip(*seconds, strict=True))
    spread = f"{of_pairs[len(of_pairs) // 4]:.3f} .. {of_pairs[3 * len(of_pairs) // 4]:.3f}"
    ratio = medians[1] / medians[0]
    print(f"CPU ms per step       bare {medians[0]:7.2f}   ours {medians[1]:7.2f}   x{ratio:.3f}")
    print(f"middle half of {pairs} pairs of {STEPS} steps: {spread}")


if __name__ == "__main__":
    main()
