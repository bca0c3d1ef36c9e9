"""lycoris_config.json as an adapter section: the algorithm, its sizes, and for which layers.

SimpleTuner hands the file to the LyCORIS library, which picks layers by the classes of modules and
by names; a job has patterns of names for both.
"""

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from scumble.dialects.notes import Draft
from scumble.dialects.simpletuner.settings import Settings
from scumble.spec.document import as_section, said
from scumble.spec.lycoris_options import NOT_HERE, OPTIONS, WANTED, fault

WHERE = "lycoris_config"
ALGORITHMS = {"lora": "locon", **{name: name for name in OPTIONS if name != "dora"}}
"""By the library's names; DoRA is `lora` with `dora_wd` there."""

NEEDED = ("algo", "multiplier", "linear_alpha", "linear_dim")
OLDER = {"constrain": "constraint", "weight_decompose": "dora_wd", "wd_on_out": "wd_on_output"}
"""Other names of options: an older one, and two that the maps of a preset want."""

OF_CONVOLUTIONS = ("conv_dim", "conv_alpha", "use_tucker", "use_cp", "use_conv_cp")
OF_CONVOLUTIONS_TOO = ("disable_conv_cp", "enable_conv")
QUIET = ("warn_on_unmatched", "lora_prefix", "train_llm_adapter")
EVERY = "."
CLASSES: Mapping[str, Mapping[str, str]] = {
    "flux": {
        "Attention": r"(^|\.)attn\.",
        "FluxAttention": r"(^|\.)attn\.",
        "FeedForward": r"\.ff(_context)?\.",
        "AdaLayerNormZero": r"^transformer_blocks\.\d+\.norm1(_context)?\.",
        "AdaLayerNormZeroSingle": r"^single_transformer_blocks\.\d+\.norm\.",
        "AdaLayerNormContinuous": r"^norm_out\.",
        "TimestepEmbedding": r"\.(timestep|guidance)_embedder\.",
        "CombinedTimestepTextProjEmbeddings": r"^time_text_embed\.",
        "CombinedTimestepGuidanceTextProjEmbeddings": r"^time_text_embed\.",
        "FluxTransformerBlock": r"^transformer_blocks\.",
        "FluxSingleTransformerBlock": r"^single_transformer_blocks\.",
        "Linear": EVERY,
    },
    "qwen_image": {
        "Attention": r"\.attn\.",
        "FeedForward": r"\.(img|txt)_mlp\.",
        "AdaLayerNormContinuous": r"^norm_out\.",
        "TimestepEmbedding": r"\.timestep_embedder\.",
        "QwenTimestepProjEmbeddings": r"^time_text_embed\.",
        "QwenImageTransformerBlock": r"^transformer_blocks\.",
        "Linear": EVERY,
    },
}
"""Layers of the modules of a class, as regular expressions of their names; inner modules stand
before those that hold them."""


def lycoris(asked: Settings, told: Mapping[str, Any], draft: Draft) -> dict[str, Any]:
    """The adapter section that a parsed lycoris_config.json means."""
    for key in NEEDED:
        whole = bool(told.get("full_matrix"))
        if key not in told and not (key == "linear_dim" and whole):
            remedy = "add it; the guides have algo lokr, multiplier 1, linear_dim 10000, alpha 1"
            draft.complain(WHERE, f"`{key}` is missing", remedy)
    algo = _algorithm(told.get("algo", "lokr"), WHERE, draft)
    section = {"kind": "lycoris", "algo": algo, **_sizes(told, draft)}
    _multiplier(told, draft)
    _named(told, draft)
    options = _options(algo, _spelt(told), WHERE, draft)
    section |= {"options": options} if options else {}
    if (start := asked["init_lora"]) is not None:
        words = "is rebuilt from `init_lora`: its layers, algorithms and sizes are the file's"
        draft.note("hint", WHERE, words)
        return section | {"start": str(asked.path(str(start)))}
    norm = asked["init_lokr_norm"]
    if norm is not None and algo == "lokr":
        section["start_norm"] = norm
    elif norm is not None:
        draft.note("nothing", "init_lokr_norm", f"{algo} has no such start; only lokr has")
    family = str(asked["model_family"] or "flux")
    return section | _layers(as_section(told.get("apply_preset")), family, algo, draft)


