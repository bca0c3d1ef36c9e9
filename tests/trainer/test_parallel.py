"""Several processes take the steps that one would take: same order, noise, losses and weights."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from torch import nn

from scumble.assembly import source
from scumble.caching import encoded
from scumble.errors import FileError
from scumble.hardware import parallel
from scumble.hardware.parallel import Crew
from scumble.launch import launched
from scumble.preflight.plan import prepared
from scumble.spec.hardware import HardwareSpec
from scumble.spec.load import resolved
from scumble.trainer import loop
from scumble.trainer.tally import Extra, tallied
from tests.processes import command, together
from tests.toys import checkpoint, job, journal, trained

FOUR = {"training__units_per_step": 4, "saving__every": 2}
PREVIEWS = {
    "validation__every": 2,
    "validation__prompts": ["a cat"],
    "validation__width": 48,
    "validation__height": 32,
    "validation__steps": 2,
}


def told(root: Path, name: str, **changes: object) -> str:
    """A job's file."""
    file = root / f"{name}.yaml"
    file.write_text(resolved(job(root, name=name, **changes)))
    return str(file)


@pytest.mark.parametrize("world", [2, 4])
def test_the_processes_of_a_step_have_every_slot_once_with_its_own_draws(
    tmp_path: Path, world: int
) -> None:
    plan = prepared(job(tmp_path, **FOUR), tmp_path)

    def seen(crew: Crew) -> dict[tuple[int, int], tuple[object, ...]]:
        found: dict[tuple[int, int], tuple[object, ...]] = {}
        for fed in (fed for n in range(5) for fed in source(plan, library, crew).step(n + 1)):
            first = fed.number - fed.batch.slots[0]
            for place, slot in enumerate(fed.batch.slots):
                noise = tuple(fed.draw.noise[place].flatten().tolist())
                numbers = fed.draw.times[place].item(), fed.draw.seeds[place].item()
                told = fed.batch.ids[place], fed.batch.captions[place], fed.examples_in_step
                found[fed.step, first + slot] = (*told, *numbers, noise)
        return found

    with encoded(plan, lambda event: None) as library:
        whole = seen(parallel.ALONE)
        shares = [seen(Crew(parallel.Launch(rank=rank, world=world))) for rank in range(world)]
    assert sum(map(len, shares)) == len(whole) > 30 and all(shares)
    assert {key: row for share in shares for key, row in share.items()} == whole


@pytest.mark.parametrize(
    "parts",
    [[(2, 2)], pytest.param([(2, 2), (4, 4)], marks=pytest.mark.acceptance)],
    ids=["two", "two and four"],
)
def test_a_run_goes_through_several_processes_as_through_one(
    tmp_path: Path, parts: list[tuple[int, int]]
) -> None:
    trained(tmp_path, name="whole", training__steps=6, **FOUR, **PREVIEWS)
    for world, steps in parts:
        file = told(tmp_path, "parts", training__steps=steps, **FOUR, **PREVIEWS)
        codes, said = together(world, tmp_path / "logs", command, ["train", file])
        assert codes == [0] * world, said
    trained(tmp_path, name="parts", training__steps=6, **FOUR, **PREVIEWS)
    whole, found = (journal(tmp_path, "StepDone", name) for name in ("whole", "parts"))
    for name in ("loss", "gradient_norm"):
        numbers = [row[name] for row in found]
        assert numbers == pytest.approx([row[name] for row in whole], rel=1e-5), name
    resumed = journal(tmp_path, "Resumed", "parts")
    assert [row["step"] for row in resumed] == [steps for _, steps in parts]
    left, right = checkpoint(tmp_path, 6, "whole"), checkpoint(tmp_path, 6, "parts")
    assert left.keys() == right.keys()
    for key in left:
        torch.testing.assert_close(right[key], left[key], rtol=1e-4, atol=1e-5, msg=key)
    assert [r["step"] for r in journal(tmp_path, "Previewed", "parts")] == [0, 2, 4, 6]
    assert not (tmp_path / "out/parts/.running").exists()


def summing() -> int:
    """One process of two, each with gradients of its own."""
    crew = parallel.joined(launched(), HardwareSpec(device="cpu"))
    assert crew.world == 2
    draws = torch.Generator().manual_seed(3)
    shapes = [(3, 5), (7,), (2, 2), (4,)]
    every = [[torch.randn(shape, generator=draws) for shape in shapes] for _ in range(2)]
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for number, parameter in enumerate(parameters):
        if number < 2 or (number == 2 and crew.rank == 0):
            parameter.grad = every[crew.rank][number].clone()
    lost = [torch.tensor(0.5 + crew.rank)]
    stop = "SIGTERM" if crew.rank == 1 else None
    extra = Extra(prior=torch.tensor(1.0 + crew.rank), taught=1 + crew.rank, passes=2 + crew.rank)
    tally = tallied(crew, parameters, lost, extra=extra, stop=stop, failed=False)
    numbers = tally.numbers([torch.tensor(7.0)])
    verdict = tally.read(numbers.marks)
    assert verdict.stop == "SIGTERM" and not verdict.failed
    assert (numbers.loss, numbers.others) == (2.0, [7.0])
    assert (numbers.prior, verdict.taught, verdict.passes) == (3.0, 3, 5)
    wanted = [every[0][0] + every[1][0], every[0][1] + every[1][1], every[0][2]]
    found = [one.grad for one in parameters[:3]]
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    assert parameters[3].grad is None, "nobody had it"

    _what_is_no_number(crew, parameters)
    assert crew.gathered(f"r{crew.rank}") == ["r0", "r1"]
    crew.leave()
    return 0


