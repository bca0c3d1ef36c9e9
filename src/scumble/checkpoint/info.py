"""What there is to know of an adapter file without its model, for people."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from scumble.adapters.keys import Keys
from scumble.adapters.lora import LoraTensors
from scumble.adapters.lycoris.forms import rank
from scumble.adapters.names import DENOISER
from scumble.checkpoint import export, lycoris, lycoris_proof, network

PARTS = {"denoiser": "transformer", "clip": "CLIP", "t5": "T5"}
LONGEST = 300  # letters of a metadata value that are shown


def info(file: Path, keys: Keys) -> dict[str, str]:
    """Rows of facts; what cannot be read is one of them."""
    if network.is_network(file, keys):
        return network.info(file)
    if lycoris.is_one(file):
        return lycoris_rows(file, keys)
    told = export.read(file, keys)
    rows = {
        "file": f"{file} ({file.stat().st_size / 1e6:.2f} MB)",
        "layout": told.layout or "unknown",
    }
    for part, layers in told.changes.items():
        rows[PARTS.get(part, part)] = part_row(layers)
    each = [one for layers in told.changes.values() for one in layers.values()]
    finite = all(export.finite(one.down) and export.finite(one.up) for one in each)
    rows["tensors"] = f"{told.tensors}, stored as {', '.join(told.stored) or 'nothing'}"
    if each:
        rows["finite"] = "yes" if finite else "NO: it holds values that are not finite numbers"
    if problem := told.unread():
        rows["CANNOT BE READ"] = problem
    return rows | {key: _short(value) for key, value in sorted(told.metadata.items())}


def lycoris_rows(file: Path, keys: Keys) -> dict[str, str]:
    """The same of an adapter in LyCORIS' forms."""
    told = lycoris.read(file, keys)
    ranks = spread(rank(one) for one in told.forms.values()) if told.forms else ""
    kinds = lycoris_proof.counts(told.forms).items()
    counted = ", ".join(f"{count} of {name}" for name, count in kinds)
    rows = {
        "file": f"{file} ({file.stat().st_size / 1e6:.2f} MB)",
        "layout": f"{lycoris.LAYOUT}' own",
        PARTS[DENOISER]: f"{len(told.forms)} layers: {counted or 'none'}",
        "tensors": f"{len(told.keys)}, stored as {', '.join(told.stored) or 'nothing'}",
        "finite": "NO: it holds values that are not finite numbers" if told.not_finite else "yes",
    }
    if ranks not in ("", "1"):
        rows["rank"] = f"{ranks} (1: a layer without a bottleneck)" if "1 to" in ranks else ranks
    if problem := told.unread():
        rows["CANNOT BE READ"] = problem
    return rows | {key: _short(value) for key, value in sorted(told.metadata.items())}


def part_row(layers: Mapping[str, LoraTensors]) -> str:
    """Layers of one part in a sentence. They are counted as diffusers has them."""
    sizes = {name: size(one) for name, one in layers.items()}
    largest = max(sizes, key=lambda name: sizes[name])
    ranks = spread(len(one.down) for one in layers.values())
    alphas = spread(one.alpha for one in layers.values())
    words = f"{len(layers)} layers, rank {ranks}, alpha {alphas}"
    if sizes[largest] == 0:
        return f"{words}; it changes nothing: every change is 0"
    total = math.hypot(*sizes.values())
    return f"{words}; size of the change {total:.4g}, most in {largest} ({sizes[largest]:.4g})"


def spread(values: Iterable[float]) -> str:
    """From the lowest to the highest."""
    low, *_, high = [*(ordered := sorted(values)), ordered[-1]]
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def size(told: LoraTensors) -> float:
    """The Frobenius norm of (alpha / rank) up @ down, from the two small products.

    |U D|^2 = sum of (U^T U) * (D D^T), so the layer's whole matrix is never made.
    """
    down, up = told.down.double(), told.up.double()
    square = float(((up.T @ up) * (down @ down.T)).sum())
    return abs(told.alpha) / len(down) * math.sqrt(max(square, 0.0))


def _short(value: str) -> str:
    text = value if len(value) <= LONGEST else value[: LONGEST - 3] + "..."
    return json.dumps(text)[1:-1]
