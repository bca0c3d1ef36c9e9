"""An adapter file at another rank: the same keys, each layer as near as its new rank allows.

The file's own layers are cut, fused ones as they are, and no table of names is asked: files for
models that are not trained here are resized too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from scumble.adapters import foreign, layouts
from scumble.adapters.keys import Keys
from scumble.adapters.layouts import ALPHA, ENDINGS, A, B
from scumble.adapters.lora import LoraTensors
from scumble.checkpoint import export, low_rank, peft_alphas, proof, sshs
from scumble.checkpoint.combine import Layer, refuse_place
from scumble.checkpoint.convert import UNTRUE
from scumble.checkpoint.low_rank import Cut
from scumble.errors import FileError, JobError, ScumbleError, gather

DYNAMIC = "Dynamic"
COMMENT = "ss_training_comment"
DOWNS = tuple(ending for ending, role in ENDINGS.items() if role == "down")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How a file is to be resized."""

    cut: Cut
    windows: Cut | None = None
    """For convolutions over more than one pixel; None: the same."""

    dtype: str | None = None
    """Of the new file; None: as the file has it."""

    alphas: bool = False
    """Whether every layer gets an alpha, and not those alone that have one."""

    device: str = "cpu"


@dataclass(frozen=True)
class Resized:
    """What was made of a file."""

    layers: tuple[Layer, ...]
    tensors: int
    dtype: str
    comment: str

    @property
    def rank(self) -> str:
        """The rank that all layers have, or that there is none."""
        return common(one.rank for one in self.layers)


@dataclass(frozen=True)
class Pair:
    """One layer's matrices in a file."""

    stem: str
    down: str
    """Its keys."""

    up: str
    alpha: str | None
    told: LoraTensors
    window: tuple[int, ...]
    """Sides of a convolution, none for a linear layer."""


def resized(file: Path, out: Path, keys: Keys, asked: Asked) -> Resized:
    """Write `out`; ScumbleErrors tell all that is wrong at once, and then `out` is left alone."""
    gather("this cannot be resized", [*refuse_place(out, [file]), *_impossible(asked)])
    found, metadata = export.contents(file)
    settings = peft_alphas.told(found, metadata, file)
    pairs = list(_pairs(file, {**found, **settings.alphas}, found))
    made: dict[str, Tensor] = {}
    layers = []
    for pair in pairs:
        tensors, layer = _cut(pair, asked)
        made |= tensors
        layers.append(layer)
    dtype = asked.dtype or _most(found)
    values = {key: _stored(key, one, dtype) for key, one in made.items()}
    comment = _comment(pairs, layers, asked)
    told = _metadata(metadata, values, keys, comment)
    count = export.put(out, values, told, remedy="use `--dtype float32`")
    return Resized(tuple(layers), count, dtype, comment)


def _impossible(asked: Asked) -> Iterator[ScumbleError]:
    cut = asked.cut
    if cut.rank < 1 or (asked.windows and asked.windows.rank < 1):
        yield JobError("rank", "no layer can have fewer columns than one", "give 1 or more")
    if cut.method == "sv_ratio" and not cut.param >= 1:
        problem = f"sv_ratio divides the largest singular value by {cut.param:g}"
        yield JobError("param", problem, "give a number from 1, such as 10")
    if cut.method in ("sv_fro", "sv_cumulative") and not 0 < cut.param <= 1:
        problem = f"{cut.method} keeps a share, and {cut.param:g} is none"
        yield JobError("param", problem, "give a number above 0 and up to 1, such as 0.9")


