"""One layer's change as LyCORIS files hold it, and which algorithm's it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

DORA = "dora_scale"
ALPHA = "alpha"
ON_INPUT = "on_input"
SCALAR = "scalar"
"""Trained beside the others and multiplied into one of them when delivered."""

ENDINGS: Mapping[str, tuple[str, ...]] = {
    "lokr": (
        "lokr_w1",
        "lokr_w1_a",
        "lokr_w1_b",
        "lokr_w2",
        "lokr_w2_a",
        "lokr_w2_b",
        ALPHA,
        DORA,
    ),
    "loha": ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", ALPHA, DORA),
    "locon": ("lora_up.weight", "lora_down.weight", ALPHA, DORA),
    "full": ("diff", "diff_b"),
    "ia3": ("weight", ON_INPUT),
    "glora": ("a1.weight", "a2.weight", "b1.weight", "b2.weight", ALPHA),
    "oft": ("oft_blocks", "rescale", ALPHA),
}
"""How a layer's tensors are called, by algorithm; diag-oft and boft are told apart by the number of
dimensions, and DyLoRA's are those of locon."""

ADDITIVE = ("lokr", "loha", "locon", "full")
"""Those whose change does not depend on the layer's own weights, unless there is a `dora_scale`."""

SCALED_BY = {"lokr": ("lokr_w1", "lokr_w1_a"), "loha": ("hada_w1_a",), "locon": ("lora_up.weight",)}
SCALED_BY |= {"glora": ("a2.weight", "b2.weight")}
"""Which tensors take the trained scalar along, those of them that are there."""


@dataclass(frozen=True)
class Form:
    """The tensors of one layer, by the ends of their keys, without those that are mere numbers."""

    algo: str
    """lokr, loha, locon, full, ia3, glora, diag-oft or boft."""

    tensors: Mapping[str, Tensor]
    alpha: float | None = None
    """Numerator of the scale; for rotations, how far they may go. None: the file has none."""

    on_input: bool = False
    """Of ia3: whether it scales what goes in, not the answer."""

    strength: float = 1.0
    """How much of the whole change is worn."""

    @property
    def decomposed(self) -> bool:
        """Whether it has a magnitude of its own, as DoRA's have."""
        return DORA in self.tensors

    @property
    def additive(self) -> bool:
        """Whether its change is the same whatever the layer's weights are."""
        return self.algo in ADDITIVE and not self.decomposed

    def __getitem__(self, ending: str) -> Tensor:
        """One of its tensors."""
        return self.tensors[ending]

    def times(self, strength: float) -> Form:
        """So much of it."""
        return replace(self, strength=self.strength * strength)


def rank(form: Form) -> int:
    """Width of its bottleneck, by which alpha is divided; 1 where it has none."""
    told = form.tensors
    match form.algo:
        case "locon":
            return len(told["lora_down.weight"])
        case "loha":
            return len(told["hada_w1_b"])
        case "glora":
            return len(told["a2.weight"])
        case "lokr":
            narrow = [told[one] for one in ("lokr_w2_b", "lokr_w1_b") if one in told]
            return len(narrow[0]) if narrow else 1
        case _:
            return 1


def scale(form: Form) -> float:
    """What its product is multiplied by: alpha over rank, and 1 where all matrices are whole."""
    whole = form.algo == "lokr" and not any(one.endswith("_b") for one in form.tensors)
    if form.alpha is None or whole or form.algo not in ("locon", "loha", "glora", "lokr"):
        return 1.0
    return form.alpha / rank(form)


def size(form: Form) -> tuple[int | None, int | None]:
    """(outputs, inputs) of the layer that it is for; None where it fits any."""
    told = form.tensors
    match form.algo:
        case "locon":
            return len(told["lora_up.weight"]), told["lora_down.weight"].shape[1]
        case "loha":
            return len(told["hada_w1_a"]), told["hada_w1_b"].shape[1]
        case "full":
            return told["diff"].shape[0], told["diff"].shape[1]
        case "glora":
            return len(told["b1.weight"]), told["b2.weight"].shape[1]
        case "lokr":
            rows, columns = 1, 1
            for side in ("lokr_w1", "lokr_w2"):
                up, down = told.get(f"{side}_a", told.get(side)), told.get(f"{side}_b")
                assert up is not None
                rows *= up.shape[0]
                columns *= (up if down is None else down).shape[1]
            return rows, columns
        case "ia3":
            count = told["weight"].numel()
            return (None, count) if form.on_input else (count, None)
        case _:
            blocks = told["oft_blocks"]
            return blocks.shape[-3] * blocks.shape[-1], None


def recognised(told: Mapping[str, Tensor]) -> Form | str:
    """The form of a layer with these tensors, by the ends of their keys; else what is wrong."""
    for name, endings in ENDINGS.items():
        if told.keys() <= set(endings) and (form := _whole(name, told)) is not None:
            return form
    return f"has {_listed(told)}, which is no whole layer of any algorithm"


def _whole(name: str, told: Mapping[str, Tensor]) -> Form | None:
    if not _has_all(name, told) or not all(_flat(one, value) for one, value in told.items()):
        return None
    alpha, inside = told.get(ALPHA), told.get(ON_INPUT)
    return Form(
        algo=_kind(name, told),
        tensors={one: value for one, value in told.items() if one not in (ALPHA, ON_INPUT)},
        alpha=None if alpha is None else float(alpha),
        on_input=inside is not None and bool(inside),
    )


def _flat(ending: str, told: Tensor) -> bool:
    """Whether a tensor has the dimensions that it has for a linear layer."""
    match ending:
        case "alpha" | "on_input":
            return told.numel() == 1
        case "weight" | "diff_b":
            return told.dim() == 1
        case "oft_blocks":
            return told.dim() in (3, 4)
        case _:
            return told.dim() == 2


def _kind(name: str, told: Mapping[str, Tensor]) -> str:
    if name != "oft":
        return name
    return "boft" if "oft_blocks" in told and told["oft_blocks"].dim() == 4 else "diag-oft"


def _has_all(name: str, told: Mapping[str, Tensor]) -> bool:
    """Whether nothing is missing of what belongs together."""
    match name:
        case "lokr":
            return all(_side(told, side) for side in ("lokr_w1", "lokr_w2"))
        case "full":
            return "diff" in told
        case "oft":
            return "oft_blocks" in told
        case _:
            return all(one in told for one in ENDINGS[name] if one not in (ALPHA, DORA))


def _side(told: Mapping[str, Tensor], side: str) -> bool:
    parts = [f"{side}_a" in told, f"{side}_b" in told]
    return (all(parts) and side not in told) or (side in told and not any(parts))


def _listed(told: Iterable[str]) -> str:
    return " and ".join(f"'{one}'" for one in told) or "nothing"
