"""Every optimizer of the table, and those of pytorch_optimizer: steps, resuming, what is shown."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections import deque
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, load_file, save
from torch import Tensor, nn

from scumble import dice
from scumble.errors import FileError, JobError
from scumble.spec.training import OptimizerSpec, ScheduleSpec, TrainingSpec
from scumble.trainer import optimizers
from scumble.trainer.optimizer_state import restore, state_of
from scumble.trainer.optimizer_table import OPTIMIZERS, find
from tests import toys

RATES = {"prodigy": 1.0, "lion": 0.03, "lion-8bit": 0.03}
AVERAGING = ("adamw-schedulefree", "radam-schedulefree", "pytorch_optimizer.SPlus")
OTHERS = ("pytorch_optimizer.SOAP", "pytorch_optimizer.MADGRAD", "pytorch_optimizer.Muon")
LOW_BIT = ("torchao.AdamW8bit", "torchao.AdamW4bit", "torchao.AdamFp8", "torchao.AdamWFp8")
PACKAGED = (
    *("torch.Adam", "torch.SGD", "torch.RAdam", "torch.NAdam", "torch.RMSprop", "torch.Adagrad"),
    *("torch.Adadelta", "torch.Adafactor", "torch.Adamax", "torch.ASGD"),
    *("optimi.StableAdamW", "optimi.RAdam", "optimi.Ranger", "optimi.Adan", "optimi.SGD"),
    *("bitsandbytes.Adagrad8bit", "bitsandbytes.Adam8bit", "bitsandbytes.AdEMAMix8bit"),
    *("schedulefree.SGDScheduleFree", *LOW_BIT),
)
Parameters = dict[str, nn.Parameter]


def weights(name: str) -> Parameters:
    """Matrices large enough for an 8-bit state, and one that is not."""
    dtype = optimizers.weights_dtype(OptimizerSpec(name=name))
    made = {}
    for key, shape in {"down": (32, 160), "up": (160, 32), "small": (4, 8)}.items():
        values = torch.randn(shape, generator=dice.generator(0, "test", key))
        made[key] = nn.Parameter(values.to(dtype))
    return made


def optimizer_of(name: str, parameters: Parameters, **options: Any) -> torch.optim.Optimizer:
    spec = OptimizerSpec(name=name, options=options)
    return optimizers.made(spec, parameters.values(), RATES.get(name, 0.1))


def loss_of(parameters: Parameters) -> Tensor:
    return torch.stack([p.float().square().mean() for p in parameters.values()]).sum()


def walk(
    parameters: Parameters,
    optimizer: torch.optim.Optimizer,
    steps: int,
    rate: float | None = None,
) -> None:
    for _ in range(steps):
        loss_of(parameters).backward()
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] if rate is None else rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def kept(optimizer: torch.optim.Optimizer, parameters: Parameters) -> tuple[dict, dict]:
    """The state as it comes back from a checkpoint's files."""
    tensors, others = state_of(optimizer, parameters)
    return load(save(tensors)), json.loads(json.dumps(others))


def resumed(name: str, parameters: Parameters, state: tuple[dict, dict], **options: Any):
    fresh = {key: nn.Parameter(one.detach().clone()) for key, one in parameters.items()}
    optimizer = optimizer_of(name, fresh, **options)
    restore(optimizer, fresh, *state)
    return fresh, optimizer


