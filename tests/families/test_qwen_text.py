"""Qwen2.5-VL reads texts as the published pipelines do, with the real tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scumble import families
from scumble.data.batch import stacked
from scumble.families import sources, weights
from scumble.families.encoders import qwen_vl
from scumble.families.family import TEXT_MASK, Family, Prompt, Sight
from scumble.families.qwen import text, text_toy
from scumble.families.qwen.text import EDIT, EDIT_PLUS, TEXT, Template
from scumble.families.tokenizers import shipped

CPU = torch.device("cpu")
PROMPTS = ["a cat", "", "\n caf\u00e9 {x} \u65e5\u672c, 12345", "it's a fox " * 400]
EYES = {
    "depth": 2,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_heads": 2,
    "out_hidden_size": 16,
    "window_size": 112,
    "fullatt_block_indexes": [1],
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A small text encoder of transformers, with the vocabulary of the real one."""
    from transformers import Qwen2_5_VLForConditionalGeneration
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig

    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]}
    words = {
        "vocab_size": 152064,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rope_parameters": rope,
    }
    marks: Any = {"image_token_id": 151655, "vision_start_token_id": 151652}
    config = Qwen2_5_VLConfig(text_config=words, vision_config=EYES, **marks)
    made = Qwen2_5_VLForConditionalGeneration(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for one in made.parameters():
        one.copy_(torch.randn(one.shape, generator=generator) * (0.3 if one.ndim > 1 else 0.6))
    return made


@pytest.fixture(scope="module")
def reader(published: Any, tmp_path_factory: pytest.TempPathFactory) -> torch.nn.Module:
    """Ours, with the same weights, by way of a folder on disk."""
    folder = tmp_path_factory.mktemp("published")
    published.save_pretrained(folder / "text_encoder")
    return loaded(folder / "text_encoder", seeing=True)


@pytest.fixture(scope="module")
def pieces() -> text.Lexicon:
    return text.tokenizer(shipped("qwen"))


def family(*, seeing: bool) -> Family:
    return families.find("qwen-image", "edit-v2" if seeing else "base")


def loaded(place: Path, *, seeing: bool) -> torch.nn.Module:
    """The reader from a folder or a file."""
    own = family(seeing=seeing)
    sought = sources.Sought(own, text.NAME)
    find = sources.in_own_folder if place.is_dir() else sources.in_file
    model = weights.Model(own, {text.NAME: find(sought, place)})
    return weights.loaded(model, text.NAME, dtype=torch.float32, device=CPU)


def pipeline(name: str, encoder: Any, pieces: text.Lexicon) -> Any:
    """A pipeline that has what it reads texts with; its processor does without torchvision."""
    import diffusers
    from transformers import Qwen2VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
        Qwen2VLImageProcessorPil,
    )
    from transformers.processing_utils import ProcessorMixin

    class Processor(Qwen2VLProcessor):
        @classmethod
        def get_attributes(cls) -> list[str]:
            return ["image_processor", "tokenizer"]

        def __init__(self, image_processor: Any, tokenizer: Any) -> None:
            self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
            self.image_token_id, self.video_token_id = 151655, 151656
            ProcessorMixin.__init__(self, image_processor, tokenizer)

    size = {"shortest_edge": qwen_vl.LEAST, "longest_edge": qwen_vl.MOST}
    seeing = {"processor": Processor(Qwen2VLImageProcessorPil(size=size), pieces.pieces)}
    return getattr(diffusers, name)(
        text_encoder=encoder,
        tokenizer=pieces.pieces,
        scheduler=None,
        vae=None,
        transformer=None,
        **(seeing if "Edit" in name else {}),
    )


def read(
    reader: torch.nn.Module,
    pieces: text.Lexicon,
    template: Template,
    prompts: Sequence[str],
    seen: tuple[Sight, ...] = (),
) -> list[dict[str, Tensor]]:
    tools, tokens = {text.NAME: pieces}, 1024
    words = [template.words(tools, Prompt(one, tokens, pictures=seen)) for one in prompts]
    with torch.no_grad():
        return template.read({text.NAME: reader}, words)


def sight(height: int, width: int, seed: int) -> Sight:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def same(theirs: tuple[Tensor, Tensor | None], ours: Sequence[Mapping[str, Tensor]]) -> None:
    """Embeddings and mask, as a batch."""
    embedded, mask = theirs
    told = stacked(ours)
    assert told["text"].shape == embedded.shape
    assert (told["text"] - embedded).abs().max() < 1e-5
    assert (mask is None) == (TEXT_MASK not in told)
    if mask is not None:
        assert torch.equal(told[TEXT_MASK].long(), mask)


