"""How long a run is, what it keeps, how precisely it computes, and who is told of it."""

import re
from typing import Any

from scumble.dialects.notes import Draft
from scumble.dialects.simpletuner.settings import Settings

PRECISIONS = {"no": "fp32", "bf16": "bf16", "fp16": "auto", "fp8": "bf16"}
SHOWN = {"none": "raw", "ema_only": "ema", "comparison": "both"}
LOCAL = ("none", "simpletuner", "all")
SERVICES = ("tensorboard", "wandb")
ELSEWHERE = ("swanlab", "comet_ml", "custom-tracker")
STRANGE = re.compile(r"[^\w.-]+")
UNNAMED = "simpletuner"


def training(asked: Settings, draft: Draft) -> None:
    """Put length, batches, seed and precision into the draft."""
    _length(asked, draft)
    draft.put("training.batch_size", asked["train_batch_size"])
    units = asked["gradient_accumulation_steps"]
    if units < 1:
        remedy = "write 1 for a step of each batch"
        draft.complain("gradient_accumulation_steps", "must be 1 or more", remedy)
    draft.put("training.units_per_step", max(1, units) * asked.processes)
    draft.put("training.seed", _seed(asked, draft))
    _precision(asked, draft)
    draft.put("hardware.gradient_checkpointing", asked["gradient_checkpointing"])
    _defaults_that_bite(asked, draft)


def _length(asked: Settings, draft: Draft) -> None:
    """Epochs or steps; where steps are given and epochs are not, epochs do not count."""
    steps, epochs = asked["max_train_steps"] or 0, asked["num_train_epochs"]
    given = "num_train_epochs" in asked.told
    if steps > 0 and given and epochs > 0:
        problem = "both are given, and each says how long the run is"
        remedy = "set one of them to 0"
        draft.complain("max_train_steps, num_train_epochs", problem, remedy)
    elif steps <= 0 and epochs <= 0:
        remedy = "set one of them, such as max_train_steps to 1000"
        draft.complain("max_train_steps, num_train_epochs", "both are 0", remedy)
    elif steps <= 0 and epochs != int(epochs):
        remedy = f"write {max(1, round(epochs))}, or max_train_steps"
        draft.complain("num_train_epochs", "a run has whole epochs", remedy)
    if steps > 0:
        draft.put("training.steps", steps)
    else:
        draft.put("training.epochs", max(1, int(epochs)))


def _seed(asked: Settings, draft: Draft) -> int:
    seed = asked["seed"]
    if seed is None:
        draft.note("hint", "seed", "is not given: 0 is taken, so that the run can be repeated")
    elif seed <= 0:
        meant = "the time of day" if seed == 0 else "any number"
        words = f"{seed} means {meant} in SimpleTuner; 0 is taken, so that the run can be repeated"
        draft.note("hint", "seed", words)
    return max(0, seed or 0)


def _precision(asked: Settings, draft: Draft) -> None:
    mixed = asked["mixed_precision"]
    draft.put("hardware.precision", PRECISIONS[mixed])
    if mixed == "fp8":
        problem = "nothing is computed in fp8"
        remedy = "write bf16; base_model_precision=fp8-torchao keeps frozen weights in fp8"
        draft.complain("mixed_precision", problem, remedy)
    if mixed == "fp16":
        words = "fp16 is computed as bf16 where the card can, else as fp32: nothing overflows"
        draft.note("hint", "mixed_precision", words)


def _defaults_that_bite(asked: Settings, draft: Draft) -> None:
    """What holds because nothing was said, and surprises those who did not know it."""
    bite = {
        "learning_rate": "4e-07, which is for a whole model; the guides train with 1e-5 to 1e-4",
        "train_batch_size": "4 pictures for each batch and process",
        "caption_dropout_probability": "a tenth of the examples get an empty caption",
    }
    for key, words in bite.items():
        if key not in asked.told:
            draft.note("hint", key, f"is not given: {words}")
    if asked["model_type"] != "full" or "model_type" not in asked.told:
        standard = asked["lora_type"] == "standard"
        if standard and "lora_dropout" not in asked.told:
            draft.note("hint", "lora_dropout", "is not given: 0.1, as there")