def same(first: tuple[dict, dict], second: tuple[dict, dict]) -> bool:
    tensors, again = first[0], second[0]
    equal = tensors.keys() == again.keys() and first[1] == second[1]
    return equal and all(
        tensors[key].dtype == again[key].dtype and torch.equal(tensors[key], again[key])
        for key in tensors
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_lowers_a_parabola(name: str) -> None:
    parameters = weights(name)
    optimizer = optimizer_of(name, parameters)
    before = loss_of(parameters).item()
    walk(parameters, optimizer, 150)
    with optimizers.shown(optimizer, parameters):
        assert loss_of(parameters).item() < before / 2


@pytest.mark.parametrize("name", (*OPTIMIZERS, *AVERAGING[2:], *OTHERS, *PACKAGED))
def test_saved_and_put_back_it_takes_the_same_steps(name: str) -> None:
    unbroken = weights(name)
    optimizer = optimizer_of(name, unbroken)
    walk(unbroken, optimizer, 3)
    state = kept(optimizer, unbroken)
    second, again = resumed(name, unbroken, state)
    assert same(kept(again, second), state)
    for parameters, one in ((unbroken, optimizer), (second, again)):
        torch.manual_seed(5)  # as the loop does before the optimizer moves
        walk(parameters, one, 3)
    assert all(torch.equal(second[key], unbroken[key]) for key in unbroken)
    assert same(kept(again, second), kept(optimizer, unbroken))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_rate_of_the_job_is_the_rate_it_moves_by(name: str) -> None:
    parameters, optimizer = weights(name), None
    before = {key: one.detach().clone() for key, one in parameters.items()}
    optimizer = optimizer_of(name, parameters)
    walk(parameters, optimizer, 3, rate=0.0)
    assert all(torch.equal(parameters[key], before[key]) for key in before)
    moved = []
    for rate in (1e-3, 2e-3):
        parameters = weights(name)
        walk(parameters, optimizer_of(name, parameters), 8, rate=rate)
        moved.append((parameters["down"] - before["down"]).float().norm().item())
    assert 1.5 < moved[1] / moved[0] < 4.5  # twice; four times with Prodigy, whose estimate grows


def test_the_first_step_of_adam_is_as_long_as_the_rate() -> None:
    for name in ("adamw", "adamw-8bit", "lion", "lion-8bit", "adafactor", "adamw-schedulefree"):
        parameters = weights(name)
        before = parameters["down"].detach().clone()
        optimizer = optimizer_of(name, parameters, weight_decay=0.0)
        walk(parameters, optimizer, 1, rate=1e-4)
        step = (parameters["down"] - before).abs().median().item()
        assert step == pytest.approx(1e-4, rel=0.4), name  # Adafactor's is a product of two means


def test_the_state_of_eight_bit_ones_is_in_bytes_and_their_tables_are_kept_once() -> None:
    parameters = weights("adamw-8bit")
    optimizer = optimizer_of("adamw-8bit", parameters)
    walk(parameters, optimizer, 1)
    tensors, _ = state_of(optimizer, parameters)
    assert tensors["down/state1"].dtype == tensors["up/state2"].dtype == torch.uint8
    assert tensors["small/state1"].dtype == torch.float32
    assert sum("qmap" in key for key in tensors) == 2
    second, again = resumed("adamw-8bit", parameters, kept(optimizer, parameters))
    one, other = again.state[second["down"]], again.state[second["up"]]
    assert one["qmap1"] is other["qmap1"] and one["qmap1"] is not one["qmap2"]


@pytest.mark.parametrize(("name", "size"), [("AdamW8bit", 1.0), ("AdamW4bit", 0.5)])
def test_low_bit_states_are_built_of_codes_and_few_scales(name: str, size: float) -> None:
    parameters = weights("adamw")
    optimizer = optimizer_of(f"torchao.{name}", parameters)
    walk(parameters, optimizer, 1)
    tensors, others = state_of(optimizer, parameters)
    codes = tensors["down/exp_avg/codes"]
    assert codes.dtype == torch.uint8 and codes.numel() == 32 * 160 * size
    assert tensors["small/exp_avg"].dtype == torch.float32
    assert others["parameters"]["up"]["dict"][1][1]["built"] == name.replace("AdamW", "OptimState")


def test_low_bit_ones_take_the_rate_of_each_step() -> None:
    moved = []
    for rate in (1e-4, 2e-4):
        parameters = weights("adamw")
        before = parameters["up"].detach().clone()
        walk(parameters, optimizer_of("torchao.AdamWFp8", parameters, weight_decay=0.0), 1, rate)
        moved.append((parameters["up"] - before).abs().median().item())
    assert moved == pytest.approx([1e-4, 2e-4], rel=0.05)


def test_fp8_is_refused_in_words_on_a_card_that_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for found in ((8, 6), (8, 9)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda found=found: found)
        if found < (8, 9):
            with pytest.raises(
                JobError, match=r"capability 8.6\); it needs 8.9; take torchao.AdamW8"
            ):
                optimizers.checked(OptimizerSpec(name="torchao.AdamWFp8"))
        else:
            optimizers.checked(OptimizerSpec(name="torchao.AdamWFp8"))


def found_by_prodigy(steps: int, **options: Any) -> float:
    parameters = weights("prodigy")
    optimizer = optimizer_of("prodigy", parameters, **options)
    walk(parameters, optimizer, steps)
    return optimizer.param_groups[0]["d"]


def test_prodigy_stops_seeking_when_it_is_told_to_and_goes_on_so_after_a_break() -> None:
    early, late = found_by_prodigy(20), found_by_prodigy(60)
    assert early < late
    assert found_by_prodigy(60, stop_after=20) == early
    parameters = weights("prodigy")
    optimizer = optimizer_of("prodigy", parameters, stop_after=20)
    walk(parameters, optimizer, 30)
    second, again = resumed("prodigy", parameters, kept(optimizer, parameters), stop_after=20)
    walk(second, again, 30)
    walk(parameters, optimizer, 30)
    assert again.param_groups[0]["d"] == early
    assert all(torch.equal(second[key], parameters[key]) for key in second)


def test_bf16_weights_with_kahans_sum_go_where_rounding_alone_would_stand_still() -> None:
    steps, rate = 200, 1e-4  # a step of 1e-4 is lost on a bf16 weight near 1
    for kahan, moved in ((True, True), (False, False)):
        weight = {"down": nn.Parameter(torch.ones(64, 64, dtype=torch.bfloat16))}
        optimizer = optimizer_of("adamw-bf16", weight, kahan_sum=kahan, weight_decay=0.0)
        walk(weight, optimizer, steps, rate=rate)
        assert (weight["down"].float().mean().item() < 0.985) is moved


class Odd(torch.optim.Optimizer):
    """Its state holds whatever a state may hold."""

    def __init__(self, params: Any, lr: float, held: Any = None) -> None:
        super().__init__(params, {"lr": lr, "held": held, "count": 0})

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            shared = torch.arange(3.0)
            group["count"] += 1
            group["clock"] = torch.tensor(7, dtype=torch.int32)
            loose: Any = self.state
            loose["k"] = 3
            for p in group["params"]:
                whole = torch.arange(6.0)
                self.state[p] = {
                    "nested": [{"a": (whole[:3], None), 5: True}, deque([1.5], maxlen=2)],
                    "views": [whole[:3], whole[3:]],
                    "turned": torch.arange(6.0).reshape(2, 3).T,
                    "moment": torch.full_like(p, 1 / 3, dtype=torch.float32),
                    "step": torch.tensor(3, dtype=torch.int64),
                    "words": "ok",
                    "much": float("inf"),
                    "shared": shared,
                }


def test_whatever_a_state_holds_comes_back_with_type_shape_and_order() -> None:
    parameters = {n: nn.Parameter(torch.ones(2, dtype=torch.bfloat16)) for n in ("a", "b.c")}
    optimizer = Odd(parameters.values(), lr=1.0)
    optimizer.step()
    again = Odd(parameters.values(), lr=1.0)
    restore(again, parameters, *kept(optimizer, parameters))
    state = again.state[parameters["b.c"]]
    assert state["nested"][0]["a"][0].tolist() == [0, 1, 2] and state["nested"][0]["a"][1] is None
    assert state["nested"][0][5] is True and type(state["nested"][0]["a"]) is tuple
    assert state["nested"][1] == deque([1.5]) and state["nested"][1].maxlen == 2
    assert [one.tolist() for one in state["views"]] == [[0, 1, 2], [3, 4, 5]]
    assert state["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert state["turned"].stride() == (1, 3)
    assert state["moment"].dtype == torch.float32 and state["moment"][0].item() == torch.tensor(
        1 / 3
    )
    assert state["step"].dtype == torch.int64 and state["step"].shape == ()
    assert state["words"] == "ok" and state["much"] == float("inf")
    assert state["shared"] is again.state[parameters["a"]]["shared"]
    loose: Any = again.state
    assert loose["k"] == 3 and again.param_groups[0]["count"] == 1
    assert again.param_groups[0]["clock"].dtype == torch.int32
    restored = [
        id(one) for one in (state["views"][0], optimizer.state[parameters["a"]]["views"][0])
    ]
    assert restored[0] != restored[1]


def test_what_a_checkpoint_cannot_keep_is_named() -> None:
    parameters = weights("adamw")
    optimizer = Odd(parameters.values(), lr=1.0)
    optimizer.state[parameters["up"]]["held"] = object()
    with pytest.raises(JobError, match=r"holds a object.*up/held.*cannot keep"):
        state_of(optimizer, parameters)


def test_state_of_other_weights_or_another_release_is_refused() -> None:
    parameters = weights("adamw")
    optimizer = optimizer_of("adamw", parameters)
    walk(parameters, optimizer, 1)
    tensors, others = state_of(optimizer, parameters)
    fewer = {"down": parameters["down"]}
    with pytest.raises(FileError, match="'small' is not trained now"):
        restore(optimizer_of("adamw", fewer), fewer, tensors, others)
    with pytest.raises(FileError, match="another release"):
        restore(optimizer, parameters, tensors, {})


def test_what_an_optimizer_found_out_is_put_back_and_the_options_stay_the_jobs() -> None:
    parameters = weights("prodigy")
    optimizer = optimizer_of("prodigy", parameters)
    walk(parameters, optimizer, 60)
    found = optimizer.param_groups[0]
    _, again = resumed("prodigy", parameters, kept(optimizer, parameters), weight_decay=0.5)
    group = again.param_groups[0]
    assert group["d"] == found["d"] > 1e-5 and group["k"] == 60
    assert group["weight_decay"] == 0.5
    assert group["lr"] == 1.0


@pytest.mark.parametrize("name", AVERAGING)
def test_a_look_leaves_no_trace_and_shows_the_average(name: str) -> None:
    parameters = weights(name)
    optimizer = optimizer_of(name, parameters)
    with optimizers.shown(optimizer, parameters):  # before the first step there is no average
        assert torch.equal(parameters["up"], weights(name)["up"])
    assert kept(optimizer, parameters)[1]["parameters"] == {}
    walk(parameters, optimizer, 8)
    before = {key: one.detach().clone() for key, one in parameters.items()}
    state = kept(optimizer, parameters)
    with optimizers.shown(optimizer, parameters):
        assert not torch.equal(parameters["up"], before["up"])
    with pytest.raises(KeyboardInterrupt), optimizers.shown(optimizer, parameters):
        raise KeyboardInterrupt
    assert all(torch.equal(parameters[key], before[key]) for key in before)
    assert same(kept(optimizer, parameters), state)
    walk(parameters, optimizer, 1)  # its mode is the training one again


def test_the_average_is_the_mean_of_where_schedule_free_has_been() -> None:
    parameters = {"down": nn.Parameter(torch.zeros(2, 2))}
    optimizer = optimizer_of("adamw-schedulefree", parameters, weight_decay=0.0)
    paths = []
    for _ in range(4):
        parameters["down"].grad = torch.ones(2, 2)
        optimizer.step()
        paths.append(optimizer.state[parameters["down"]]["z"].clone())
    with optimizers.shown(optimizer, parameters):
        torch.testing.assert_close(parameters["down"].detach(), torch.stack(paths).mean(0))


def walked(name: str, dtype: torch.dtype, steps: int) -> Tensor:
    """Where noisy gradients toward a goal lead, from the same start, whatever the type."""
    start, goal = (torch.randn(32, 64, generator=dice.generator(0, n)) for n in ("start", "goal"))
    weight = {"down": nn.Parameter(start.to(dtype, copy=True))}
    optimizer = optimizer_of(name, weight, betas=[0.9, 0.99], weight_decay=0.01)
    for step in range(steps):
        noise = torch.randn(32, 64, generator=dice.generator(0, "noise", step))
        weight["down"].grad = (weight["down"].detach().float() - goal + noise).to(dtype)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3
        optimizer.step()
    return weight["down"].detach().float() - start


def test_300_steps_in_bf16_with_kahans_sum_end_where_float32_does() -> None:
    exact = walked("adamw", torch.float32, 300)
    kahan = walked("adamw-bf16", torch.bfloat16, 300)
    rounded = walked("adamw", torch.bfloat16, 300)
    assert (kahan - exact).norm() < 0.03 * exact.norm()
    assert (rounded - exact).norm() > 0.5 * exact.norm()


def test_others_show_the_weights_as_they_are() -> None:
    parameters = weights("prodigy")
    optimizer = optimizer_of("prodigy", parameters)
    walk(parameters, optimizer, 2)
    before = parameters["up"].detach().clone()
    with optimizers.shown(optimizer, parameters):
        assert torch.equal(parameters["up"], before)


@pytest.mark.parametrize(
    ("written", "row"),
    [
        ("AdamW", "adamw"),
        ("AdamW8bit", "adamw-8bit"),
        ("adamw_bf16", "adamw-bf16"),
        ("AdamWScheduleFree", "adamw-schedulefree"),
        ("RAdamScheduleFree", "radam-schedulefree"),
        ("Lion8bit", "lion-8bit"),
        ("Prodigy", "prodigy"),
        ("CAME", "came"),
        ("SOAP", "soap"),
    ],
)
def test_names_are_known_as_other_trainers_write_them(written: str, row: str) -> None:
    assert find(written) == OPTIMIZERS[row]


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("adamv", {}, "did you mean 'adamw'"),
        (
            "shampoo2",
            {},
            "known: adamw, .*; and what its package has of torch.shampoo2, .*er.shampoo2",
        ),
        ("torch.AdamX", {}, r"torch.optim has no optimizer 'AdamX'; did you mean 'torch.optim.Ad"),
        ("torch.LBFGS", {}, "wants the loss computed several times a step"),
        ("torch.SparseAdam", {}, "does not support dense gradients"),
        ("torch.Optimizer", {}, "works only around or within"),
        ("torchao.CPUOffloadOptimizer", {}, "works only around or within"),
        ("torchao.AdamW8bit", {"bf16_stochastic_round": True}, "moves weights in float32"),
        ("bitsandbytes.PagedAdamW", {}, "PagedAdamW pages its state.*take bitsandbytes.AdamW"),
        ("schedulefree.ScheduleFreeWrapper", {}, "works only around or within"),
        ("prodigy", {"stop_after": 0}, "options.stop_after: 0 is no number of steps"),
        ("adamw", {"stop_after": 5}, "adamw has no such option"),
        ("pytorch_optimizer.Came", {}, r"did you mean 'pytorch_optimizer.CAME'"),
        ("pytorch_optimizer.Lookahead", {}, "pytorch_optimizer.Lookahead works only around"),
        ("pytorch_optimizer.SAM", {}, "pytorch_optimizer.SAM works only around or within"),
        ("pytorch_optimizer.AliG", {}, "wants the loss computed several times a step"),
        ("pytorch_optimizer.AdaHessian", {}, "wants a second backward pass"),
        ("pytorch_optimizer.Conda", {}, "GaLoreProjector.*cannot keep"),
        (
            "pytorch-optimizer.Lions",
            {},
            "no optimizer 'Lions'; did you mean 'pytorch_optimizer.Lion'",
        ),
        ("pytorch_optimizer.Ranger21", {}, "options.num_iterations: .*Ranger21 needs it"),
        ("adamw", {"weight_decy": 0.1}, "did you mean 'weight_decay'"),
        ("adamw", {"BETAS": [0.9, 0.99]}, "did you mean 'betas'"),
        ("adamw", {"capturable": True}, "adamw takes its steps in no CUDA graph"),
        ("prodigy", {"d_coeff": 2}, "prodigy has no such option; did you mean 'd_coef'"),
        ("came", {"beta": [0.9]}, "options.beta: came has no such option; did you mean 'betas'"),
        ("came", {"kwargs": 1}, "options.kwargs: came has no such option"),
        ("adamw", {"lr": 0.1}, "no such option: it is `training.learning_rate`"),
        ("adamw", {"maximize": True}, "options.maximize: adamw would raise the loss"),
        ("lion", {"gradient_release": True}, "lion moves the weights once a step"),
        ("adamw-8bit", {"is_paged": True}, "keeps its state on the card"),
        ("adamw", {"betas": [2.0, 0.9]}, "options: adamw refuses: .*beta"),
        ("adamw", {"betas": 0.9}, "options: adamw refuses"),
        ("lion", {"betas": [0.9]}, "options: lion refuses: list index out of range"),
        ("adafactor", {"relative_step": True}, "refuses: .*`relative_step=True`"),
        ("adamw-schedulefree", {"eps": "tiny"}, "adamw-schedulefree cannot take a step in this"),
    ],
)
def test_what_cannot_be_is_named_with_its_remedy(name: str, options: dict, words: str) -> None:
    with pytest.raises(JobError, match=words):
        optimizers.checked(OptimizerSpec(name=name, options=options))


