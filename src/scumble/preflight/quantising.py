"""What a job says of quantised parts: refused where it cannot be, told with what it will hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from scumble.adapters.names import DENOISER
from scumble.errors import JobError, ScumbleError, gather
from scumble.families import weights
from scumble.families.family import Family
from scumble.families.quantised import split
from scumble.hardware.device import Place
from scumble.hardware.quantisers.table import missing, refusal
from scumble.observers.sentences import size
from scumble.spec.adapter import AdapterSpec, FullSpec, LoraSpec
from scumble.spec.lycoris import LycorisSpec
from scumble.spec.model import ModelSpec

WHERE = "model.quantised"
INSTALL = 'pip install "scumble[quantised]"'
NAMED = 3  # layers that a sentence names


def checked(spec: ModelSpec, adapter: AdapterSpec | None, family: Family, place: Place) -> None:
    """An ExceptionGroup of all that cannot be; without an adapter nothing is trained."""
    found: list[ScumbleError] = [*_unknown(spec, family), *_absent(spec)]
    for part, quantiser in spec.quantised.items():
        names = put_on(adapter, part) if adapter is not None else []
        for name in names or ["nothing"]:
            if why := refusal(quantiser, name, place.device.type):
                on = f" with `{name}`" if names else ""
                problem = f"{quantiser} for {part}{on} on '{place.device.type}' is refused"
                found.append(JobError(f"{WHERE}.{part}", problem, why))
    gather("the model cannot be quantised so", found)


def _unknown(spec: ModelSpec, family: Family) -> Iterator[JobError]:
    """Parts that there are not, or that are not quantised."""
    known = [name for name in family.parts if name != "autoencoder"]
    for part in spec.quantised:
        if part == "autoencoder":
            problem = "nearly all of an autoencoder are convolutions, which stay as they are"
            yield JobError(f"{WHERE}.{part}", problem, f"leave it out; known: {', '.join(known)}")
        elif part not in known:
            problem = f"{family.name} has no part '{part}'"
            yield JobError(f"{WHERE}.{part}", problem, f"known: {', '.join(known)}")


def _absent(spec: ModelSpec) -> Iterator[JobError]:
    """Packages that have to be installed first, each once."""
    wanted = {missing(one): one for one in spec.quantised.values()}
    for package, quantiser in wanted.items():
        if package is not None:
            yield JobError(WHERE, f"{quantiser} needs {package}, which is not installed", INSTALL)


def put_on(adapter: AdapterSpec, part: str) -> list[str]:
    """What is trained on a part's layers, as the table of quantisers calls it."""
    match adapter:
        case LoraSpec(parts=parts, first=first, ggpo=ggpo):
            if part not in parts:
                return []
            begun = [first] if first in ("pissa", "olora") else []
            return ["lora", *begun, *(["ggpo"] if ggpo is not None else [])]
        case LycorisSpec() if part == DENOISER:
            return _algorithms(adapter)
        case FullSpec() if part == DENOISER:
            return ["full"]
        case _:
            return []


def _algorithms(adapter: LycorisSpec) -> list[str]:
    """Of LyCORIS, each once."""
    several = (adapter.algo, *(one.algo for one in adapter.rules))
    options = (adapter.options, *(one.options for one in adapter.rules))
    named = [one for one in several if one is not None and one != "none"]
    named += ["dora"] if any(one.get("dora_wd") for one in options) else []
    return list(dict.fromkeys("lycoris-full" if one == "full" else one for one in named))


def remarks(model: weights.Model, place: Place, denoiser: nn.Module) -> tuple[str, ...]:
    """What becomes of each quantised part, in sentences."""
    return tuple(
        _remark(model, part, place, denoiser if part == DENOISER else weights.skeleton(model, part))
        for part in model.quantising.parts
    )


def _remark(model: weights.Model, part: str, place: Place, module: nn.Module) -> str:
    quantiser, width = model.quantising.parts[part], place.dtype.itemsize
    found = split(model.family.parts[part], module, quantiser)
    took, takes = size(found.numbers * width), size(found.bytes(quantiser, width))
    said = (
        f"{part}: {len(found.narrow)} linear layers are kept as {quantiser}, {takes} instead of"
        f" {took} in {place.precision}"
    )
    if not found.wide:
        return f"{said}."
    listed = ", ".join(found.wide[:NAMED])
    more = f", and {len(found.wide) - NAMED} more" if len(found.wide) > NAMED else ""
    stay = "stays as it is" if len(found.wide) == 1 else "stay as they are"
    return f"{said}; {len(found.wide)} {stay} ({listed}{more})."


def to_keep(model: weights.Model, place: Place) -> int:
    """Bytes of quantised layers that the first start will write into the cache."""
    return sum(_to_keep(model, part, place) for part in model.quantising.parts)


def _to_keep(model: weights.Model, part: str, place: Place) -> int:
    if model.parts[part].absent or weights.packed(model, part, place.dtype, read=False) is None:
        quantiser, module = model.quantising.parts[part], weights.skeleton(model, part)
        found = split(model.family.parts[part], module, quantiser)
        return found.bytes(quantiser, place.dtype.itemsize)
    return 0


def held(model: weights.Model, parts: Sequence[str], place: Place) -> str:
    """Bytes of these parts' weights where they compute, and in which numbers."""
    total = sum(weights.held_bytes(model, part, place.dtype.itemsize) for part in parts)
    kinds = [model.quantising.parts[part] for part in parts if part in model.quantising.parts]
    return f"{size(total)} in {' and '.join(dict.fromkeys([*kinds, place.precision]))}"