def _pairs(file: Path, found: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> Iterator[Pair]:
    """Every layer of the file; FileError for what is no plain LoRA, nothing is left out."""
    stems: dict[str, dict[str, str]] = {}
    strangers = []
    for key in found:
        ending = next((one for one in ENDINGS if key.endswith(one)), "")
        if not ending or foreign.kind(key):
            strangers.append(key)
        else:
            stems.setdefault(key.removesuffix(ending), {})[ENDINGS[ending]] = key
    _refuse_strangers(file, strangers, len(stored))
    for stem, held in stems.items():
        yield _pair(file, stem, held, found, stored)
    if not stems:
        raise FileError(file, "it holds no adapter", "give a LoRA")


def _refuse_strangers(file: Path, strangers: list[str], count: int) -> None:
    if strangers:
        kinds = {told[1] for key in strangers if (told := foreign.kind(key))}
        what = " and ".join(sorted(kinds)) or foreign.seems(strangers) or "no LoRA"
        problem = f"{len(strangers)} of {count} keys are {what}, first '{strangers[0]}'"
        raise FileError(file, problem, "only plain LoRA can be resized")


def _pair(
    file: Path,
    stem: str,
    held: Mapping[str, str],
    found: Mapping[str, Tensor],
    stored: Mapping[str, Tensor],
) -> Pair:
    """A layer; FileError where its tensors do not make one."""
    down, up = found.get(held.get("down", "")), found.get(held.get("up", ""))
    if down is None or up is None or down.ndim < 2 or up.ndim < 2 or len(down) != up.shape[1]:
        shapes = {role: tuple(found[key].shape) for role, key in held.items()}
        raise FileError(file, f"'{stem}' is no pair of down and up: {shapes}", "export it again")
    alpha = float(found[held["alpha"]]) if "alpha" in held else float(len(down))
    told = LoraTensors(down.flatten(1).float(), up.flatten(1).float(), alpha)
    if not (export.finite(told.down) and export.finite(told.up)):
        raise FileError(file, f"'{stem}' holds values that are no finite numbers", "take another")
    mine = held["alpha"] if held.get("alpha") in stored else None
    return Pair(stem, held["down"], held["up"], mine, told, tuple(down.shape[2:]))


def _cut(pair: Pair, asked: Asked) -> tuple[dict[str, Tensor], Layer]:
    """The layer at its new rank; alpha over rank stays where there is an alpha, else it is in
    `up`."""
    told, window = pair.told, pair.window
    cut = asked.windows if asked.windows and any(side > 1 for side in window) else asked.cut
    singular = low_rank.of_product(told.up.to(asked.device), told.down.to(asked.device))
    sides = (len(told.up), told.down.shape[1])
    rank, scale = cut.ranked(singular.values, sides), told.alpha / len(told.down)
    few = singular.first(rank)
    own = asked.alphas or pair.alpha is not None
    easy = export.evened({A: few.down.cpu(), B: few.up.cpu()}, "diffusers")  # for float16
    down, up = easy[A], easy[B] if own else easy[B] * scale
    squares = singular.values.square()
    kept = float(squares[:rank].sum() / squares.sum()) if bool(squares.any()) else 1.0
    inputs = pair.told.down.shape[1] // max(1, torch.Size(window).numel())
    made = {
        pair.down: down.reshape(rank, inputs, *window) if window else down,
        pair.up: up.reshape(*up.shape, *(1 for _ in window)),
    }
    if own:
        made[pair.alpha or pair.stem + ALPHA] = torch.tensor(scale * rank, dtype=torch.float32)
    return made, Layer(pair.stem, rank, len(told.down), kept)


def _stored(key: str, value: Tensor, dtype: str) -> Tensor:
    """In its dtype; alphas that it does not hold stay float32."""
    ready = value.to(export.DTYPES[dtype]).contiguous()
    return value if key.endswith(ALPHA) and ready.float() != value else ready


def _most(found: Mapping[str, Tensor]) -> str:
    """What most of a file's matrices are stored in, if that is one of ours."""
    kinds = [str(one.dtype).removeprefix("torch.") for one in found.values() if one.ndim > 1]
    most = max(set(kinds), key=kinds.count, default="float32")
    return most if most in export.DTYPES else "float32"


def common(values: Iterator[float] | Iterator[int]) -> str:
    """What all have in common, or `Dynamic`, as sd-scripts says it."""
    different = set(values)
    return f"{different.pop():g}" if len(different) == 1 else DYNAMIC


def _comment(pairs: list[Pair], layers: list[Layer], asked: Asked) -> str:
    """As sd-scripts puts it before the comment of a file."""
    before = common(one.before for one in layers)
    cut = asked.cut
    if cut.method is None:
        return f"dimension is resized from {before} to {common(one.rank for one in layers)}; "
    return f"Dynamic resize with {cut.method}: {cut.param} from {before}; "


def _metadata(
    was: Mapping[str, str], values: Mapping[str, Tensor], keys: Keys, comment: str
) -> dict[str, str]:
    """As it was, with what is no longer true told anew or left out."""
    kept = {n: one for n, one in was.items() if n not in (*UNTRUE, proof.ENTRY)}
    told = layouts.parsed(dict(values), keys)
    mine = {} if told.faults or told.strangers else proof.marks(told.changes)
    if any(name in was for name in export.SIZES) or COMMENT in was:
        downs = [len(one) for key, one in values.items() if key.endswith(DOWNS)]
        alphas = [float(one) for key, one in values.items() if key.endswith(ALPHA)]
        sizes = (common(iter(downs)), common(iter(alphas)))
        kept |= dict(zip(export.SIZES, sizes, strict=True))
    kept[COMMENT] = comment + kept.get(COMMENT, "")
    if any(name.startswith("sshs_") for name in was):
        kept |= sshs.hashes(values, kept)
    return {**kept, **mine}
