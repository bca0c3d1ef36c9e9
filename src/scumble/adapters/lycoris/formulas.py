"""What each algorithm adds to a layer's answers, and what it makes of the layer's weight.

One change, two ways to compute it: beside the frozen layer while training, where it is cheap and
never rounded to the layer's numbers, and as a matrix when it is worked into the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from scumble.adapters.lora import fitting
from scumble.adapters.lycoris.forms import DORA, Form, scale
from scumble.adapters.lycoris.rotations import turned

Weight = Float[Tensor, "outputs inputs"]


@dataclass(frozen=True)
class Seen:
    """A frozen layer, what came in and what it answered."""

    layer: Callable[[Tensor], Tensor]
    bias: Tensor | None
    weigh: Callable[[], Tensor]
    """Reads its weight, which a quantised layer has to make first."""

    x: Tensor
    answer: Tensor

    def plain(self) -> Tensor:
        """The answer without the layer's bias."""
        return self.answer if self.bias is None else self.answer - self.bias

    def of(self, x: Tensor) -> Tensor:
        """What the layer answers to something else, without its bias."""
        answer = self.layer(x)
        return answer if self.bias is None else answer - self.bias


def beside(form: Form, seen: Seen) -> Tensor:
    """What a change adds to the layer's answer."""
    match form.algo:
        case "diag-oft" | "boft":
            added = turned(form, seen.plain())
        case "ia3" if form.on_input:
            added = seen.of(seen.x * form["weight"].to(seen.x.dtype))
        case "ia3":
            plain = seen.plain()
            added = plain * form["weight"].to(plain.dtype)
        case "glora":
            added = _glora(form, seen)
        case _ if form.decomposed:
            added = _rebuilt(_decomposed, form, seen)
        case _:
            added = _added(form, seen)
    return added if form.strength == 1 else added * form.strength


def change(form: Form, weight: Weight) -> Weight:
    """What a change makes of a layer's weight, less that weight; in float32."""
    weight = weight.float()
    match form.algo:
        case "diag-oft" | "boft":
            made = turned(form, weight.T).T
        case "ia3":
            factor = form["weight"].float()
            made = weight * (factor if form.on_input else factor[:, None])
        case "glora":
            a1, a2, b1, b2 = (form[f"{one}.weight"].float() for one in ("a1", "a2", "b1", "b2"))
            made = scale(form) * (weight @ a1 @ a2 + b1 @ b2)
        case _ if form.decomposed:
            factor, added = _magnitude(form, weight), matrix(form)
            made = (factor - 1) * weight + factor * added
        case _:
            made = matrix(form)
    return made if form.strength == 1 else made * form.strength


def bias(form: Form) -> Tensor | None:
    """What is added to a layer's bias; only `full` has any."""
    told = form.tensors.get("diff_b")
    return None if told is None else told.float() * form.strength


def matrix(form: Form) -> Weight:
    """The change of an additive algorithm, without a magnitude; in float32, autocast or not."""
    device = next(iter(form.tensors.values())).device.type
    with torch.autocast(device, enabled=False):
        match form.algo:
            case "locon":
                made = form["lora_up.weight"].float() @ form["lora_down.weight"].float()
            case "loha":
                made = _pair(form, "hada_w1") * _pair(form, "hada_w2")
            case "lokr":
                made = torch.kron(_pair(form, "lokr_w1"), _pair(form, "lokr_w2"))
            case _:
                made = form["diff"].float()
        return made * scale(form)


def _pair(form: Form, side: str) -> Tensor:
    """A matrix that is there whole, or as a product."""
    if side in form.tensors:
        return form[side].float()
    return form[f"{side}_a"].float() @ form[f"{side}_b"].float()


def _added(form: Form, seen: Seen) -> Tensor:
    match form.algo:
        case "locon":
            narrow = functional.linear(seen.x, fitting(form["lora_down.weight"], seen.x))
            return functional.linear(narrow * scale(form), fitting(form["lora_up.weight"], narrow))
        case "lokr":
            return _kronecker(form, seen.x)
        case "full":
            moved = form.tensors.get("diff_b")
            diff = fitting(form["diff"], seen.x)
            return functional.linear(seen.x, diff, None if moved is None else fitting(moved, diff))
        case _:
            return _rebuilt(_whole, form, seen)


def _kronecker(form: Form, x: Tensor) -> Tensor:
    """(A kron B) x, with x as a matrix of as many rows as A has columns: A X B^T."""
    first = form["lokr_w1"] if "lokr_w1" in form.tensors else _pair(form, "lokr_w1")
    columns = x.unflatten(-1, (first.shape[1], -1))
    if "lokr_w2" in form.tensors:
        wide = functional.linear(columns, fitting(form["lokr_w2"], x))
    else:
        narrow = functional.linear(columns, fitting(form["lokr_w2_b"], x))
        wide = functional.linear(narrow, fitting(form["lokr_w2_a"], narrow))
    mixed = functional.linear(wide.transpose(-1, -2) * scale(form), fitting(first, wide))
    return mixed.transpose(-1, -2).flatten(-2)


def _glora(form: Form, seen: Seen) -> Tensor:
    """s (W A1 A2 x + B1 B2 x), without looking at W."""
    a1, a2, b1, b2 = (fitting(form[f"{one}.weight"], seen.x) for one in ("a1", "a2", "b1", "b2"))
    inside = functional.linear(functional.linear(seen.x, a2) * scale(form), a1)
    outside = functional.linear(functional.linear(seen.x, b2) * scale(form), b1)
    return seen.of(inside) + outside


def _rebuilt(compute: Callable[..., Tensor], form: Form, seen: Seen) -> Tensor:
    """Computed again for the gradients, for a layer's whole matrix is too large to be kept."""
    if not torch.is_grad_enabled():
        return compute(form, seen)
    # nothing in it is drawn, so no generator has to be put back
    return checkpoint(compute, form, seen, use_reentrant=False, preserve_rng_state=False)


def _whole(form: Form, seen: Seen) -> Tensor:
    return functional.linear(seen.x, fitting(matrix(form), seen.x))


def _decomposed(form: Form, seen: Seen) -> Tensor:
    """m W' / |W'| x less W x, for W' = W + change, with a norm for each row or each column."""
    factor = _magnitude(form, seen.weigh().detach().float())
    if len(factor) == 1:
        moved = seen.of(seen.x * (factor - 1).flatten().to(seen.x.dtype))
        inner = replace(seen, x=seen.x * factor.flatten().to(seen.x.dtype))
        return moved + _added(form, inner)
    plain, added, rows = seen.plain(), _added(form, seen), factor.flatten()
    return plain * (rows - 1).to(plain.dtype) + added * rows.to(added.dtype)


def _magnitude(form: Form, weight: Weight) -> Tensor:
    """m / |W'|, one for each row, or for each column where `dora_scale` lies flat."""
    wanted = form[DORA].float()
    by_row = wanted.shape[0] == weight.shape[0]
    norms = (weight + matrix(form)).norm(dim=1 if by_row else 0, keepdim=True)
    return wanted / norms.clamp(min=torch.finfo(torch.float32).tiny)
