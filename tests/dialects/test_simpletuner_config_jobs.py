"""What the keys of config.json come to: guides, defaults, models, adapters, noise, previews."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scumble.dialects.simpletuner.adapting import FLUX_TARGETS, QUERIES
from scumble.dialects.simpletuner.job import Around, from_document
from scumble.dialects.simpletuner.reading import opened
from scumble.spec.document import Document
from tests.dialects.simpletuner_desk import (
    BASE,
    KONTEXT,
    QWEN,
    guide,
    job,
    laid_out,
    problems,
    told,
    tree,
)

TRAINED = ("model_type=lora", "model_family=flux", "model_flavour=dev", "max_train_steps=100")


def test_the_kontext_guide_makes_a_job(tmp_path: Path) -> None:
    made = guide(tmp_path, ["kontext.json"], "data_backend_config=pairs.json")
    job = made.job.model_dump()
    assert (job["model"]["flavour"], job["model"]["quantised"]) == (
        "kontext",
        {"denoiser": "int8-quanto"},
    )
    assert (job["training"]["steps"], job["training"]["learning_rate"]) == (10_000, 1e-5)
    assert job["training"]["optimizer"]["name"] == "lion"
    assert (job["adapter"]["kind"], job["adapter"]["rank"]) == ("lora", 16)
    assert job["validation"]["guidance"] == 2.5
    assert told(made, "model_type") == [
        "hint: is not given: lora is taken, as other keys speak of it"
    ]
    assert "held-out pairs, at their own sizes" in told(made, "validation_resolution")[0]


def test_the_kontext_guide_keeps_pairs_for_validation(tmp_path: Path) -> None:
    names = ["kontext.json", "kontext_eval.json"]
    with pytest.raises(ExceptionGroup, match="cannot run") as caught:
        guide(tmp_path, names, "data_backend_config=held.json")
    assert "'edited-images' is no set of pictures" in str(caught.value.exceptions[0])
    words = ("data_backend_config=held.json", "eval_dataset_id=kept")
    made = guide(tmp_path, names, *words).job
    assert [one.held_out for one in made.data] == [0.0, 1.0]
    assert (made.validation.pairs.dataset, made.validation.pairs.show) == ("kept", 4)


@pytest.mark.parametrize("flavour", ["edit-v1", "edit-v2"])
def test_the_qwen_edit_guide_makes_a_job(tmp_path: Path, flavour: str) -> None:
    words = ("data_backend_config=pairs.json", f"model_flavour={flavour}")
    made = guide(tmp_path, ["qwen_edit.json", "qwen_edit_kwargs.json"], *words)
    job = made.job
    assert (job.model.family, job.model.flavour) == ("qwen-image", flavour)
    assert (job.model.quantised, job.model.quantise_on) == ({"denoiser": "int8-quanto"}, "cpu")
    assert (job.training.batch_size, job.training.units_per_step) == (1, 4)
    assert (job.objective.shift, job.validation.scale, job.validation.steps) == (1.73, 4.0, 30)
    assert job.training.epochs == 1


DREAMBOOTH = [
    "dreambooth_quantised.json",
    "dreambooth_rollout.json",
    "dreambooth_previews.json",
    "dreambooth_ema.json",
    "dreambooth_refiner.json",
]


def test_the_dreambooth_guide_makes_a_job(tmp_path: Path) -> None:
    made = guide(tmp_path, DREAMBOOTH, *TRAINED, "data_backend_config=plain.json")
    job = made.job
    assert job.model.quantised == {"denoiser": "int8-quanto"}
    assert job.training.ema is not None and job.training.ema.device == "cpu"
    assert told(made, "validation_preview") == ["not yet: pictures are shown when they are done"]
    assert "refiner" in told(made, "data_aesthetic_score")[0]


def test_scheduled_sampling_rises_as_the_guide_promises(tmp_path: Path) -> None:
    made = guide(tmp_path, DREAMBOOTH, *TRAINED, "data_backend_config=plain.json")
    walked = made.job.objective.rollout
    assert walked is not None
    assert (walked.most, walked.sampler, walked.ramp_steps) == (10, "unipc", 1000)
    assert (walked.start_probability, walked.probability) == (0.0, 1.0)
    assert told(made, "scheduled_sampling_ramp_steps") == [
        "hint: rises from 0 to 1.0, as its documents say; its program lets it fall"
    ]
    assert walked.reflex is not None and walked.reflex.direction == 10.0


@pytest.mark.parametrize(
    ("keys", "start", "end"),
    [
        ({"prob_start": 0.2, "prob_end": 0.8}, 0.2, 0.8),
        ({"probability": 0.6, "prob_end": 0.9}, 0.0, 0.9),
        ({"probability": 0.6}, 0.0, 0.6),
        ({}, 0.0, 0.5),
        ({"probability": 0.3, "ramp_steps": 0}, 0.0, 0.3),
    ],
)
def test_the_share_of_scheduled_sampling(
    tmp_path: Path, keys: dict[str, float], start: float, end: float
) -> None:
    told = {"max_step_offset": 5, "ramp_steps": 100, "sampler": "dpm", **keys}
    more = {f"scheduled_sampling_{key}": value for key, value in told.items()}
    walked = tree(tmp_path, **more)["objective"]["rollout"]
    assert (walked["start_probability"], walked["probability"]) == (start, end)
    assert walked["sampler"] == "dpm++"


def test_no_share_is_no_scheduled_sampling_and_is_named(tmp_path: Path) -> None:
    made = job(tmp_path, scheduled_sampling_max_step_offset=5)
    assert made.job.objective.rollout is None
    assert told(made, "scheduled_sampling_max_step_offset")[0].startswith("nothing: changes")


def test_defaults_that_bite(tmp_path: Path) -> None:
    made = job(tmp_path)
    job_, data = made.job, made.job.data[0]
    assert (data.caption_dropout, job_.adapter.model_dump()["dropout"]) == (0.1, 0.1)
    assert (job_.objective.shift, job_.training.clip_value) == (3.0, 2.0)
    assert (job_.training.batch_size, job_.training.learning_rate) == (4, 4e-7)
    assert job_.training.schedule.kind == "constant"
    assert (job_.saving.every, job_.saving.keep, job_.validation.every) == (500, 5, 100)
    assert job_.hardware.gradient_checkpointing and job_.hardware.precision == "bf16"
    assert job_.validation.guidance == 7.5 and job_.model.guidance == 1.0
    named = {note.where for note in made.notes if note.about == "hint"}
    assert {"caption_dropout_probability", "lora_dropout", "learning_rate"} <= named
    assert {"train_batch_size", "validation_guidance", "seed"} <= named


def test_what_is_said_is_no_hint(tmp_path: Path) -> None:
    made = job(tmp_path, lora_dropout=0.0, caption_dropout_probability=0.0, seed=4)
    assert made.job.data[0].caption_dropout == 0.0
    assert told(made, "lora_dropout") + told(made, "caption_dropout") + told(made, "seed") == []


@pytest.mark.parametrize(
    ("family", "flavour", "ours", "path"),
    [
        ("flux", None, ("flux", "dev"), "black-forest-labs/FLUX.1-Krea-dev"),
        ("flux", "dev", ("flux", "dev"), "black-forest-labs/FLUX.1-dev"),
        ("flux", "kontext", ("flux", "kontext"), "black-forest-labs/FLUX.1-Kontext-dev"),
        ("qwen_image", None, ("qwen-image", "base"), "Qwen/Qwen-Image-2512"),
        ("qwen_image", "v1.0", ("qwen-image", "base"), "Qwen/Qwen-Image"),
        ("qwen_image", "edit-v1", ("qwen-image", "edit-v1"), "Qwen/Qwen-Image-Edit"),
        ("qwen_image", "edit-v2", ("qwen-image", "edit-v2"), "Qwen/Qwen-Image-Edit-2509"),
    ],
)
def test_flavours_and_where_their_weights_are(
    tmp_path: Path, family: str, flavour: str | None, ours: tuple[str, str], path: str
) -> None:
    shown = flavour is not None and (flavour == "kontext" or "edit" in flavour)
    data = "pairs.json" if shown else "plain.json"
    more = {"model_family": family, "model_flavour": flavour, "data_backend_config": data}
    model = tree(tmp_path, BASE, **more)["model"]
    assert ((model["family"], model["flavour"]), model["path"]) == (ours, path)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"model_family": "sdxl"}, "SDXL and its refiner are still to come"),
        ({"model_family": "deepfloyd"}, "DeepFloyd-IF is still to come"),
        ({"model_family": "sd1x"}, "Stable Diffusion 1.x is still to come"),
        ({"model_family": "qwn_image"}, "did you mean qwen_image?"),
        ({"model_family": "wan"}, "'wan' is no family that is read here"),
        ({"model_family": None}, "nothing says which model is trained"),
        ({"model_flavour": "libreflux"}, "guidance of its own"),
        ({"model_flavour": "kontex"}, "did you mean kontext?"),
        ({**QWEN, "model_flavour": "edit-v2+"}, "another time than the picture"),
    ],
)
def test_models_that_are_not_here_are_told_by_name(
    tmp_path: Path, keys: dict[str, Any], words: str
) -> None:
    assert any(words in line for line in problems(tmp_path, **keys))


def test_parts_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "mine" / "transformer").mkdir(parents=True)
    more: dict[str, Any] = {
        "pretrained_model_name_or_path": "mine",
        "pretrained_transformer_model_name_or_path": "mine",
        "pretrained_t5_model_name_or_path": "t5.safetensors",
        "pretrained_vae_model_name_or_path": "ae.safetensors",
    }
    model = tree(tmp_path, **more)["model"]
    assert model["path"] == "mine"
    assert model["parts"] == {
        "denoiser": "mine/transformer",
        "t5": "t5.safetensors",
        "autoencoder": "ae.safetensors",
    }
    root = tree(tmp_path, **more, pretrained_transformer_subfolder="none")["model"]
    assert root["parts"]["denoiser"] == "mine"


def test_an_autoencoder_of_sdxl_is_passed_over(tmp_path: Path) -> None:
    made = job(tmp_path, pretrained_vae_model_name_or_path="some/sdxl-vae")
    assert made.job.model.parts == {}
    assert "autoencoder of SDXL" in told(made, "pretrained_vae")[0]


def test_text_encoders_are_counted_as_in_the_family(tmp_path: Path) -> None:
    more: dict[str, Any] = {
        "text_encoder_1_precision": "int8-quanto",
        "text_encoder_2_precision": "nf4-bnb",
    }
    flux = job(tmp_path, **more)
    assert flux.job.model.quantised == {"clip": "int8-quanto", "t5": "nf4-bnb"}
    qwen = job(tmp_path, QWEN, **more)
    assert qwen.job.model.quantised == {"qwen": "int8-quanto"}
    assert told(qwen, "text_encoder_2") == ["nothing: qwen_image has 1 text encoder"]


def test_quantisers_that_are_not_there_name_the_nearest(tmp_path: Path) -> None:
    said = problems(tmp_path, base_model_precision="int4-torchao")
    assert said == [
        "config.json: base_model_precision: int4-torchao is not there; "
        "the nearest here is int4-quanto"
    ]
    made = job(tmp_path, base_model_precision="fp8-torchao")
    assert "weights alone" in told(made, "base_model_precision")[0]


def test_flux_lora_target_names_layers(tmp_path: Path) -> None:
    assert tree(tmp_path)["adapter"]["targets"] == list(FLUX_TARGETS["all"])
    tiny = tree(tmp_path, flux_lora_target="tiny")["adapter"]["targets"]
    assert tiny == [f"single_transformer_blocks.{number}.proj_out" for number in (7, 20)]
    assert tree(tmp_path, QWEN, flux_lora_target="tiny")["adapter"]["targets"] == list(QUERIES)


def test_targets_of_ones_own_are_over_every_set(tmp_path: Path) -> None:
    for listed in (["to_q", "to_v"], '["to_q", "to_v"]', "targets.json"):
        made = tree(tmp_path, peft_lora_target_modules=listed, flux_lora_target="nano")
        assert made["adapter"]["targets"] == ["to_q", "to_v"]
    assert "is no list of layers' names" in problems(tmp_path, peft_lora_target_modules=[1])[0]


def test_alpha_is_the_rank_where_it_is_not_given(tmp_path: Path) -> None:
    assert tree(tmp_path, lora_rank=8)["adapter"]["alpha"] is None
    assert tree(tmp_path, lora_rank=8, lora_alpha=1)["adapter"]["alpha"] == 1.0


def test_kinds_of_adapters(tmp_path: Path) -> None:
    lokr: dict[str, Any] = {"lora_type": "lycoris", "lycoris_config": "lycoris.json"}
    assert tree(tmp_path, **lokr)["adapter"]["algo"] == "lokr"
    assert tree(tmp_path, use_dora=True)["adapter"]["algo"] == "dora"
    both = tree(tmp_path, use_dora=True, base_model_precision="int8-quanto")
    assert (both["adapter"]["algo"], both["model"]["quantised"]["denoiser"]) == (
        "dora",
        "int8-quanto",
    )
    assert tree(tmp_path, model_type="full")["adapter"]["kind"] == "full"
    first = tree(tmp_path, lora_init_type="pissa")["adapter"]["first"]
    start = tree(tmp_path, init_lora="old.safetensors")["adapter"]["start"]
    assert (first, start["file"]) == ("pissa", "old.safetensors")
    assert tree(tmp_path, lora_format="comfyui")["export"]["layout"] == "comfy"


LAWS = [
    ({}, {"law": "sigmoid", "spread": 1.0, "mean": 0.0}),
    ({"flow_sigmoid_scale": 2}, {"law": "sigmoid", "spread": 2.0, "mean": 0.0}),
    ({"flow_use_uniform_schedule": True}, {"law": "uniform"}),
    (
        {"flow_use_beta_schedule": True, "flow_use_uniform_schedule": True},
        {"law": "beta", "alpha": 2.0, "beta": 2.0},
    ),
    (
        {"flux_fast_schedule": True, "flow_use_beta_schedule": True},
        {"law": "listed", "levels": [*[1.0] * 7, 0.75, 0.5, 0.25], "order": "random"},
    ),
    (
        {"flow_cubic_schedule_weights": [1, 2], "flux_fast_schedule": True},
        {"law": "cubic", "weights": [1.0, 2.0]},
    ),
    ({"flow_cubic_schedule_weights": [3]}, {"law": "uniform"}),
    (
        {"flow_custom_timesteps": "900, 500", "flow_cubic_schedule_weights": [1, 2]},
        {"law": "listed", "levels": [0.9, 0.5], "order": "random"},
    ),
    (
        {"flow_custom_timesteps": [0.9, 1], "flow_timesteps_mode": "round-robin"},
        {"law": "listed", "levels": [0.9, 1.0], "order": "in_turn"},
    ),
]


@pytest.mark.parametrize(("keys", "law"), LAWS)
def test_of_several_laws_of_noise_levels_the_same_one_wins(
    tmp_path: Path, keys: dict[str, Any], law: dict[str, Any]
) -> None:
    assert tree(tmp_path, **keys)["objective"]["times"] == law


def test_shifts(tmp_path: Path) -> None:
    def shift(**more: Any) -> Any:
        return tree(tmp_path, **more)["objective"]["shift"]

    assert (shift(), shift(flow_schedule_shift=1.73), shift(flow_schedule_shift=0)) == (3, 1.73, 1)
    assert shift(flow_schedule_auto_shift=True, flow_schedule_shift=2) == "resolution"


def test_huber_has_its_schedules(tmp_path: Path) -> None:
    loss = tree(tmp_path, loss_type="smooth_l1", huber_c=0.2)["objective"]["loss"]
    assert loss == {"kind": "smooth_l1", "delta": 0.2, "schedule": "snr", "scale": 1.0}


def test_schnell_is_trained_at_the_levels_at_which_it_paints(tmp_path: Path) -> None:
    schnell = {**BASE, "model_flavour": "schnell"}
    assert "schnell paints at four noise levels" in problems(tmp_path, schnell)[0]
    made = job(tmp_path, schnell, flux_fast_schedule=True)
    assert made.job.validation.guidance is None
    assert "without the assistant LoRA" in told(made, "model_flavour")[0]
    assert problems(tmp_path, schnell, i_know_what_i_am_doing=True) == []


def test_guidance_in_training(tmp_path: Path) -> None:
    assert tree(tmp_path, flux_guidance_value=3)["model"]["guidance"] == 3.0
    drawn = tree(tmp_path, flux_guidance_mode="random-range")["model"]["guidance"]
    assert drawn == {"low": 0.0, "high": 4.0}
    idle = job(tmp_path, QWEN, flux_guidance_value=3)
    assert told(idle, "flux_guidance_value")[0].startswith("nothing: changes nothing")


def test_padding_that_is_hidden_may_hold_anything(tmp_path: Path) -> None:
    assert "padding is not set to zero" in problems(tmp_path, t5_padding="zero")[0]
    masked = job(tmp_path, t5_padding="zero", flux_attention_masked_training=True)
    assert masked.job.model.text_mask
    assert told(masked, "t5_padding")[0].startswith("nothing")


def test_moving_averages(tmp_path: Path) -> None:
    assert tree(tmp_path)["training"]["ema"] is None
    kept = tree(tmp_path, use_ema=True, ema_validation="none", ema_device="accelerator")
    assert kept["training"]["ema"] == {
        "decay": 0.995,
        "every": 1,
        "warmup_steps": 0,
        "device": "device",
        "previews": "raw",
        "deliver": "raw",
    }


def test_epochs_or_steps(tmp_path: Path) -> None:
    bare = {key: value for key, value in BASE.items() if key != "max_train_steps"}
    assert tree(tmp_path, bare)["training"]["epochs"] == 1
    assert tree(tmp_path, bare, num_train_epochs=3, max_train_steps=0)["training"]["epochs"] == 3
    assert tree(tmp_path, num_train_epochs=0)["training"]["steps"] == 100


def test_accumulation_counts_for_each_process(tmp_path: Path) -> None:
    document = Document("config.json", {**BASE, "gradient_accumulation_steps": 3})
    made = from_document(document, Around(base=laid_out(tmp_path), processes=2))
    assert made.job.training.units_per_step == 6


def test_intervals_by_epochs_count_where_steps_are_not_given(tmp_path: Path) -> None:
    by_epochs = tree(tmp_path, checkpoint_epoch_interval=2, validation_epoch_interval=3)
    assert by_epochs["saving"]["every_epochs"] == 2
    assert by_epochs["validation"]["every_epochs"] == 3
    both = job(tmp_path, checkpoint_epoch_interval=2, checkpoint_step_interval=10)
    assert (both.job.saving.every, both.job.saving.every_epochs) == (10, None)
    assert "does not count beside" in told(both, "checkpoint_epoch_interval")[0]


def shown(made: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Previews as prompt, width, height and seed."""
    keys = ("prompt", "width", "height", "seed")
    return [tuple(one[key] for key in keys) for one in made["validation"]["requests"]]


