"""Every optimizer that a job may name: where it comes from, its defaults, the rate it expects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from scumble.errors import JobError

WHERE = "training.optimizer.name"
CAP = "max_precondition_dim"
"""SOAP's option that says which sides of a matrix are too long for a product of all their pairs."""

MUONS = ("AdaGO", "AdaMuon", "Muon", "MuonClip", "NorMuon")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One optimizer."""

    source: str
    """Its module and class."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """What it gets unless the job says otherwise."""

    rates: tuple[float, float] | None = (1e-6, 1e-2)
    """Learning rates outside are hardly meant. None: to be judged by the class's own default."""

    because: str = "it moves each weight by about the rate"
    """Why these rates."""

    group: Mapping[str, Any] = field(default_factory=dict)
    """What it wants to be told of a group of weights; an adapter's are all matrices."""

    averages: bool = False
    """Its delivered weights are an average over the steps, in the place of a falling rate."""

    scale: int = 1
    """How much longer the sides of a trial's matrices are, to be treated like an adapter's."""

    bf16: bool = False
    """The trained weights are bf16 and it makes up for what rounding loses."""

    matrices: bool = False
    """It moves matrices alone, which an adapter's weights are."""

    stops: bool = False
    """It takes `stop_after` of us: how many steps it goes on to seek the rate."""

    extra: str = "optimizers"
    """What of this package brings it."""

    low_bit: bool = False
    """It is torchao's, which has wishes of its own; see `trainer.low_bit`."""


SIGNS = "it moves every weight by the whole rate: take a third to a tenth of AdamW's"
FINDS = "it finds the rate itself and takes this as a factor: use 1"
AVERAGES = "it averages over the steps: take one to ten times AdamW's"

OPTIMIZERS = {
    "adamw": Row(source="torch.optim.adamw:AdamW", options={"weight_decay": 0.01, "fused": True}),
    # Matrices of less than 4,096 values keep a float32 state (`min_8bit_size`): blocks of 256.
    "adamw-8bit": Row(
        source="bitsandbytes.optim:AdamW8bit", options={"weight_decay": 0.01}, scale=8
    ),
    "lion-8bit": Row(
        source="bitsandbytes.optim:Lion8bit", rates=(1e-7, 1e-3), because=SIGNS, scale=8
    ),
    # Its own habits are a rate of its own (`relative_step`) and one that is scaled by the norm of
    # the weights, at least 0.001: LoRA's `up` starts at zero and would hardly ever move.
    "adafactor": Row(
        source="transformers.optimization:Adafactor",
        options={"relative_step": False, "scale_parameter": False, "warmup_init": False},
    ),
    # The moments are bf16, too: at 0.999 a falling second moment would be rounded back up for
    # ever, as half a step of bf16 is 0.002.
    "adamw-bf16": Row(
        source="optimi:AdamW",
        options={"betas": (0.9, 0.99), "weight_decay": 0.01, "kahan_sum": True},
        bf16=True,
    ),
    "lion": Row(source="optimi:Lion", rates=(1e-7, 1e-3), because=SIGNS),
    # What its authors advise for diffusion models; without the safeguard a warm-up of the rate
    # spoils the estimate.
    "prodigy": Row(
        source="prodigyopt:Prodigy",
        options={"weight_decay": 0.01, "use_bias_correction": True, "safeguard_warmup": True},
        rates=(0.1, 10.0),
        because=FINDS,
        stops=True,
    ),
    "adamw-schedulefree": Row(
        source="schedulefree:AdamWScheduleFree",
        options={"weight_decay": 0.01},
        rates=(1e-6, 1e-1),
        because=AVERAGES,
        averages=True,
    ),
    "radam-schedulefree": Row(
        source="schedulefree:RAdamScheduleFree",
        options={"weight_decay": 0.01},
        rates=(1e-6, 1e-1),
        because=AVERAGES,
        averages=True,
    ),
    "came": Row(source="pytorch_optimizer:CAME", options={"weight_decay": 0.01}),
    # Its authors' own figures (Vyas et al. 2024, section 6), and of a LoRA's matrices the short
    # sides alone, as they advise for long ones: with both, FLUX's take 75 GB.
    "soap": Row(
        source="pytorch_optimizer:SOAP",
        options={
            "betas": (0.95, 0.95),
            "weight_decay": 0.01,
            "precondition_frequency": 10,
            CAP: 1024,
        },
    ),
    # Scaled to the size of AdamW's steps (Liu et al. 2025, section 2.2), so that its rates hold.
    "muon": Row(
        source="torch.optim:Muon",
        options={"momentum": 0.95, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"},
        matrices=True,
    ),
}
PACKAGES = {
    "torch": Row(source="torch.optim", rates=None),
    "optimi": Row(source="optimi", rates=None),
    "bitsandbytes": Row(source="bitsandbytes.optim", rates=None, scale=8),
    "torchao": Row(source="torchao.optim", rates=None, scale=8, low_bit=True, extra="quantised"),
    "schedulefree": Row(source="schedulefree", rates=None, averages=True),
    "pytorch_optimizer": Row(source="pytorch_optimizer", rates=None),
}
"""Where any other class may be had, as PACKAGE.CLASS."""


def find(name: str) -> Row:
    """The row of that name, however its parts are joined and written; JobError without one.

    So kohya's `AdamW8bit` and `AdamWScheduleFree` are known, too.
    """
    package, dot, kind = name.rpartition(".")
    for known, row in PACKAGES.items():
        if dot and _plain(package) in (_plain(known), _plain(row.source)):
            return _of_package(row, kind)
    rows = {_plain(known): known for known in OPTIMIZERS}
    if _plain(name) in rows:
        return OPTIMIZERS[rows[_plain(name)]]
    near = get_close_matches(_plain(name), rows, n=1)
    others = ", ".join(f"{one}.{kind}" for one in PACKAGES)
    known = f"known: {', '.join(OPTIMIZERS)}; and what its package has of {others}"
    remedy = f"did you mean '{rows[near[0]]}'?" if near else known
    raise JobError(WHERE, f"'{name}' is not known", remedy)


def _of_package(row: Row, kind: str) -> Row:
    """A class of a package, with what its kind needs."""
    muon = kind in MUONS
    told = {"use_muon": True} if muon and row.source == "pytorch_optimizer" else {}
    return replace(
        row,
        source=f"{row.source}:{kind}",
        group=told,
        matrices=muon,
        averages=row.averages or "schedulefree" in _plain(kind),
    )


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