def _algorithm(name: Any, where: str, draft: Draft) -> str:
    found = ALGORITHMS.get(str(name).lower())
    if found is None:
        remedy = f"use one of {', '.join(ALGORITHMS)}"
        draft.complain(where, f"the algorithm '{name}' is not here", remedy)
    return found or "lokr"


def _sizes(
    told: Mapping[str, Any], draft: Draft, names: tuple[str, str] = ("linear_dim", "linear_alpha")
) -> dict[str, Any]:
    """Rank and alpha; an alpha of 0 means that of the rank."""
    found: dict[str, Any] = {}
    for name, ours in zip(names, ("rank", "alpha"), strict=True):
        value = told.get(name)
        if value is None or (ours == "alpha" and value == 0):
            continue
        if not _number(value) or value <= 0 or (ours == "rank" and value != int(value)):
            draft.complain(WHERE, f"`{name}` is {said(value)}", "give a number above 0")
        else:
            found[ours] = int(value) if ours == "rank" else float(value)
    return found


def _multiplier(told: Mapping[str, Any], draft: Draft) -> None:
    """SimpleTuner cuts it to a whole number, so that 0.5 would train nothing."""
    value = told.get("multiplier", 1)
    if not _number(value) or int(value) != 1:
        remedy = "write 1; how strong it is, `linear_alpha` says"
        draft.complain(WHERE, f"`multiplier` is {said(value)}, so it would not be trained", remedy)


def _named(told: Mapping[str, Any], draft: Draft) -> None:
    """A word on each key that nothing here follows."""
    known = {*NEEDED, "apply_preset", *QUIET, *OLDER}
    known |= {option for each in OPTIONS.values() for option in each}
    for key, value in told.items():
        if key in (*OF_CONVOLUTIONS, *OF_CONVOLUTIONS_TOO):
            draft.note("nothing", f"{WHERE}.{key}", "is for convolutions, of which there are none")
        elif key == "bypass_mode":
            words = "a change is always computed beside the frozen layer, which is the same"
            draft.note("nothing", f"{WHERE}.{key}", words)
        elif key in NOT_HERE and value:
            draft.note("not yet", f"{WHERE}.{key}", NOT_HERE[key])
        elif key == "preset":
            draft.note("nothing", f"{WHERE}.{key}", "only `apply_preset` picks the layers")
        elif key not in known and key not in NOT_HERE:
            draft.note("nothing", f"{WHERE}.{key}", "the library does not know it either")


def _spelt(told: Mapping[str, Any]) -> dict[str, Any]:
    """Options by their newest names, with words for switches and shares as what they mean."""
    made: dict[str, Any] = {}
    for key, value in told.items():
        words = str(value).lower() if isinstance(value, str) else ""
        switches = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        made[OLDER.get(key, key)] = switches.get(words, value)
    return made


def _options(algo: str, told: Mapping[str, Any], where: str, draft: Draft) -> dict[str, Any]:
    """Those that the algorithm has; others the library swallows, which is told."""
    made: dict[str, Any] = {}
    every = {option for each in OPTIONS.values() for option in each}
    for name, value in told.items():
        kind = OPTIONS[algo].get(name)
        if name not in every or value is None:
            continue
        if kind is None:
            if value not in (False, 0, -1):
                draft.note("nothing", f"{where}.{name}", f"{algo} has no such option")
            continue
        plain = bool(value) if kind == "switch" and value in (0, 1) else value
        if fault(algo, {name: plain}):
            draft.complain(where, f"`{name}` is {said(value)}", f"give {WANTED[kind]}")
        else:
            made[name] = plain
    return made


