"""Our FLUX against the published one, on toys of the real classes."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scumble import families
from scumble.families import weights
from scumble.families.builtin import write_tiny_flux
from scumble.families.family import Family, Knobs, Prompt, Scene, Told, stacked
from scumble.families.flux.model import pack, unpack
from scumble.hardware.blocks import Net, plain, recomputed
from tests.toys import opened

CPU = torch.device("cpu")
FLAVOURS = {"dev": True, "schnell": False}
TOYS = {
    ("flux", "dev"): "tiny-flux",
    ("flux", "schnell"): "tiny-flux-schnell",
    ("flux", "kontext"): "tiny-flux-kontext",
    ("qwen-image", "base"): "tiny-qwen-image",
    ("qwen-image", "edit-v1"): "tiny-qwen-edit",
    ("qwen-image", "edit-v2"): "tiny-qwen-edit-plus",
}


@pytest.fixture(scope="module", params=FLAVOURS, ids=str)
def toy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A family and its toy as a diffusers folder."""
    folder = tmp_path_factory.mktemp(request.param)
    write_tiny_flux(folder, {"guidance_embeds": FLAVOURS[request.param]})
    return families.find("flux", request.param), folder


def net_of(family: Family, folder: Path) -> Net:
    model = opened(family, folder)
    return Net(weights.loaded(model, "denoiser", dtype=torch.float32, device=CPU), plain)


def told_of(family: Family, batch: int, guidance: float = 3.5) -> Told:
    make = torch.Generator().manual_seed(1)
    values = {
        "text": torch.randn(batch, 24, 64, generator=make),
        "summary": torch.randn(batch, 64, generator=make),
    }
    scene = Scene(frames=torch.zeros(batch, 8, dtype=torch.int64))
    return family.tell(Told(values=values), scene, Knobs(guidance=guidance))


def test_pack_and_unpack_are_inverses() -> None:
    latents = torch.randn(2, 16, 6, 4)
    assert torch.equal(unpack(pack(latents), height=6), latents)


@pytest.mark.parametrize("size", [(8, 8), (8, 12), (6, 4)], ids=str)
def test_velocity_is_the_published_transformers(toy, size: tuple[int, int]) -> None:
    from diffusers import FluxPipeline, FluxTransformer2DModel

    family, folder = toy
    told, times = told_of(family, 2), torch.tensor([0.3, 0.9])
    noisy = torch.randn(2, 16, *size, generator=torch.Generator().manual_seed(0))
    published = FluxTransformer2DModel.from_pretrained(folder / "transformer")
    height, width = size
    with torch.no_grad():
        ours = family.predict(net_of(family, folder), noisy, times, told)
        tokens = published(
            hidden_states=FluxPipeline._pack_latents(noisy, 2, 16, height, width),
            timestep=times,
            guidance=told.values["guidance"] if family.guidance_embedded else None,
            pooled_projections=told.values["summary"],
            encoder_hidden_states=told.values["text"],
            txt_ids=torch.zeros(24, 3),
            img_ids=FluxPipeline._prepare_latent_image_ids(
                2, height // 2, width // 2, CPU, torch.float32
            ),
            return_dict=False,
        )[0]
        theirs = FluxPipeline._unpack_latents(tokens, height * 8, width * 8, 8)
    assert ours.std() > 0.1
    assert (ours - theirs).abs().max() < 1e-5