def test_previews_begin_with_the_empty_prompt(tmp_path: Path) -> None:
    made = tree(tmp_path, validation_prompt="a cat", seed=5)
    assert shown(made) == [("", 256, 256, 5), ("a cat", 256, 256, 5)]
    alone = tree(tmp_path, validation_prompt="a cat", validation_disable_unconditional=True)
    assert shown(alone) == [("a cat", 256, 256, 0)]


def test_prompts_of_a_library_in_every_size_and_number(tmp_path: Path) -> None:
    more = {"user_prompt_library": "prompts.json", "validation_disable_unconditional": True}
    sizes = {"validation_resolution": "512,768x513", "num_validation_images": 2}
    made = job(tmp_path, **more, **sizes, validation_seed=7)
    assert shown(made.job.model_dump()) == [
        (prompt, *size, seed)
        for prompt in ("a cat in snow", "a cat at sea")
        for size in ((512, 512), (768, 512))
        for seed in (7, 8)
    ]
    assert "768x513 is painted as 768x512" in told(made, "validation_resolution")[0]


@pytest.mark.parametrize(
    ("written", "side"), [("1", 1024), (0.5, 496), (2, 2000), (127, 127_008), (128, 128)]
)
def test_a_small_number_is_megapixels(tmp_path: Path, written: Any, side: int) -> None:
    made = tree(tmp_path, validation_resolution=written)
    assert shown(made)[0][1:3] == (side, side)


