"""LyCORIS adapters as files that ComfyUI and SimpleTuner load, and such files read back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from scumble import __version__
from scumble.adapters.keys import Keys
from scumble.adapters.lycoris.forms import DORA, Form, rank, size
from scumble.adapters.lycoris.slots import Slot
from scumble.adapters.lycoris.spelling import are_lycoris, parsed, spelt
from scumble.adapters.names import DENOISER
from scumble.checkpoint import export, modelspec
from scumble.disk import write_whole
from scumble.errors import FileError

LAYOUT = "LyCORIS"
CONFIG = "lycoris_config"
"""Entry of the metadata, and with .json the file beside it, which SimpleTuner reads."""

WIDE = (DORA, "rescale", "alpha", "on_input")
"""Few numbers near those of the layer itself: 16 bits would lose what was trained."""

COARSE = 1e-2
"""How far rounding may move a tensor, as a share of its norm; bfloat16: 2e-3."""

Forms = Mapping[str, Form]
"""By our names of the denoiser's layers."""


@dataclass(frozen=True, kw_only=True)
class Read:
    """What a LyCORIS file says, and what of it could not be read."""

    forms: Forms
    metadata: Mapping[str, str]
    strangers: tuple[str, ...]
    faults: tuple[str, ...]
    stored: tuple[str, ...]
    """What its tensors are stored in, the most common first."""

    keys: tuple[str, ...]
    not_finite: tuple[str, ...]

    def unread(self) -> str:
        """All that could not be read, in words; empty when all was."""
        said = [*self.faults[:3]]
        if len(self.faults) > 3:
            said.append(f"and {len(self.faults) - 3} more like these")
        if self.strangers:
            first = f"first '{self.strangers[0]}'"
            said.append(f"{len(self.strangers)} of {len(self.keys)} keys are not known, {first}")
        return "; ".join(said)


def is_one(file: Path) -> bool:
    """Whether a file holds an adapter in one of LyCORIS' forms; False for what cannot be read."""
    if not file.is_file() or file.suffix != export.SUFFIX:
        return False
    try:
        with safe_open(file, "pt") as tensors:
            return are_lycoris(tensors.keys())
    except (SafetensorError, OSError):
        return False


def read(file: Path, keys: Keys) -> Read:
    """What the file says, be it ever so odd; FileError only for no whole safetensors file."""
    found, metadata = export.contents(file)
    told = parsed(found, keys[DENOISER])
    kinds = Counter(str(one.dtype) for one in found.values() if one.dim())
    return Read(
        forms=told.forms,
        metadata=metadata,
        strangers=told.strangers,
        faults=told.faults,
        stored=tuple(kind.removeprefix("torch.") for kind, _ in kinds.most_common()),
        keys=tuple(found),
        not_finite=tuple(key for key, one in found.items() if not export.finite(one)),
    )


def forms(file: Path, keys: Keys) -> Forms:
    """The form of every layer; FileError when there is anything that could not be read."""
    told = read(file, keys)
    if problem := told.unread():
        raise FileError(file, problem, "give a LyCORIS file of this model")
    if told.not_finite:
        first = f"first '{told.not_finite[0]}'"
        problem = f"{len(told.not_finite)} tensors hold values that are no finite numbers, {first}"
        raise FileError(file, problem, "it was spoilt in training; take an earlier one")
    return told.forms


def unfit(told: Forms, shapes: Mapping[str, tuple[int, int]]) -> list[str]:
    """What of an adapter has no place on layers of these (outputs, inputs), a sentence each."""
    found = []
    for name, form in told.items():
        there = shapes.get(name)
        if there is None:
            found.append(f"there is no layer '{name}'")
            continue
        here = [own or other for own, other in zip(size(form), there, strict=True)]
        if tuple(here) != there:
            sides = f"{here[0]}x{here[1]} in the file, {there[0]}x{there[1]} in the model"
            found.append(f"'{name}' is {sides}")
    return found


