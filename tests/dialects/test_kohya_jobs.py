"""Commands of sd-scripts as jobs: those of its guides, and what each kind of option comes to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scumble.dialects.kohya.shell import words
from scumble.errors import FileError
from scumble.spec.adapter import LoraSpec
from scumble.spec.load import read_job, resolved
from scumble.spec.objective import HuberLoss, SigmoidTimes, TableTimes, UniformTimes
from scumble.spec.sizing import BucketsSizing
from tests.dialects.kohya_desk import DATASET, header, job, laid_out, problems, told

NEWER = r"""
accelerate launch --num_cpu_threads_per_process 1 flux_train_network.py \
  --output_name="my_flux_lora" --save_model_as=safetensors \
  --network_dim=16 --network_alpha=1 --learning_rate=1e-4 \
  --optimizer_type="AdamW8bit" --lr_scheduler="constant" --sdpa \
  --max_train_epochs=10 --save_every_n_epochs=1 --mixed_precision="fp16" \
  --gradient_checkpointing --guidance_scale=1.0 --timestep_sampling="flux_shift" \
  --blocks_to_swap=18 --cache_text_encoder_outputs --cache_latents
"""
OLDER = """
accelerate launch --num_cpu_threads_per_process 1 flux_train_network.py
 --output_name="my_flux_lora"
 --save_model_as=safetensors
 --network_module=networks.lora
 --network_dim=16
 --network_alpha=1
 --learning_rate=1e-4
 --optimizer_type="AdamW8bit"
 --lr_scheduler="constant"
 --sdpa
 --max_train_epochs=10
 --save_every_n_epochs=1
 --mixed_precision="fp16"
 --gradient_checkpointing
 --apply_t5_attn_mask
 --blocks_to_swap=18