def test_a_size_that_is_none_is_told(tmp_path: Path) -> None:
    assert "'large' is no size" in problems(tmp_path, validation_resolution="large")[0]


def test_guidance_of_previews_is_what_the_model_takes(tmp_path: Path) -> None:
    flux = tree(tmp_path, validation_guidance=4, validation_guidance_real=2)["validation"]
    assert (flux["guidance"], flux["scale"], flux["negative"]) == (4, 2, "blurry, cropped, ugly")
    plain = tree(tmp_path)["validation"]
    assert (plain["scale"], plain["negative"]) == (None, "")
    qwen = tree(tmp_path, QWEN, validation_guidance=3.5)["validation"]
    assert (qwen["guidance"], qwen["scale"]) == (None, 3.5)
    real = tree(tmp_path, QWEN, validation_guidance=3.5, validation_guidance_real=2)
    assert real["validation"]["scale"] == 2
    assert tree(tmp_path, QWEN)["validation"]["scale"] is None


def test_previews_can_be_turned_off(tmp_path: Path) -> None:
    made = tree(tmp_path, validation_disable=True)["validation"]
    assert (made["every"], made["requests"], made["pairs"]["show"]) == (0, [], 0)


def test_pictures_to_be_edited_are_previews(tmp_path: Path) -> None:
    given = [{"path": "plain.json", "prompt": "make it snow", "shortname": "snow"}]
    made = tree(tmp_path, KONTEXT, validation_input=given, validation_resolution=512)
    assert made["validation"]["requests"][0]["references"] == ["plain.json"]
    missing = problems(tmp_path, KONTEXT, validation_input=[{"path": "x.png", "prompt": "a"}])
    assert f"there is no file {tmp_path / 'x.png'}" in missing[0]


