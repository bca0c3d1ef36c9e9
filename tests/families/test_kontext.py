"""Our FLUX.1 Kontext against the published pipeline: what it tells its transformer, and reads."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from scumble import families
from scumble.families import weights
from scumble.families.builtin import write_tiny_flux
from scumble.families.family import Knobs, Prompt, Scene, Told
from scumble.families.flux.model import beside
from scumble.families.tokenizers import shipped
from scumble.hardware.blocks import Net, plain
from tests.toys import opened

CPU = torch.device("cpu")
KONTEXT = families.find("flux", "kontext")
TEXTS = ["make it night", "", "Turn the caf\u00e9 into a 3d emoji, keep its colours " * 30]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder whose words are numbered as the published model's are."""
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    folder = tmp_path_factory.mktemp("kontext")
    write_tiny_flux(folder, {})
    for name, kind in (("tokenizer", "clip"), ("tokenizer_2", "t5")):
        shutil.rmtree(folder / name)
        shutil.copytree(shipped(kind), folder / name)
    torch.manual_seed(0)
    size: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2}
    ends: dict[str, Any] = {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}
    letters = CLIPTextConfig(vocab_size=49408, num_attention_heads=4, **size, **ends)
    CLIPTextModel(letters).save_pretrained(folder / "text_encoder")
    pieces = T5Config(vocab_size=32128, d_model=64, d_kv=16, d_ff=64, num_layers=2, num_heads=4)
    pieces.feed_forward_proj, pieces.is_gated_act, pieces.dense_act_fn = "gated-gelu", True, "gelu"
    T5EncoderModel(pieces).save_pretrained(folder / "text_encoder_2")
    return folder


@pytest.fixture(scope="module")
def pipeline(toy: Path) -> Any:
    from diffusers import FluxKontextPipeline

    made = FluxKontextPipeline.from_pretrained(toy)
    made.set_progress_bar_config(disable=True)
    return made


def loaded(folder: Path, *parts: str) -> dict[str, Any]:
    model = opened(KONTEXT, folder)
    return {one: weights.loaded(model, one, dtype=torch.float32, device=CPU) for one in parts}


def picture(width: int, height: int, seed: int) -> Image.Image:
    drawn = np.random.default_rng(seed).integers(0, 255, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(drawn).resize((width, height), Image.Resampling.BICUBIC)


def pixels(image: Image.Image) -> Tensor:
    values = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    return values / 127.5 - 1


def calls(pipeline: Any, **asked: Any) -> list[tuple[dict[str, Any], Tensor]]:
    """What the pipeline tells its transformer, and what that answers, time after time."""
    heard: list[tuple[dict[str, Any], Tensor]] = []

    def hear(_: object, __: object, told: dict[str, Any], answer: tuple[Tensor]) -> None:
        heard.append((told, answer[0]))

    hook = pipeline.transformer.register_forward_hook(hear, with_kwargs=True)
    try:
        pipeline(**asked, output_type="latent", generator=torch.Generator().manual_seed(3))
    finally:
        hook.remove()
    return heard


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("size", [None, (96, 64), (48, 112)], ids=str)
def test_the_network_answers_what_the_pipeline_hears_from_its_own(
    toy: Path, pipeline: Any, size: tuple[int, int] | None, batch: int
) -> None:
    """With one reference of another size than the picture's and without, at every step; text and
    reference encoded by each side for itself."""
    ours, prompts = loaded(toy, "denoiser", "autoencoder", "clip", "t5"), TEXTS[:batch]
    shown = [] if size is None else [picture(*size, number) for number in range(batch)]
    heard = calls(
        pipeline,
        image=shown or None,
        prompt=prompts,
        width=80,
        height=48,
        num_inference_steps=2,
        guidance_scale=2.5,
        max_sequence_length=64,
        max_area=80 * 48,
        _auto_resize=False,
    )
    assert len(heard) == 2
    with torch.no_grad():
        tools = weights.tools(opened(KONTEXT, toy))
        entries = KONTEXT.read(ours, [KONTEXT.words(tools, Prompt(one, 64)) for one in prompts])
        seen = KONTEXT.see(ours, torch.cat([pixels(one) for one in shown])) if shown else []
        words = {name: torch.stack([one[name] for one in entries]) for name in entries[0]}
        references = (torch.stack([one["latents"] for one in seen]),) if seen else ()
        scene = Scene(frames=torch.zeros(batch, 8, dtype=torch.int64))
        told = KONTEXT.tell(Told(values=words, references=references), scene, Knobs(guidance=2.5))
        for asked, answer in heard:
            tokens = asked["hidden_states"][:, : 5 * 3]
            noisy = pipeline._unpack_latents(tokens, 48, 80, 8)
            found = KONTEXT.predict(
                Net(ours["denoiser"], plain), noisy, asked["timestep"].expand(batch), told
            )
            wanted = pipeline._unpack_latents(answer[:, : 5 * 3], 48, 80, 8)
            assert found.std() > 0.1
            assert (found - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("text", TEXTS, ids=["short", "empty", "long"])
def test_a_prompt_is_read_as_the_pipeline_reads_it_with_the_real_tokenizers(
    toy: Path, pipeline: Any, text: str
) -> None:
    readers, tokens = loaded(toy, "clip", "t5"), KONTEXT.text_tokens
    with torch.no_grad():
        tools = weights.tools(opened(KONTEXT, toy))
        (entry,) = KONTEXT.read(readers, [KONTEXT.words(tools, Prompt(text, tokens))])
        theirs, summary, _ = pipeline.encode_prompt(text, text, max_sequence_length=tokens)
    assert tokens == 512 and entry["text"].shape == (512, 64)
    assert (entry["text"] - theirs[0]).abs().max() < 1e-5
    assert (entry["summary"] - summary[0]).abs().max() < 1e-5


def test_references_stand_where_comfyui_puts_them() -> None:
    """Its rule, in latents: beside what is there while that is taller than wide, else below; all
    on plane 1, in patches of two."""
    random = np.random.default_rng(0)
    for _ in range(200):
        sizes = [tuple(int(n) * 2 for n in random.integers(1, 60, 2)) for _ in range(4)]
        right = bottom = 0
        places = []
        for height, width in sizes:
            x, y = 0, 0
            if height + bottom > width + right:
                x = right
            else:
                y = bottom
            places.append((1, y // 2, x // 2, height // 2, width // 2))
            right, bottom = max(right, width + x), max(bottom, height + y)
        grids = beside([torch.zeros(1, 16, *size) for size in sizes])
        assert [(g.plane, g.top, g.left, g.height, g.width) for g in grids] == places
        cells = [
            (top + row, left + column)
            for _, top, left, rows, columns in places
            for row in range(rows)
            for column in range(columns)
        ]
        assert len(cells) == len(set(cells)), "no reference lies over another"