@pytest.mark.parametrize("name", (*OPTIMIZERS, *OTHERS))
def test_every_row_passes_its_own_check(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    optimizers.checked(OptimizerSpec(name=name))
    assert capsys.readouterr().out == ""


def test_a_package_that_is_not_there_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(JobError, match=r'torchao.*not installed; run `pip install "scumble\[quant'):
        optimizers.checked(OptimizerSpec(name="torchao.AdamW4bit"))
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(JobError, match=r'bitsandbytes.*not installed; run `pip install "scumble\['):
        optimizers.checked(OptimizerSpec(name="lion-8bit"))


def test_the_plain_default_is_not_even_made_by_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any, params: Any, lr: float, eps: float = 0, **_: Any) -> None:
        raise ValueError("made")

    monkeypatch.setattr(torch.optim.AdamW, "__init__", refuse)
    optimizers.checked(OptimizerSpec())
    with pytest.raises(JobError, match="refuses: made"):
        optimizers.checked(OptimizerSpec(options={"eps": 1e-6}))


def advice(name: str, rate: float, kind: str = "constant") -> str:
    spec = OptimizerSpec(name=name)
    schedule = ScheduleSpec.model_validate({"kind": kind})
    plan = TrainingSpec(steps=10, learning_rate=rate, optimizer=spec, schedule=schedule)
    return " ".join(optimizers.advice(plan))


