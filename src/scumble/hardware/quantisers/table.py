"""What each quantiser is, what it does not go with, and the page that says so.

Without torch: jobs are checked, and documents made, from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec


@dataclass(frozen=True, kw_only=True)
class Quantiser:
    """One way to keep a layer's weights in fewer bits."""

    name: str
    package: str
    """What is installed for it."""

    module: str
    """What of it is imported."""

    bits: int
    share: float
    """Bytes of a large layer, of those it has in bf16."""

    error: float
    """By how much a layer's answer is off, of its norm, for normally distributed weights."""

    numbers: str
    """How the weights are kept, as the end of a sentence."""

    multiple: int = 1
    """Layers with a side that is no multiple of this stay as they are."""

    row: int = 1
    """And those whose rows are no multiple of this long."""

    devices: tuple[str, ...] = ("cpu", "cuda", "mps")


QUANTISERS = (
    Quantiser(
        name="int8-quanto",
        package="optimum-quanto",
        module="optimum.quanto",
        bits=8,
        share=0.5,
        error=0.008,
        numbers="whole numbers of 8 bits, one scale for each row",
    ),
    Quantiser(
        name="int4-quanto",
        package="optimum-quanto",
        module="optimum.quanto",
        bits=4,
        share=0.27,
        error=0.1,
        numbers="16 levels, with a scale and an offset for every 128 weights",
    ),
    Quantiser(
        name="int2-quanto",
        package="optimum-quanto",
        module="optimum.quanto",
        bits=2,
        share=0.14,
        error=0.5,
        numbers="4 levels, with a scale and an offset for every 128 weights",
    ),
    Quantiser(
        name="fp8-quanto",
        package="optimum-quanto",
        module="optimum.quanto",
        bits=8,
        share=0.5,
        error=0.027,
        numbers="float8_e4m3fn, one scale for each row",
        devices=("cpu", "cuda"),
    ),
    Quantiser(
        name="int8-torchao",
        package="torchao",
        module="torchao",
        bits=8,
        share=0.5,
        error=0.008,
        numbers="whole numbers of 8 bits, one float32 scale for each row (weights alone)",
    ),
    Quantiser(
        name="fp8-torchao",
        package="torchao",
        module="torchao",
        bits=8,
        share=0.5,
        error=0.027,
        numbers="float8_e4m3fn, one float32 scale for each row (weights alone)",
        multiple=16,
        devices=("cpu", "cuda"),
    ),
    Quantiser(
        name="nf4-bnb",
        package="bitsandbytes",
        module="bitsandbytes",
        bits=4,
        share=0.26,
        error=0.096,
        numbers="NormalFloat4 with a scale for every 64 weights, itself in 8 bits",
        row=64,  # the last block of a tensor is spoilt by its CPU kernel (0.50) if it is not whole
        devices=("cpu", "cuda"),
    ),
)

ADAPTERS = (
    "lora",
    "pissa",
    "olora",
    "ggpo",
    "lokr",
    "loha",
    "locon",
    "dora",
    "lycoris-full",
    "ia3",
    "dylora",
    "glora",
    "boft",
    "diag-oft",
    "full",
)
"""What can be trained on a layer: LoRA and its first values, LoRA-GGPO, the algorithms of LyCORIS,
and the layer's own weights."""

NO_FLOAT8 = "float8 numbers do not exist on Apple's devices; use int8-quanto"
NO_BNB = "bitsandbytes has no kernels for Apple's devices; use int4-quanto"
FIXED = "a quantised layer's own weights cannot be trained; train an adapter, or leave it wide"

REFUSED = (
    ("fp8-*", "*", "mps", NO_FLOAT8),
    ("*-bnb", "*", "mps", NO_BNB),
    ("*", "full", "*", FIXED),
)
"""Quantiser, adapter and device that do not go together, and why; `*` stands for anything."""


def find(name: str) -> Quantiser:
    """The quantiser of that name, which the job's schema has checked."""
    return next(one for one in QUANTISERS if one.name == name)


def refusal(quantiser: str, adapter: str, device: str) -> str | None:
    """Why an adapter cannot be trained there on layers that are quantised so; None where it can.

    Adapters are called as in `ADAPTERS`, devices by their type (cuda, not cuda:0). A device that
    a quantiser's row does not have is refused with every adapter.
    """
    asked = (quantiser, adapter, device)
    for *patterns, why in REFUSED:
        if all(fnmatchcase(one, each) for one, each in zip(asked, patterns, strict=True)):
            return why
    if device not in find(quantiser).devices:
        return f"{quantiser} was never run on '{device}'"
    return None


def missing(quantiser: str) -> str | None:
    """The package that has to be installed for it; None when it is there."""
    one = find(quantiser)
    root = one.module.partition(".")[0]
    there = find_spec(root) is not None and (root == one.module or find_spec(one.module))
    return None if there else one.package


def made_by(quantiser: str) -> str:
    """Package and version that make its numbers, as keys of what is kept on disk have them."""
    package = find(quantiser).package
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package


BEGIN, END = "<!-- quantisers -->", "<!-- /quantisers -->"


def filled(page: str) -> str:
    """A page of documentation with the tables of this module between its two marks."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{_tables()}\n\n{END}{tail}"


def _tables() -> str:
    kinds = [
        (f"`{one.name}`", one.package, one.numbers, f"{one.share:.2f}", f"{one.error:.1%}")
        for one in QUANTISERS
    ]
    first = _table(("`model.quantised`", "package", "kept as", "bytes of bf16", "off by"), kinds)
    pairs = [
        (_named(quantiser), _named(adapter), _named(device), why)
        for quantiser, adapter, device, why in REFUSED
    ]
    second = _table(("quantiser", "adapter", "device", "refused because"), pairs)
    return f"{first}\n\n{second}"


def _named(pattern: str) -> str:
    return "any" if pattern == "*" else f"`{pattern}`"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
