"""Noise levels and loss, how long and how fast, what is kept and measured."""

from typing import Any

from scumble.dialects.kohya.optimizing import optimizing
from scumble.dialects.kohya.settings import Settings
from scumble.dialects.notes import Draft

DENSITIES = ("logit_normal", "mode")
WEIGHTINGS = ("sigma_sqrt", "cosmap")
DTYPES = {None: "float32", "float": "float32", "fp16": "float16", "bf16": "bfloat16"}
PRECISIONS = {"no": "fp32", "fp16": "auto", "bf16": "bf16"}
TEXT_PARTS = ("clip", "t5")
PASSES = 6  # points between which sd-scripts measures the held-out loss, the ends left out


def objective(settings: Settings, draft: Draft) -> None:
    """Put noise levels and loss into the draft."""
    law, shift = _times(settings)
    tree: dict[str, Any] = {"times": law, "shift": shift, "loss": _loss(settings)}
    tree["prediction"] = settings["model_prediction_type"]
    scheme = settings["weighting_scheme"]
    if tree["prediction"] == "sigma_scaled" and scheme in WEIGHTINGS:
        tree["weighting"] = scheme
    if settings["ip_noise_gamma"]:
        random = settings["ip_noise_gamma_random_strength"]
        tree["input_noise"] = {"gamma": settings["ip_noise_gamma"], "random": random}
    draft.put("objective", tree)


def _times(settings: Settings) -> tuple[dict[str, Any], float | str]:
    sampling, shift = settings["timestep_sampling"], settings["discrete_flow_shift"]
    sigmoid = {"law": "sigmoid", "spread": settings["sigmoid_scale"]}
    match sampling:
        case "uniform":
            return {"law": "uniform"}, 1.0
        case "sigmoid":
            return sigmoid, 1.0
        case "shift":
            return sigmoid, shift
        case "flux_shift":
            return sigmoid, "resolution"
        case _:
            return _table(settings), shift


def _table(settings: Settings) -> dict[str, Any]:
    scheme = settings["weighting_scheme"]
    law: dict[str, Any] = {"law": "table", "density": "uniform"}
    if scheme in DENSITIES:
        law["density"] = scheme
    if scheme == "logit_normal":
        law |= {"mean": settings["logit_mean"], "spread": settings["logit_std"]}
    if scheme == "mode":
        law["scale"] = settings["mode_scale"]
    return law


def _loss(settings: Settings) -> dict[str, Any]:
    kind = settings["loss_type"]
    if kind in ("l1", "l2"):
        return {"kind": kind}
    schedule = settings["huber_schedule"]
    return {
        "kind": kind,
        "delta": settings["huber_c"],
        "schedule": "constant" if schedule == "snr" else schedule,  # snr is refused elsewhere
        "scale": settings["huber_scale"],
    }


def training(settings: Settings, draft: Draft) -> None:
    """Put length, rates, optimizer and precision into the draft."""
    if settings["max_train_epochs"] is not None:
        draft.put("training.epochs", settings["max_train_epochs"])
    else:
        draft.put("training.steps", settings["max_train_steps"])
    draft.put("training.batch_size", settings["train_batch_size"])
    units = settings["gradient_accumulation_steps"] * settings.processes
    draft.put("training.units_per_step", units)
    draft.put("training.seed", settings["seed"] or 0)
    draft.put("training.clip_norm", settings["max_grad_norm"] or None)
    draft.put("hardware.gradient_checkpointing", settings["gradient_checkpointing"])
    draft.put("hardware.precision", PRECISIONS[settings["mixed_precision"]])
    _rates(settings, draft)
    optimizing(settings, draft)


def _rates(settings: Settings, draft: Draft) -> None:
    """One rate for the job, and others for networks that have their own."""
    general = settings["learning_rate"]
    own = settings["unet_lr"]
    texts = settings["text_encoder_lr"] or [general]
    rates = {"denoiser": general if own is None else own, "clip": texts[0], "t5": texts[-1]}
    if len(texts) > 2:
        problem = f"{len(texts)} rates for two text encoders"
        draft.complain("--text_encoder_lr", problem, "write one, or CLIP-L's and T5's")
    parts = draft.tree["adapter"]["parts"]
    main = next((rates[part] for part in parts if rates[part] > 0), 0.0)
    if main <= 0:
        problem = "leaves nothing to train" if general == 0 else "must be above 0"
        draft.complain("--learning_rate", problem, "such as --learning_rate=1e-4")
        return
    draft.put("training.learning_rate", main)
    if still := [part for part in parts if rates[part] == 0]:
        parts = [part for part in parts if part not in still]
        draft.put("adapter.parts", parts)
        words = f"{' and '.join(still)} has a rate of 0 and gets no layers: nothing would change it"
        draft.note("hint", "--text_encoder_lr", words)
    others = {part: rates[part] for part in parts if rates[part] != main}
    draft.put("training.rates", others)


