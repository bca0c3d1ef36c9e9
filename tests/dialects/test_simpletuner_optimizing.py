"""SimpleTuner's optimizers and schedules as settings of a job, each of which can be had."""

import math
from typing import Any

import pytest

from scumble.dialects.notes import Draft
from scumble.dialects.simpletuner.optimizer_names import MATCHES, REFUSED
from scumble.dialects.simpletuner.optimizing import optimizing
from scumble.dialects.simpletuner.settings import Settings
from scumble.spec.training import TrainingSpec
from scumble.trainer import optimizers
from scumble.trainer.schedules import share

LORA = {"model_type": "lora"}
NAMES = (
    "adamw_bf16 torch-adam torch-adamw torch-sgd torch-radam torch-nadam torch-rmsprop"
    " torch-adagrad torch-adadelta torch-adafactor torch-adamax torch-asgd torch-sparseadam"
    " ao-adamw8bit ao-adamw4bit ao-adamfp8 ao-adamwfp8 adamw_schedulefree"
    " adamw_schedulefree+aggressive adamw_schedulefree+no_kahan optimi-stableadamw optimi-adamw"
    " optimi-lion optimi-radam optimi-ranger optimi-adan optimi-adam optimi-sgd soap muon prodigy"
    " bnb-adagrad bnb-adagrad8bit bnb-adam bnb-adam8bit bnb-adamw bnb-adamw8bit bnb-adamw-paged"
    " bnb-adamw8bit-paged bnb-lion bnb-lion8bit bnb-lion-paged bnb-lion8bit-paged bnb-ademamix"
    " bnb-ademamix8bit bnb-ademamix-paged bnb-ademamix8bit-paged sdnq-adamw sdnq-adamw+no_quant"
    " sdnq-adafactor sdnq-came sdnq-lion sdnq-muon sdnq-muon+quantized_matmul"
    " dadaptation adafactor adamw8bit adamw-bf16"
)
LISTED = NAMES.split()
"""All names that its documents or its program speak of."""


def draft_of(processes: int = 1, **told: Any) -> Draft:
    draft = Draft()
    optimizing(Settings({**LORA, **told}, processes=processes), draft)
    return draft


def training(**told: Any) -> dict[str, Any]:
    draft = draft_of(**told)
    assert not draft.problems
    return draft.tree["training"]


def notes(**told: Any) -> str:
    return "; ".join(f"{one.about} {one.where} {one.text}" for one in draft_of(**told).notes)


def problems(**told: Any) -> str:
    return "; ".join(str(one) for one in draft_of(**told).problems)


def test_with_nothing_said_its_defaults_hold() -> None:
    found = training()
    assert found["optimizer"] == {
        "name": "adamw",
        "options": {"betas": [0.9, 0.999], "eps": 1e-6, "weight_decay": 0.01},
    }
    assert found["learning_rate"] == 4e-7
    assert found["clip_value"] == 2.0 and "clip_norm" not in found
    assert found["schedule"] == {"kind": "constant"}
    assert "rounds each step at random" in notes()


def test_every_name_of_its_documents_is_an_optimizer_here_or_has_a_way_out() -> None:
    assert set(LISTED) == MATCHES.keys() | REFUSED.keys()
    for name in REFUSED:
        assert f"optimizer: '{name}' " in problems(optimizer=name)
        assert "take" in problems(optimizer=name) or "write" in problems(optimizer=name)


@pytest.mark.parametrize("name", MATCHES)
def test_every_optimizer_can_be_made_and_takes_its_steps(name: str) -> None:
    found = training(optimizer=name, learning_rate=1.0 if name == "prodigy" else 1e-4)
    spec = TrainingSpec.model_validate({"steps": 10, **found}).optimizer
    optimizers.checked(spec)


