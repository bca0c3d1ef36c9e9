"""Text encoders that are kept loaded and turn texts into entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from scumble.data import packing
from scumble.data.saying import Saying
from scumble.errors import JobError
from scumble.families import opening, room, weights
from scumble.families.eyes import finite
from scumble.families.family import Entry, Prompt, Tools
from scumble.families.opening import Sights, Unreadable
from scumble.hardware.device import Place

TEXTS = 8  # texts that go through an encoder together

Dress = Callable[[str, nn.Module], None]
"""Changes an encoder, given its part's name, before it reads."""


class Reader:
    """Reads texts. Not for two threads at once; holds the encoders as long as it is held."""

    def __init__(
        self,
        model: weights.Model,
        place: Place,
        tokens: int,
        precision: str,
        tools: Tools | None = None,
    ) -> None:
        """`precision` is what entries are kept in; see `packing.packed`."""
        self._tools = weights.tools(model) if tools is None else tools
        self._model = model
        self._place = place
        self.tokens = tokens
        self._precision = precision
        self._modules = {
            name: weights.loaded(model, name, dtype=place.dtype, device=place.device)
            for name in readers(model)
        }
        self._device = place.device
        self._count = TEXTS
        self._notes: list[str] = []

    def dress(self, dress: Dress) -> None:
        """Let every encoder be changed before it reads."""
        for name, module in self._modules.items():
            dress(name, module)

    def read(self, sayings: Sequence[Saying]) -> list[Entry]:
        """What the cache would give back for these texts, computed with as the device does.

        Each is read by itself; see `Eyes.see`. FileError if a picture cannot be decoded.
        """
        kept = [entry for one in sayings for entry in self.entries([one])]
        return [packing.unpacked(entry, self._place.dtype) for entry in kept]

    def entries(self, sayings: Sequence[Saying]) -> Iterator[Entry]:
        """Texts as they are kept, on the CPU; fewer at a time when there is no room for many.

        FileError if a picture that one is read with cannot be decoded.
        """
        bad: list[Unreadable] = []
        for entry in self.tried(sayings, bad):
            if entry is None:
                raise bad[0][1]
            yield entry

    def tried(self, sayings: Sequence[Saying], bad: list[Unreadable]) -> Iterator[Entry | None]:
        """The same; None for those with a picture that cannot be decoded, which stands in `bad`."""
        for start in range(0, len(sayings), TEXTS):
            some = sayings[start : start + TEXTS]
            opened = opening.looked(some)
            pairs = zip(some, opened, strict=True)
            whole = [(one.text, each.sights) for one, each in pairs if each.bad is None]
            read = self._together(whole)
            for each in opened:
                if each.bad is not None:
                    bad.append(each.bad)
                yield next(read) if each.bad is None else None

    def _together(self, texts: Sequence[tuple[str, Sights]]) -> Iterator[Entry]:
        """Those whose pictures are there."""
        done = 0
        while done < len(texts):
            some = texts[done : done + self._count]
            try:
                read = self._read(some)
            except (RuntimeError, MemoryError) as error:
                if not room.exhausted(error):
                    raise
                read = []
            if not read:
                self._make_room(len(some))
            for (text, _), entry in zip(some, read, strict=False):
                finite(entry, f"text '{text[:60]}'", self._place)
                yield entry
            done += len(read)

    def _make_room(self, count: int) -> None:
        """After that many texts did not fit."""
        room.released(self._device)
        if count > 1:
            self._notes += ["Texts do not fit into memory together; fewer are read at a time."]
            self._count = count // 2
            return
        if self._device.type == "cpu":
            remedy = "stop other programs, or lower `model.text_tokens`"
            raise JobError("hardware", "there is no memory to read a text", remedy)
        self._notes += ["A text does not fit into memory; texts are read on the CPU, slowly."]
        self._device = torch.device("cpu")
        for module in self._modules.values():
            module.to(self._device)
        room.released(self._place.device)

    def notes(self) -> list[str]:
        """What happened that a user should know, each thing once."""
        taken, self._notes = list(dict.fromkeys(self._notes)), []
        return taken

    def too_long(self, texts: Sequence[str]) -> list[str]:
        """Texts of which an encoder that reads the job's number of tokens will not see all."""
        parts = self._model.family.parts
        measured = [name for name, part in parts.items() if part.text_is_measured]
        return [text for text in texts if any(self._overflows(n, text) for n in measured)]

    def _overflows(self, name: str, text: str) -> bool:
        tool: Any = self._tools[name]
        return len(tool(text)["input_ids"]) > self.tokens

    def _read(self, texts: Sequence[tuple[str, Sights]]) -> list[Entry]:
        family, device = self._model.family, self._device
        masked = self._model.masked
        prompts = [Prompt(text, self.tokens, masked, seen) for text, seen in texts]
        words = [family.words(self._tools, prompt) for prompt in prompts]
        moved = [{name: one.to(device) for name, one in entry.items()} for entry in words]
        with torch.no_grad():
            read = family.read(self._modules, moved)
        in_place = [packing.unpacked(entry, self._place.dtype) for entry in read]
        kept = [packing.packed(entry, self._precision) for entry in in_place]
        return [{name: one.cpu() for name, one in entry.items()} for entry in kept]


def worded(model: weights.Model, tokens: int) -> Callable[[Sequence[Saying]], list[Entry]]:
    """What makes numbers of texts that are read without pictures, for encoders elsewhere."""
    tools, family = weights.tools(model), model.family

    def words(sayings: Sequence[Saying]) -> list[Entry]:
        prompts = [Prompt(one.text, tokens, masked=model.masked) for one in sayings]
        return [family.words(tools, prompt) for prompt in prompts]

    return words


def readers(model: weights.Model) -> list[str]:
    """The parts of a model that read texts and stay as they are."""
    parts = model.family.parts.items()
    return [name for name, one in parts if one.tokenizer and name not in model.trained]
