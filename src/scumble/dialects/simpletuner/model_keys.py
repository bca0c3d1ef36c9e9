"""Keys about the run, the model, its precision, and the adapter that is trained."""

from scumble.dialects.option import Option

UNET = "is for models with a U-Net, which are still to come"
ELSEWHERE = "says nothing that matters here"
FLOW = "changes the noise of SDXL and SD 1.x; flow models know nothing of it"
HELPER = "is for an assistant LoRA, of which there is none here"
TEXTS = "is for text encoders of SDXL and SD 1.x, which are still to come"
PRECISIONS = (
    *("no_change", "int8-quanto", "int4-quanto", "int2-quanto", "fp8-quanto", "fp8uz-quanto"),
    *("int8-torchao", "int8dq-torchao", "int8dq-int4-torchao", "int4-torchao", "fp8-torchao"),
    *("fp8wo-torchao", "fp8-int4-torchao", "fp8-native", "fp8-transformerengine", "nf4-bnb"),
    *("int8-sdnq", "uint8-sdnq", "int16-sdnq", "uint16-sdnq", "fp16-sdnq", "fp8-sdnq"),
    *("int6-sdnq", "int5-sdnq", "uint5-sdnq", "uint4-sdnq", "uint3-sdnq", "uint2-sdnq"),
)
SPACING = ("leading", "linspace", "trailing")

MODEL = (
    Option("model_type", "text", "full", "acts", "adapter.kind", ("full", "lora")),
    Option("model_family", "text", None, "acts", "model.family"),
    Option("model_flavour", "text", None, "acts", "model.flavour"),
    Option("pretrained_model_name_or_path", "text", None, "acts", "model.path"),
    Option("pretrained_transformer_model_name_or_path", "text", None, "acts", "model.parts"),
    Option("pretrained_transformer_subfolder", "text", "transformer", "acts", "model.parts"),
    Option("pretrained_unet_model_name_or_path", "text", None, "nothing", UNET),
    Option("pretrained_unet_subfolder", "text", "unet", "nothing", UNET),
    Option(
        "pretrained_vae_model_name_or_path",
        "text",
        "madebyollin/sdxl-vae-fp16-fix",
        "acts",
        "model.parts",
    ),
    Option("pretrained_t5_model_name_or_path", "text", None, "acts", "model.parts"),
    Option("qwen_text_encoder_model_name_or_path", "text", None, "acts", "model.parts"),
    Option("revision", "text", None, "acts", "model.revision"),
    Option("variant", "text", None, "nothing", "the model's ordinary files are read"),
    Option("model_kwargs", "json", None, "acts", "data.references.area"),
    Option("output_dir", "text", "simpletuner-results", "acts", "output_dir"),
    Option("logging_dir", "text", "logs", "nothing", "trackers' files lie in the run's folder"),
    Option("cache_dir", "text", None, "acts", "cache.folder"),
    Option("seed", "whole", None, "acts", "training.seed"),
    Option(
        "seed_for_each_device",
        "flag",
        True,
        "nothing",
        "noise follows from the seed, the step and the place in the batch, on any number of cards",
    ),
    Option(
        "mixed_precision",
        "text",
        "bf16",
        "acts",
        "hardware.precision",
        ("no", "fp16", "bf16", "fp8"),
    ),
    Option(
        "vae_dtype",
        "text",
        "bf16",
        "nothing",
        "precision of the autoencoder is our choice",
        ("default", "fp32", "fp16", "bf16"),
    ),
    Option(
        "base_model_default_dtype",
        "text",
        "bf16",
        "acts",
        "training.optimizer.name",
        ("bf16", "fp32"),
    ),
    Option(
        "prediction_type",
        "text",
        None,
        "acts",
        "objective.prediction",
        ("epsilon", "v_prediction", "sample", "flow_matching"),
    ),
    Option("rescale_betas_zero_snr", "flag", False, "nothing", FLOW),
    Option("training_scheduler_timestep_spacing", "text", "trailing", "nothing", FLOW, SPACING),
    Option(
        "inference_scheduler_timestep_spacing",
        "text",
        "trailing",
        "nothing",
        "previews take the points of the published sampler",
        SPACING,
    ),
    Option("i_know_what_i_am_doing", "flag", False, "acts", "objective.times"),
    Option(
        "trust_remote_code", "flag", False, "nothing", "code that comes with a model never runs"
    ),
    Option("disable_tf32", "flag", False, "nothing", "float32 is never cut to TF32 here"),
    Option("delete_model_after_load", "flag", False, "not yet", "downloaded files stay"),
)