@pytest.mark.parametrize(
    ("told", "name", "options"),
    [
        ({"optimizer": "torch-adamw"}, "adamw", {"weight_decay": 0.01}),
        ({"optimizer": "ao-adamwfp8"}, "torchao.AdamWFp8", {}),
        ({"optimizer": "optimi-lion"}, "lion", {"betas": [0.9, 0.99], "weight_decay": 0.0}),
        ({"optimizer": "bnb-adamw8bit"}, "adamw-8bit", {"eps": 1e-6, "weight_decay": 0.01}),
        ({"optimizer": "bnb-lion-paged"}, "bitsandbytes.Lion", {"weight_decay": 0.0}),
        ({"optimizer": "muon"}, "muon", {"momentum": 0.95, "weight_decay": 0.1}),
        (
            {"optimizer": "soap"},
            "soap",
            {"betas": [0.95, 0.95], "weight_decay": 0.01, "precondition_frequency": 10},
        ),
        (
            {"optimizer": "adamw_schedulefree+aggressive", "lr_warmup_steps": 7},
            "adamw-schedulefree",
            {"weight_decay": 1e-3, "eps": 1e-6, "warmup_steps": 7},
        ),
        (
            {"optimizer": "prodigy", "prodigy_steps": 50},
            "prodigy",
            {"betas": [0.9, 0.99], "weight_decay": 0.0, "d0": 1e-6, "stop_after": 50},
        ),
        (
            {"optimizer": "prodigy", "optimizer_config": "d_coef=0.5,prodigy_steps=9"},
            "prodigy",
            {"d_coef": 0.5, "stop_after": 9},
        ),
        (
            {"optimizer": "optimi-adan", "optimizer_beta1": 0.9, "optimizer_beta2": 0.8},
            "optimi.Adan",
            {"betas": [0.9, 0.8, 0.99]},
        ),
        (
            {"model_type": "full"},
            "adamw-bf16",
            {"betas": [0.9, 0.99], "eps": 1e-6, "weight_decay": 0.01},
        ),
        (
            {"model_type": "full", "optimizer_beta1": 0.8, "optimizer_beta2": 0.95},
            "adamw-bf16",
            {"betas": [0.8, 0.95]},
        ),
    ],
)
def test_an_optimizer_with_what_it_is_given(told: dict, name: str, options: dict) -> None:
    found = training(**told)["optimizer"]
    assert found["name"] == name
    assert {word: found["options"][word] for word in options} == options


def test_arguments_are_read_as_it_reads_them() -> None:
    text = "weight_decay=1e-3, eps=1.5 ,precondition_frequency=5,merge_dims=True,a=None,b=x,c=-3"
    options = training(optimizer="soap", optimizer_config=text)["optimizer"]["options"]
    assert options["weight_decay"] == 1e-3 and options["eps"] == 1.5
    assert options["precondition_frequency"] == 5 and options["merge_dims"] is True
    assert options["a"] is None and options["b"] == "x" and options["c"] == -3
    two = training(optimizer="soap", optimizer_config="betas=0.8,0.9,weight_decay=0")
    assert two["optimizer"]["options"]["betas"] == [0.8, 0.9]
    assert two["optimizer"]["options"]["weight_decay"] == 0


def test_arguments_that_cannot_be_read_are_named() -> None:
    assert "'0.9' is not name=value" in problems(optimizer_config="0.9")
    assert "'eps=1e-' has no value to read" in problems(optimizer_config="eps=1e-")


def test_arguments_that_another_implementation_has_not_are_named_once() -> None:
    told = {"optimizer": "prodigy", "optimizer_config": "split_groups=true,d_coef=2"}
    assert "nothing optimizer_config split_groups prodigy here has no such argument" in notes(
        **told
    )
    assert "split_groups" not in training(**told)["optimizer"]["options"]
    assert training(**told)["optimizer"]["options"]["d_coef"] == 2
    assert "kahan_sum" not in str(training(optimizer="optimi-lion", optimizer_config="kahan_sum=1"))


def test_betas_come_in_pairs_and_go_where_there_are_some() -> None:
    assert "optimizer_beta1: stands without optimizer_beta2" in problems(optimizer_beta1=0.9)
    told = {"optimizer": "torch-sgd", "optimizer_beta1": 0.9, "optimizer_beta2": 0.9}
    assert "torch-sgd has no betas" in notes(**told)
    assert training(**told)["optimizer"]["options"] == {}
    both = training(optimizer_beta1=0.8, optimizer_beta2=0.9)["optimizer"]["options"]
    assert both["betas"] == [0.8, 0.9]


@pytest.mark.parametrize(
    ("told", "clips"),
    [
        ({}, (2.0, 1.0)),
        ({"max_grad_norm": 0.1}, (0.1, 1.0)),
        ({"max_grad_norm": 0.01, "grad_clip_method": "norm"}, (None, 0.01)),
        ({"max_grad_norm": 0}, (None, None)),
        ({"max_grad_norm": -1, "grad_clip_method": "norm"}, (None, None)),
        ({"optimizer": "optimi-stableadamw"}, (None, None)),
        ({"optimizer": "prodigy", "max_grad_norm": 0.5, "learning_rate": 1.0}, (None, None)),
    ],
)
def test_gradients_are_clipped_as_it_clips_them(told: dict, clips: tuple) -> None:
    plan = TrainingSpec.model_validate({"steps": 10, **training(**told)})
    assert (plan.clip_value, plan.clip_norm) == clips
    if "optimizer" in told and "max_grad_norm" in told:
        assert "gradients are not clipped for prodigy" in notes(**told)


