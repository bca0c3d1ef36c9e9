"""Options about the model, the network that is trained, and what FLUX is taught."""

from scumble.dialects.option import Option

SD = "is for Stable Diffusion; FLUX has nothing like it"
ATTENTION = "attention is always PyTorch's own"
MEMORY = "the run goes on without it, and needs more memory"
FLOW = "changes the noise of Stable Diffusion; FLUX's noise knows nothing of it"
RATIO = "weighs the loss of Stable Diffusion; FLUX's loss knows nothing of it"

MODEL = (
    Option("pretrained_model_name_or_path", "text", None, "acts", "model.parts.denoiser"),
    Option("clip_l", "text", None, "acts", "model.parts.clip"),
    Option("t5xxl", "text", None, "acts", "model.parts.t5"),
    Option("ae", "text", None, "acts", "model.parts.autoencoder"),
    Option("model_type", "text", "flux", "refused", "only FLUX is read", ("flux", "chroma")),
    Option("tokenizer_cache_dir", "text", None, "nothing", "tokenizers come with the program"),
    Option("t5xxl_max_token_length", "whole", None, "acts", "model.text_tokens"),
    Option("apply_t5_attn_mask", "flag", False, "acts", "model.text_mask"),
    Option("guidance_scale", "number", 3.5, "acts", "model.guidance"),
    Option(
        "controlnet_model_name_or_path", "text", None, "nothing", "sd-scripts does not read it here"
    ),
    Option("split_mode", "flag", False, "not yet", MEMORY),
    Option("blocks_to_swap", "whole", None, "not yet", MEMORY),
    Option("cpu_offload_checkpointing", "flag", False, "not yet", MEMORY),
    Option("fp8_base", "flag", False, "not yet", MEMORY),
    Option("fp8_base_unet", "flag", False, "not yet", MEMORY),
    Option("disable_mmap_load_safetensors", "flag", False, "nothing", "files are read in one pass"),
    Option("no_half_vae", "flag", False, "nothing", "precision of the autoencoder is our choice"),
    Option("v2", "flag", False, "recorded", SD),
    Option("v_parameterization", "flag", False, "nothing", SD),
    Option("clip_skip", "whole", None, "recorded", SD),
    Option("max_token_length", "whole", None, "recorded", SD, (150, 225)),
    Option("vae", "text", None, "recorded", "is named in the file alone; FLUX's is --ae"),
    Option("xformers", "flag", False, "nothing", ATTENTION),
    Option("sdpa", "flag", False, "nothing", ATTENTION),
    Option("mem_eff_attn", "flag", False, "nothing", ATTENTION),
)

NETWORK = (
    Option("network_module", "text", None, "acts", "adapter.kind, adapter.targets"),
    Option("network_dim", "whole", None, "acts", "adapter.rank"),
    Option("network_alpha", "number", 1, "acts", "adapter.alpha"),
    Option("network_dropout", "number", None, "acts", "adapter.dropout"),
    Option(
        "network_args",
        "texts",
        None,
        "acts",
        "adapter.rules, adapter.parts, adapter.fused, adapter.up_rate, adapter.ggpo, "
        "adapter.rank_dropout, adapter.module_dropout",
    ),
    Option("network_weights", "text", None, "acts", "adapter.start.file"),
    Option("dim_from_weights", "flag", False, "acts", "adapter.start.shape"),
    Option("network_train_unet_only", "flag", False, "acts", "adapter.parts"),
    Option("network_train_text_encoder_only", "flag", False, "acts", "adapter.parts"),
    Option("base_weights", "texts", None, "acts", "model.merged"),
    Option("base_weights_multiplier", "numbers", None, "acts", "model.merged"),
    Option("scale_weight_norms", "number", None, "acts", "adapter.max_norm"),
)

OBJECTIVE = (
    Option(
        "timestep_sampling",
        "text",
        "sigma",
        "acts",
        "objective.times.law, objective.shift",
        ("sigma", "uniform", "sigmoid", "shift", "flux_shift"),
    ),
    Option("sigmoid_scale", "number", 1.0, "acts", "objective.times.spread"),
    Option("discrete_flow_shift", "number", 3.0, "acts", "objective.shift"),
    Option(
        "model_prediction_type",
        "text",
        "sigma_scaled",
        "acts",
        "objective.prediction",
        ("raw", "additive", "sigma_scaled"),
    ),
    Option(
        "weighting_scheme",
        "text",
        "uniform",
        "acts",
        "objective.times.density, objective.weighting",
        ("sigma_sqrt", "logit_normal", "mode", "cosmap", "none", "uniform"),
    ),
    Option("logit_mean", "number", 0.0, "acts", "objective.times.mean"),
    Option("logit_std", "number", 1.0, "acts", "objective.times.spread"),
    Option("mode_scale", "number", 1.29, "acts", "objective.times.scale"),
    Option(
        "loss_type",
        "text",
        "l2",
        "acts",
        "objective.loss.kind",
        ("l1", "l2", "huber", "smooth_l1"),
    ),
    Option(
        "huber_schedule",
        "text",
        "snr",
        "acts",
        "objective.loss.schedule",
        ("constant", "exponential", "snr"),
    ),
    Option("huber_c", "number", 0.1, "acts", "objective.loss.delta"),
    Option("huber_scale", "number", 1.0, "acts", "objective.loss.scale"),
    Option("ip_noise_gamma", "number", None, "acts", "objective.input_noise.gamma"),
    Option("ip_noise_gamma_random_strength", "flag", False, "acts", "objective.input_noise.random"),
    Option("noise_offset", "number", None, "recorded", FLOW),
    Option("noise_offset_random_strength", "flag", False, "recorded", FLOW),
    Option("adaptive_noise_scale", "number", None, "recorded", FLOW),
    Option("multires_noise_iterations", "whole", None, "recorded", FLOW),
    Option("multires_noise_discount", "number", 0.3, "recorded", FLOW),
    Option("zero_terminal_snr", "flag", False, "recorded", FLOW),
    Option("min_timestep", "whole", None, "acts", "validation.held_out.times"),
    Option("max_timestep", "whole", None, "acts", "validation.held_out.times"),
    Option("min_snr_gamma", "number", None, "recorded", RATIO),
    Option("debiased_estimation_loss", "flag", False, "recorded", RATIO),
    Option("scale_v_pred_loss_like_noise_pred", "flag", False, "nothing", RATIO),
    Option("v_pred_like_loss", "number", None, "nothing", RATIO),
    Option(
        "weighted_captions",
        "flag",
        False,
        "refused",
        "sd-scripts has no weighted captions for FLUX",
    ),
    Option("prior_loss_weight", "number", 1.0, "acts", "data.loss_weight"),
    Option("masked_loss", "flag", False, "acts", "data.mask"),
)