LORA = (
    Option("lora_type", "text", "standard", "acts", "adapter.kind", ("standard", "lycoris")),
    Option("lora_rank", "whole", 16, "acts", "adapter.rank"),
    Option("lora_alpha", "number", None, "acts", "adapter.alpha"),
    Option("lora_dropout", "number", 0.1, "acts", "adapter.dropout"),
    Option(
        "lora_init_type",
        "text",
        "default",
        "acts",
        "adapter.first",
        ("default", "gaussian", "loftq", "olora", "pissa"),
    ),
    Option(
        "peft_lora_mode",
        "text",
        "standard",
        "refused",
        "SingLoRA is not there; a LoRA of two matrices is another adapter",
        ("standard", "singlora"),
    ),
    Option("singlora_ramp_up_steps", "whole", 0, "nothing", "is for peft_lora_mode=singlora"),
    Option("use_dora", "flag", False, "acts", "adapter.kind, adapter.algo"),
    Option("peft_lora_target_modules", "json", None, "acts", "adapter.targets"),
    Option(
        "flux_lora_target",
        "text",
        "all",
        "acts",
        "adapter.targets",
        (
            *("mmdit", "context", "context+ffs", "all", "all+ffs", "ai-toolkit", "tiny", "nano"),
            *("controlnet", "all+ffs+embedder", "all+ffs+embedder+controlnet"),
        ),
    ),
    Option(
        "slider_lora_target",
        "flag",
        False,
        "refused",
        "sliders are not trained: nothing here turns data sets against each other",
    ),
    Option("lora_format", "text", "diffusers", "acts", "export.layout", ("diffusers", "comfyui")),
    Option(
        "assistant_lora_path",
        "text",
        None,
        "refused",
        "a helper LoRA that is there in training and not in previews does not exist here",
    ),
    Option("assistant_lora_strength", "number", 1.0, "nothing", HELPER),
    Option("assistant_lora_inference_strength", "number", 0.0, "nothing", HELPER),
    Option("disable_assistant_lora", "flag", False, "nothing", "there is no assistant LoRA here"),
    Option("train_text_encoder", "flag", False, "nothing", TEXTS),
    Option("text_encoder_lr", "number", None, "nothing", TEXTS),
    Option("init_lora", "text", None, "acts", "adapter.start"),
    Option("init_lora_step", "whole", None, "not yet", "steps are counted from 0"),
    Option(
        "init_lora_ema", "text", None, "not yet", "an average begins with the weights themselves"
    ),
    Option("lycoris_config", "text", "config/lycoris_config.json", "acts", "adapter"),
    Option("init_lokr_norm", "number", None, "acts", "adapter.start_norm"),
)

QUANTISED = (
    Option("base_model_precision", "text", "no_change", "acts", "model.quantised", PRECISIONS),
    *(
        Option(
            f"text_encoder_{number}_precision",
            "text",
            "no_change",
            "acts",
            "model.quantised",
            PRECISIONS,
        )
        for number in (1, 2, 3, 4)
    ),
    Option(
        "quantize_via",
        "text",
        "accelerator",
        "acts",
        "model.quantise_on",
        ("cpu", "accelerator", "pipeline"),
    ),
    Option(
        "quantize_activations",
        "flag",
        False,
        "refused",
        "only weights are kept in fewer bits: activations would train another model",
    ),
    Option(
        "quantization_config",
        "json",
        None,
        "refused",
        "quantisers have one set of options each here; base_model_precision chooses one",
    ),
    Option("sdnq_group_size", "whole", None, "nothing", "is for SDNQ, which is not there"),
)
