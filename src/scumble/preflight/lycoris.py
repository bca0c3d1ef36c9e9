"""What a LyCORIS adapter's layers are to be: targets, rules and the file that it goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from scumble.adapters.attach import linear
from scumble.adapters.lycoris import making, slots
from scumble.adapters.lycoris.forms import Form
from scumble.adapters.lycoris.slots import Slot
from scumble.adapters.lycoris.worn import Lycoris, attached
from scumble.checkpoint import lycoris as files
from scumble.checkpoint.lycoris import Forms
from scumble.errors import FileError, JobError
from scumble.families.family import Family
from scumble.families.tensor_files import Shape
from scumble.hardware.imports import imported
from scumble.preflight.shaping import heard, names_of
from scumble.spec.job import JobSpec
from scumble.spec.lycoris import LycorisSpec
from scumble.spec.saving import ExportSpec

START = "adapter.start"


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The layers that are trained, and how."""

    slots: Mapping[str, Slot]
    layers: Mapping[str, nn.Linear]
    start: Forms | None
    """By the layers' names; what a file begins them with."""

    remarks: tuple[str, ...] = ()

    def sizes(self, family: Family) -> dict[str, Shape]:
        """Shapes of what is trained, by the names that it is kept under."""
        names, found = names_of(family), dict[str, Shape]()
        for layer, slot in self.slots.items():
            stem = names.whole(names.table(layer))
            told = (
                making.sizes(slot, layer, self.layers[layer])
                if self.start is None
                else {n: tuple(one.shape) for n, one in self.start[layer].tensors.items()}
            )
            found |= {f"{stem}.{ending}": shape for ending, shape in told.items()}
        return found


def checked(job: JobSpec, spec: LycorisSpec) -> None:
    """JobError for what cannot be with such an adapter, before anything is looked for."""
    making.refuse_without_library()
    imported(f"{making.PACKAGE}.modules")  # which is loud, and loaded here before anything is made
    plain = spec.algo in ("locon", "dylora") and not spec.rules and not spec.options.get("dora_wd")
    _refuse_layouts(job.export, plain=plain and spec.start is None)


def _refuse_layouts(export: ExportSpec, *, plain: bool) -> None:
    """Others than the native one are for plain LoRA."""
    others = [one for one in export.layouts if one != "diffusers"]
    if others and not plain:
        problem = f"`{others[0]}` is a layout of plain LoRA; LyCORIS' forms have keys of their own"
        remedy = "leave `export.layout` out: ComfyUI and SimpleTuner read LyCORIS' own keys"
        raise JobError("export.layout", problem, remedy)


def planned(family: Family, denoiser: nn.Module, spec: LycorisSpec) -> Planned:
    """Targets and rules resolved, or the layers of the file that the adapter goes on from.

    JobError or FileError where that cannot be.
    """
    if spec.start is not None:
        return _started(family, denoiser, spec)
    names = names_of(family)
    targeted = heard(family, denoiser, slots.chosen(denoiser, spec, family.targets))
    found = slots.resolved(targeted, spec, names)
    if not found:
        remedy = "look at `adapter.targets` and at the rules with `algo: none`"
        raise JobError("adapter", "no layer is left, so nothing would be trained", remedy)
    if nameless := [one for one in found if names.spot(one) is None]:
        remedy = "leave it out by a rule with `algo: none`"
        raise JobError("adapter.targets", f"no file has a name for '{nameless[0]}'", remedy)
    layers = {name: targeted[name] for name in found}
    _refuse_sizes(found, layers, spec)
    said = slots.idle(spec.rules, list(targeted), names)
    return Planned(slots=found, layers=layers, start=None, remarks=(said,) if said else ())


def _refuse_sizes(
    found: Mapping[str, Slot], layers: Mapping[str, nn.Linear], spec: LycorisSpec
) -> None:
    """JobError for layers on which an algorithm cannot be."""
    for name, slot in found.items():
        endings = making.sizes(slot, name, layers[name])
        if spec.start_norm is not None and slot.algo == "lokr":
            making.refuse_products(endings, name)


def _started(family: Family, denoiser: nn.Module, spec: LycorisSpec) -> Planned:
    """As the file has it; what of it cannot be read, or has no place here, is named."""
    assert spec.start is not None
    file = Path(spec.start)
    told = files.read(file, family.keys)
    if not told.forms:
        problem = told.unread() or "it holds no layer in one of LyCORIS' forms"
        raise FileError(file, problem, f"`{START}` wants a LyCORIS file of this model")
    if told.not_finite:
        problem = f"it holds values that are no finite numbers, first '{told.not_finite[0]}'"
        raise FileError(file, problem, "it was spoilt in training; take an earlier one")
    names = names_of(family)
    linears = {n: one for n, one in denoiser.named_modules() if isinstance(one, nn.Linear)}
    here = {n: told.forms[names.table(n)] for n in linears if names.table(n) in told.forms}
    if wrong := misfits(here, linears):
        raise FileError(file, wrong[0], "it was made for another model")
    said = [f"`{START}`: of the file, {unread}."] if (unread := told.unread()) else []
    if lost := sorted(told.forms.keys() - {names.table(one) for one in here}):
        said.append(f"`{START}` leaves {len(lost)} layers of the file out, first '{lost[0]}'.")
    if not here:
        raise FileError(file, "none of its layers is in this model", "give one of this model")
    return Planned(
        slots={name: _slot(form, spec) for name, form in here.items()},
        layers={name: linear(denoiser, name) for name in here},
        start=here,
        remarks=tuple(said),
    )


def _slot(form: Form, spec: LycorisSpec) -> Slot:
    """The file's own, with the job's dropout; DyLoRA's files are those of locon."""
    slot = files.slot_of(form)
    rest = {name: one for name, one in spec.options.items() if name in making.REST}
    cut = spec.algo == "dylora" and form.algo == "locon" and not form.decomposed
    block = {"block_size": spec.options.get("block_size", 4)} if cut else {}
    algo = "dylora" if cut else slot.algo
    return replace(slot, algo=algo, options={**slot.options, **rest, **block})


def misfits(forms: Forms, layers: Mapping[str, nn.Linear]) -> list[str]:
    """What of an adapter has no place on these layers, a sentence each."""
    shapes = {name: (one.out_features, one.in_features) for name, one in layers.items()}
    return files.unfit(forms, shapes)


def worn(
    family: Family, denoiser: nn.Module, spec: LycorisSpec, *, seed: int, dtype: torch.dtype
) -> Lycoris:
    """The adapter on a network that has its weights: fresh, or as the file to go on from has it."""
    plan = planned(family, denoiser, spec)
    told = plan.start or {
        name: making.fresh(slot, name, plan.layers[name], seed=seed, start_norm=spec.start_norm)
        for name, slot in plan.slots.items()
    }
    return attached(denoiser, told, plan.slots, names_of(family), dtype=dtype)