def _what_is_no_number(crew: Crew, parameters: list[nn.Parameter]) -> None:
    """One process's gradient is seen by both."""
    parallel.PIECE = 6  # so that these come as several sums
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    if crew.rank == 1:
        parameters[0].grad = torch.full((3, 5), float("nan"))
    tally = tallied(crew, parameters, [], stop=None, failed=crew.rank == 1)
    verdict = tally.read(tally.numbers([]).marks)
    assert verdict.failed and verdict.stop is None
    nothing = torch.full((3, 5), float("nan"))
    twice = [nothing, *(torch.full(shape, 2.0) for shape in [(7,), (2, 2), (4,)])]
    found = [one.grad for one in parameters]
    torch.testing.assert_close(found, twice, rtol=0, atol=0, equal_nan=True)


def test_sums_hold_gradients_losses_votes_and_what_went_wrong(tmp_path: Path) -> None:
    codes, said = together(2, tmp_path, summing)
    assert codes == [0, 0], said


def poisoned(words: list[str], what: str, saved: str) -> int:
    """The command, in a process where the second one meets with something in its third step."""
    real, steps = loop.losses, Path(saved)

    def losses(method, batch, draw):
        if os.environ["RANK"] != "1" or not steps.exists():
            return real(method, batch, draw)
        if what == "nan":
            return real(method, batch, draw) * float("nan")
        if what == "error":
            raise FileError("cat.png", "cannot be decoded", "look at it")
        if what == "bug":
            raise ZeroDivisionError("a fault of ours")
        loop.losses = real
        os.kill(os.getpid(), {"stop": signal.SIGTERM, "death": signal.SIGKILL}[what])
        return real(method, batch, draw)

    loop.losses = losses
    return command(words)


@pytest.mark.parametrize(
    ("what", "codes", "words"),
    [
        ("nan", [2, 2], "step 3: the loss is not a finite number"),
        ("error", [2, 2], "process 2 of 2: cat.png: cannot be decoded; look at it"),
        pytest.param(
            *("bug", [2, 1], "process 2 of 2: ZeroDivisionError: a fault of ours"),
            marks=pytest.mark.acceptance,
        ),
        ("death", [2, -signal.SIGKILL], "processes: another one has ended"),
    ],
)
def test_what_one_process_meets_with_ends_all_in_words(
    tmp_path: Path, what: str, codes: list[int], words: str
) -> None:
    file = told(tmp_path, "toy", training__steps=9)
    saved = tmp_path / "out/toy/checkpoints/step-000002/state.json"
    ended, said = together(2, tmp_path / "logs", poisoned, ["train", file], what, str(saved))
    assert ended == codes, said
    assert words in said and said.count("error: ") == 1
    assert ("Traceback" in said) == (what == "bug")
    (failed,) = journal(tmp_path, "Failed")
    assert words in failed["problems"][0]
    if what == "nan":
        steps = [fed.batch.ids for fed in third_step(tmp_path, file)]
        assert all(id in said for ids in steps for id in ids), "those of both processes"
    assert [r["step"] for r in journal(tmp_path, "Saved")] == [2]
    assert not (tmp_path / "out/toy/.running").exists()
    checkpoint(tmp_path, 2)


def third_step(root: Path, file: str):
    """The batches of the third step, of all processes."""
    plan = prepared(job(root, training__steps=9), root)
    with encoded(plan, lambda event: None) as library:
        yield from source(plan, library).step(3)


def test_a_signal_to_one_process_stops_all_at_one_step(tmp_path: Path) -> None:
    file = told(tmp_path, "toy", training__steps=9)
    saved = tmp_path / "out/toy/checkpoints/step-000002/state.json"
    codes, said = together(2, tmp_path / "logs", poisoned, ["train", file], "stop", str(saved))
    assert codes == [130, 130], said
    assert [(r["signal"], r["step"]) for r in journal(tmp_path, "Stopped")] == [("SIGTERM", 3)]
    assert [r["step"] for r in journal(tmp_path, "Saved")] == [2, 3]


def one_of_two(files: list[str]) -> int:
    """Each process with a job of its own."""
    return command(["train", files[int(os.environ["RANK"])]])


def test_processes_with_different_jobs_do_not_train_together(tmp_path: Path) -> None:
    files = [told(tmp_path, "toy", training__seed=seed) for seed in (1, 1)]
    other = tmp_path / "other.yaml"
    other.write_text(Path(files[1]).read_text().replace("seed: 1", "seed: 2"))
    codes, said = together(2, tmp_path / "logs", one_of_two, [files[0], str(other)])
    assert codes == [2, 2]
    assert "process 2 of 2: sees another job, data or checkpoint than process 1" in said
    assert not journal(tmp_path, "StepDone")


def test_batches_that_cannot_be_shared_evenly_are_refused_once(tmp_path: Path) -> None:
    file = told(tmp_path, "toy", training__units_per_step=3)
    codes, said = together(2, tmp_path / "logs", command, ["train", file])
    assert codes == [2, 2]
    assert "3 batches a step cannot be shared evenly by 2 processes; make it 2 or 4" in said
    assert said.count("error: ") == 1


def test_a_job_with_a_wrong_key_is_told_of_once(tmp_path: Path) -> None:
    file = Path(told(tmp_path, "toy"))
    file.write_text(file.read_text().replace("units_per_step", "units_a_step"))
    codes, said = together(2, tmp_path / "logs", command, ["train", str(file)])
    assert codes == [2, 2] and said.count("units_a_step") == 1