def test_a_rate_that_is_hardly_meant_is_told() -> None:
    assert advice("adamw", 1e-4) == advice("prodigy", 1.0) == advice("lion", 3e-5) == ""
    assert "0.0001 is below what prodigy expects (0.1 to 10): it finds" in advice("prodigy", 1e-4)
    assert "1 is above what adamw expects" in advice("adamw", 1.0)
    assert "third to a tenth of AdamW's" in advice("Lion8bit", 5e-3)
    assert "far from the 1 that pytorch_optimizer.DAdaptAdam has" in advice(
        "pytorch_optimizer.DAdaptAdam", 1e-4
    )
    assert advice("pytorch_optimizer.SOAP", 1e-3) == ""


def test_an_average_under_a_falling_rate_is_told() -> None:
    assert advice("adamw-schedulefree", 1e-3) == ""
    assert "`schedule.kind: cosine` both happen" in advice("AdamWScheduleFree", 1e-3, "cosine")
    assert "both happen" in advice("pytorch_optimizer.ScheduleFreeAdamW", 1e-3, "rex")


def test_one_that_does_not_resume_exactly_is_told() -> None:
    assert "StableSPAM does not resume exactly" in advice("pytorch_optimizer.StableSPAM", 1e-3)


def test_an_option_alone_is_enough_to_be_tried_for_exact_resuming() -> None:
    plan = TrainingSpec(steps=10, optimizer=OptimizerSpec(options={"eps": 1e-9}))
    assert optimizers.advice(plan) == []