@pytest.mark.parametrize("prompts", [PROMPTS[:1], PROMPTS[1:2], PROMPTS[:3], PROMPTS[2:]])
def test_texts_alone_are_read_as_the_pipeline_reads_them(
    published: Any, reader: torch.nn.Module, pieces: text.Lexicon, prompts: list[str]
) -> None:
    """One and several, empty, odd, and longer than 1,024 tokens."""
    theirs = pipeline("QwenImagePipeline", published, pieces)
    with torch.no_grad():
        told = theirs.encode_prompt(prompts, device=CPU)
    same(told, read(reader, pieces, TEXT, prompts))


@pytest.mark.parametrize("prompt", PROMPTS[:3])
def test_texts_with_pictures_are_read_as_the_pipelines_read_them(
    published: Any, reader: torch.nn.Module, pieces: text.Lexicon, prompt: str
) -> None:
    """Of one picture and of three, of several shapes; pictures stand where they did before
    transformers 5."""
    from PIL import Image

    shown = tuple(sight(*size, number) for number, size in enumerate([(96, 160), (64, 64)] * 2))
    images = [Image.fromarray(one) for one in shown]
    one = pipeline("QwenImageEditPipeline", published, pieces)
    several = pipeline("QwenImageEditPlusPipeline", published, pieces)
    hook = text.as_published(published)
    try:
        with torch.no_grad():
            told = one.encode_prompt([prompt], image=images[0], device=CPU)
            plus = several.encode_prompt([prompt], image=images[:3], device=CPU)
            alone = several.encode_prompt([prompt], image=None, device=CPU)
    finally:
        hook.remove()
    same(told, read(reader, pieces, EDIT, [prompt], shown[:1]))
    same(plus, read(reader, pieces, EDIT_PLUS, [prompt], shown[:3]))
    same(alone, read(reader, pieces, EDIT_PLUS, [prompt]))


def test_the_order_of_pictures_is_heard(reader: torch.nn.Module, pieces: text.Lexicon) -> None:
    one, other = sight(64, 64, 0), sight(64, 64, 1)
    (told,) = read(reader, pieces, EDIT_PLUS, ["put 1 into 2"], (one, other))
    (swapped,) = read(reader, pieces, EDIT_PLUS, ["put 1 into 2"], (other, one))
    assert (told["text"] - swapped["text"]).abs().max() > 0.1


def test_places_are_those_that_transformers_counts() -> None:
    """With `get_rope_index`, which the pipelines no longer reach."""
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

    grids = [(2, 5), (4, 1)]
    ids = [1, 2, *[9] * 10, 3, *[9] * 4, 4, 5]
    config = Qwen2_5_VLConfig(text_config={"num_hidden_layers": 0}, vision_config={"depth": 0})
    with torch.device("meta"):
        model: Any = Qwen2_5_VLModel(config)
    theirs, _ = model.get_rope_index(
        torch.tensor([ids]),
        mm_token_type_ids=torch.tensor([[int(one == 9) for one in ids]]),
        image_grid_thw=torch.tensor([[1, 2 * rows, 2 * columns] for rows, columns in grids]),
    )
    assert qwen_vl.places(ids, 9, grids).tolist() == theirs[:, 0].tolist()


@pytest.mark.parametrize("size", [(384, 384), (288, 512), (20, 1000), (3000, 4100), (56, 56)])
def test_pictures_are_cut_into_patches_as_the_published_processor_cuts_them(
    size: tuple[int, int],
) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
        Qwen2VLImageProcessorPil,
    )

    seen = sight(*size, 0)
    bounds = {"shortest_edge": qwen_vl.LEAST, "longest_edge": qwen_vl.MOST}
    theirs = Qwen2VLImageProcessorPil(size=bounds)(seen, return_tensors="pt")
    rows, columns = qwen_vl.grid(*size)
    assert theirs["image_grid_thw"].tolist() == [[1, 2 * rows, 2 * columns]]
    assert (qwen_vl.patches(seen) - theirs["pixel_values"]).abs().max() < 1e-5


@pytest.mark.parametrize("shape", [(64, 64), (100, 170), (1080, 1920), (3000, 500), (1, 900)])
def test_references_are_shown_at_the_sizes_of_the_pipelines(shape: tuple[int, int]) -> None:
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as plus

    height, width = shape
    for glance, area in ((text.GLANCE, 1024 * 1024), (text.GLANCE_PLUS, plus.CONDITION_IMAGE_SIZE)):
        columns, rows = plus.calculate_dimensions(area, width / height)
        assert glance(height, width) == (max(32, rows), max(32, columns))


