"""Which noise levels are trained, how an error is measured, and scheduled sampling."""

from typing import Any

from scumble.dialects.notes import Draft
from scumble.dialects.simpletuner import models
from scumble.dialects.simpletuner.settings import Settings

FAST = [*(1.0 for _ in range(7)), 0.75, 0.5, 0.25]
"""`flux_fast_schedule`: the noise levels at which schnell paints, pure noise most often."""

DRAWS = {"uniform": "uniform", "biased_early": "early", "biased_late": "late"}
SAMPLERS = {"dpm": "dpm++"}
ORDERS = {"fixed-list": "random", "round-robin": "in_turn"}
PREDICTION = "flow_matching"


def objective(asked: Settings, draft: Draft) -> None:
    """Put noise levels, loss and scheduled sampling into the draft."""
    tree: dict[str, Any] = {"times": _times(asked, draft), "loss": _loss(asked)}
    tree["shift"] = _shift(asked)
    tree["prediction"] = "raw"
    if asked["input_perturbation"]:
        steps = asked["input_perturbation_steps"]
        tree["input_noise"] = {"gamma": asked["input_perturbation"], "steps": steps}
    if (walked := _rollout(asked, draft)) is not None:
        tree["rollout"] = walked
    draft.put("objective", tree)
    if asked["prediction_type"] not in (None, PREDICTION):
        problem = f"{asked['model_family']} predicts the way from the picture to the noise"
        draft.complain("prediction_type", problem, f"leave it out, or write {PREDICTION}")
    _schnell(asked, draft)


def _schnell(asked: Settings, draft: Draft) -> None:
    one = models.flavour(asked)
    if one.flavour != "schnell":
        return
    words = "schnell is trained without the assistant LoRA that SimpleTuner adds to it"
    draft.note("not yet", "model_flavour", words)
    if asked["flux_fast_schedule"] or asked["i_know_what_i_am_doing"]:
        return
    problem = "schnell paints at four noise levels, and is not to be trained at others"
    remedy = "set it to true, or i_know_what_i_am_doing to true"
    draft.complain("flux_fast_schedule", problem, remedy)


def _times(asked: Settings, draft: Draft) -> dict[str, Any]:
    """The law of the noise levels: of several, the one that SimpleTuner would follow."""
    if asked["flow_custom_timesteps"] is not None:
        order = ORDERS[asked["flow_timesteps_mode"]]
        return {"law": "listed", "levels": _levels(asked, draft), "order": order}
    if asked["flow_cubic_schedule_weights"] is not None:
        return _cubic(asked["flow_cubic_schedule_weights"], draft)
    if asked["flux_fast_schedule"] and models.heeds(asked, "flux_fast_schedule"):
        return {"law": "listed", "levels": FAST}
    if asked["flow_use_beta_schedule"]:
        alpha, beta = asked["flow_beta_schedule_alpha"], asked["flow_beta_schedule_beta"]
        return {"law": "beta", "alpha": alpha, "beta": beta}
    if asked["flow_use_uniform_schedule"]:
        return {"law": "uniform"}
    return {"law": "sigmoid", "spread": asked["flow_sigmoid_scale"]}


def _levels(asked: Settings, draft: Draft) -> list[float]:
    """Noise levels as they are written, or, where one is above 1, thousandths of them."""
    words = asked["flow_custom_timesteps"].replace(" ", ",").split(",")
    try:
        levels = [float(word) for word in words if word]
    except ValueError:
        levels = []
    if not levels:
        problem, remedy = "is no list of numbers", 'write "0.9,0.5,0.25", or "900,500,250"'
        draft.complain("flow_custom_timesteps", problem, remedy)
        return [1.0]
    return [level / 1000 for level in levels] if max(levels) > 1 else levels


def _cubic(weights: Any, draft: Draft) -> dict[str, Any]:
    match weights:
        case list():
            numbers = [one for one in weights if isinstance(one, int | float)]
        case _:
            numbers = None
    if numbers is None or len(numbers) != len(weights):
        problem, remedy = "is no list of numbers", "write [1, 2, 4, 2, 1]"
        draft.complain("flow_cubic_schedule_weights", problem, remedy)
        return {"law": "uniform"}
    return {"law": "cubic", "weights": numbers} if len(numbers) > 1 else {"law": "uniform"}


def _shift(asked: Settings) -> int | float | str:
    if asked["flow_schedule_auto_shift"]:
        return "resolution"
    shift = asked["flow_schedule_shift"]
    return shift if shift > 0 else 1.0


def _loss(asked: Settings) -> dict[str, Any]:
    kind = asked["loss_type"]
    if kind == "l2":
        return {"kind": kind}
    return {"kind": kind, "delta": asked["huber_c"], "schedule": asked["huber_schedule"]}


def _rollout(asked: Settings, draft: Draft) -> dict[str, Any] | None:
    """Scheduled sampling; its share rises over the ramp, as the guides promise."""
    most = asked["scheduled_sampling_max_step_offset"]
    ramp = asked["scheduled_sampling_ramp_steps"]
    start, share = _shares(asked)
    if not most or not share:
        return None
    sampler = asked["scheduled_sampling_sampler"]
    tree: dict[str, Any] = {
        "most": most,
        "draw": DRAWS[asked["scheduled_sampling_strategy"]],
        "probability": share,
        "start_step": asked["scheduled_sampling_start_step"],
        "sampler": SAMPLERS.get(sampler, sampler),
    }
    if tree["sampler"] in ("unipc", "dpm++"):
        tree["order"] = asked["scheduled_sampling_order"]
    if ramp:
        shape = asked["scheduled_sampling_ramp_shape"]
        tree |= {"ramp_steps": ramp, "ramp": shape, "start_probability": start}
        if "scheduled_sampling_prob_start" not in asked.told:
            words = f"rises from 0 to {share}, as its documents say; its program lets it fall"
            draft.note("hint", "scheduled_sampling_ramp_steps", words)
    reflex = asked["scheduled_sampling_reflexflow"]
    if reflex or reflex is None:
        tree["reflex"] = _reflex(asked)
    return tree


def _shares(asked: Settings) -> tuple[int | float, int | float]:
    """Of the examples that are walked: at the ramp's beginning, and from its end on."""
    share, end = asked["scheduled_sampling_probability"], asked["scheduled_sampling_prob_end"]
    if not asked["scheduled_sampling_ramp_steps"]:
        return 0.0, share
    if "scheduled_sampling_prob_end" not in asked.told and share:
        end = share
    return asked["scheduled_sampling_prob_start"], end


def _reflex(asked: Settings) -> dict[str, int | float]:
    return {
        "alpha": asked["scheduled_sampling_reflexflow_alpha"],
        "direction": asked["scheduled_sampling_reflexflow_beta1"],
        "weight": asked["scheduled_sampling_reflexflow_beta2"],
    }
