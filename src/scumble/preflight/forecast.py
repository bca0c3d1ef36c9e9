"""What a job will take of the disk and of the day: arithmetic over its counts."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from scumble.adapters.layouts import LAYOUTS
from scumble.adapters.names import DENOISER
from scumble.data.held_out import measured
from scumble.data.plans import Shelf
from scumble.data.saying import saying
from scumble.data.shelving import Shelves
from scumble.families.weights import held_bytes
from scumble.hardware.device import Place
from scumble.observers.sentences import size
from scumble.preflight import class_prompts, extra_passes, measures, pace, showing
from scumble.preflight.plan import Plan
from scumble.spec.adapter import FullSpec, LoraSpec
from scumble.spec.averaging import delivered, previewed
from scumble.spec.lycoris import LycorisSpec
from scumble.trainer import optimizers

GB = 1e9
TEXTS = 200  # from which the length of all is told, where texts have lengths of their own
HEAVY = 20
"""GB that a card for home use has hardly left."""

PNG_BYTES = 1.5  # per pixel of a preview, about
USED = 0.4  # of a bare product's speed that a large model reaches, about
LAYER_SECONDS = {"cpu": 8e-4, "cuda": 1e-4}
"""What one layer and its neighbours cost whatever their size, forward and backward; about."""


def run_bytes(plan: Plan) -> int:
    """Bytes of checkpoints, previews and the delivered files at their most."""
    job = plan.job
    saves = math.ceil(job.training.steps / job.saving.every) if job.saving.every else 1
    kept = saves if job.saving.keep == 0 else min(saves, job.saving.keep + 1)
    pixels = [one.pixels + one.beside for one in _previewed(plan)]
    pictures = _previews(plan) * sum(pixels)
    width = 4 if job.export.dtype == "float32" else 2
    exported = sum(_numbers(plan, layout) for layout in job.export.layouts)
    exported *= len(delivered(job.training.ema))
    average = 0 if job.training.ema is None else 4 * plan.trained_parameters
    weights = kept * (weights_bytes(plan) + state_bytes(plan) + average) + exported * width
    return int(weights + pictures * PNG_BYTES)


def weights_bytes(plan: Plan) -> int:
    """Of what is trained, in memory and in each checkpoint, and of where it began if it is kept."""
    pairs = 2 if any(one.taken for one in plan.shapes.values()) else 1
    each = optimizers.weights_dtype(plan.job.training.optimizer).itemsize
    return pairs * plan.trained_parameters * each


def state_bytes(plan: Plan) -> float:
    """What the optimizer keeps beside what is trained, in memory and in each checkpoint; about."""
    rows = [(one[0], math.prod(one[1:])) if one else (1, 1) for one in plan.trained.values()]
    return optimizers.kept_bytes(plan.job.training.optimizer, rows)


def memory(plan: Plan) -> str | None:
    """What training a network's own weights holds on the device, in words; None for adapters."""
    match plan.job.adapter:
        case FullSpec():
            weights, state = weights_bytes(plan), state_bytes(plan)
            frozen = _numbers(plan, "diffusers") - plan.trained_parameters
            still = frozen * plan.place.dtype.itemsize
            each = [("weights", weights + still), ("gradients", weights), ("optimizer", state)]
            told = ", ".join(f"{name} {size / GB:.2g}" for name, size in each)
            total = (2 * weights + still + state) / GB
            return f"about {total:.2g} GB ({told}), and what a step computes"
        case LoraSpec() | LycorisSpec():
            return _beside_quantised(plan)


def _beside_quantised(plan: Plan) -> str | None:
    """The same of an adapter, where the base under it is kept in fewer bits."""
    quantiser = plan.model.quantising.parts.get(DENOISER)
    if quantiser is None:
        return None
    base = held_bytes(plan.model, DENOISER, plan.place.dtype.itemsize) / GB
    learnt = (2 * weights_bytes(plan) + state_bytes(plan)) / GB
    told = f"denoiser as {quantiser} {base:.2g}, adapter with gradients and optimizer {learnt:.2g}"
    return f"about {base + learnt:.2g} GB ({told}), and what a step computes"


def average(plan: Plan) -> str | None:
    """What a moving average of the weights takes, in words; None where none is kept."""
    spec = plan.job.training.ema
    if spec is None:
        return None
    held, trained = size(4 * plan.trained_parameters), size(weights_bytes(plan))
    if spec.device == "device":
        return f"{held} on the device"
    coming = f", and {trained} for what is on its way" if plan.place.device.type == "cuda" else ""
    return f"{held} on the CPU{coming}"


def heavy(plan: Plan) -> list[str]:
    """A word on the way out where training a network's own weights takes very much."""
    held = 2 * weights_bytes(plan) + state_bytes(plan)
    if plan.job.adapter.kind == "lora" or held < HEAVY * GB:
        return []
    return [
        f"Training all these weights holds {held / GB:.0f} GB on the device; an adapter"
        " (`adapter.kind: lora`) learns with a fraction of it, and so do fewer layers"
        " (`adapter.targets`)."
    ]


def _numbers(plan: Plan, layout: str) -> int:
    """Of a delivered file. Where the authors have one layer for several of ours, it is as wide as
    these together, and zeros stand beside what was trained. A whole network is as it is."""
    match plan.job.adapter:
        case FullSpec():
            return sum(one.numel() for one in plan.denoiser.state_dict().values())
        case LycorisSpec():
            return plan.trained_parameters
        case LoraSpec():
            authors = LAYOUTS[layout].authors
            each = ((one, plan.layers[part]) for part, one in plan.shapes.items())
            return sum(shape.numbers(layers, authors=authors) for shape, layers in each)


