"""What each algorithm of the LyCORIS library can be told, by the library's own names."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal

Algorithm = Literal[
    "lokr", "loha", "locon", "dora", "full", "ia3", "dylora", "glora", "boft", "diag-oft"
]
Layered = Literal[
    "lokr", "loha", "locon", "dora", "full", "ia3", "dylora", "glora", "boft", "diag-oft", "none"
]
"""The same, and `none`."""

Kind = Literal["switch", "share", "whole", "factor", "number"]

DROPPED: Mapping[str, Kind] = {
    "dropout": "share",
    "rank_dropout": "share",
    "module_dropout": "share",
    "rank_dropout_scale": "switch",
}
SCALED: Mapping[str, Kind] = {"use_scalar": "switch", "rs_lora": "switch"}
DECOMPOSED: Mapping[str, Kind] = {"dora_wd": "switch", "wd_on_output": "switch"}
TURNED: Mapping[str, Kind] = {"constraint": "number", "rescaled": "switch"}

OPTIONS: Mapping[str, Mapping[str, Kind]] = {
    "lokr": {
        "factor": "factor",
        "full_matrix": "switch",
        "decompose_both": "switch",
        "unbalanced_factorization": "switch",
        **SCALED,
        **DECOMPOSED,
        **DROPPED,
    },
    "loha": {**SCALED, **DECOMPOSED, **DROPPED},
    "locon": {**SCALED, **DECOMPOSED, **DROPPED},
    "dora": {**SCALED, "wd_on_output": "switch", **DROPPED},
    "full": DROPPED,
    "ia3": {"train_on_input": "switch", **DROPPED},
    "dylora": {"block_size": "whole", **DROPPED},
    "glora": {**SCALED, **DROPPED},
    "boft": {**TURNED, **DROPPED},
    "diag-oft": {**TURNED, **DROPPED},
}
"""Arguments by algorithm. `rank_dropout` leaves out rows of the change, `dropout` values of what it
adds, `module_dropout` all of it; each for every example by itself."""

NOT_HERE: Mapping[str, str] = {
    "bypass_mode": "a change is always computed beside the frozen layer; leave it out",
    "use_tucker": "it is for convolutions, and these networks have none; leave it out",
    "train_norm": "norms are not trained; leave it out",
}
"""Arguments of the library that nothing here could follow, and why."""

WANTED: Mapping[Kind, str] = {
    "switch": "true or false",
    "share": "a number from 0 to below 1",
    "whole": "a whole number above 0",
    "factor": "-1 or a whole number above 0",
    "number": "a number that is not below 0",
}


def fault(algorithm: str, options: Mapping[str, Any]) -> str:
    """Why an algorithm cannot be told these; empty where it can."""
    known = OPTIONS[algorithm]
    for name, value in options.items():
        if name not in known:
            if name in NOT_HERE:
                return f"`options.{name}`: {NOT_HERE[name]}"
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            return f"{algorithm} has no option '{name}'; {hint}it has {', '.join(known)}"
        if not _fits(known[name], value):
            return f"`options.{name}` is {value!r}; give {WANTED[known[name]]}"
    return ""


def expression(pattern: str) -> str | None:
    """The regular expression between the slashes; None for a pattern of dotted parts."""
    enclosed = len(pattern) > 1 and pattern.startswith("/") and pattern.endswith("/")
    return pattern[1:-1] if enclosed else None


def _fits(kind: Kind, value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "switch":
            return isinstance(value, bool)
        case "share":
            return number and 0 <= value < 1
        case "whole":
            return number and value == int(value) and value > 0
        case "factor":
            return number and value == int(value) and (value == -1 or value > 0)
        case "number":
            return number and 0 <= value < float("inf")
