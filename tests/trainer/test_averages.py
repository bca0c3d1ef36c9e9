"""The moving average of the weights: its numbers, where it is kept, and who sees it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from scumble.assembly import assembled, source
from scumble.caching import complete
from scumble.comparing import Comparing
from scumble.drifting import Drifting
from scumble.errors import FileError
from scumble.events import Drifted, Measured, Scored
from scumble.measuring import Measuring
from scumble.preflight.plan import Plan, prepared
from scumble.sittings import sittings
from scumble.spec.averaging import EmaSpec
from scumble.spec.training import TrainingSpec
from scumble.trainer import averages, loop
from scumble.trainer.averages import Average, begun, decay
from scumble.trainer.conveying import pieces
from scumble.trainer.feeder import Feeder
from scumble.trainer.loop import Dates, Parts
from scumble.trainer.signals import Signals
from scumble.validation.previews import Sitting
from tests.toys import job, journal, pictures, trained

PREVIEWS: dict[str, Any] = {"prompts": ["a cat"], "every": 2, "width": 32, "height": 32, "steps": 1}
SMALL: dict[str, Any] = {"training__batch_size": 1, "training__units_per_step": 1}
FULL: dict[str, Any] = {"adapter": {"kind": "full", "targets": ["proj_out"]}}


def kept(root: Path, step: int, file: str, name: str = "toy") -> dict[str, Tensor]:
    return load_file(root / f"out/{name}/checkpoints/step-{step:06d}/{file}.safetensors")


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) for name in left
    )


@pytest.mark.parametrize(
    ("step", "share"), [(0, 0.0), (1, 0.0), (2, 2 / 11), (10, 10 / 19), (81, 0.9), (9999, 0.9)]
)
def test_the_decay_grows_with_the_step_up_to_the_job_s(step: int, share: float) -> None:
    assert decay(EmaSpec(decay=0.9), step) == pytest.approx(share, rel=1e-12)


def test_with_a_warm_up_the_weights_are_copied_and_then_the_decay_holds_at_once() -> None:
    spec = EmaSpec(decay=0.99, warmup_steps=3)
    assert [decay(spec, step) for step in (1, 3, 4, 500)] == [0.0, 0.0, 0.99, 0.99]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_updates_come_after_steps_that_the_interval_divides(dtype: torch.dtype) -> None:
    weight = nn.Parameter(torch.zeros(3, dtype=dtype))
    average = begun(EmaSpec(decay=0.5, every=2, warmup_steps=1), {"a": weight})
    told, by_hand = [], 0.0
    for step in range(1, 7):
        weight.data.fill_(float(step))
        average.after_move(step)
        by_hand = by_hand if step % 2 else 0.5 * by_hand + 0.5 * step
        told.append(float(average.kept()["a"][0]))
        assert told[-1] == by_hand
    assert told == [0.0, 1.0, 1.0, 2.5, 2.5, 4.25]
    assert average.kept()["a"].dtype == torch.float32


def test_an_average_of_bf16_weights_takes_in_what_bf16_would_round_away() -> None:
    weight = nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    average = begun(EmaSpec(decay=0.999, warmup_steps=1), {"a": weight})
    weight.data.fill_(1.0078125)  # the next number in bf16
    for step in range(2, 12):
        average.after_move(step)
    assert 1.00007 < float(average.kept()["a"]) < 1.00008


@pytest.mark.parametrize(("every", "adapter"), [(1, {}), (2, {}), (1, FULL)])
def test_the_average_of_a_run_is_that_of_its_checkpoints(
    tmp_path: Path, every: int, adapter: dict[str, Any]
) -> None:
    spec = EmaSpec(decay=0.7, every=every)
    trained(tmp_path, saving__every=1, training__ema=spec.model_dump(), **adapter, **SMALL)
    expected: dict[str, Tensor] | None = None
    for step in range(1, 5):
        weights = {name: one.float() for name, one in kept(tmp_path, step, "adapter").items()}
        share = 1 - decay(spec, step)
        if step % spec.every == 0 and expected is not None:
            expected = {n: one.lerp(weights[n], share) for n, one in expected.items()}
        if step == 1 and spec.every == 1:
            expected = weights
        if expected is not None:
            found = kept(tmp_path, step, "ema")
            assert found.keys() == expected.keys()
            assert all(torch.allclose(found[n], expected[n], atol=1e-7) for n in found)
        elif step == 2:  # it began with weights that no checkpoint tells
            expected = kept(tmp_path, 2, "ema")
            assert not same(expected, weights)


def test_a_step_that_is_left_out_leaves_the_average_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, taken = loop.losses, iter(range(100))

    def spoilt(*asked: Any) -> Tensor:
        return plain(*asked) * (float("nan") if next(taken) == 1 else 1.0)

    monkeypatch.setattr(loop, "losses", spoilt)
    settings = {"training__when_not_finite": "skip", "saving__every": 1, **SMALL}
    trained(tmp_path, training__ema={"decay": 0.9}, **settings)
    assert [one["applied"] for one in journal(tmp_path, "StepDone")] == [True, False, True, True]
    first, second, third = (kept(tmp_path, step, "ema") for step in (1, 2, 3))
    assert same(first, second) and not same(second, third)
    weights = kept(tmp_path, 3, "adapter")
    share = 1 - 3 / 12  # of the step's own number, not of the updates before it
    assert all(torch.allclose(third[n], first[n].lerp(weights[n], share)) for n in third)


@pytest.mark.parametrize("adapter", [{}, FULL])
def test_a_resumed_run_has_the_average_of_an_unbroken_one(
    tmp_path: Path, adapter: dict[str, Any]
) -> None:
    settings = {"training__ema": {"decay": 0.8}, **adapter, **SMALL}
    trained(tmp_path, name="whole", training__steps=6, **settings)
    trained(tmp_path, name="parts", training__steps=3, **settings)
    trained(tmp_path, name="parts", training__steps=6, **settings)
    for file in ("adapter", "optimizer", "ema"):
        whole, parts = (kept(tmp_path, 6, file, name) for name in ("whole", "parts"))
        assert same(whole, parts), file
    (resumed,) = journal(tmp_path, "Resumed", "parts")
    assert "moving average" in resumed["restored"]


def test_an_average_that_is_switched_on_later_begins_there_and_says_so(tmp_path: Path) -> None:
    trained(tmp_path, training__steps=2, **SMALL)
    trained(tmp_path, training__steps=3, training__ema={"decay": 0.5, "warmup_steps": 1}, **SMALL)
    words = [one["text"] for one in journal(tmp_path, "Warned")]
    assert any("No moving average was kept up to step 2: it begins there" in one for one in words)
    before, weights = kept(tmp_path, 2, "adapter"), kept(tmp_path, 3, "adapter")
    found = kept(tmp_path, 3, "ema")
    assert all(torch.allclose(found[n], (before[n] + weights[n]) / 2) for n in found)


def test_settings_of_an_average_that_changed_are_named_on_resume(tmp_path: Path) -> None:
    trained(tmp_path, training__steps=2, training__ema={"decay": 0.5}, **SMALL)
    changed = {"decay": 0.6, "device": "device"}
    trained(tmp_path, training__steps=3, training__ema=changed, **SMALL)
    (resumed,) = journal(tmp_path, "Resumed")
    assert "training.ema.decay: 0.5 -> 0.6" in resumed["changed"]
    assert "training.ema.device: cpu -> device" in resumed["changed"]
    trained(tmp_path, training__steps=4, **SMALL)
    told = journal(tmp_path, "Resumed")[-1]
    assert "training.ema.decay: 0.6 -> unset" in told["changed"]
    assert "moving average" not in told["restored"]


@pytest.mark.parametrize(
    "name", ["adamw-schedulefree", "pytorch_optimizer.ScheduleFreeSGD", "pytorch_optimizer.SPlus"]
)
def test_an_optimizer_that_averages_by_itself_is_refused(name: str) -> None:
    training = TrainingSpec.model_validate({"steps": 1, "ema": {}, "optimizer": {"name": name}})
    with pytest.raises(Exception, match="delivers an average of the weights already") as caught:
        averages.checked(training)
    assert "leave it out" in str(caught.value)
    averages.checked(training.model_copy(update={"ema": None}))


def test_of_other_weights_no_average_is_taken_over() -> None:
    average = begun(EmaSpec(), {"a": nn.Parameter(torch.zeros(2))})
    for other in ({"b": torch.zeros(2)}, {"a": torch.zeros(3)}):
        with pytest.raises(FileError, match="an average of other weights"):
            average.put_back(other)


def test_small_weights_travel_together_and_large_ones_alone() -> None:
    sizes = [3, 4, 100, 2, 2, 2, 9]
    parameters = [nn.Parameter(torch.zeros(size)) for size in sizes]
    told = [[one.numel() for one in some] for some in pieces(parameters, most=4 * 8)]
    assert told == [[3, 4], [100], [2, 2, 2], [9]]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that has taken two steps, and all that looks at it."""

    plan: Plan
    parts: Parts
    average: Average
    asked: list[Sitting]
    measuring: Measuring
    drifting: Drifting
    comparing: Comparing