def saving(asked: Settings, draft: Draft) -> None:
    """Put checkpoints, the cache and the moving average into the draft."""
    intervals(asked, draft, "checkpoint", "saving")
    draft.put("saving.keep", max(0, asked["checkpoints_total_limit"]))
    if asked["cache_dir"] is not None:
        draft.put("cache.folder", asked["cache_dir"])
    if asked["vae_cache_ondemand"] or asked["vae_cache_disable"]:
        draft.put("cache.mode", "on_demand")
    elif asked["text_cache_ondemand"] or asked["text_cache_disable"]:
        draft.put("cache.texts", "on_demand")
    if asked["use_ema"]:
        draft.put("training.ema", _average(asked))


def intervals(asked: Settings, draft: Draft, what: str, section: str) -> None:
    """Put how often something is done, by steps, or by epochs where those alone are given."""
    steps, epochs = f"{what}_step_interval", f"{what}_epoch_interval"
    if asked[epochs] and steps not in asked.told:
        draft.put(f"{section}.every_epochs", asked[epochs])
        return
    draft.put(f"{section}.every", max(0, asked[steps]))
    if asked[epochs]:
        words = f"does not count beside {steps}: one of them says when"
        draft.note("nothing", epochs, words)


def _average(asked: Settings) -> dict[str, Any]:
    on_cpu = asked["ema_device"] == "cpu" or asked["ema_cpu_only"]
    return {
        "decay": asked["ema_decay"],
        "every": asked["ema_update_interval"],
        "warmup_steps": asked["ema_warmup_steps"],
        "device": "cpu" if on_cpu else "device",
        "previews": SHOWN[asked["ema_validation"]],
        "deliver": "ema" if asked.told.get("model_type") == "full" else "raw",
    }


def tracking(asked: Settings, draft: Draft) -> None:
    """Put the services that draw curves into the draft."""
    said = asked["report_to"].replace(",", " ").split()
    wanted = list(SERVICES) if "all" in said else [one for one in said if one in SERVICES]
    for one in (one for one in said if one not in (*LOCAL, *SERVICES)):
        if one in ELSEWHERE:
            draft.note("not yet", "report_to", f"{one} is not told; tensorboard and wandb are")
        else:
            known = f"known: {', '.join((*LOCAL, *SERVICES))}"
            draft.complain("report_to", f"'{one}' is no tracker", known)
    if not wanted:
        return
    tree: dict[str, Any] = {"to": wanted}
    if "wandb" in wanted:
        tree["project"] = asked["tracker_project_name"]
        if asked["tracker_run_name"]:
            tree["run"] = asked["tracker_run_name"]
    draft.put("tracking", tree)


def named(asked: Settings, run: str | None, draft: Draft) -> None:
    """Put the names of the run and of its folder into the draft, and what the job was made of."""
    name = asked["tracker_run_name"] or run or UNNAMED
    plain = STRANGE.sub("_", name).lstrip("-.")[:100] or UNNAMED
    draft.put("name", plain)
    folder = asked["output_dir"]
    draft.put("output_dir", folder)
    where = "tracker_run_name" if plain != name else "output_dir"
    words = f"the run's own folder is {folder}/{plain}; the finished file is put into {folder}, too"
    draft.note("hint", where, words)
    kept = {key: value for key, value in asked.told.items() if key not in SECRETS}
    origin = {"tool": "simpletuner", "settings": kept, "output_dir": folder}
    draft.put("origin", {**origin, "output_name": WEIGHTS})
    if asked["resume_from_checkpoint"] != "latest":
        _resumed(asked, asked.path(folder) / plain, draft)


SECRETS = ("webhook_config", "publishing_config")
WEIGHTS = "pytorch_lora_weights"


def _resumed(asked: Settings, run: Any, draft: Draft) -> None:
    said = asked["resume_from_checkpoint"]
    if said:
        problem = f"'{said}' is no checkpoint that can be gone on from"
        remedy = "leave it out; init_lora begins with the weights of a file"
        draft.complain("resume_from_checkpoint", problem, remedy)
    elif (run / "checkpoints").is_dir():
        problem = f"is empty, which means to begin anew, and there is a run in {run}"
        remedy = "move that away, or choose another output_dir"
        draft.complain("resume_from_checkpoint", problem, remedy)
