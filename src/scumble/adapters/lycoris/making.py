"""Fresh layers, made by the LyCORIS library: their tensors, sizes and first values.

The library computes nothing here: its modules are taken apart as soon as they are made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from scumble import dice
from scumble.adapters.lycoris.forms import DORA, Form, rank
from scumble.adapters.lycoris.slots import Slot
from scumble.errors import JobError

WHERE = "adapter"
PACKAGE = "lycoris"
REST = ("dropout", "rank_dropout", "module_dropout", "rank_dropout_scale")
"""Options that are followed here, not by the library's modules."""

DECOMPOSED = ("dora_wd", "wd_on_output")


def refuse_without_library() -> None:
    """JobError where the package is not installed."""
    if find_spec(PACKAGE) is None:
        problem = "`kind: lycoris` needs the package lycoris-lora, which is not installed"
        raise JobError("adapter.kind", problem, 'pip install "scumble[lycoris]"')


def fresh(
    slot: Slot, layer: str, base: nn.Linear, *, seed: int, start_norm: float | None = None
) -> Form:
    """A layer's tensors in float32, on the CPU; a function of the seed, the name and the sizes.

    JobError where the algorithm cannot be on a layer of that size.
    """
    outputs, inputs = base.out_features, base.in_features
    with _drawn("start", seed, layer):
        form = _made(slot, layer, (outputs, inputs), biased=base.bias is not None)
    tensors = dict(form.tensors)
    if slot.options.get("dora_wd"):
        by_row = slot.options.get("wd_on_output", True)
        weight = base.weight.detach().float()
        tensors[DORA] = weight.norm(dim=1 if by_row else 0, keepdim=True).cpu()
    if start_norm is not None and slot.algo == "lokr":
        tensors |= _perturbed(form, layer, base, seed=seed, share=start_norm)
    return replace(form, tensors=tensors)


def sizes(slot: Slot, layer: str, base: nn.Linear) -> dict[str, tuple[int, ...]]:
    """The shapes of what is trained, by the ends of the keys; nothing is drawn."""
    with torch.device("meta"):
        form = _made(slot, layer, (base.out_features, base.in_features), base.bias is not None)
    found = {ending: tuple(one.shape) for ending, one in form.tensors.items()}
    if slot.options.get("dora_wd"):
        by_row = slot.options.get("wd_on_output", True)
        found[DORA] = (base.out_features, 1) if by_row else (1, base.in_features)
    return found


def refuse_products(endings: Collection[str], layer: str) -> None:
    """JobError for a start from noise of a layer whose matrices are not whole."""
    if not {"lokr_w1", "lokr_w2"} <= set(endings):
        problem = f"`start_norm` needs both matrices whole, and those of {layer} are products"
        remedy = "set `adapter.options: {full_matrix: true}`, or a larger `rank`"
        raise JobError("adapter.start_norm", problem, remedy)


def _perturbed(
    form: Form, layer: str, base: nn.Linear, *, seed: int, share: float
) -> dict[str, Tensor]:
    """Ones, and normal noise with the mean and the spread of the layer's weights, times `share`."""
    refuse_products(form.tensors, layer)
    weight, second = base.weight.detach().float(), form["lokr_w2"]
    mean, spread = float(weight.mean()), float(weight.std())
    noise = torch.randn(second.shape, generator=dice.generator(seed, "start norm", layer))
    return {
        "lokr_w1": torch.ones_like(form["lokr_w1"]),
        "lokr_w2": share * (mean + spread * (noise - noise.mean()) / noise.std()),
    }


def _made(slot: Slot, layer: str, size: tuple[int, int], biased: bool) -> Form:
    if slot.algo == "full":
        diff = {"diff": torch.zeros(size), "diff_b": torch.zeros(size[0])}
        return Form("full", diff if biased else {"diff": diff["diff"]})
    if slot.algo == "dylora" and slot.rank % slot.options.get("block_size", 4):
        block = slot.options.get("block_size", 4)
        problem = f"dylora cuts the rank, {slot.rank}, into blocks of {block}, which leaves a rest"
        raise JobError("adapter.rank", problem, f"use a multiple of {block}, or set `block_size`")
    module = _module(slot, layer, size)
    tensors = {name: one.detach() for name, one in module.named_parameters()}
    if slot.algo == "dylora":
        tensors = {
            "lora_down.weight": torch.cat([one for n, one in tensors.items() if "down_list" in n]),
            "lora_up.weight": torch.cat([one for n, one in tensors.items() if "up_list" in n], 1),
        }
    algo = "locon" if slot.algo == "dylora" else slot.algo
    form = Form(algo, tensors, on_input=bool(slot.options.get("train_on_input")))
    return replace(form, alpha=_alpha(slot, form))


def _module(slot: Slot, layer: str, size: tuple[int, int]) -> nn.Module:
    """The library's own module for a layer that is not there."""
    kinds = _kinds()
    with torch.device("meta"):
        base = nn.Linear(size[1], size[0], bias=False)
    told = {n: one for n, one in slot.options.items() if n not in (*REST, *DECOMPOSED)}
    with _quietly():
        try:
            return kinds[slot.algo](layer, base, 1.0, slot.rank, slot.alpha, **told)
        except (ValueError, AssertionError) as error:
            problem = f"{slot.algo} cannot be on {layer}, which is {size[0]} x {size[1]} ({error})"
            remedy = "give it another `rank`, or leave it out by a rule with `algo: none`"
            raise JobError(WHERE, problem, remedy) from None


def _kinds() -> Mapping[str, Callable[..., nn.Module]]:
    """The library's classes; importing it takes seconds, for it looks for all that it could use."""
    from lycoris import modules

    return {
        "locon": modules.LoConModule,
        "loha": modules.LohaModule,
        "lokr": modules.LokrModule,
        "dylora": modules.DyLoraModule,
        "glora": modules.GLoRAModule,
        "ia3": modules.IA3Module,
        "diag-oft": modules.DiagOFTModule,
        "boft": modules.ButterflyOFTModule,
    }


def _alpha(slot: Slot, form: Form) -> float | None:
    """What files say: for rotations the constraint, else the numerator over the rank."""
    if slot.algo in ("diag-oft", "boft"):
        return float(slot.options.get("constraint", 0))
    if slot.algo == "ia3":
        return None
    if slot.algo == "lokr" and rank(form) != slot.rank:
        return float(slot.rank)  # as the library has it where both matrices are whole: a scale of 1
    assert rank(form) == slot.rank
    return slot.alpha * slot.rank**0.5 if slot.options.get("rs_lora") else slot.alpha


@contextmanager
def _drawn(what: str, seed: int, layer: str) -> Iterator[None]:
    """The global generator as if it were this layer's own; put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(dice.word(seed, what, layer))
        yield


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the library's remarks on each layer's sizes."""
    log = logging.getLogger("LyCORIS")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
