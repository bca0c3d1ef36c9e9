"""Every optimizer that a job may name: where it comes from, its defaults, the rate it expects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from scumble.errors import JobError

WHERE = "training.optimizer.name"
ANY = "pytorch_optimizer"
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
}


def find(name: str) -> Row:
    """The row of that name, however its parts are joined and written; JobError without one.

    So kohya's `AdamW8bit` and `AdamWScheduleFree` are known, too.
    """
    package, dot, kind = name.partition(".")
    if dot and _plain(package) == _plain(ANY):
        return Row(
            source=f"{ANY}:{kind}",
            rates=None,
            group={"use_muon": True} if kind in MUONS else {},
            averages="schedulefree" in _plain(kind),
        )
    rows = {_plain(known): known for known in OPTIMIZERS}
    if _plain(name) in rows:
        return OPTIMIZERS[rows[_plain(name)]]
    near = get_close_matches(_plain(name), rows, n=1)
    other = name.rpartition(".")[2]
    known = f"known: {', '.join(OPTIMIZERS)}; and {ANY}.{other} where that package has it"
    remedy = f"did you mean '{rows[near[0]]}'?" if near else known
    raise JobError(WHERE, f"'{name}' is not known", remedy)


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
