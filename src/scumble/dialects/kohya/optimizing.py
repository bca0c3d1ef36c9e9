"""How fast: optimizers and schedules of sd-scripts, and how precisely."""

import ast
from typing import Any

from scumble.dialects.kohya.settings import Settings
from scumble.dialects.notes import Draft

PAGED = "is kept on the card; it is not paged to the host"
NAMES = {
    "": ("adamw", {}, ""),
    "adamw": ("adamw", {}, ""),
    "adamw8bit": ("adamw-8bit", {}, ""),
    "pagedadamw8bit": ("adamw-8bit", {}, PAGED),
    "pagedadamw": ("adamw", {}, PAGED),
    "pagedadamw32bit": ("adamw", {}, PAGED),
    "lion": ("lion", {}, ""),
    "lion8bit": ("lion-8bit", {}, ""),
    "pagedlion8bit": ("lion-8bit", {}, PAGED),
    "adafactor": ("adafactor", {}, ""),
    "prodigy": (
        "prodigy",
        {"weight_decay": 0.0, "use_bias_correction": False, "safeguard_warmup": False},
        "",
    ),
    "adamwschedulefree": ("adamw-schedulefree", {"weight_decay": 0.0}, ""),
    "radamschedulefree": ("radam-schedulefree", {"weight_decay": 0.0}, ""),
    "sgdschedulefree": ("pytorch_optimizer.ScheduleFreeSGD", {}, ""),
    "dadaptation": ("pytorch_optimizer.DAdaptAdam", {}, "is pytorch_optimizer's DAdaptAdam"),
    "dadaptadam": ("pytorch_optimizer.DAdaptAdam", {}, "is pytorch_optimizer's"),
    "dadaptadagrad": ("pytorch_optimizer.DAdaptAdaGrad", {}, "is pytorch_optimizer's"),
    "dadaptadan": ("pytorch_optimizer.DAdaptAdan", {}, "is pytorch_optimizer's"),
    "dadaptlion": ("pytorch_optimizer.DAdaptLion", {}, "is pytorch_optimizer's"),
    "dadaptsgd": ("pytorch_optimizer.DAdaptSGD", {}, "is pytorch_optimizer's"),
}
"""Ours for theirs; where our defaults are others, what is theirs; what is different."""

PACKAGES = {
    "torch.optim": ("adamw",),
    "bitsandbytes.optim": ("adamw8bit", "pagedadamw8bit", "lion8bit", "pagedlion8bit"),
    "transformers": ("adafactor",),
    "transformers.optimization": ("adafactor",),
    "prodigyopt": ("prodigy",),
    "schedulefree": ("adamwschedulefree", "radamschedulefree", "sgdschedulefree"),
    "lion_pytorch": ("lion",),
    "dadaptation": ("dadaptadam", "dadaptadagrad", "dadaptadan", "dadaptlion", "dadaptsgd"),
}
RELATIVE = ("relative_step", "warmup_init")
KINDS = {
    "constant": "constant",
    "constant_with_warmup": "constant",
    "linear": "linear",
    "cosine": "cosine",
    "cosine_with_restarts": "cosine_with_restarts",
    "polynomial": "polynomial",
    "inverse_sqrt": "inverse_sqrt",
    "cosine_with_min_lr": "cosine",
    "warmup_stable_decay": "warmup_stable_decay",
}


def optimizing(settings: Settings, draft: Draft) -> None:
    """Put optimizer and schedule into the draft."""
    name = _optimizer(settings, draft)
    if name.endswith("schedulefree") or "ScheduleFree" in name:
        if settings["lr_scheduler"] != "constant":
            draft.note("nothing", "--lr_scheduler", "a schedule-free optimizer has none")
        return
    _schedule(settings, draft)


def _optimizer(settings: Settings, draft: Draft) -> str:
    asked, flag = _asked(settings, draft)
    package, _, kind = asked.rpartition(".")
    known = kind.lower() in (PACKAGES.get(package, ()) if package else NAMES)
    if package == "pytorch_optimizer":
        name, options, different = asked, {}, ""
    elif known:
        name, options, different = NAMES[kind.lower()]
    else:
        problem = f"'{asked}' is not among the optimizers here"
        remedy = f"known: AdamW, AdamW8bit, Adafactor, Prodigy, ...; or pytorch_optimizer.{kind}"
        draft.complain(flag, problem, remedy)
        return ""
    if different:
        draft.note("hint", f"{flag}={asked}", different)
    options = {**options, **_options(settings, draft)}
    if name == "adafactor":
        options = _adafactor(options, draft)
    draft.put("training.optimizer", {"name": name, "options": options})
    return name


