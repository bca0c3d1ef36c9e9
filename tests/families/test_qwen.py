"""Our Qwen-Image against the published one, on toys of the real classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scumble import families
from scumble.families import room, weights
from scumble.families.builtin import materialised
from scumble.families.family import TEXT_MASK, Family, Knobs, Prompt, Scene, Told
from scumble.families.layers import pack, unpack
from scumble.hardware.blocks import Net, plain, recomputed
from scumble.objective.solvers import walked
from tests.toys import opened

CPU = torch.device("cpu")
TOYS = {
    "base": "tiny-qwen-image",
    "edit-v1": "tiny-qwen-edit",
    "edit-v2": "tiny-qwen-edit-plus",
}
TEXT = 64  # features of the toy's text


def family_of(flavour: str) -> Family:
    return families.find("qwen-image", flavour)


def part_of(flavour: str, part: str) -> torch.nn.Module:
    model = opened(family_of(flavour), f"builtin:{TOYS[flavour]}")
    return weights.loaded(model, part, dtype=torch.float32, device=CPU)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def net() -> Net:
    return Net(part_of("base", "denoiser"), plain)


@pytest.fixture(scope="module")
def published() -> Any:
    from diffusers import QwenImageTransformer2DModel

    return QwenImageTransformer2DModel.from_pretrained(
        materialised("tiny-qwen-image") / "transformer"
    ).eval()


def asked_as_pipelines_do(
    published: Any, noisy: Tensor, times: Tensor, told: Told, guidance: None = None
) -> Tensor:
    """The transformer's answer, cut to the picture's tokens, as the three pipelines call it."""
    every = (noisy, *told.references)
    shapes = [[(1, one.shape[-2] // 2, one.shape[-1] // 2) for one in every]] * len(noisy)
    tokens = published(
        hidden_states=torch.cat([pack(one) for one in every], dim=1),
        timestep=times,
        guidance=guidance,
        encoder_hidden_states=told.values["text"],
        encoder_hidden_states_mask=told.values.get(TEXT_MASK),
        img_shapes=shapes,
        return_dict=False,
    )[0]
    count = noisy.shape[-2] * noisy.shape[-1] // 4
    return unpack(tokens[:, :count], height=noisy.shape[-2])


def words(lengths: list[int]) -> dict[str, Tensor]:
    """Texts of these lengths in one batch, padded with numbers that nobody may see."""
    most = max(lengths)
    values = {"text": drawn(len(lengths), most, TEXT, seed=3)}
    if len(set(lengths)) > 1:
        mask = torch.arange(most)[None] < torch.tensor(lengths)[:, None]
        values[TEXT_MASK] = mask.to(torch.uint8)
    return values


@pytest.mark.parametrize("lengths", [[24], [24, 24], [24, 7]], ids=str)
@pytest.mark.parametrize(
    ("flavour", "size", "sizes"),
    [
        ("base", (8, 8), []),
        ("base", (6, 10), []),
        ("edit-v1", (6, 10), [(8, 12)]),
        ("edit-v2", (10, 6), [(8, 8)]),
        ("edit-v2", (6, 10), [(8, 12), (4, 6), (14, 10)]),
    ],
    ids=str,
)
def test_velocity_is_the_published_transformers(
    net: Net,
    published: Any,
    lengths: list[int],
    flavour: str,
    size: tuple[int, int],
    sizes: list[tuple[int, int]],
) -> None:
    batch, family = len(lengths), family_of(flavour)
    noisy, times = drawn(batch, 16, *size), torch.tensor([0.3, 0.9])[:batch]
    references = tuple(drawn(batch, 16, *one, seed=5 + at) for at, one in enumerate(sizes))
    told = Told(values=words(lengths), references=references)
    with torch.no_grad():
        told = family.tell(told, Scene(frames=torch.zeros(batch, 8).long()), Knobs(guidance=0.0))
        ours = family.predict(net, noisy, times, told)
        theirs = asked_as_pipelines_do(published, noisy, times, told)
    assert ours.std() > 0.1
    assert (ours - theirs).abs().max() < 1e-5


def test_half_the_precision_stays_near(net: Net) -> None:
    """All of it in bf16, as on a card: weights, text and latents; times are told in full."""
    family, half = family_of("edit-v1"), Net(part_of("base", "denoiser").bfloat16(), plain)
    noisy, times = drawn(2, 16, 6, 10), torch.tensor([0.3, 0.9])
    values, reference = words([24, 7]), drawn(2, 16, 8, 4, seed=5)
    with torch.no_grad():
        exact = family.predict(net, noisy, times, Told(values=values, references=(reference,)))
        values["text"] = values["text"].bfloat16()
        rough = family.predict(half, noisy, times, Told(values=values, references=(reference,)))
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().mean() < 0.03 * exact.std()


def test_positions_far_down_a_long_text_are_the_published_ones(net: Net, published: Any) -> None:
    noisy, times = drawn(1, 16, 4, 6), torch.tensor([0.5])
    told = Told(values={"text": drawn(1, 1400, TEXT, seed=1)})
    with torch.no_grad():
        ours = family_of("base").predict(net, noisy, times, told)
        theirs = asked_as_pipelines_do(published, noisy, times, told)
    assert (ours - theirs).abs().max() < 1e-5


def test_texts_of_different_lengths_in_a_batch_are_as_if_each_was_alone(net: Net) -> None:
    family, lengths = family_of("edit-v2"), [9, 5, 30]
    noisy, times = drawn(3, 16, 6, 4), torch.tensor([0.2, 0.5, 0.8])
    values, reference = words(lengths), drawn(3, 16, 4, 4, seed=2)
    with torch.no_grad():
        together = family.predict(net, noisy, times, Told(values=values, references=(reference,)))
        for row, length in enumerate(lengths):
            alone = Told(
                values={"text": values["text"][row : row + 1, :length]},
                references=(reference[row : row + 1],),
            )
            one = family.predict(net, noisy[row : row + 1], times[row : row + 1], alone)
            assert (together[row] - one[0]).abs().max() < 1e-5


def test_what_padding_holds_has_no_effect(net: Net) -> None:
    values = words([24, 7])
    other = values | {"text": values["text"].clone()}
    other["text"][1, 7:] = 100.0
    noisy, times = drawn(2, 16, 4, 4), torch.tensor([0.5, 0.5])
    with torch.no_grad():
        first, again = (
            family_of("base").predict(net, noisy, times, Told(values=one))
            for one in (values, other)
        )
    assert torch.equal(first, again)


def test_which_reference_comes_first_changes_the_answer(net: Net) -> None:
    one, two = drawn(1, 16, 4, 6, seed=1), drawn(1, 16, 4, 6, seed=2)
    noisy, times, values = drawn(1, 16, 4, 4), torch.tensor([0.5]), words([8])
    with torch.no_grad():
        answers = [
            family_of("edit-v2").predict(net, noisy, times, Told(values=values, references=order))
            for order in ((one, two), (two, one))
        ]
    assert (answers[0] - answers[1]).abs().max() > 1e-3


def test_a_block_computed_again_gives_the_same_gradients(net: Net) -> None:
    grads = []
    for run in (plain, recomputed):
        noisy = torch.ones(1, 16, 4, 4, requires_grad=True)
        told = Told(values=words([6]))
        answer = family_of("base").predict(Net(net.module, run), noisy, torch.tensor([0.5]), told)
        answer.sum().backward()
        grads.append(noisy.grad)
    assert torch.equal(grads[0], grads[1])


def test_what_no_picture_hears_gets_no_gradient_and_everything_else_does() -> None:
    family, module = family_of("base"), part_of("base", "denoiser")
    module.requires_grad_(True)
    told = Told(values=words([6, 4]))
    answer = family.predict(Net(module, plain), drawn(2, 16, 4, 4), torch.rand(2), told)
    answer.square().sum().backward()
    linears = {n for n, one in module.named_modules() if isinstance(one, torch.nn.Linear)}
    grads = {name: module.get_parameter(f"{name}.weight").grad for name in linears}
    still = {name for name, grad in grads.items() if grad is None or not grad.any()}
    assert family.mute is not None and still == set(family.mute(module))


@pytest.mark.parametrize("scale", [1.0, 4.0], ids=str)
def test_guidance_keeps_every_token_as_long_as_with_the_prompt_alone(scale: float) -> None:
    with_prompt, without = drawn(2, 16, 4, 6), drawn(2, 16, 4, 6, seed=1)
    found = pack(family_of("base").guided(with_prompt, without, scale))
    combined = pack(without) + scale * (pack(with_prompt) - pack(without))
    lengths = [torch.norm(one, dim=-1, keepdim=True) for one in (pack(with_prompt), combined)]
    torch.testing.assert_close(found, combined * (lengths[0] / lengths[1]), atol=1e-6, rtol=0)
    nothing = torch.zeros_like(with_prompt)
    assert torch.equal(family_of("base").guided(nothing, nothing, 4.0), nothing)


@pytest.mark.parametrize(("steps", "tokens"), [(2, 16), (4, 64), (50, 4096), (28, 6889)], ids=str)
def test_the_path_of_a_preview_is_the_published_schedulers(steps: int, tokens: int) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.qwenimage.pipeline_qwenimage import calculate_shift

    folder = materialised("tiny-qwen-image") / "scheduler"
    scheduler: Any = FlowMatchEulerDiscreteScheduler.from_pretrained(folder)
    config = scheduler.config
    mu = calculate_shift(
        tokens,
        config.base_image_seq_len,
        config.max_image_seq_len,
        config.base_shift,
        config.max_shift,
    )
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
    found = family_of("base").process.path(steps, tokens)
    torch.testing.assert_close(found, scheduler.sigmas, atol=1e-6, rtol=0)
    assert found[-2] == pytest.approx(0.02) and found[-1] == 0.0


def test_a_path_of_one_step_is_a_number_where_the_published_one_is_none() -> None:
    assert family_of("base").process.path(1, 64).tolist() == [1.0, 0.0]


def test_a_preview_with_guidance_is_the_published_pipelines(net: Net) -> None:
    from diffusers import QwenImagePipeline

    family, folder = family_of("base"), materialised("tiny-qwen-image")
    pipeline: Any = QwenImagePipeline.from_pretrained(folder, text_encoder=None, tokenizer=None)
    pipeline.set_progress_bar_config(disable=True)
    noise = drawn(1, 16, 8, 12)
    asked, empty = drawn(1, 9, TEXT, seed=1), drawn(1, 5, TEXT, seed=2)
    steps, scale = 4, family.preview_scale
    theirs = pipeline(
        prompt_embeds=asked,
        negative_prompt_embeds=empty,
        prompt_embeds_mask=torch.ones(1, 9).long(),
        negative_prompt_embeds_mask=torch.ones(1, 5).long(),
        true_cfg_scale=scale,
        height=64,
        width=96,
        num_inference_steps=steps,
        latents=pack(noise),
        output_type="latent",
    ).images

    def answer(noisy: Tensor, times: Tensor) -> Tensor:
        told = [Told(values={"text": one}) for one in (asked, empty)]
        with_prompt, without = (family.predict(net, noisy, times, one) for one in told)
        return family.guided(with_prompt, without, scale)

    with torch.no_grad():
        ours = walked(family.process, answer, noise, family.process.path(steps, 4 * 6))
    assert (pack(ours) - theirs).abs().max() < 1e-4


@pytest.fixture(scope="module")
def autoencoder() -> Any:
    return part_of("base", "autoencoder")


def test_pictures_are_seen_and_shown_as_the_published_pipelines_do_it(autoencoder: Any) -> None:
    from diffusers import AutoencoderKLQwenImage, QwenImageEditPipeline, QwenImagePipeline

    folder = materialised("tiny-qwen-image")
    published = AutoencoderKLQwenImage.from_pretrained(folder / "vae").eval()
    family, modules = family_of("edit-v1"), {"autoencoder": autoencoder}
    pixels = drawn(2, 3, 64, 96).clamp(-1, 1)
    edit: Any = SimpleNamespace(vae=published, latent_channels=16)
    with torch.no_grad():
        entries = family.see(modules, pixels)
        one = torch.Generator()  # asked for, and not used: the middle is taken
        theirs = QwenImageEditPipeline._encode_vae_image(edit, pixels[:, :, None], one)
        found = torch.stack([one["latents"] for one in entries])
        shown = family.show(modules, found)
        pipeline: Any = QwenImagePipeline.from_pretrained(
            folder, text_encoder=None, tokenizer=None, transformer=None
        )
        decoded = pipeline.vae.decode(_published_latents(pipeline, theirs)).sample[:, :, 0]
    assert found.shape == (2, 16, 8, 12) and found.std() > 0.1
    torch.testing.assert_close(found, theirs[:, :, 0], atol=1e-6, rtol=0)
    torch.testing.assert_close(shown, decoded, atol=1e-6, rtol=0)


def _published_latents(pipeline: Any, latents: Tensor) -> Tensor:
    """What the pipelines do to latents right before they decode them."""
    config = pipeline.vae.config
    mean = torch.tensor(config.latents_mean).view(1, 16, 1, 1, 1)
    inverse = 1.0 / torch.tensor(config.latents_std).view(1, 16, 1, 1, 1)
    return latents / inverse + mean


def test_the_builtin_autoencoder_shows_a_blurred_picture(autoencoder: Any) -> None:
    family, modules = family_of("base"), {"autoencoder": autoencoder}
    pixels = torch.ones(1, 3, 64, 64)
    pixels[:, 0, 16:48, 16:48] = -1.0
    with torch.no_grad():
        latents = family.see(modules, pixels)[0]["latents"][None]
        shown = family.show(modules, latents)
    assert (shown - pixels).abs().mean() < 0.1
    assert torch.allclose(shown[0, :, 32, 32], torch.tensor([-1.0, 1.0, 1.0]), atol=0.02)


def test_a_picture_seen_in_tiles_is_almost_the_same(autoencoder: Any) -> None:
    family, modules = family_of("base"), {"autoencoder": autoencoder}
    pixels = drawn(1, 3, 16, 12).clamp(-1, 1).repeat_interleave(16, 2).repeat_interleave(16, 3)
    untouched = dict(vars(autoencoder))
    with torch.no_grad():
        whole = family.see(modules, pixels)[0]["latents"]
        with room.tiles(autoencoder, (256, 192), 8) as can:
            assert can and autoencoder.use_tiling and autoencoder.tile_sample_min_height == 128
            tiled = family.see(modules, pixels)[0]["latents"]
    assert tiled.shape == whole.shape
    assert (tiled - whole).abs().mean() < 0.05 * whole.std()
    assert {name: vars(autoencoder)[name] for name in untouched} == untouched


@pytest.mark.parametrize("flavour", TOYS)
def test_every_flavour_goes_from_picture_and_words_to_a_picture(flavour: str) -> None:
    family = family_of(flavour)
    model = opened(family, f"builtin:{TOYS[flavour]}")
    modules = {
        part: weights.loaded(model, part, dtype=torch.float32, device=CPU) for part in family.parts
    }
    pixels = torch.linspace(-1, 1, 3 * 32 * 48).reshape(1, 3, 32, 48)
    sights = (np.full((56, 84, 3), 128, dtype=np.uint8),) * min(family.references, 2)
    with torch.no_grad():
        latents = family.see(modules, pixels)[0]["latents"][None]
        spoken = family.words(weights.tools(model), Prompt("a cat", 16, pictures=sights))
        values = {"text": family.read(modules, [spoken])[0]["text"][None]}
        told = Told(values=values, references=(latents,) * len(sights))
        answer = family.predict(Net(modules["denoiser"], plain), latents, torch.tensor([0.5]), told)
        shown = family.show(modules, answer)
    assert latents.shape == answer.shape == (1, 16, 4, 6) and shown.shape == pixels.shape
    assert bool(answer.isfinite().all())


def test_flavours_take_as_many_references_as_published() -> None:
    facts = {name: family_of(name) for name in TOYS}
    assert [one.references for one in facts.values()] == [0, 1, 16]
    assert [one.glance is not None for one in facts.values()] == [False, True, True]
    for one in facts.values():
        assert one.preview_scale == 4.0 and not one.guidance_embedded
        assert replace(one, flavour="x").process == facts["base"].process


@pytest.mark.parametrize("flavour", TOYS)
def test_the_toy_loads_in_its_pipeline(flavour: str, tmp_path: Path) -> None:
    import diffusers

    folder = materialised(TOYS[flavour])
    told: Any = diffusers.DiffusionPipeline.load_config(folder)
    kind: Any = getattr(diffusers, told["_class_name"])
    shows = {} if flavour == "base" else {"processor": None}
    pipeline = kind.from_pretrained(folder, **shows)
    assert pipeline.transformer.config.joint_attention_dim == TEXT
    assert pipeline.text_encoder is not None and pipeline.tokenizer is not None
