"""How fast: SimpleTuner's optimizers and its schedules of the learning rate."""

import math
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from scumble.dialects.notes import Draft
from scumble.dialects.simpletuner.optimizer_names import MATCHES, REFUSED, Match
from scumble.dialects.simpletuner.settings import Settings

HALF_PERIOD = 1000  # its own for `cosine` without `lr_warmup_steps`
LITERALS = {"true": True, "false": False, "none": None}
RENAMED = {"prodigy_steps": "stop_after"}
KINDS = {
    "constant": "constant",
    "constant_with_warmup": "constant",
    "linear": "linear",
    "polynomial": "polynomial",
    "cosine_with_restarts": "cosine_with_restarts",
    "cosine": "wave",
    "sine": "wave",
}


def optimizing(asked: Settings, draft: Draft) -> None:
    """Put optimizer, learning rate, clipping and schedule into the draft."""
    rate = _rate(asked, draft)
    draft.put("training.learning_rate", rate)
    name = str(asked["optimizer"])
    match = MATCHES.get(name)
    if match is None:
        _refuse(name, draft)
        return
    options = _options(asked, name, match, draft)
    _clipping(asked, match, name, draft)
    if match.schedule:
        _schedule(asked, match, rate, draft)
    else:
        _without_schedule(asked, name, options, draft)
    ours = _of_a_whole_network(match, options, draft) if _whole(asked, name) else match.name
    if ours == match.name and match.note:
        draft.note("hint", f"optimizer={name}", match.note)
    draft.put("training.optimizer", {"name": ours, "options": options})