def _asked(settings: Settings, draft: Draft) -> tuple[str, str]:
    """The optimizer's name and the option that gave it."""
    short = {"use_8bit_adam": "AdamW8bit", "use_lion_optimizer": "Lion"}
    given = [name for name in (*short, "optimizer_type") if settings[name]]
    if len(given) > 1:
        names = ", ".join(f"--{name}" for name in given)
        draft.complain(names, "each name an optimizer", "keep one of them")
    if given and given[0] in short:
        return short[given[0]], f"--{given[0]}"
    return str(settings["optimizer_type"]), "--optimizer_type"


def _options(settings: Settings, draft: Draft) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in settings["optimizer_args"] or ():
        name, equals, value = str(text).partition("=")
        where = f"--optimizer_args {text}"
        try:
            if not equals or "=" in value:
                raise ValueError
            found[name] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            remedy = "such as weight_decay=0.01 or betas=0.9,0.999; texts need quotes of their own"
            draft.complain(where, "is not name=value with a value of Python", remedy)
    return {name: _plain(value) for name, value in found.items()}


def _plain(value: Any) -> Any:
    """Tuples as lists, as a job has them."""
    match value:
        case tuple() | list():
            return [_plain(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
        case _:
            return value


def _adafactor(options: dict[str, Any], draft: Draft) -> dict[str, Any]:
    if options.get("relative_step", True) or options.get("warmup_init"):
        words = (
            "relative_step is off, and --learning_rate holds: with it an adapter, which starts at"
            " zero, hardly moves; sd-scripts' guide turns it off, too"
        )
        draft.note("hint", "Adafactor", words)
    return {name: value for name, value in options.items() if name not in RELATIVE}


def _schedule(settings: Settings, draft: Draft) -> None:
    name = settings["lr_scheduler"]
    kind = KINDS.get(name)
    if kind is None:
        near = [known for known in KINDS if known.startswith(str(name)[:4])]
        remedy = f"known: {', '.join(near or KINDS)}"
        draft.complain("--lr_scheduler", f"there is no schedule '{name}' here", remedy)
        return
    if name == "constant" and settings["lr_warmup_steps"] != 0:
        remedy = "write --lr_scheduler=constant_with_warmup, or leave the warm-up out"
        draft.complain("--lr_warmup_steps", "`constant` has no warm-up", remedy)
        return
    schedule: dict[str, Any] = {"kind": kind, **_warmup(settings)}
    draft.put("training.schedule", schedule | _shape(name, settings, draft))


def _warmup(settings: Settings) -> dict[str, Any]:
    given = settings["lr_warmup_steps"]
    if 0 < given < 1:
        return {"warmup_share": given}
    return {"warmup_steps": int(given)}


def _shape(name: str, settings: Settings, draft: Draft) -> dict[str, Any]:
    """What one kind of schedule has beyond its warm-up."""
    cycles, floor = settings["lr_scheduler_num_cycles"], settings["lr_scheduler_min_lr_ratio"]
    if name in ("cosine_with_min_lr", "warmup_stable_decay") and cycles != 1:
        draft.complain("--lr_scheduler_num_cycles", f"must be 1 with {name}", "leave it out")
    match name:
        case "cosine_with_restarts":
            return {"cycles": cycles}
        case "polynomial":
            return {"power": settings["lr_scheduler_power"]}
        case "inverse_sqrt":
            # As transformers has it: without a warm-up its scale is 10,000 steps.
            scale = settings["lr_scheduler_timescale"]
            return {"timescale": scale or (None if settings["lr_warmup_steps"] else 10_000)}
        case "cosine_with_min_lr":
            if floor is None:
                remedy = "add it, such as --lr_scheduler_min_lr_ratio=0.1"
                draft.complain("--lr_scheduler_min_lr_ratio", f"{name} needs it", remedy)
            return {"floor": floor or 0.0}
        case "warmup_stable_decay":
            return _decay(settings["lr_decay_steps"], floor or 0.0, draft)
        case _:
            return {}


def _decay(steps: int | float, floor: float, draft: Draft) -> dict[str, Any]:
    if steps == 0:
        words = "is missing, so the rate of warmup_stable_decay never falls"
        draft.note("hint", "--lr_decay_steps", words)
        return {"kind": "constant"}
    length = {"decay_share": steps} if steps < 1 else {"decay_steps": int(steps)}
    return {**length, "decay_shape": "cosine", "floor": floor}