@pytest.mark.parametrize("sizes", [[], [(8, 12)], [(8, 12), (4, 6), (10, 4)]], ids=str)
def test_kontext_is_the_published_transformer_with_references(
    tmp_path: Path, sizes: list[tuple[int, int]]
) -> None:
    from diffusers import FluxKontextPipeline, FluxTransformer2DModel

    write_tiny_flux(tmp_path, {})
    family, make = families.find("flux", "kontext"), torch.Generator().manual_seed(0)
    noisy, times = torch.randn(2, 16, 8, 6, generator=make), torch.tensor([0.3, 0.9])
    references = tuple(torch.randn(2, 16, *size, generator=make) for size in sizes)
    told = replace(told_of(family, 2), references=references)
    published = FluxTransformer2DModel.from_pretrained(tmp_path / "transformer")
    every = [noisy, *references]
    ids = [
        FluxKontextPipeline._prepare_latent_image_ids(2, h // 2, w // 2, CPU, torch.float32)
        for h, w in (one.shape[-2:] for one in every)
    ]
    for one, (top, left) in zip(ids[1:], [(0, 0), (4, 0), (0, 6)], strict=False):
        one += torch.tensor([1, top, left])
    with torch.no_grad():
        ours = family.predict(net_of(family, tmp_path), noisy, times, told)
        tokens = published(
            hidden_states=torch.cat(
                [FluxKontextPipeline._pack_latents(one, 2, 16, *one.shape[-2:]) for one in every], 1
            ),
            timestep=times,
            guidance=told.values["guidance"],
            pooled_projections=told.values["summary"],
            encoder_hidden_states=told.values["text"],
            txt_ids=torch.zeros(24, 3),
            img_ids=torch.cat(ids),
            return_dict=False,
        )[0]
        theirs = FluxKontextPipeline._unpack_latents(tokens[:, : 4 * 3], 64, 48, 8)
    assert (ours - theirs).abs().max() < 1e-5


def test_text_is_read_as_the_published_pipeline_reads_it(toy) -> None:
    from diffusers import FluxPipeline

    family, folder = toy
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = FluxPipeline.from_pretrained(folder)
    model = opened(family, folder)
    readers = {
        part: weights.loaded(model, part, dtype=torch.float32, device=CPU)
        for part in ("clip", "t5")
    }
    prompt = Prompt("a 3d emoji of a red apple", family.text_tokens)
    with torch.no_grad():
        entry = family.read(readers, [family.words(weights.tools(model), prompt)])[0]
        text, summary, _ = pipeline.encode_prompt(
            prompt.text, prompt.text, max_sequence_length=prompt.tokens, device=CPU
        )
    assert entry["text"].shape[0] == {"dev": 512, "schnell": 256}[family.flavour]
    assert text is not None and summary is not None
    torch.testing.assert_close(entry["text"], text[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(entry["summary"], summary[0], atol=1e-6, rtol=0)


def test_the_path_of_a_preview_is_the_published_schedulers(toy) -> None:
    import numpy as np
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    family, folder = toy
    made = FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler")
    assert isinstance(made, FlowMatchEulerDiscreteScheduler)
    scheduler = made
    for steps, tokens in ((4, 64), (28, 4096), (7, 1000)):
        sigmas = np.linspace(1.0, 1 / steps, steps).tolist()
        scheduler.set_timesteps(sigmas=sigmas, mu=calculate_shift(tokens))
        found = family.process.path(steps, tokens)
        torch.testing.assert_close(found, scheduler.sigmas, atol=1e-6, rtol=0)


def test_a_block_computed_again_gives_the_same_gradients(toy) -> None:
    family, folder = toy
    net, told = net_of(family, folder), told_of(family, 1)
    grads = []
    for run in (plain, recomputed):
        noisy = torch.ones(1, 16, 4, 4, requires_grad=True)
        family.predict(Net(net.module, run), noisy, torch.tensor([0.5]), told).sum().backward()
        grads.append(noisy.grad)
    assert torch.equal(grads[0], grads[1])


def test_every_family_predicts_in_the_shape_of_its_latents_and_encodes_the_same_twice() -> None:
    assert TOYS.keys() == families.FAMILIES.keys()
    for (name, flavour), toy in TOYS.items():
        family = families.find(name, flavour)
        model = opened(family, f"builtin:{toy}")
        modules = {
            part: weights.loaded(model, part, dtype=torch.float32, device=CPU)
            for part in family.parts
        }
        pixels = torch.linspace(-1, 1, 3 * 32 * 48).reshape(1, 3, 32, 48)
        prompt = Prompt("a cat", 16)
        with torch.no_grad():
            first, again = (family.see(modules, pixels)[0] for _ in range(2))
            words = family.words(weights.tools(model), prompt)
            told = Told(values=stacked(family.read(modules, [words])))
            told = family.tell(told, Scene(frames=torch.zeros(1, 8).long()), Knobs(guidance=1.0))
            latents = first["latents"][None]
            net = Net(modules["denoiser"], plain)
            answer = family.predict(net, latents, torch.tensor([0.5]), told)
            shown = family.show(modules, latents)
        assert torch.equal(first["latents"], again["latents"])
        assert first["latents"].shape == (family.latent_channels, 4, 6)
        assert answer.shape == latents.shape and shown.shape == pixels.shape


def test_the_builtin_autoencoder_shows_a_blurred_picture() -> None:
    family = families.find("flux", "dev")
    model = opened(family, "builtin:tiny-flux")
    module = weights.loaded(model, "autoencoder", dtype=torch.float32, device=CPU)
    pixels = torch.ones(1, 3, 64, 64)
    pixels[:, 0, 16:48, 16:48] = -1.0
    with torch.no_grad():
        latents = family.see({"autoencoder": module}, pixels)[0]["latents"][None]
        shown = family.show({"autoencoder": module}, latents)
    assert (shown - pixels).abs().mean() < 0.1
    assert torch.allclose(shown[0, :, 32, 32], torch.tensor([-1.0, 1.0, 1.0]), atol=0.02)