def _layers(preset: Mapping[str, Any], family: str, algo: str, draft: Draft) -> dict[str, Any]:
    """Targets and rules. Names stand before classes, inner modules before outer ones."""
    if not preset:
        return {"targets": "all"}
    _strange(preset, draft)
    by_name, by_class = (
        {name: as_section(one) for name, one in as_section(preset.get(key)).items()}
        for key in ("name_algo_map", "module_algo_map")
    )
    globbed = bool(preset.get("use_fnmatch"))
    names = [*_texts(preset.get("target_name")), *by_name]
    known = _classes(family)
    classes = _known([*_texts(preset.get("target_module")), *by_class], known, family, draft)
    targets = [f"/{_of_name(one, globbed=globbed)}/" for one in names]
    targets += [f"/{known[one]}/" for one in classes]
    if not targets:
        remedy = f"name some of {', '.join(known)} in `target_module`"
        draft.complain(f"{WHERE}.apply_preset", "picks no layer", remedy)
        return {}
    rules = [
        {"layers": f"/{_of_name(one, globbed=globbed)}/", "algo": "none"}
        for one in _texts(preset.get("exclude_name"))
    ]
    pairs = [(f"/{_of_name(n, globbed=globbed)}/", one) for n, one in _exact_first(by_name)]
    inner = sorted((n for n in by_class if n in known), key=list(known).index)
    pairs += [(f"/{known[name]}/", by_class[name]) for name in inner]
    rules += [rule for layers, one in pairs for rule in _rule(layers, one, algo, draft)]
    made = {"targets": list(dict.fromkeys(targets))}
    return made | ({"rules": rules} if rules else {})


def _strange(preset: Mapping[str, Any], draft: Draft) -> None:
    known = ("target_module", "target_name", "module_algo_map", "name_algo_map", "use_fnmatch")
    others = ("exclude_name", "enable_conv", "lora_prefix")
    parts = ("unet_target_module", "unet_target_name")
    texts = ("text_encoder_target_module", "text_encoder_target_name")
    for key in preset:
        where = f"{WHERE}.apply_preset.{key}"
        if key == "lora_prefix":
            draft.note("not yet", where, "keys of the file begin with lycoris_")
        elif key in (*parts, *texts):
            draft.note("nothing", where, "is for kohya's scripts; SimpleTuner's runs ignore it too")
        elif key not in (*known, *others):
            draft.complain(where, "there is no such key", f"known: {', '.join(known)}")


def _rule(
    layers: str, told: Mapping[str, Any], algo: str, draft: Draft
) -> Iterator[dict[str, Any]]:
    """What a map of the preset says of some layers; nothing where it says nothing."""
    where = f"{WHERE}.apply_preset"
    made: dict[str, Any] = {"layers": layers}
    mine = algo
    if "algo" in told:
        mine = made["algo"] = _algorithm(told["algo"], where, draft)
    made |= _sizes(told, draft, ("dim", "alpha"))
    for key in ("linear_dim", "linear_alpha"):
        if key in told:
            words = f"these maps call it `{key.removeprefix('linear_')}`; the library ignores it"
            draft.note("nothing", f"{where}.{key}", words)
    options = _options(mine, _spelt(told), where, draft)
    made |= {"options": options} if options else {}
    if len(made) > 1:
        yield made


def _known(
    classes: Sequence[str], known: Mapping[str, str], family: str, draft: Draft
) -> list[str]:
    """The classes that the denoiser has; a word on the others."""
    for name in dict.fromkeys(one for one in classes if one not in known):
        where = f"{WHERE}.apply_preset.target_module"
        draft.note("nothing", where, f"no module of {family} is of the class {name}")
    return [name for name in dict.fromkeys(classes) if name in known]


def _classes(family: str) -> Mapping[str, str]:
    """Of the family; where it is not here, all that are known, for the job says so elsewhere."""
    every = {name: one for each in CLASSES.values() for name, one in each.items()}
    return CLASSES.get(family, every)


def _of_name(pattern: str, *, globbed: bool) -> str:
    """A name of the library's, exact or a pattern, as a regular expression to be searched."""
    exact = re.escape(pattern)
    inner = fnmatch.translate(pattern) if globbed else f"(?:{pattern})"
    return f"^(?:{exact}$|{inner})"


def _exact_first(told: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Entries of a map of names; the library looks for the very name before patterns."""
    return sorted(told.items(), key=lambda one: any(sign in one[0] for sign in "*?[\\^$+("))


def _texts(value: Any) -> list[str]:
    entries = cast("list[Any]", value) if isinstance(value, list) else []
    return [str(one) for one in entries]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