@contextmanager
def running(root: Path, **changes: Any) -> Iterator[Run]:
    """A run with an average that has taken two steps, and all that looks at it."""
    if not (root / "square").exists():
        pictures(root / "square", [(64, 64)] * 3)
    told: dict[str, Any] = {
        "data": [{"id": "square", "folder": "square", "resolution": 32, "held_out": 0.5}],
        "validation": {**PREVIEWS, "held_out": {"times": [0.3]}, "drift": {"prompts": ["a dog"]}},
        "training__ema": {"decay": 0.9},
        "training__learning_rate": 1e-1,
        **SMALL,
        **changes,
    }
    wanted = job(root, **told)
    plan, library = complete(wanted, root, prepared(wanted, root), lambda event: None)
    with library:
        feeder = Feeder(source(plan, library), first=1, last=2)
        asked = sittings(plan, library)
        parts = assembled(plan, asked, feeder, Signals())
        steps = plan.job.training.model_copy(update={"steps": 3})
        with feeder:
            taken = loop.train(parts, steps, Dates(previews=0, saves=0))
            for _ in range(2):
                next(taken)
            assert parts.care.average is not None
            yield Run(
                plan=plan,
                parts=parts,
                average=parts.care.average,
                asked=asked,
                measuring=Measuring(plan, library, parts),
                drifting=Drifting(plan, library, parts),
                comparing=Comparing(plan, library, parts),
            )