def test_the_held_out_loss_is_measured_at_fixed_levels(tmp_path: Path) -> None:
    measured = {**BASE, "data_backend_config": "measured.json"}
    held = tree(tmp_path, measured, eval_steps_interval=50)["validation"]["held_out"]
    assert (held["every"], held["limit"], held["seed"], len(held["times"])) == (50, 4, 0, 28)
    assert held["times"][0] == 0.999 and held["times"][-1] == pytest.approx(1 / 28, abs=1e-6)
    rounded = job(tmp_path, measured, eval_epoch_interval=0.5)
    assert rounded.job.validation.held_out.every_epochs == 1
    assert "is rounded to 1" in told(rounded, "eval_epoch_interval")[0]
    off = tree(tmp_path, measured, eval_loss_disable=True)["validation"]["held_out"]
    assert off["every"] == 0


def test_trackers(tmp_path: Path) -> None:
    assert tree(tmp_path, report_to="simpletuner")["tracking"]["to"] == []
    both = tree(tmp_path, report_to="all", tracker_run_name="mine")["tracking"]
    assert (both["to"], both["project"], both["run"]) == (
        ["tensorboard", "wandb"],
        "simpletuner",
        "mine",
    )
    other = job(tmp_path, report_to="wandb,swanlab")
    assert "swanlab is not told" in told(other, "report_to")[0]
    assert "'wandbb' is no tracker" in problems(tmp_path, report_to="wandbb")[0]


def test_the_run_is_called_as_its_configuration_or_its_environment_says(tmp_path: Path) -> None:
    document = opened('{"output_dir": "out"}', "config.json")
    document.tree |= BASE
    around = Around(base=laid_out(tmp_path), run="my cats")
    made = from_document(document, around).job
    assert (made.name, made.output_dir) == ("my_cats", "out")
    assert made.origin is not None
    assert (made.origin.tool, made.origin.output_name) == ("simpletuner", "pytorch_lora_weights")
    assert tree(tmp_path, tracker_run_name="mine")["name"] == "mine"


def test_secrets_are_not_kept(tmp_path: Path) -> None:
    made = job(tmp_path, webhook_config={"webhook_url": "https://x/secret"})
    assert "secret" not in made.job.model_dump_json()


def test_caches(tmp_path: Path) -> None:
    assert tree(tmp_path, vae_cache_ondemand=True)["cache"]["mode"] == "on_demand"
    assert tree(tmp_path, text_cache_disable=True)["cache"]["texts"] == "on_demand"
    assert tree(tmp_path, cache_dir="kept")["cache"]["folder"] == "kept"