def _refuse(name: str, draft: Draft) -> None:
    if name in REFUSED:
        problem, remedy = REFUSED[name]
        draft.complain("optimizer", f"'{name}' {problem}", remedy)
        return
    near = get_close_matches(name, MATCHES, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"known: {', '.join(MATCHES)}"
    draft.complain("optimizer", f"there is no optimizer '{name}'", remedy)


def _rate(asked: Settings, draft: Draft) -> float:
    """The rate, times the pictures of a step, or their root, where that is asked for."""
    rate = float(asked["learning_rate"])
    if rate <= 0 or not math.isfinite(rate):
        draft.complain("learning_rate", f"{rate:g} trains nothing", "give it a value above 0")
        return 1e-4
    if not (asked["lr_scale"] or asked["lr_scale_sqrt"]):
        return rate
    pictures = asked.processes * asked["gradient_accumulation_steps"] * asked["train_batch_size"]
    root = bool(asked["lr_scale_sqrt"])
    scaled = _even(rate * (math.sqrt(pictures) if root else pictures))
    times = f"the root of {pictures}" if root else str(pictures)
    key = "lr_scale_sqrt" if root else "lr_scale"
    words = f"makes the rate {scaled:g}: {rate:g} times {times}, the pictures of a step"
    draft.note("hint", key, words)
    return scaled


def _even(value: float) -> float:
    """Without the last digits that a product or quotient leaves."""
    return float(f"{value:.12g}")


def _options(asked: Settings, name: str, match: Match, draft: Draft) -> dict[str, Any]:
    """Its defaults, under `optimizer_config`, under `optimizer_beta1` and `2`."""
    told = _config(asked["optimizer_config"], draft)
    if asked["prodigy_steps"]:
        if match.name == "prodigy":
            told["stop_after"] = asked["prodigy_steps"]
        else:
            draft.note("nothing", "prodigy_steps", f"{name} is not Prodigy")
    for word in [word for word in told if match.takes is not None and word not in match.takes]:
        told.pop(word)
        draft.note("nothing", f"optimizer_config {word}", f"{match.name} here has no such argument")
    told.pop("kahan_sum", None)  # which weights in float32, as ours are, have no use for
    options = {**match.options, **told}
    return {**options, **_betas(asked, name, options, draft)}


def _config(text: str | None, draft: Draft) -> dict[str, Any]:
    """`name=value,name=value`; what stands without a name goes on with the value before it."""
    found: dict[str, Any] = {}
    name = ""
    for part in filter(None, (one.strip() for one in str(text or "").split(","))):
        before, equals, after = part.partition("=")
        try:
            value = _typed((after if equals else before).strip())
        except ValueError:
            draft.complain("optimizer_config", f"'{part}' has no value to read", EXAMPLE)
            continue
        if equals:
            name = RENAMED.get(before.strip(), before.strip())
            found[name] = value
        elif name:
            found[name] = [*_several(found[name]), value]
        else:
            draft.complain("optimizer_config", f"'{part}' is not name=value", EXAMPLE)
    return found


EXAMPLE = "write it like weight_decay=0.01,eps=1e-6"


def _several(value: Any) -> list[Any]:
    match value:
        case list():
            return value  # pyright: ignore[reportUnknownVariableType]
        case _:
            return [value]


def _typed(word: str) -> Any:
    """A number, true, false, none or a text; ValueError for what looks like a number and is none.

    `.` and `e-` mean a number with a fraction, as in SimpleTuner.
    """
    if word.lower() in LITERALS:
        return LITERALS[word.lower()]
    if "." in word or "e-" in word:
        return float(word)
    digits = word.removeprefix("-")
    return int(word) if digits.isdigit() and digits.isascii() else word


def _betas(
    asked: Settings, name: str, options: Mapping[str, Any], draft: Draft
) -> dict[str, list[Any]]:
    """Where both are given. Optimizers with a third beta keep theirs."""
    given = {key: asked[key] for key in ("optimizer_beta1", "optimizer_beta2")}
    told = [key for key, value in given.items() if value is not None]
    if not told:
        return {}
    if len(told) == 1:
        (missing,) = given.keys() - set(told)
        draft.complain(told[0], f"stands without {missing}", "give both of them, or neither")
        return {}
    if "betas" not in options:
        draft.note("nothing", ", ".join(told), f"{name} has no betas")
        return {}
    return {"betas": [*given.values(), *_several(options["betas"])[2:]]}


def _whole(asked: Settings, name: str) -> bool:
    """Whether its bf16 weights are those of a whole network."""
    return name == "adamw_bf16" and asked["model_type"] == "full"


def _of_a_whole_network(match: Match, options: dict[str, Any], draft: Draft) -> str:
    """bf16 indeed: float32 would take 16 bytes a weight in the place of 8."""
    words = (
        "keeps what rounding to bf16 loses (Kahan's sum) where SimpleTuner rounds at random; its"
        " second moment is bf16, too, so the second beta is 0.99 unless you set both"
    )
    draft.note("hint", "optimizer=adamw_bf16", words)
    if options.get("weight_decay"):
        words = "pulls at biases and norms, too; SimpleTuner leaves them out of it"
        draft.note("hint", "optimizer_config weight_decay", words)
    if options["betas"] == match.options["betas"]:
        options["betas"] = [0.9, 0.99]
    return "adamw-bf16"


def _clipping(asked: Settings, match: Match, name: str, draft: Draft) -> None:
    """Each number of a gradient, or its norm, to `max_grad_norm`: 0 and less mean neither."""
    most = asked["max_grad_norm"]
    if not match.clipped and "max_grad_norm" in asked.told:
        draft.note("nothing", "max_grad_norm", f"gradients are not clipped for {name}")
    if most is None or most <= 0 or not match.clipped:
        draft.put("training.clip_norm", None)
    elif asked["grad_clip_method"] == "norm":
        draft.put("training.clip_norm", float(most))
    else:
        draft.put("training.clip_value", float(most))


def _without_schedule(asked: Settings, name: str, options: dict[str, Any], draft: Draft) -> None:
    """One that averages its weights has a warm-up of its own."""
    steps = int(asked["lr_warmup_steps"])
    if steps > 0:
        options.setdefault("warmup_steps", steps)
    if KINDS.get(asked["lr_scheduler"]) != "constant":
        draft.note("nothing", "lr_scheduler", f"{name} averages its weights instead")


def _schedule(asked: Settings, match: Match, rate: float, draft: Draft) -> None:
    name, steps = asked["lr_scheduler"], max(0, int(asked["lr_warmup_steps"]))
    kind = KINDS.get(name)
    if kind is None:
        remedy = f"known: {', '.join(KINDS)}"
        draft.complain("lr_scheduler", f"there is no schedule '{name}' here", remedy)
        return
    if kind == "wave":
        draft.put("training.schedule", {**_wave(name, steps, draft), **_floor(asked, rate, draft)})
        return
    schedule = {"kind": kind, **_warmup(name, steps, match, draft)}
    if name == "polynomial":
        schedule |= {"power": asked["lr_power"], **_floor(asked, rate, draft)}
    if name == "cosine_with_restarts":
        schedule |= {"cycles": int(asked["lr_num_cycles"]), **_floor(asked, rate, draft)}
        words = "falls from the full rate that often; SimpleTuner's stays at the full rate"
        draft.note("hint", "lr_scheduler=cosine_with_restarts", words)
    draft.put("training.schedule", schedule)


def _warmup(name: str, steps: int, match: Match, draft: Draft) -> dict[str, int]:
    if steps > 0 and (name == "constant" or not match.warmup):
        who = "`constant`" if name == "constant" else match.name
        draft.note("nothing", "lr_warmup_steps", f"{who} has no warm-up")
        return {}
    return {"warmup_steps": steps} if steps > 0 else {}


def _wave(name: str, steps: int, draft: Draft) -> dict[str, Any]:
    """`lr_warmup_steps` is no warm-up here, but half a period."""
    half = steps or HALF_PERIOD
    words = (
        f"goes between learning_rate and lr_end for ever, {half} steps each way (lr_warmup_steps),"
        " as in SimpleTuner, and settles at no end; for one fall over the whole run write"
        f' "training.schedule={{kind: cosine, warmup_steps: {steps}}}"'
    )
    draft.note("hint", f"lr_scheduler={name}", words)
    made: dict[str, Any] = {"kind": "wave", "half_period": half}
    return made | ({"wave_from": "middle"} if name == "sine" else {})


def _floor(asked: Settings, rate: float, draft: Draft) -> dict[str, float]:
    """`lr_end` as a share of the rate."""
    end = max(0.0, float(asked["lr_end"]))
    if end >= rate:
        draft.note("hint", "lr_end", f"is not below the learning rate ({rate:g}), which stays")
    return {"floor": min(1.0, _even(end / rate))}