def saving(settings: Settings, draft: Draft) -> None:
    """Put checkpoints and the file into the draft."""
    steps, epochs = settings["save_every_n_steps"], _epochs_between(settings)
    if epochs is not None:
        draft.put("saving.every_epochs", epochs)
    if steps is not None and epochs is not None:
        words = "checkpoints of the run are kept by epochs; files are written by both"
        draft.note("hint", "--save_every_n_steps", words)
    elif steps is not None:
        draft.put("saving.every", steps)
    if settings["save_state"]:
        draft.put("saving.keep", _kept(settings, steps))
    name = settings["save_precision"]
    if name is None:
        name = "bf16" if settings["full_bf16"] else "fp16" if settings["full_fp16"] else None
    draft.put("export", {"layout": "kohya", "dtype": DTYPES[name]})


def _epochs_between(settings: Settings) -> int | None:
    ratio, epochs = settings["save_n_epoch_ratio"], settings["max_train_epochs"]
    if ratio and ratio > 0 and epochs:
        return max(1, epochs // ratio)
    return settings["save_every_n_epochs"]


def _kept(settings: Settings, every: int | None) -> int:
    """How many checkpoints stay, as sd-scripts keeps its states; 0 keeps all."""
    if settings["save_last_n_epochs_state"] or settings["save_last_n_epochs"]:
        return settings["save_last_n_epochs_state"] or settings["save_last_n_epochs"]
    distance = settings["save_last_n_steps_state"] or settings["save_last_n_steps"]
    return distance // every + 1 if distance and every else 0


def held_out(settings: Settings, draft: Draft) -> None:
    """Put the measuring of held-out pictures into the draft; nothing where there are none."""
    if not any(one.get("held_out") for one in draft.tree["data"]):
        return
    low = settings["min_timestep"] or 0
    high = 1000 if settings["max_timestep"] is None else settings["max_timestep"]
    last = PASSES - 1
    times = [int(low + (high - low) * number / last) / 1000 for number in range(1, last)]
    seed = settings["validation_seed"]
    tree: dict[str, Any] = {"times": times, "seed": settings["seed"] if seed is None else seed}
    if tree["seed"] is None:
        del tree["seed"]
    if settings["validate_every_n_steps"] is not None:
        tree["every"] = settings["validate_every_n_steps"]
    else:
        tree["every_epochs"] = settings["validate_every_n_epochs"] or 1
    if settings["max_validation_steps"] is not None:
        most = max(one["batch_size"] for one in draft.tree["data"] if one.get("held_out"))
        tree["limit"] = settings["max_validation_steps"] * most
        words = f"{tree['limit']} pictures of each set, whatever their batches"
        draft.note("hint", "--max_validation_steps", words)
    draft.put("validation.held_out", tree)


def tracking(settings: Settings, draft: Draft) -> None:
    """Put the services that draw curves into the draft."""
    asked = settings["log_with"] or ("tensorboard" if settings["logging_dir"] else None)
    if asked is None:
        return
    services = ["tensorboard", "wandb"] if asked == "all" else [asked]
    if "tensorboard" in services and settings["logging_dir"] is None:
        problem = "needs --logging_dir in sd-scripts"
        draft.complain("--log_with", problem, "add --logging_dir=logs")
    tree: dict[str, Any] = {"to": services}
    if "wandb" in services:
        tree["project"] = settings["log_tracker_name"] or "network_train"
        if settings["wandb_run_name"]:
            tree["run"] = settings["wandb_run_name"]
    draft.put("tracking", tree)
    if "tensorboard" in services:
        words = "TensorBoard's files lie in the run's folder: tensorboard --logdir OUTPUT_DIR"
        draft.note("hint", "--logging_dir", words)