@pytest.mark.parametrize(
    ("name", "words"), [("AdaFactor", r"\d+ times slower"), ("LARS", r"\d+ times faster")]
)
def test_one_that_leaves_half_of_an_adapter_behind_is_told(name: str, words: str) -> None:
    told = advice(f"pytorch_optimizer.{name}", 1e-2)
    assert re.search(rf"{name} moves weights that start at zero, .* {words} than the others", told)
    assert "moves weights" not in advice("adafactor", 1e-4) + advice("came", 1e-4)


SIZES = [(8, 640), (640, 8), (4, 1200)]


@pytest.mark.parametrize("name", (*OPTIMIZERS, *OTHERS))
def test_what_a_state_takes_is_known_before(name: str) -> None:
    spec = OptimizerSpec(name=name)
    dtype = optimizers.weights_dtype(spec)
    sizes = SIZES if name not in OTHERS else [(8, 240), (160, 8)]  # products of all columns
    weights = {str(n): nn.Parameter(torch.ones(size, dtype=dtype)) for n, size in enumerate(sizes)}
    optimizer = optimizer_of(name, weights)
    walk(weights, optimizer, 2)
    taken = sum(one.nbytes for one in state_of(optimizer, weights)[0].values())
    assert optimizers.kept_bytes(spec, sizes) == pytest.approx(taken, rel=0.2)