@pytest.mark.parametrize(
    ("told", "rate"),
    [
        ({"lr_scale": True}, 1e-4 * 12),
        ({"lr_scale": True, "lr_scale_sqrt": True}, 1e-4 * math.sqrt(12)),
        ({"lr_scale_sqrt": True}, 1e-4 * math.sqrt(12)),
        ({}, 1e-4),
    ],
)
def test_the_rate_may_grow_with_the_pictures_of_a_step(told: dict, rate: float) -> None:
    more = {"learning_rate": 1e-4, "train_batch_size": 3, "gradient_accumulation_steps": 2}
    draft = draft_of(2, **more, **told)
    assert draft.tree["training"]["learning_rate"] == pytest.approx(rate)
    assert any(f"{rate:g}" in note.text for note in draft.notes) is bool(told)


def test_a_rate_of_nothing_is_refused() -> None:
    assert "learning_rate: 0 trains nothing" in problems(learning_rate=0.0)


FAST = {"learning_rate": 1e-4, "lr_end": 1e-5}


@pytest.mark.parametrize(
    ("told", "schedule"),
    [
        ({"lr_scheduler": "constant"}, {"kind": "constant"}),
        ({"lr_warmup_steps": 5}, {"kind": "constant", "warmup_steps": 5}),
        (
            {"lr_scheduler": "linear", "lr_warmup_steps": 5},
            {"kind": "linear", "warmup_steps": 5},
        ),
        (
            {"lr_scheduler": "polynomial", "lr_warmup_steps": 5},
            {"kind": "polynomial", "warmup_steps": 5, "power": 0.8, "floor": 0.1},
        ),
        (
            {"lr_scheduler": "cosine_with_restarts", "lr_num_cycles": 3, "lr_warmup_steps": 2},
            {"kind": "cosine_with_restarts", "warmup_steps": 2, "cycles": 3, "floor": 0.1},
        ),
        (
            {"lr_scheduler": "cosine", "lr_warmup_steps": 50},
            {"kind": "wave", "half_period": 50, "floor": 0.1},
        ),
        ({"lr_scheduler": "cosine"}, {"kind": "wave", "half_period": 1000, "floor": 0.1}),
        (
            {"lr_scheduler": "sine", "lr_warmup_steps": 50},
            {"kind": "wave", "half_period": 50, "floor": 0.1, "wave_from": "middle"},
        ),
        (
            {"lr_scheduler": "cosine", "lr_warmup_steps": 50, "optimizer": "prodigy"},
            {"kind": "wave", "half_period": 50, "floor": 0.1},
        ),
        (
            {"lr_scheduler": "linear", "lr_warmup_steps": 50, "optimizer": "prodigy"},
            {"kind": "linear"},
        ),
    ],
)
def test_schedules_are_walked_as_it_walks_them(told: dict, schedule: dict) -> None:
    found = training(**FAST, **told)["schedule"]
    assert found == schedule
    assert TrainingSpec.model_validate({"steps": 100, **training(**FAST, **told)})


def test_its_cosine_is_what_the_program_computes() -> None:
    found = training(**FAST, lr_scheduler="cosine", lr_warmup_steps=8)
    plan = TrainingSpec.model_validate({"steps": 40, **found})
    for step in range(1, 41):
        theirs = 1e-5 + 9e-5 * (1 + math.cos(math.pi * (step - 1) / 8)) / 2
        ours = 1e-4 * share(plan.schedule, step, plan.steps)
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_what_a_schedule_does_that_its_name_does_not_say_is_told() -> None:
    assert "50 steps each way (lr_warmup_steps)" in notes(
        **FAST, lr_scheduler="cosine", lr_warmup_steps=50
    )
    told = notes(lr_scheduler="sine", lr_warmup_steps=5)
    assert '"training.schedule={kind: cosine, warmup_steps: 5}"' in told
    assert "SimpleTuner's stays at the full rate" in notes(lr_scheduler="cosine_with_restarts")
    assert "`constant` has no warm-up" in notes(lr_scheduler="constant", lr_warmup_steps=5)
    assert "prodigy has no warm-up" in notes(optimizer="prodigy", lr_warmup_steps=5)
    free = {"optimizer": "adamw_schedulefree", "lr_scheduler": "polynomial"}
    assert "nothing lr_scheduler adamw_schedulefree averages" in notes(**free)
    assert "schedule" not in training(**free)
    assert "lr_end is not below the learning rate" in notes(lr_scheduler="polynomial")


def test_a_name_that_is_mistyped_is_set_right() -> None:
    assert "did you mean optimi-lion?" in problems(optimizer="optimi_lion")
    assert "there is no schedule 'rex' here; known: constant" in problems(lr_scheduler="rex")
