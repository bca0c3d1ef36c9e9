"""What SimpleTuner's optimizers are here, with the defaults that it gives them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BETAS = [0.9, 0.999]
LION = [0.9, 0.99]
DECAY = 0.01
PAGED = "is kept on the card; it is not paged to the host"


@dataclass(frozen=True)
class Match:
    """One of its optimizers."""

    name: str
    """Ours."""

    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Its defaults. Where `betas` is not among them, it has none."""

    note: str = ""
    """What is different, to be read after its name."""

    takes: tuple[str, ...] | None = None
    """The arguments of it that ours has, too; None: all, for it is the same class."""

    schedule: bool = True
    """Whether it follows `lr_scheduler`."""

    warmup: bool = True
    """Whether it follows `lr_warmup_steps`."""

    clipped: bool = True
    """Whether `max_grad_norm` holds for it."""


ADAMW = ("betas", "eps", "weight_decay", "amsgrad")
PRODIGY = (
    *("betas", "beta3", "eps", "weight_decay", "d0", "d_coef", "growth_rate", "stop_after"),
    *("decouple", "slice_p", "safeguard_warmup", "use_bias_correction"),
)
PRODIGY_NOTE = (
    "is plain Prodigy: it averages no weights over the steps (schedule-free) as SimpleTuner's does,"
    ' so let the rate fall with "training.schedule={kind: cosine}"'
)
ADAM_8 = {"betas": BETAS, "eps": 1e-6, "weight_decay": DECAY}
ADEMAMIX = {"betas": [0.9, 0.999, 0.9999], "weight_decay": DECAY}
FREE = {"betas": BETAS, "weight_decay": DECAY}