def test_a_side_too_long_for_soap_is_known_before() -> None:
    sizes = [(8, 1200), (1200, 8), (16, 1024)]
    weights = {str(n): nn.Parameter(torch.ones(size)) for n, size in enumerate(sizes)}
    optimizer = optimizer_of("soap", weights)
    walk(weights, optimizer, 2)
    taken = sum(one.nbytes for one in state_of(optimizer, weights)[0].values())
    found = optimizers.kept_bytes(OptimizerSpec(name="soap"), sizes)
    assert found == pytest.approx(taken, rel=0.2) and found > 2 * 4 * 1024**2
    capped = OptimizerSpec(name="soap", options={"max_precondition_dim": 64})
    assert optimizers.kept_bytes(capped, sizes) < 500_000


def test_a_state_that_is_many_times_the_adapters_is_told() -> None:
    flux = [(16, 3072), (3072, 16)] * 494
    numbers = sum(rows * columns for rows, columns in flux)

    def told(name: str) -> list[str]:
        spec = OptimizerSpec(name=name)
        return optimizers.weight(spec, optimizers.kept_bytes(spec, flux), numbers)

    assert told("adamw") == told("prodigy") == told("came") == told("soap") == []
    assert told(OTHERS[0]) == [
        "The state of pytorch_optimizer.SOAP takes about 75 GB on the device, 193 times that of"
        " adamw."
    ]


