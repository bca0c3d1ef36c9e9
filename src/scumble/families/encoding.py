"""Fill the cache: pictures through the autoencoder, texts through their encoders.

Each part is loaded when its entries are missing and gone again before the next one comes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scumble.data.cache import Store, recipe, value
from scumble.data.images import pixels
from scumble.data.library import Missing
from scumble.errors import NotFinite
from scumble.events import Encoded, Warned
from scumble.families import weights
from scumble.families.family import Entry, Prompt, Tools
from scumble.families.fingerprints import fingerprints
from scumble.hardware.device import Place

TEXTS = 8  # texts that go through an encoder together
AREA = 1024 * 1024  # pixels that go through the autoencoder together, at least one picture
EYES = 2  # threads that open pictures while the autoencoder works


@dataclass(frozen=True)
class Recipes:
    """What stands for everything that cached pictures, and texts, have in common."""

    picture: bytes
    text: bytes


def recipes(model: weights.Model, place: Place, tokens: int, *, read: bool) -> Recipes | None:
    """From the encoders' files and the precision; None when a file would have to be hashed."""
    parts = model.family.parts
    readers = [name for name, part in parts.items() if part.tokenizer is not None]
    seen = fingerprints(_files(model, ["autoencoder"]), read=read)
    spoken = fingerprints(_files(model, readers), read=read)
    if seen is None or spoken is None:
        return None
    facts = (model.family.name, place.precision)
    return Recipes(
        recipe("picture", *facts, "lanczos", *seen.values()),
        recipe("text", *facts, str(tokens), *spoken.values()),
    )


def _files(model: weights.Model, names: Sequence[str]) -> list[Path]:
    """Everything on disk that decides what these parts make."""
    files = []
    for name in names:
        part = model.family.parts[name]
        files += [model.folder / part.folder / "config.json", *model.files(name)]
        if part.tokenizer is not None:
            folder = model.folder / part.tokenizer
            files += sorted(file for file in folder.glob("*") if file.is_file())
    return files


def to_pixels(raw: np.ndarray, place: Place) -> Tensor:
    """Bytes [batch, height, width, 3] as numbers from -1 to 1, channels first, on the device."""
    return torch.from_numpy(raw).to(place.device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def batches(wanted: Sequence[Missing]) -> list[list[Missing]]:
    """Pictures of one size together, as many as `AREA` holds."""
    cut = []
    for size, group in groupby(sorted(wanted, key=lambda one: one.frame.size), _size):
        same = list(group)
        count = max(1, AREA // (size[0] * size[1]))
        cut += [same[start : start + count] for start in range(0, len(same), count)]
    return cut


def _size(one: Missing) -> tuple[int, int]:
    return one.frame.size


def encode_pictures(
    model: weights.Model, place: Place, store: Store, wanted: Sequence[Missing]
) -> Iterator[Encoded]:
    """Write the missing pictures' entries. Opening runs ahead of encoding by one batch."""
    if not wanted:
        return
    modules = _loaded(model, ["autoencoder"], place)
    start, done = time.perf_counter(), 0
    with ThreadPoolExecutor(EYES) as eyes, store.writer({"latents": torch.float32}) as writer:
        opening = _opened_ahead(eyes, batches(wanted))
        for batch, raw in opening:
            for one, entry in zip(batch, _seen(model, modules, place, raw), strict=True):
                _finite(entry, str(one.path), place)
                writer.add(one.key, [value(entry["latents"])])
            done += len(batch)
            seconds = time.perf_counter() - start
            yield Encoded(
                kind="pictures",
                done=done,
                total=len(wanted),
                seconds=seconds,
                bytes=writer.bytes_written,
            )


def _finite(entry: Entry, of: str, place: Place) -> None:
    """An entry that is no number would spoil every run that reads it: it is never written."""
    if not all(bool(tensor.isfinite().all()) for tensor in entry.values()):
        problem = f"encoding it in {place.precision} gives values that are not finite"
        raise NotFinite(of, problem, "use `hardware.precision: fp32`, or look at the weights")


def _opened_ahead(
    eyes: ThreadPoolExecutor, groups: Sequence[list[Missing]]
) -> Iterator[tuple[list[Missing], np.ndarray]]:
    def begin(batch: list[Missing]) -> list:
        return [eyes.submit(pixels, one.path, one.frame) for one in batch]

    ahead = begin(groups[0])
    for number, batch in enumerate(groups):
        now, ahead = ahead, begin(groups[number + 1]) if number + 1 < len(groups) else []
        yield batch, np.stack([one.result() for one in now])


def _seen(
    model: weights.Model, modules: Mapping[str, torch.nn.Module], place: Place, raw: np.ndarray
) -> list[Entry]:
    with torch.inference_mode(), place.autocast():
        return model.family.see(modules, to_pixels(raw, place))


def encode_texts(
    model: weights.Model,
    place: Place,
    store: Store,
    wanted: Sequence[tuple[bytes, str]],
    tokens: int,
) -> Iterator[Encoded | Warned]:
    """Write the missing texts' entries; texts that are too long are counted and cut."""
    if not wanted:
        return
    tools, texts = weights.tools(model), [text for _, text in wanted]
    cut = [text for text in texts if _too_long(model, tools, text, tokens)]
    if cut:
        yield Warned(
            text=f"{len(cut)} texts are longer than {tokens} tokens and are cut there, first"
            f" '{cut[0][:60]}'; `model.text_tokens` sets the length."
        )
    fields = dict.fromkeys(model.family.text_fields, place.dtype)
    start, done = time.perf_counter(), 0
    with store.writer(fields) as writer:
        for entry in read_texts(model, tools, place, texts, tokens):
            _finite(entry, f"text '{wanted[done][1][:60]}'", place)
            writer.add(wanted[done][0], [value(entry[name]) for name in fields])
            done += 1
            if done % TEXTS == 0 or done == len(wanted):
                seconds = time.perf_counter() - start
                yield Encoded(
                    kind="texts",
                    done=done,
                    total=len(wanted),
                    seconds=seconds,
                    bytes=writer.bytes_written,
                )


@torch.inference_mode()
def read_texts(
    model: weights.Model, tools: Tools, place: Place, texts: Sequence[str], tokens: int
) -> Iterator[Entry]:
    """Each text's entry, in the place's precision; the encoders are gone when this ends."""
    readers = [name for name, part in model.family.parts.items() if part.tokenizer is not None]
    modules = _loaded(model, readers, place)
    for first in range(0, len(texts), TEXTS):
        some = texts[first : first + TEXTS]
        words = [model.family.words(tools, Prompt(text, tokens)) for text in some]
        for entry in model.family.read(modules, [_on(place, entry) for entry in words]):
            yield {name: tensor.to(place.dtype) for name, tensor in entry.items()}


def _too_long(model: weights.Model, tools: Tools, text: str, tokens: int) -> bool:
    """Whether an encoder that reads the job's number of tokens will not see all of a text."""
    measured = [name for name, part in model.family.parts.items() if part.text_is_measured]
    return any(len(tools[name](text)["input_ids"]) > tokens for name in measured)


def _on(place: Place, entry: Entry) -> Entry:
    return {name: tensor.to(place.device) for name, tensor in entry.items()}


def _loaded(model: weights.Model, parts: Sequence[str], place: Place) -> dict[str, torch.nn.Module]:
    return {
        part: weights.loaded(model, part, dtype=place.dtype, device=place.device) for part in parts
    }