def fingerprint(run: Run) -> str:
    """Of everything that goes on living."""
    tensors = [one.detach() for one in run.parts.method.net.module.parameters()]
    tensors += [*run.parts.adapters.parameters().values(), *run.average.kept().values()]
    for entries in run.parts.optimizer.state.values():
        tensors += [value for value in entries.values() if torch.is_tensor(value)]
    digest = blake2b()
    for tensor in (*tensors, torch.get_rng_state()):
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("adapter", [{}, FULL])
def test_whoever_looks_leaves_weights_optimizer_and_average_as_they_were(
    tmp_path: Path, adapter: dict[str, Any]
) -> None:
    with running(tmp_path, **adapter) as run:
        before = fingerprint(run)
        run.parts.preview(2)
        for look in (run.measuring, run.drifting):
            assert list(look(2))
        assert fingerprint(run) == before


def test_an_average_that_is_lent_goes_back_whatever_happens() -> None:
    weight = nn.Parameter(torch.tensor([1.0, math.pi]))
    average = begun(EmaSpec(decay=0.9, warmup_steps=1), {"a": weight})
    weight.data.mul_(3)
    before = weight.detach().clone()
    with pytest.raises(KeyError), average.lent():
        assert weight.tolist() == pytest.approx([1.0, math.pi])
        raise KeyError
    assert torch.equal(weight, before)


def looked(run: Run, step: int) -> tuple[Measured, Drifted]:
    measured, drifted = next(iter(run.measuring(step))), next(iter(run.drifting(step)))
    assert isinstance(measured, Measured) and isinstance(drifted, Drifted)
    return measured, drifted


def test_pictures_and_losses_are_those_of_the_weights_they_are_told_of(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        told, drifted = looked(run, 2)
        run.parts.preview(2)
        with torch.no_grad():  # the average in the place of what trains
            for name, one in run.parts.adapters.parameters().items():
                one.copy_(run.average.kept()[name])
        again, once_more = looked(run, 3)
        run.parts.preview(3)
    assert told.ema is not None and told.ema.raw is not None
    assert again.mean == told.ema.mean != told.mean
    assert told.ema.raw.change == pytest.approx(told.ema.mean / told.mean - 1)
    assert once_more.drift == drifted.ema != drifted.drift
    samples = run.plan.folder / "samples"
    first, second = samples / "step-000002", samples / "step-000003"
    names = sorted(file.name for file in first.iterdir())
    assert names == ["00-a-cat.ema.json", "00-a-cat.ema.png", "00-a-cat.json", "00-a-cat.png"]
    averaged = (first / "00-a-cat.ema.png").read_bytes()
    assert averaged == (second / "00-a-cat.png").read_bytes()
    assert averaged != (first / "00-a-cat.png").read_bytes()


@pytest.mark.parametrize(
    ("wanted", "names"),
    [("raw", ["00-a-cat.png"]), ("ema", ["00-a-cat.ema.png"])],
)
def test_previews_show_whom_the_job_wants(tmp_path: Path, wanted: str, names: list[str]) -> None:
    with running(tmp_path, training__ema={"previews": wanted}) as run:
        told = run.parts.preview(2)
    assert [file.name for file in told.pictures] == names and told.weights == (wanted,)
    assert sorted(file.name for file in told.pictures[0].parent.glob("*.png")) == names


def test_pairs_are_painted_by_what_is_delivered(tmp_path: Path) -> None:
    pictures(tmp_path / "before", [(64, 64)] * 3, seed=1)
    pictures(tmp_path / "square", [(64, 64)] * 3)
    pair = {"id": "square", "folder": "square", "resolution": 32, "held_out": 0.5}
    model = {"family": "flux", "flavour": "kontext", "path": "builtin:tiny-flux-kontext"}
    settings: dict[str, Any] = {
        "model": {**model, "text_tokens": 20},
        "data": [{**pair, "references": [{"folder": "before"}]}],
        "training__ema": {"deliver": "ema", "decay": 0.9},
        "validation": {**PREVIEWS, "prompts": []},
    }
    with running(tmp_path, **settings) as run:
        told, raw = scored(run.comparing), scored(unaveraged(run))
        with run.average.lent():
            again = scored(unaveraged(run))
    assert told.weights == "ema"
    assert told.pairs == again.pairs != raw.pairs


def scored(comparing: Comparing) -> Scored:
    told = next(iter(comparing(2)))
    assert isinstance(told, Scored)
    return told


def unaveraged(run: Run) -> Comparing:
    """What compares, in a run that keeps no average."""
    care = replace(run.parts.care, average=None)
    return Comparing(run.plan, run.comparing._library, replace(run.parts, care=care))