def write(file: Path, told: Forms, *, dtype: str, about: Mapping[str, str]) -> int:
    """Write the file whole or not at all; return how many tensors it holds.

    FileError when a value is not a finite number: such a file is never written.
    """
    metadata = {"scumble.version": __version__, **modelspec.told(about, "diffusers"), **about}
    remedy = "use `export.dtype: float32`, or a smaller learning rate"
    return export.put(file, stored(told, dtype=dtype), metadata, remedy=remedy)


def stored(told: Forms, *, dtype: str) -> dict[str, Tensor]:
    """The tensors of a file; those that 16 bits would spoil stay in float32."""
    made: dict[str, Tensor] = {}
    for key, value in spelt(told).items():
        wide = value.detach().cpu().contiguous()
        ending = key.partition(".")[2]
        narrow = wide if ending in WIDE else wide.to(export.DTYPES[dtype])
        off = (narrow.float() - wide.float()).norm()
        made[key] = (narrow if bool(off <= COARSE * wide.float().norm()) else wide).clone()
    return made


def holds(file: Path, told: Forms, *, dtype: str) -> bool:
    """Whether a file holds just these, value for value."""
    found, _ = export.contents(file)
    wanted = stored(told, dtype=dtype)
    return found.keys() == wanted.keys() and all(
        found[key].dtype == wanted[key].dtype and found[key].equal(wanted[key]) for key in wanted
    )


def config(slots: Mapping[str, Slot]) -> dict[str, Any]:
    """What SimpleTuner and the library would make the same layers from, by our names of them.

    What most layers have stands at the top; the others are named one by one.
    """
    counted = Counter(_row(one) for one in slots.values())
    common = counted.most_common(1)[0][0]
    main = json.loads(common)
    rows = {name: json.loads(_row(one)) for name, one in slots.items() if _row(one) != common}
    inside = {"dora_wd": "weight_decompose", "wd_on_output": "wd_on_out"}
    return {
        "algo": main["algo"],
        "multiplier": 1.0,
        "linear_dim": main["dim"],
        "linear_alpha": main["alpha"],
        **main["options"],
        "apply_preset": {
            "target_module": [],
            "target_name": list(slots),
            "use_fnmatch": True,
            "name_algo_map": {
                name: {
                    "algo": row["algo"],
                    "dim": row["dim"],
                    "alpha": row["alpha"],
                    **{inside.get(n, n): one for n, one in row["options"].items()},
                }
                for name, row in rows.items()
            },
        },
    }


def write_config(folder: Path, slots: Mapping[str, Slot]) -> Path:
    """Write lycoris_config.json."""
    file = folder / f"{CONFIG}.json"
    write_whole(file, (json.dumps(config(slots), indent=2) + "\n").encode())
    return file


def slot_of(form: Form) -> Slot:
    """What a layer would be told to be made like this one; its dropout is no matter of files."""
    options: dict[str, Any] = {}
    alpha = 1.0 if form.alpha is None else form.alpha
    if form.decomposed:
        options |= {"dora_wd": True, "wd_on_output": form[DORA].shape[1] == 1}
    match form.algo:
        case "lokr":
            options |= _kronecker(form)
        case "ia3":
            options["train_on_input"] = form.on_input
        case "diag-oft" | "boft":
            options |= {"constraint": alpha, "rescaled": "rescale" in form.tensors}
            width = form["oft_blocks"].shape[-1]
            return Slot(algo=form.algo, rank=width, alpha=1.0, options=options)
        case _:
            pass
    return Slot(algo=form.algo, rank=rank(form), alpha=alpha, options=options)


def _kronecker(form: Form) -> dict[str, Any]:
    told = form.tensors
    first = told.get("lokr_w1", told.get("lokr_w1_a"))
    columns = told.get("lokr_w1", told.get("lokr_w1_b"))
    assert first is not None and columns is not None
    options: dict[str, Any] = {"factor": max(first.shape[0], columns.shape[1])}
    options |= {"full_matrix": True} if {"lokr_w1", "lokr_w2"} <= told.keys() else {}
    return options | ({"decompose_both": True} if "lokr_w1_a" in told else {})


def _row(slot: Slot) -> str:
    options = dict(sorted(slot.options.items()))
    told = {"algo": slot.algo, "dim": slot.rank, "alpha": slot.alpha, "options": options}
    return json.dumps(told)