"""


def lora(made: Any) -> LoraSpec:
    adapter = made.job.adapter
    assert isinstance(adapter, LoraSpec)
    return adapter


def test_the_command_of_the_newer_guide(tmp_path: Path) -> None:
    made = job(tmp_path, *words(NEWER, "guide"))
    one = made.job
    assert (one.name, one.output_dir, one.model.flavour) == ("my_flux_lora", "out", "dev")
    assert one.model.parts["t5"] == "t5xxl.safetensors" and one.model.guidance == 1.0
    adapter = lora(made)
    assert (adapter.rank, adapter.alpha, adapter.targets) == (16, 1.0, "sd-scripts")
    assert adapter.fused and adapter.parts == ("denoiser", "clip")
    assert (one.training.epochs, one.saving.every_epochs) == (10, 1)
    assert (one.training.optimizer.name, one.training.learning_rate) == ("adamw-8bit", 1e-4)
    assert one.objective.times == SigmoidTimes() and one.objective.shift == "resolution"
    assert one.hardware.precision == "auto" and one.hardware.gradient_checkpointing
    assert (one.export.layout, one.export.dtype) == ("kohya", "float32")
    assert one.data[0].repeats == 3 and one.data[0].batch_size == 2
    assert told(made, "--blocks_to_swap")[0].startswith("not yet")
    assert told(made, "--model_prediction_type")[0].startswith("hint: sigma_scaled (the default")


def test_the_command_of_the_older_guide(tmp_path: Path) -> None:
    made = job(tmp_path, *words(OLDER, "guide"))
    one = made.job
    assert one.model.text_mask and one.model.guidance == 3.5
    assert one.objective.times == TableTimes(law="table") and one.objective.shift == 3.0
    assert one.objective.prediction == "sigma_scaled"
    hints = {note.where for note in made.notes if note.about == "hint"}
    expected = ("--timestep_sampling", "--guidance_scale", "--network_module=networks.lora")
    assert hints >= set(expected)


def test_a_job_is_written_and_read_back_the_same(tmp_path: Path) -> None:
    one = job(tmp_path, *words(NEWER, "guide")).job
    assert read_job(resolved(one, full=False), name="a", format="yaml") == one
    assert read_job(resolved(one), name="a", format="yaml") == one


def test_all_settings_are_kept_for_the_metadata(tmp_path: Path) -> None:
    origin = job(tmp_path, "--training_comment=mine", "--network_dim=8").job.origin
    assert origin is not None and origin.output_dir == "out" and origin.output_name is None
    kept = origin.settings
    assert kept["training_comment"] == "mine" and kept["network_alpha"] == 1
    assert kept["min_snr_gamma"] is None and kept["datasets"] == [["cats"]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("python train_network.py --seed=1", "no command for flux_train_network.py"),
        ("flux_train_network.py --a\nflux_train_network.py --b", "holds 2 such commands"),
        ("flux_train_network.py --ae=$AE", "'--ae=$AE' holds a variable"),
        ('flux_train_network.py --ae="x', "close the quotes"),
    ],
)
def test_a_text_that_is_no_such_command_is_told(text: str, said: str) -> None:
    with pytest.raises(FileError, match=said.replace("$", r"\$")):
        words(text, "run.sh")


@pytest.mark.parametrize(
    ("key", "flavour"),
    [
        ("double_blocks.0.img_attn.proj.bias", "schnell"),
        ("model.diffusion_model.guidance_in.in_layer.bias", "dev"),
        ("time_text_embed.guidance_embedder.linear_1.bias", "dev"),
    ],
)
def test_the_file_says_whether_it_is_schnell(key: str, flavour: str, tmp_path: Path) -> None:
    file = header(tmp_path / "other.safetensors", key)
    made = job(tmp_path, f"--pretrained_model_name_or_path={file}").job
    assert made.model.flavour == flavour
    assert made.model.guidance == (1.0 if flavour == "schnell" else 3.5)


def test_a_builtin_model_needs_no_other_files(tmp_path: Path) -> None:
    from scumble.dialects.kohya.job import converted

    kept = [word for word in laid_out(tmp_path) if word.split("=")[0] not in ("--ae", "--clip_l")]
    kept = [word for word in kept if "t5xxl" not in word and "pretrained" not in word]
    one = converted([*kept, "--pretrained=builtin:tiny-flux"], tmp_path).job
    assert one.model.path == "builtin:tiny-flux" and one.model.parts == {}


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        ([], ("denoiser", "clip")),
        (["--network_train_unet_only"], ("denoiser",)),
        (["--network_args", "train_t5xxl=True"], ("denoiser", "clip", "t5")),
        (["--network_train_text_encoder_only"], ("clip",)),
    ],
)
def test_which_networks_are_trained(
    more: list[str], parts: tuple[str, ...], tmp_path: Path
) -> None:
    assert lora(job(tmp_path, *more)).parts == parts


def test_each_network_has_its_rate(tmp_path: Path) -> None:
    more = ["--learning_rate=1e-4", "--unet_lr=2e-4", "--text_encoder_lr", "1e-5", "0"]
    made = job(tmp_path, *more, "--network_args", "train_t5xxl=True")
    plan = made.job.training
    assert plan.learning_rate == 2e-4 and plan.rates == {"clip": 1e-5}
    assert lora(made).parts == ("denoiser", "clip"), "a rate of 0 would leave T5 as it is"
    assert "t5" in told(made, "--text_encoder_lr")[0]


def test_ranks_by_kind_block_and_pattern_in_the_order_they_are_looked_for(tmp_path: Path) -> None:
    args = ["img_attn_dim=4", "single_dim=8", "in_dims=[4,0,0,0,2]"]
    args += ["train_double_block_indices=1-18", "train_single_block_indices=none"]
    args += ["network_reg_dims=img_mlp=2", "network_reg_lrs=txt_=1e-6"]
    rules = lora(job(tmp_path, "--network_args", *args)).rules
    assert [(one.layers, one.rank, one.rate) for one in rules] == [
        ("/(^|_)final_layer/", 0, None),
        ("/img_mlp/", 2, None),
        ("/txt_/", None, 1e-6),
        (r"/double_blocks_(0)_/", 0, None),
        (r"/single_blocks_\d+_/", 0, None),
        (r"/double_blocks_\d+_img_attn_/", 4, None),
        (r"/single_blocks_\d+_linear/", 8, None),
        ("/(^|_)img_in$/", 4, None),
        ("/(^|_)txt_in$/", 2, None),
    ]


def test_the_rest_of_the_network_arguments(tmp_path: Path) -> None:
    args = ["split_qkv=True", "rank_dropout=0.1", "ggpo_sigma=0.03", "ggpo_beta=0.01"]
    args += ["loraplus_lr_ratio=16", "loraplus_text_encoder_lr_ratio=4", "verbose=True"]
    made = job(tmp_path, "--network_args", *args, "--scale_weight_norms=1")
    one = lora(made)
    assert not one.fused and one.rank_dropout == 0.1 and one.max_norm == 1.0
    assert one.ggpo is not None and (one.ggpo.sigma, one.ggpo.beta) == (0.03, 0.01)
    assert one.up_rate == {"denoiser": 16.0, "clip": 4.0}
    assert told(made, "verbose=True") == ["nothing: `scumble check` tells what is trained"]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("in_dims=[1,2]", "must be five whole numbers"),
        ("train_blocks=none", "write all, single or double"),
        ("train_double_block_indices=5-3", "'5-3' runs backwards"),
        ("train_double_block_indices=19", "counted from 0 to 18"),
        ("network_reg_dims=(=4", "is not a pattern"),
        ("ggpo_sigma=1", "go together"),
        ("img_attn_dim=four", "must be a whole number"),
    ],
)
def test_network_arguments_that_cannot_be(argument: str, said: str, tmp_path: Path) -> None:
    found = problems(tmp_path, "--network_args", argument)
    assert len(found) == 1 and said in found[0]


def test_noise_levels_and_losses(tmp_path: Path) -> None:
    one = job(tmp_path, "--timestep_sampling=uniform").job.objective
    assert one.times == UniformTimes() and one.shift == 1.0
    more = ["--timestep_sampling=shift", "--discrete_flow_shift=3.1582", "--sigmoid_scale=0.5"]
    one = job(tmp_path, *more, "--model_prediction_type=raw", "--ip_noise_gamma=0.1").job.objective
    assert one.times == SigmoidTimes(spread=0.5) and one.shift == 3.1582
    assert one.prediction == "raw" and one.input_noise is not None
    more = ["--weighting_scheme=logit_normal", "--logit_mean=0.3", "--loss_type=smooth_l1"]
    one = job(tmp_path, *more, "--huber_schedule=exponential", "--huber_c=0.2").job.objective
    assert one.times == TableTimes(law="table", density="logit_normal", mean=0.3)
    assert one.loss == HuberLoss(kind="smooth_l1", delta=0.2, schedule="exponential")


@pytest.mark.parametrize(
    ("more", "name", "options"),
    [
        ([], "adamw", {}),
        (["--use_8bit_adam"], "adamw-8bit", {}),
        (["--optimizer_type=bitsandbytes.optim.AdamW8bit"], "adamw-8bit", {}),
        (
            ["--optimizer_type=pytorch_optimizer.CAME", "--optimizer_args", "weight_decay=0.01"],
            "pytorch_optimizer.CAME",
            {"weight_decay": 0.01},
        ),
        (
            [
                *("--optimizer_type=adafactor", "--optimizer_args", "relative_step=False"),
                *("scale_parameter=False", "warmup_init=False"),
            ],
            "adafactor",
            {"scale_parameter": False},
        ),
        (
            ["--optimizer_type=Lion", "--optimizer_args", "betas=0.9,0.95"],
            "lion",
            {"betas": [0.9, 0.95]},
        ),
    ],
)
def test_optimizers(more: list[str], name: str, options: dict[str, Any], tmp_path: Path) -> None:
    found = job(tmp_path, *more).job.training.optimizer
    assert (found.name, found.options) == (name, options)


@pytest.mark.parametrize(
    ("more", "settings"),
    [
        (["--lr_scheduler=constant_with_warmup", "--lr_warmup_steps=10"], {"warmup_steps": 10}),
        (["--lr_scheduler=cosine", "--lr_warmup_steps=0.1"], {"warmup_share": 0.1}),
        (
            ["--lr_scheduler=cosine_with_restarts", "--lr_scheduler_num_cycles=3"],
            {"kind": "cosine_with_restarts", "cycles": 3},
        ),
        (
            ["--lr_scheduler=cosine_with_min_lr", "--lr_scheduler_min_lr_ratio=0.1"],
            {"kind": "cosine", "floor": 0.1},
        ),
        (
            ["--lr_scheduler=warmup_stable_decay", "--lr_decay_steps=20%"],
            {"kind": "warmup_stable_decay", "decay_share": 0.2, "decay_shape": "cosine"},
        ),
        (["--lr_scheduler=inverse_sqrt"], {"kind": "inverse_sqrt", "timescale": 10_000}),
    ],
)
def test_schedules(more: list[str], settings: dict[str, Any], tmp_path: Path) -> None:
    schedule = job(tmp_path, *more).job.training.schedule.model_dump()
    assert {name: schedule[name] for name in settings} == settings


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--blocks_to_swap=8", "--cpu_offload_checkpointing"], "cannot go together"),
        (["--blocks_to_swap=36"], "has no 36 blocks"),
        (["--fp8_base"], "--fp8_base: needs mixed precision"),
        (["--full_bf16", "--mixed_precision=fp16"], "needs --mixed_precision=bf16"),
        (["--loss_type=huber"], "--huber_schedule: `snr`"),
        (["--use_8bit_adam", "--optimizer_type=Lion"], "each name an optimizer"),
        (["--lr_warmup_steps=5"], "`constant` has no warm-up"),
        (["--cache_latents", "--color_aug"], "color_aug cannot be kept"),
        (["--cache_text_encoder_outputs", "--shuffle_caption"], "shuffle_caption cannot be kept"),
        (["--resume=state"], "--resume: there is no folder"),
        (["--network_module=lycoris.kohya"], "'lycoris.kohya' is not read"),
        (["--learning_rate=0"], "leaves nothing to train"),
        (["--network_dim=0"], "--network_dim (adapter.rank): must be a whole number above 0"),
        (["--sample_every_n_steps=5"], "there are no prompts"),
        (["--base_weights=none.safetensors"], "--base_weights: there is no file"),
        (["--dim_from_weights"], "needs a file to take the ranks from"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(more: list[str], said: str, tmp_path: Path) -> None:
    found = problems(tmp_path, *more)
    assert len(found) == 1 and said in found[0], found


def test_an_option_that_the_others_leave_idle_is_told(tmp_path: Path) -> None:
    made = job(tmp_path, "--timestep_sampling=flux_shift", "--discrete_flow_shift=2")
    assert told(made, "--discrete_flow_shift") == [
        "nothing: changes nothing: the job is the same without it"
    ]


def test_prompts_become_previews(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text(
        "# no prompt\n\na cat --w 770 --h 512 --d 7 --s 12 --g 2.5\nplain --n bad --ss euler\n"
        "led --n bad --l 3.5\n"
    )
    made = job(tmp_path, "--sample_prompts=p.txt", "--sample_every_n_epochs=2")
    wanted = made.job.validation
    assert wanted.every_epochs == 2
    first, second, led = wanted.requests
    assert (first.prompt, first.width, first.height, first.seed) == ("a cat", 768, 512, 7)
    assert (first.steps, first.guidance) == (12, 2.5)
    assert (second.width, second.steps, second.guidance, second.seed) == (512, 20, 3.5, None)
    assert any("used with a scale" in one for one in told(made, "p.txt:4"))
    assert (second.scale, second.negative) == (None, None)
    assert (led.scale, led.negative) == (3.5, "bad")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.json", json.dumps(["a cat --w 640", {"prompt": "a dog", "width": 640}])),
        ("p.toml", '[prompt]\nwidth = 640\n[[prompt.subset]]\nprompt = "a"\n'),
    ],
)
def test_prompts_in_other_files(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    made = job(tmp_path, f"--sample_prompts={name}", "--sample_every_n_steps=5").job.validation
    assert made.every == 5 and {one.width for one in made.requests} == {640}


def test_trackers(tmp_path: Path) -> None:
    assert job(tmp_path, "--logging_dir=logs").job.tracking.trackers == ("tensorboard",)
    more = ["--log_with=wandb", "--wandb_run_name=mine"]
    wanted = job(tmp_path, *more).job.tracking
    assert (wanted.project, wanted.run) == ("network_train", "mine")


def test_the_dataset_of_the_guide_is_a_set_of_buckets(tmp_path: Path) -> None:
    one = job(tmp_path, dataset=DATASET).job.data[0]
    assert isinstance(one.sizing, BucketsSizing) and one.sizing.enable
    assert (one.caption_ending, one.subfolders, one.interpolation) == (".txt", False, "bicubic")
