"""Masks from words, by toys of the real networks in the layout that transformers loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from scumble.data.mask_makers import folder, words
from scumble.data.mask_makers.makers import Words
from scumble.data.sources.folder import listing
from scumble.errors import FileError, JobError

LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]


@pytest.fixture(scope="module")
def clipseg(tmp_path_factory: pytest.TempPathFactory) -> str:
    from transformers import (
        CLIPSegConfig,
        CLIPSegForImageSegmentation,
        CLIPSegProcessor,
        CLIPTokenizer,
    )
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    path = str(tmp_path_factory.mktemp("clipseg"))
    pieces = [*LETTERS, *(f"{one}</w>" for one in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    tower = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_attention_heads": 2,
        "projection_dim": 16,
    }
    text = {"vocab_size": 54, "num_hidden_layers": 1, "bos_token_id": 52, "eos_token_id": 53}
    config = CLIPSegConfig(
        text_config={**tower, **text, "pad_token_id": 53},
        vision_config={**tower, "num_hidden_layers": 3, "image_size": 32, "patch_size": 8},
        projection_dim=16,
        extract_layers=[0, 1, 2],
        reduce_dim=8,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
    )
    torch.manual_seed(0)
    network: Any = CLIPSegForImageSegmentation(config)
    network.decoder.transposed_convolution.weight.data *= 0.01  # it is sure of nothing: 0.5
    network.save_pretrained(path)
    tokenizer = CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77)
    pictures = ViTImageProcessorPil(size={"height": 32, "width": 32})
    CLIPSegProcessor(image_processor=pictures, tokenizer=tokenizer).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> str:
    from transformers import (
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoProcessor,
        SwinConfig,
    )
    from transformers.models.grounding_dino.image_processing_pil_grounding_dino import (
        GroundingDinoImageProcessorPil,
    )

    path = str(tmp_path_factory.mktemp("dino"))
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "cat", "dog"]
    swin: dict[str, Any] = {
        "image_size": 32,
        "embed_dim": 8,
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 1, 1],
        "window_size": 2,
        "out_features": ["stage2", "stage3", "stage4"],
    }
    bert = {"model_type": "bert", "vocab_size": len(pieces), "hidden_size": 16}
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(**swin),
        text_config={
            **bert,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
        },
        d_model=32,
        encoder_layers=1,
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_layers=2,
        decoder_ffn_dim=16,
        decoder_attention_heads=2,
        num_queries=10,
        disable_custom_kernels=True,
    )
    torch.manual_seed(0)
    GroundingDinoForObjectDetection(config).save_pretrained(path)
    pictures = GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96})
    tokenizer = BertTokenizer(vocab={piece: number for number, piece in enumerate(pieces)})
    GroundingDinoProcessor(pictures, tokenizer).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def sam(tmp_path_factory: pytest.TempPathFactory) -> str:
    from transformers import SamConfig, SamModel, SamProcessor
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    path = str(tmp_path_factory.mktemp("sam"))
    both: dict[str, Any] = {"hidden_size": 16, "image_size": 64, "patch_size": 16}
    config = SamConfig(
        vision_config={
            **both,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "output_channels": 16,
            "mlp_dim": 16,
            "window_size": 2,
            "global_attn_indexes": [0],
            "num_pos_feats": 8,
        },
        prompt_encoder_config={**both, "mask_input_channels": 4},
        mask_decoder_config={
            "hidden_size": 16,
            "mlp_dim": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
            "iou_head_depth": 2,
        },
    )
    torch.manual_seed(0)
    SamModel(config).save_pretrained(path)
    pictures = SamImageProcessorPil(
        size={"longest_edge": 64},
        pad_size={"height": 64, "width": 64},
        mask_size={"longest_edge": 16},
        mask_pad_size={"height": 16, "width": 16},
    )
    SamProcessor(pictures).save_pretrained(path)
    return path


@pytest.fixture
def picture() -> Image.Image:
    grain = np.random.default_rng(0).integers(0, 256, (60, 80, 3))
    return Image.fromarray(grain.astype(np.uint8))


def test_clipseg_marks_what_it_is_sure_of(clipseg: str, picture: Image.Image) -> None:
    shares = []
    for threshold in (0.3, 0.5, 0.7):
        find = words.finder(Words(texts=("cat",), model=clipseg, threshold=threshold))
        mask = find(picture)
        assert (mask.shape, mask.dtype) == ((60, 80), np.uint8)
        shares.append(float((mask == 255).mean()))
    assert shares[0] == 1 and 0.05 < shares[1] < 0.95 and shares[2] == 0


def test_several_words_are_looked_for_together(clipseg: str, picture: Image.Image) -> None:
    def found(*texts: str) -> np.ndarray:
        return words.finder(Words(texts=texts, model=clipseg, threshold=0.5))(picture)

    cat, zoo, both = found("cat"), found("zoo"), found("cat", "zoo")
    assert (cat != zoo).any()
    assert (both == np.maximum(cat, zoo)).all()


def test_grounding_dino_finds_boxes_and_sam_cuts_them_out(
    dino: str, sam: str, picture: Image.Image
) -> None:
    some = Words(texts=("Cat", "dog."), model=dino, sam=sam, threshold=0.01)
    mask = words.finder(some)(picture)
    assert (mask.shape, mask.dtype) == ((60, 80), np.uint8)
    assert set(np.unique(mask)) <= {0, 255}
    none = Words(texts=("cat",), model=dino, sam=sam, threshold=1.0)
    assert not words.finder(none)(picture).any(), "nothing found, nothing kept"


def test_a_folder_gets_its_masks_and_bad_ones_are_named(
    clipseg: str, picture: Image.Image, tmp_path: Path
) -> None:
    (tmp_path / "p").mkdir()
    for name in ("a.png", "b.png"):
        picture.save(tmp_path / "p" / name)
    order = folder.Order(
        root=tmp_path / "p",
        pictures=listing(tmp_path / "p").pictures,
        maker=Words(texts=("cat",), model=clipseg, threshold=1.0),
        target=tmp_path / "m",
    )
    outcome = folder.fulfilled(order, 2)
    assert (outcome.made, outcome.empty, outcome.full) == (2, ("a.png", "b.png"), ())
    again = folder.fulfilled(order, 2)
    assert (again.made, again.kept) == (0, 2)


def test_models_that_do_not_fit_are_refused_with_the_way_out(
    clipseg: str, dino: str, sam: str
) -> None:
    def load(**settings: Any) -> None:
        words.finder(Words(texts=("cat",), **settings))

    with pytest.raises(JobError, match="add --sam"):
        load(model=dino)
    with pytest.raises(JobError, match="of the kind 'sam'"):
        load(model=sam)
    with pytest.raises(JobError, match=r"--sam: .* of the kind 'clipseg'"):
        load(model=dino, sam=clipseg)
    with pytest.raises(JobError, match="leave it out"):
        load(model=clipseg, sam=sam)
    with pytest.raises(JobError, match="--device: 'cuda:99' cannot be used"):
        load(model=clipseg, device="cuda:99")


def test_weights_that_could_run_code_are_not_loaded(clipseg: str, tmp_path: Path) -> None:
    for file in Path(clipseg).iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(FileError, match="safetensors"):
        words.finder(Words(texts=("cat",), model=str(tmp_path)))


def test_a_missing_model_is_named_without_asking_the_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FileError, match="nobody/nothing: the model cannot be loaded"):
        words.finder(Words(texts=("cat",), model="nobody/nothing"))
