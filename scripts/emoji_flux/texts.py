"""Make and train the text encoders of `builtin:emoji-flux`, with small tokenizers of their own.

`python scripts/emoji_flux/texts.py DATA OUT` writes `text_encoder`, `text_encoder_2`, `tokenizer`
and `tokenizer_2` as diffusers folders have them. Both read the captions of the pictures that the
base model is shown. CLIP's summary learns to find its picture among the others of a batch (InfoNCE,
Radford et al. 2021) and, like the mean of T5's tokens, to tell the picture's 96 largest principal
components at 16 px; the heads that do so are thrown away.
"""

import argparse
import json
import re
from collections import Counter
from math import log
from pathlib import Path
from typing import Any

import torch
from autoencoder import as_pixels, pictures
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

PIECES, T5_PIECES = 1800, 800
TOKENS = 24
"""Length of a T5 text: the longest caption has fewer."""
WIDTH, T5_WIDTH, COMPONENTS = 128, 192, 96
STEPS, BATCH, RATE = 1000, 192, 2e-3
BEGIN, END = "<|startoftext|>", "<|endoftext|>"
SYMBOLS = [chr(code) for code in range(33, 127)]


def captions(folder: Path) -> list[str]:
    """In the order of `autoencoder.pictures`."""
    files = sorted(folder.rglob("*.png"))
    return [file.with_suffix(".txt").read_text(encoding="utf-8").strip() for file in files]


def clip_tokenizer(texts: list[str]) -> CLIPTokenizer:
    """Byte pairs of the captions' words, with CLIP's marks."""
    made = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES, end_of_word_suffix="</w>", initial_alphabet=SYMBOLS, show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    learned = json.loads(made.to_str())["model"]["merges"]
    merges = [tuple(pair) for pair in learned]
    pieces = [*SYMBOLS, *(f"{one}</w>" for one in SYMBOLS)]
    pieces += [first + second for first, second in merges]
    pieces = list(dict.fromkeys([*pieces, BEGIN, END]))
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def t5_tokenizer(texts: list[str]) -> T5Tokenizer:
    """Whole words that come twice or more, and for others Unigram pieces and single signs.

    Scores are logarithms of shares; those of pieces are lowered, so that a known word is one piece.
    """
    words = Counter(word for text in texts for word in re.findall("[a-z0-9']+", text))
    total = sum(words.values())
    scored = {f"\u2581{word}": log(count / total) for word, count in words.items() if count > 1}
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=T5_PIECES, initial_alphabet=["\u2581", *SYMBOLS], show_progress=False
    )
    made.train_from_iterator(sorted(words), trainer)
    for piece, score in json.loads(made.to_str())["model"]["vocab"]:
        scored.setdefault(piece, score - 4.0)
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -30.0)]
    return T5Tokenizer(vocab=special + list(scored.items()), extra_ids=0, model_max_length=TOKENS)


def encoders(clip: CLIPTokenizer, t5: T5Tokenizer) -> tuple[CLIPTextModel, T5EncoderModel]:
    """Small ones of the real classes, with first weights from a seed."""
    torch.manual_seed(1)
    first = CLIPTextConfig(
        vocab_size=len(clip),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=WIDTH,
        bos_token_id=clip.bos_token_id,
        eos_token_id=clip.eos_token_id,
        pad_token_id=clip.pad_token_id,
    )
    second = T5Config(
        vocab_size=len(t5),
        d_model=T5_WIDTH,
        d_kv=32,
        d_ff=2 * T5_WIDTH,
        num_layers=3,
        num_heads=6,
        feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
        dropout_rate=0.0,
    )
    return CLIPTextModel(first), T5EncoderModel(second)


def components(seen: Tensor) -> Tensor:
    """The pictures' principal components at 16 px, their first to have a spread of 1."""
    small = functional.interpolate(as_pixels(seen), size=(16, 16), mode="area").flatten(1)
    centred = small - small.mean(0)
    _, sizes, directions = torch.linalg.svd(centred, full_matrices=False)
    found = centred @ directions[:COMPONENTS].T
    return found / (sizes[0] / len(seen) ** 0.5)


def loss_of(
    heads: nn.ModuleDict, pooled: Tensor, tokens: Tensor, real: Tensor, goal: Tensor
) -> Tensor:
    """Finding the picture, and telling it, from each encoder."""
    mean = (tokens * real).sum(1) / real.sum(1)
    told = functional.mse_loss(heads["clip"](pooled), goal) + functional.mse_loss(
        heads["t5"](mean), goal
    )
    here = functional.normalize(heads["text"](pooled), dim=-1)
    there = functional.normalize(heads["picture"](goal), dim=-1)
    alike = 15.0 * here @ there.T
    right = torch.arange(len(goal))
    return functional.cross_entropy(alike, right) + 300.0 * told


def trained(
    texts: list[str], goal: Tensor, tokenizers: tuple[CLIPTokenizer, T5Tokenizer]
) -> tuple[CLIPTextModel, T5EncoderModel]:
    """Both encoders after their steps."""
    clip, t5 = tokenizers
    numbers: dict[str, Any] = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    first = clip(texts, max_length=77, **numbers)["input_ids"]
    second = t5(texts, max_length=TOKENS, **numbers)["input_ids"]
    # CLIP is causal and its summary stands at the first end mark: the rest is never looked at
    longest = int((first != clip.pad_token_id).sum(1).max()) + 2
    model, other = encoders(clip, t5)
    heads = nn.ModuleDict(
        {
            "clip": nn.Linear(WIDTH, COMPONENTS),
            "t5": nn.Linear(T5_WIDTH, COMPONENTS),
            "text": nn.Linear(WIDTH, 64),
            "picture": nn.Sequential(nn.Linear(COMPONENTS, 128), nn.GELU(), nn.Linear(128, 64)),
        }
    )
    moved = [*model.parameters(), *other.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(moved, lr=RATE, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=STEPS, pct_start=0.1
    )
    draw = torch.Generator().manual_seed(2)
    for step in range(STEPS):
        rows = torch.randint(len(texts), (BATCH,), generator=draw)
        pooled = model(input_ids=first[rows, :longest]).pooler_output
        tokens = other(input_ids=second[rows]).last_hidden_state
        real = (second[rows] != t5.pad_token_id)[..., None].float()
        loss = loss_of(heads, pooled, tokens, real, goal[rows])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(moved, 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == STEPS - 1:
            print(step, float(loss.detach()), flush=True)
    return model, other


def main() -> None:
    """Train for some minutes and write the four folders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    texts, goal = captions(given.data / "seen"), components(pictures(given.data / "seen"))
    clip, t5 = clip_tokenizer(texts), t5_tokenizer(texts)
    folders = ("text_encoder", "text_encoder_2")
    for module, folder in zip(trained(texts, goal, (clip, t5)), folders, strict=True):
        module.to(torch.bfloat16).save_pretrained(given.out / folder)
    clip.save_pretrained(given.out / "tokenizer")
    t5.save_pretrained(given.out / "tokenizer_2")


if __name__ == "__main__":
    main()