@dataclass(frozen=True)
class Expected:
    """How long training and previews will take."""

    seconds: float
    measured: str | None
    """The day this machine last ran such a job, as 2026-11-03, where its pace is told from that;
    None where it is arithmetic, good to a factor of two or three."""


def expected(plan: Plan) -> Expected:
    """Time of training, previews and measurements.

    Per token and frozen weight there are 2 operations forward and 2 backward, and 2 more when
    blocks are computed again; previews and measurements are forward only. How fast products are is
    measured here. Where a step's time is known from earlier runs, the others are as much slower or
    faster.
    """
    job, tokens = plan.job, tokens_per_unit(plan)
    product = speed(plan.place) * USED
    passes = 3 if job.hardware.gradient_checkpointing else 2
    extra = extra_passes.forwards(plan)
    unit = _work(plan, tokens) / product * (passes + extra) + _fixed(plan) * (1 + extra / 3)
    step, others = unit * job.training.units_per_step, _preview_seconds(plan, product)
    measuring = measures.count(plan) * measures.forward_passes(plan)
    others += measuring * _measured_seconds(plan, product)
    compared = showing.compared(job, plan.family, plan.parted)
    others += showing.comparisons(job, plan.parted) * _painted_seconds(plan, product, compared)
    ways = class_prompts.works(job, plan.family, plan.parted)
    others += measures.drift_count(plan) * _painted_seconds(plan, product, ways)
    earlier = pace.remembered(pace.work(plan, tokens))
    if not earlier.good:
        return Expected(job.training.steps * step + others, None)
    known = earlier.usual
    return Expected(job.training.steps * known + others * known / step, earlier.good[-1].date)


def seconds(plan: Plan) -> float:
    """The same as a number alone."""
    return expected(plan).seconds


def _preview_seconds(plan: Plan, product: float) -> float:
    return _previews(plan) * _painted_seconds(plan, product, _previewed(plan))


def _previews(plan: Plan) -> int:
    """How many times pictures are made."""
    every, kinds = showing.every(plan.job, plan.parted), len(previewed(plan.job.training.ema))
    return kinds * (1 + math.ceil(plan.job.training.steps / every)) if every else 0


def _previewed(plan: Plan) -> list[showing.Work]:
    return showing.previewed(plan.job, plan.family, plan.parted)


def _painted_seconds(plan: Plan, product: float, works: Sequence[showing.Work]) -> float:
    """Of these pictures, once."""
    total, told = 0.0, tokens_told(plan)
    for one in works:
        tokens = one.read / plan.family.pixels_per_step**2 + told
        total += one.passes * (_work(plan, tokens) / product + _fixed(plan) / 3)
    return total


def _measured_seconds(plan: Plan, product: float) -> float:
    """Of one such forward pass, about."""
    shelves = [shelf for one in measured(plan.parted) for shelf in Shelves(one)(0)]
    told = tokens_told(plan)
    tokens = sum(len(one.members) * (_of_example(plan, one) + told) for one in shelves)
    pictures = sum(len(one.members) for one in shelves)
    if not pictures:
        return 0.0
    batch = sum(one.batch * len(one.members) for one in shelves) / pictures
    return _work(plan, tokens / pictures) / product + _fixed(plan) / 3 / batch


def _work(plan: Plan, tokens: float) -> float:
    """Operations of one example's forward pass."""
    return 2 * tokens * sum(parameter.numel() for parameter in plan.denoiser.parameters())


def _fixed(plan: Plan) -> float:
    layers = sum(isinstance(module, torch.nn.Linear) for module in plan.denoiser.modules())
    return layers * LAYER_SECONDS.get(plan.place.device.type, LAYER_SECONDS["cpu"])


def tokens_per_unit(plan: Plan) -> float:
    """Of a unit of the first epoch on average: its examples with their texts and references."""
    quotas = plan.order.units_per_round
    means = [_of_pool(plan, pool) for pool in range(len(quotas))]
    return sum(q * mean for q, mean in zip(quotas, means, strict=True)) / sum(quotas)


def _of_pool(plan: Plan, pool: int) -> float:
    shelves, told = plan.order.shelves(0, pool), tokens_told(plan)
    tokens = sum(shelf.examples * (_of_example(plan, shelf) + told) for shelf in shelves)
    return tokens / sum(shelf.units for shelf in shelves)


def _of_example(plan: Plan, shelf: Shelf) -> float:
    """Of the pictures of an example; a reference that is drawn counts like its target."""
    areas = [
        rows * columns for rows, columns in zip(shelf.size[::2], shelf.size[1::2], strict=True)
    ]
    one = next(one for one in plan.sets if one.spec.id == shelf.dataset)
    if one.spec.references and one.spec.reference_sampling == "random":
        areas += areas[:1]
    return sum(areas) / plan.family.pixels_per_step**2


def tokens_told(plan: Plan) -> float:
    """Of a text on average, with the pictures it is read with; about, from some of them."""
    length = plan.family.text_length
    some = plan.asked.texts[:: max(1, len(plan.asked.texts) // TEXTS)] if length else ()
    if length is None or not some:
        return float(plan.tokens)
    sayings = [saying(text, looks, plan.family.glance) for text, looks in some]
    return sum(length(one.text, one.sizes, plan.tokens) for one in sayings) / len(sayings)


def speed(place: Place) -> float:
    """Operations per second of a product of square matrices on this device."""
    side = 4096 if place.device.type == "cuda" else 768
    left = torch.ones(side, side, dtype=place.dtype, device=place.device)
    torch.mm(left, left)
    start, rounds, answer = time.perf_counter(), 4, left
    for _ in range(rounds):
        answer = torch.mm(left, left)
    answer[0, 0].item()  # waits for a card to be done
    return rounds * 2 * side**3 / (time.perf_counter() - start)