def test_a_text_is_cut_after_so_many_tokens_whatever_pictures_come_with_it(
    pieces: text.Lexicon,
) -> None:
    tools, long = {text.NAME: pieces}, "a cat, " * 50
    seen = (sight(56, 56, 0), sight(84, 56, 1))
    for pictures in ((), seen):
        entry = EDIT_PLUS.words(tools, Prompt(long, 20, pictures=pictures))
        tokens = sum(np.prod(qwen_vl.grid(*one.shape[:2])) for one in pictures)
        assert len(entry[qwen_vl.IDS]) == 64 + 20 + tokens
        if pictures:
            marks = entry[qwen_vl.IDS][entry[qwen_vl.SPOTS]]
            assert len(marks) == tokens == len(entry[qwen_vl.PATCHES]) // 4
            assert (marks == 151655).all()


def test_a_caption_that_holds_the_mark_of_a_picture_is_read_without_it(
    reader: torch.nn.Module, pieces: text.Lexicon
) -> None:
    seen = (sight(56, 56, 0),)
    odd, plain = ["a <|image_pad|>cat"], ["a cat"]
    (one,), (other,) = (read(reader, pieces, EDIT, said, seen) for said in (odd, plain))
    assert torch.equal(one["text"], other["text"])


def test_lengths_are_foretold_rather_too_long(pieces: text.Lexicon) -> None:
    tools = {text.NAME: pieces}
    for prompt in PROMPTS:
        for seen in ((), (sight(96, 160, 0), sight(64, 64, 1))):
            words = EDIT_PLUS.words(tools, Prompt(prompt, 1024, pictures=seen))[qwen_vl.IDS]
            foretold = EDIT_PLUS.length(prompt, [one.shape[:2] for one in seen], 1024)
            assert len(words) - 64 <= foretold <= 2 * (len(words) - 64)


def test_the_tokenizer_numbers_words_as_published(pieces: text.Lexicon) -> None:
    own = pieces.pieces
    assert len(pieces) == 151665
    assert own("hello world, a cat on the mat.")["input_ids"][:4] == [14990, 1879, 11, 264]
    assert len(own(TEXT.head)["input_ids"]) == TEXT.drop
    assert len(own(EDIT.head)["input_ids"]) == EDIT.drop == EDIT_PLUS.drop
    assert own(text.TAIL)["input_ids"] == [151645, 198, 151644, 77091, 198]
    marks = ["<|endoftext|>", "<|image_pad|>", "<|file_sep|>"]
    assert own.convert_tokens_to_ids(marks) == [151643, 151655, 151664]
    assert len(pieces("a cat")["input_ids"]) == 2 + text.TAIL_TOKENS
    for odd in PROMPTS[:3]:
        assert own.decode(own(odd)["input_ids"]) == odd


def test_it_is_the_same_tokenizer_when_transformers_has_written_it_down(
    pieces: text.Lexicon, tmp_path: Path
) -> None:
    pieces.pieces.save_pretrained(tmp_path)
    again = text.tokenizer(tmp_path)
    for one in (*PROMPTS, EDIT.head + text.SHOWN + text.TAIL):
        assert again.pieces(one)["input_ids"] == pieces.pieces(one)["input_ids"]


def test_a_toy_loads_where_the_published_one_does(tmp_path: Path) -> None:
    from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

    text_toy.write_toy(tmp_path, vision=True)
    place = tmp_path / "text_encoder"
    kind: Any = Qwen2_5_VLForConditionalGeneration
    made, about = kind.from_pretrained(place, output_loading_info=True)
    assert not any(about[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    pieces = text.tokenizer(tmp_path / "tokenizer")
    assert len(AutoTokenizer.from_pretrained(tmp_path / "processor")) == len(pieces)
    assert len(pieces.pieces(TEXT.head)["input_ids"]) == TEXT.drop
    assert len(pieces.pieces(EDIT.head)["input_ids"]) == EDIT.drop
    theirs = pipeline("QwenImagePipeline", made, pieces)
    prompts = ["a cat", "", "a longer one"]
    with torch.no_grad():
        told = theirs.encode_prompt(prompts, device=CPU)
    same(told, read(loaded(place, seeing=False), pieces, TEXT, prompts))
    assert json.loads((tmp_path / "processor" / "preprocessor_config.json").read_bytes())