MATCHES = {
    "adamw_bf16": Match(
        "adamw",
        {"betas": BETAS, "eps": 1e-6, "weight_decay": DECAY},
        "is AdamW over weights in float32: SimpleTuner keeps them in bf16 and rounds each step at"
        " random, which comes to the same on the average and is less exact;"
        ' "training.optimizer={name: adamw-bf16}" keeps bf16 with what rounding loses beside it',
        ADAMW,
    ),
    "torch-adam": Match("torch.Adam", {"betas": BETAS}),
    "torch-adamw": Match("adamw", {"betas": BETAS, "weight_decay": DECAY}),
    "torch-sgd": Match("torch.SGD"),
    "torch-radam": Match("torch.RAdam", {"betas": BETAS}),
    "torch-nadam": Match("torch.NAdam", {"betas": BETAS}),
    "torch-rmsprop": Match("torch.RMSprop"),
    "torch-adagrad": Match("torch.Adagrad"),
    "torch-adadelta": Match("torch.Adadelta"),
    "torch-adafactor": Match("torch.Adafactor"),
    "torch-adamax": Match("torch.Adamax", {"betas": BETAS}),
    "torch-asgd": Match("torch.ASGD"),
    "ao-adamw8bit": Match("torchao.AdamW8bit", {"betas": BETAS}),
    "ao-adamw4bit": Match("torchao.AdamW4bit", {"betas": BETAS}),
    "ao-adamfp8": Match("torchao.AdamFp8", {"betas": BETAS}),
    "ao-adamwfp8": Match("torchao.AdamWFp8", {"betas": BETAS}),
    "adamw_schedulefree": Match("adamw-schedulefree", FREE, schedule=False),
    "adamw_schedulefree+aggressive": Match(
        "adamw-schedulefree",
        {"betas": BETAS, "weight_decay": 1e-3, "eps": 1e-6},
        schedule=False,
    ),
    "adamw_schedulefree+no_kahan": Match("adamw-schedulefree", FREE, schedule=False),
    "optimi-stableadamw": Match(
        "optimi.StableAdamW", {"betas": LION, "weight_decay": DECAY}, clipped=False
    ),
    "optimi-adamw": Match("optimi.AdamW", {"betas": LION}),
    "optimi-lion": Match("lion", {"betas": LION, "weight_decay": 0.0}),
    "optimi-radam": Match("optimi.RAdam", {"betas": LION}),
    "optimi-ranger": Match("optimi.Ranger", {"betas": LION}),
    "optimi-adan": Match("optimi.Adan", {"betas": [0.98, 0.92, 0.99]}),
    "optimi-adam": Match("optimi.Adam", {"betas": LION}),
    "optimi-sgd": Match("optimi.SGD"),
    "soap": Match(
        "soap",
        {"betas": [0.95, 0.95], "weight_decay": DECAY, "precondition_frequency": 10},
        "turns along the short sides of an adapter's matrices, up to 1,024 (max_precondition_dim);"
        " with both sides its state would take 190 times AdamW's",
    ),
    "muon": Match(
        "muon",
        {"momentum": 0.95, "weight_decay": 0.1},
        "clips no products of query and key (QK clip)",
        ("momentum", "weight_decay", "nesterov", "ns_steps", "ns_coefficients", "eps"),
    ),
    "prodigy": Match(
        "prodigy",
        {"betas": LION, "weight_decay": 0.0, "d0": 1e-6, "d_coef": 1.0},
        PRODIGY_NOTE,
        PRODIGY,
        warmup=False,
        clipped=False,
    ),
    "bnb-adagrad": Match("bitsandbytes.Adagrad", {"weight_decay": DECAY, "eps": 1e-6}),
    "bnb-adagrad8bit": Match("bitsandbytes.Adagrad8bit", {"weight_decay": DECAY, "eps": 1e-6}),
    "bnb-adam": Match("bitsandbytes.Adam", ADAM_8),
    "bnb-adam8bit": Match("bitsandbytes.Adam8bit", ADAM_8),
    "bnb-adamw": Match("bitsandbytes.AdamW", ADAM_8),
    "bnb-adamw8bit": Match("adamw-8bit", ADAM_8),
    "bnb-adamw-paged": Match("bitsandbytes.AdamW", ADAM_8, PAGED),
    "bnb-adamw8bit-paged": Match("adamw-8bit", ADAM_8, PAGED),
    "bnb-lion": Match("bitsandbytes.Lion", {"betas": LION, "weight_decay": 0.0}),
    "bnb-lion8bit": Match("lion-8bit", {"betas": LION, "weight_decay": 0.0}),
    "bnb-lion-paged": Match("bitsandbytes.Lion", {"betas": LION, "weight_decay": 0.0}, PAGED),
    "bnb-lion8bit-paged": Match("lion-8bit", {"betas": LION, "weight_decay": 0.0}, PAGED),
    "bnb-ademamix": Match("bitsandbytes.AdEMAMix", ADEMAMIX),
    "bnb-ademamix8bit": Match("bitsandbytes.AdEMAMix8bit", ADEMAMIX),
    "bnb-ademamix-paged": Match("bitsandbytes.AdEMAMix", ADEMAMIX, PAGED),
    "bnb-ademamix8bit-paged": Match("bitsandbytes.AdEMAMix8bit", ADEMAMIX, PAGED),
}

SDNQ = "comes from SDNQ, which is not part of this"
REFUSED = {
    "dadaptation": ("is gone from SimpleTuner", "take prodigy, which finds the rate itself, too"),
    "adafactor": ("is not its name", "write torch-adafactor, or bnb-adamw8bit for little memory"),
    "adamw8bit": ("is not its name", "write bnb-adamw8bit or ao-adamw8bit"),
    "adamw-bf16": ("is not its name", "write adamw_bf16"),
    "torch-sparseadam": ("wants sparse gradients, which nothing here has", "take torch-adam"),
    "sdnq-adamw": (SDNQ, "take ao-adamw8bit"),
    "sdnq-adamw+no_quant": (SDNQ, "take adamw_bf16"),
    "sdnq-adafactor": (SDNQ, "take bnb-adamw8bit, or `training.optimizer.name=adafactor`"),
    "sdnq-came": (SDNQ, "take `training.optimizer.name=came`"),
    "sdnq-lion": (SDNQ, "take bnb-lion8bit"),
    "sdnq-muon": (SDNQ, "take muon"),
    "sdnq-muon+quantized_matmul": (SDNQ, "take muon"),
}
"""What cannot be had, why, and the way out."""
