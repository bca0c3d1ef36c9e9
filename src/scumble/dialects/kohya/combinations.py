"""Options that cannot go together, as sd-scripts refuses them, and what its guide advises."""

from scumble.dialects.kohya.settings import Settings
from scumble.dialects.kohya.subsets import Subset
from scumble.dialects.notes import Draft

MOST_SWAPPED = 35
RANDOM_CAPTIONS = (
    *("caption_dropout_rate", "shuffle_caption", "token_warmup_step", "caption_tag_dropout_rate"),
)
NEEDS = {
    "adaptive_noise_scale": "noise_offset",
    "scale_v_pred_loss_like_noise_pred": "v_parameterization",
}


def pairs(settings: Settings, draft: Draft) -> None:
    """Note every pair of options that sd-scripts would refuse."""
    for name, other in NEEDS.items():
        if settings[name] and not settings[other]:
            draft.complain(f"--{name}", f"needs --{other}", "add that, or leave this out")
    if settings["v_pred_like_loss"] and settings["v_parameterization"]:
        names = "--v_pred_like_loss, --v_parameterization"
        draft.complain(names, "cannot go together", "leave one out")
    swapped = settings["blocks_to_swap"] or 0
    if swapped > 0 and settings["cpu_offload_checkpointing"]:
        names = "--blocks_to_swap, --cpu_offload_checkpointing"
        draft.complain(names, "cannot go together", "leave one out")
    if not 0 <= swapped <= MOST_SWAPPED:
        remedy = f"write 0 to {MOST_SWAPPED}"
        draft.complain("--blocks_to_swap", f"FLUX has no {swapped} blocks to swap", remedy)
    if settings["loss_type"] in ("huber", "smooth_l1") and settings["huber_schedule"] == "snr":
        problem = "`snr`, which it is where nothing is said, does not exist for FLUX"
        remedy = "add --huber_schedule=constant, or exponential"
        draft.complain("--huber_schedule", problem, remedy)
    _precision(settings, draft)


def _precision(settings: Settings, draft: Draft) -> None:
    mixed = settings["mixed_precision"]
    for name, wanted in (("full_fp16", "fp16"), ("full_bf16", "bf16")):
        if settings[name] and mixed != wanted:
            remedy = f"add --mixed_precision={wanted}"
            draft.complain(f"--{name}", f"needs --mixed_precision={wanted}", remedy)
    for name in ("fp8_base", "fp8_base_unet"):
        if settings[name] and mixed == "no":
            remedy = "add --mixed_precision=bf16"
            draft.complain(f"--{name}", "needs mixed precision", remedy)
    if settings["fused_backward_pass"] and settings["gradient_accumulation_steps"] > 1:
        problem = "goes with --gradient_accumulation_steps=1 alone"
        draft.complain("--fused_backward_pass", problem, "leave it out")


def kept(one: Subset, draft: Draft) -> None:
    """Note what a subset draws anew each time although the options say that it is kept."""
    settings = one.settings
    if one.measured:
        return
    if settings["cache_latents"] or settings["cache_latents_to_disk"]:
        for key in ("color_aug", "random_crop"):
            if one[key]:
                remedy = f"leave {key} or --cache_latents out"
                draft.complain(one.where, f"{key} cannot be kept by --cache_latents", remedy)
    texts = "cache_text_encoder_outputs"
    if settings[texts] or settings[f"{texts}_to_disk"]:
        for key in RANDOM_CAPTIONS:
            if one[key]:
                remedy = f"leave {key} or --{texts} out"
                draft.complain(one.where, f"{key} cannot be kept by --{texts}", remedy)


def hints(settings: Settings, draft: Draft, *, guided: bool) -> None:
    """What holds because nothing was said, and is known to be a poor choice."""
    advice = {
        "model_prediction_type": (
            "sigma_scaled",
            "raw, the only one that fits what FLUX was trained for",
        ),
        "timestep_sampling": ("sigma", "flux_shift, or shift with --discrete_flow_shift=3.1582"),
        "guidance_scale": (3.5, "1.0, which leaves the model free to be guided later"),
    }
    for name, (poor, better) in advice.items():
        if settings[name] == poor and (guided or name != "guidance_scale"):
            how = "given" if name in settings.told else "the default here"
            draft.note("hint", f"--{name}", f"{poor} ({how}); the newer guide advises {better}")
    if "learning_rate" not in settings.told and settings["unet_lr"] is None:
        words = "2e-06, which is for a whole model; the guides train a LoRA with 1e-4"
        draft.note("hint", "--learning_rate", words)
    if settings["mixed_precision"] == "fp16":
        words = "fp16 is computed as bf16 where the card can, else as fp32: nothing overflows"
        draft.note("hint", "--mixed_precision", words)
    if settings["seed"] is None:
        words = "is not given: 0 is taken, so that the run can be repeated"
        draft.note("hint", "--seed", words)