@pytest.mark.parametrize(
    ("name", "then", "now"),
    [
        ("adamw", {}, {"amsgrad": True}),
        ("adamw-bf16", {"kahan_sum": False}, {}),
        ("adafactor", {}, {"beta1": 0.9}),
        ("prodigy", {"slice_p": 2}, {}),
        ("pytorch_optimizer.CAME", {}, {"ams_bound": True}),
    ],
)
def test_options_that_a_kept_state_does_not_fit_are_refused(
    name: str, then: dict, now: dict
) -> None:
    spec = OptimizerSpec(name=name, options=now)
    with pytest.raises(JobError, match=r"kept does not fit these options.*put them back"):
        optimizers.checked_again(then, spec)
    optimizers.checked_again({"weight_decay": 0.0, **now}, spec)


def test_a_run_goes_on_with_options_that_fit_and_lists_them(tmp_path: Path) -> None:
    toys.trained(tmp_path, training__steps=1)
    changed = {"weight_decay": 0.1, "betas": [0.8, 0.99]}
    toys.trained(tmp_path, training__steps=2, training__optimizer__options=changed)
    told = toys.journal(tmp_path, "Resumed")[0]["changed"]
    where = "training.optimizer.options"
    assert (
        f"{where}.weight_decay: unset -> 0.1" in told and f"{where}.betas.0: unset -> 0.8" in told
    )
    assert len(told) == 4  # and the steps
    with pytest.raises(JobError, match="max_exp_avg_sq"):
        options = {**changed, "amsgrad": True}
        toys.trained(tmp_path, training__steps=3, training__optimizer__options=options)


def test_a_state_is_kept_by_whatever_names_its_entries_have() -> None:
    parameters = weights("adamw")
    optimizer = optimizer_of("adamw", parameters)
    optimizer.state[parameters["up"]] = {0: torch.ones(2), "a": 1}
    again = optimizer_of("adamw", parameters)
    restore(again, parameters, *kept(optimizer, parameters))
    assert list(again.state[parameters["up"]]) == [0, "a"]


def test_nothing_in_the_source_pickles() -> None:
    words = ("import pickle", "torch.save(", "torch.load(", "allow_pickle=True")
    for file in Path("src").rglob("*.py"):
        assert not any(word in file.read_text() for word in words), file


KINDS: dict[str, dict[str, Any]] = {
    "prodigy": {"training__learning_rate": 1.0},
    "adamw-schedulefree": {"training__schedule": {"warmup_steps": 2}},
    "adamw-bf16": {"training__schedule": {"kind": "rex"}},
    "adamw-8bit": {"training__optimizer__options": {"min_8bit_size": 64}},
    "torchao.AdamW8bit": {"adapter__rank": 64, "adapter__targets": ["to_q"]},
}


@pytest.mark.parametrize("name", KINDS)
def test_a_resumed_run_is_the_unbroken_one(tmp_path: Path, name: str) -> None:
    changes = {
        "training__optimizer__name": name,
        "saving__every": 1,
        "training__steps": 2,
        **KINDS[name],
    }
    toys.trained(tmp_path, name="whole", **changes)
    ended = shutil.ignore_patterns("step-000002", "whole.safetensors")
    shutil.copytree(tmp_path / "out/whole", tmp_path / "out/broken", ignore=ended)
    toys.trained(tmp_path, name="broken", **changes)
    whole, broken = (toys.checkpoint(tmp_path, 2, run) for run in ("whole", "broken"))
    assert whole.keys() == broken.keys()
    assert all(whole[key].dtype == broken[key].dtype for key in whole)
    assert all(torch.equal(whole[key], broken[key]) for key in whole)
    state, again = (
        json.loads((tmp_path / f"out/{run}/checkpoints/step-000002/state.json").read_text())
        for run in ("whole", "broken")
    )
    assert state["optimizer"] == again["optimizer"]
    assert toys.journal(tmp_path, "Resumed", "broken")[0]["step"] == 1
    delivered = [
        load_file(tmp_path / f"out/{run}/{run}.safetensors") for run in ("whole", "broken")
    ]
    assert all(torch.equal(delivered[0][key], delivered[1][key]) for key in delivered[0])


def test_previews_of_a_schedule_free_run_move_nothing(tmp_path: Path) -> None:
    changes = {"training__optimizer__name": "adamw-schedulefree", "training__steps": 2}
    seen = {"prompts": ["a bowl"], "every": 1, "width": 32, "height": 32, "steps": 1}
    toys.trained(tmp_path, name="quiet", **changes)
    toys.trained(tmp_path, name="seen", **changes, validation=seen)
    quiet, shown = (toys.checkpoint(tmp_path, 2, run) for run in ("quiet", "seen"))
    assert all(torch.equal(quiet[key], shown[key]) for key in quiet)
    assert (tmp_path / "out/seen/samples/step-000002").is_dir()
