"""What is trained: the options of `networks.lora_flux` as an adapter."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from scumble.dialects.kohya.blocks import DOUBLE, SINGLE, selected
from scumble.dialects.kohya.settings import Settings
from scumble.dialects.notes import Draft

MODULES = {"networks.lora_flux": "", "networks.lora": "is read as networks.lora_flux, for FLUX"}
DIMS = {
    "img_attn_dim": r"double_blocks_\d+_img_attn_",
    "txt_attn_dim": r"double_blocks_\d+_txt_attn_",
    "img_mlp_dim": r"double_blocks_\d+_img_mlp_",
    "txt_mlp_dim": r"double_blocks_\d+_txt_mlp_",
    "img_mod_dim": r"double_blocks_\d+_img_mod_",
    "txt_mod_dim": r"double_blocks_\d+_txt_mod_",
    "single_dim": r"single_blocks_\d+_linear",
    "single_mod_dim": r"single_blocks_\d+_modulation_",
}
"""Ranks by kind of layer, and the names of these layers."""

IN_DIMS = (
    *("(^|_)img_in$", "(^|_)time_in_", "(^|_)vector_in_", "(^|_)guidance_in_", "(^|_)txt_in$"),
)
OUTSIDE = "(^|_)final_layer"
"""A layer that sd-scripts never trains, whatever a pattern says."""

BLOCKS = {"train_double_block_indices": DOUBLE, "train_single_block_indices": SINGLE}
NUMBERS = (
    *("rank_dropout", "module_dropout", "ggpo_sigma", "ggpo_beta"),
    *("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio"),
)
SWITCHES = ("train_t5xxl", "split_qkv")
OTHERS = ("in_dims", "train_blocks", "network_reg_dims", "network_reg_lrs")
IDLE = {
    "conv_dim": "FLUX has no convolutions",
    "conv_alpha": "FLUX has no convolutions",
    "verbose": "`scumble check` tells what is trained",
    "dropout": "is set by --network_dropout",
}
KNOWN = (*DIMS, *BLOCKS, *NUMBERS, *SWITCHES, *OTHERS, *IDLE)


def adapter(settings: Settings, draft: Draft) -> None:
    """Put the adapter into the draft."""
    _module(settings, draft)
    arguments = _arguments(settings, draft)
    parts = _parts(settings, arguments, draft)
    rank, alpha = settings["network_dim"], settings["network_alpha"]
    tree: dict[str, Any] = {
        "kind": "lora",
        "rank": 4 if rank is None else rank,
        "alpha": alpha or None,
        "targets": "sd-scripts",
        "parts": parts,
        "fused": arguments.get("split_qkv") is not True,
        "max_norm": settings["scale_weight_norms"] or None,
    }
    if settings["dim_from_weights"]:
        _from_weights(settings, draft)
    else:
        tree["dropout"] = settings["network_dropout"] or 0.0
        tree |= _refined(arguments, parts, draft)
    if settings["network_weights"] is not None:
        shape = "file" if settings["dim_from_weights"] else "job"
        tree["start"] = {"file": settings["network_weights"], "shape": shape}
    draft.put("adapter", tree)


def _module(settings: Settings, draft: Draft) -> None:
    name = settings["network_module"]
    if name is None:
        remedy = "write --network_module=networks.lora_flux"
        draft.complain("--network_module", "is missing", remedy)
    elif name not in MODULES:
        problem = f"'{name}' is not read; only networks.lora_flux is"
        remedy = "write networks.lora_flux, or leave this kind of network to sd-scripts"
        draft.complain("--network_module", problem, remedy)
    elif MODULES[name]:
        draft.note("hint", f"--network_module={name}", MODULES[name])


def _from_weights(settings: Settings, draft: Draft) -> None:
    if settings["network_weights"] is None:
        remedy = "add --network_weights=FILE"
        draft.complain("--dim_from_weights", "needs a file to take the ranks from", remedy)
    for name in ("network_args", "network_dropout"):
        if settings[name]:
            words = "is not looked at with --dim_from_weights: all is as in the file"
            draft.note("nothing", f"--{name}", words)


def _arguments(settings: Settings, draft: Draft) -> dict[str, Any]:
    """`--network_args` by name, with what they mean; what is wrong is noted."""
    found: dict[str, Any] = {}
    for text in settings["network_args"] or ():
        name, equals, value = str(text).partition("=")
        where = f"--network_args {text}"
        if not equals:
            draft.complain(where, "is not of the form name=value", "such as img_attn_dim=4")
        elif name in IDLE:
            draft.note("nothing", where, IDLE[name])
        elif name in KNOWN:
            found[name] = _argument(name, value, where, draft)
        elif near := get_close_matches(name, KNOWN, n=1, cutoff=0.8):
            draft.complain(where, "there is no such argument", f"did you mean {near[0]}?")
        else:
            draft.note("nothing", where, "networks.lora_flux knows no such argument")
    return {name: value for name, value in found.items() if value is not None}


def _argument(name: str, value: str, where: str, draft: Draft) -> Any:
    if name in SWITCHES:
        if value not in ("True", "False"):
            words = "counts as False: sd-scripts takes the word True alone for true"
            draft.note("hint", where, words)
        return value == "True"
    try:
        if name in DIMS:
            return int(value)
        return float(value) if name in NUMBERS else value
    except ValueError:
        wanted = "a whole number" if name in DIMS else "a number"
        draft.complain(where, f"must be {wanted}", f"such as {name}=4")
        return None


def _parts(settings: Settings, arguments: dict[str, Any], draft: Draft) -> list[str]:
    only, texts = (
        settings["network_train_unet_only"],
        settings["network_train_text_encoder_only"],
    )
    t5 = arguments.get("train_t5xxl") is True and not settings["dim_from_weights"]
    if only and texts:
        where = "--network_train_unet_only, --network_train_text_encoder_only"
        draft.complain(where, "together leave nothing to train", "keep one of them")
    if only and t5:
        where, words = "--network_args train_t5xxl=True", "is off with --network_train_unet_only"
        draft.note("nothing", where, words)
    cached = "cache_text_encoder_outputs"
    if t5 and not only and (settings[cached] or settings[f"{cached}_to_disk"]):
        problem = "T5 cannot be trained from outputs that are kept"
        draft.complain(f"--{cached}", problem, "leave it out, or train_t5xxl=True")
    parts = [] if texts else ["denoiser"]
    return parts if only else [*parts, "clip", *(["t5"] if t5 else [])]


def _refined(arguments: dict[str, Any], parts: list[str], draft: Draft) -> dict[str, Any]:
    """What `--network_args` say beyond one rank for all."""
    tree: dict[str, Any] = {
        name: arguments[name] for name in ("rank_dropout", "module_dropout") if name in arguments
    }
    tree["rules"] = list(_rules(arguments, draft))
    sigma, beta = arguments.get("ggpo_sigma"), arguments.get("ggpo_beta")
    if sigma is not None and beta is not None:
        tree["ggpo"] = {"sigma": sigma, "beta": beta}
    elif sigma is not None or beta is not None:
        where = "--network_args ggpo_sigma ggpo_beta"
        draft.complain(where, "go together, and one is missing", "give both, or neither")
    general = arguments.get("loraplus_lr_ratio")
    texts = arguments.get("loraplus_text_encoder_lr_ratio") or general or 1.0
    ratios = dict.fromkeys(parts, texts)
    if "denoiser" in ratios:
        ratios["denoiser"] = arguments.get("loraplus_unet_lr_ratio") or general or 1.0
    if any(ratio != 1.0 for ratio in ratios.values()):
        tree["up_rate"] = ratios
    return tree


def _rules(arguments: dict[str, Any], draft: Draft) -> Iterator[dict[str, Any]]:
    """Ranks and rates by layer, in the order in which sd-scripts looks for them: which family of
    blocks, patterns, the choice of blocks, the kind of layer."""
    yield from _families(arguments, draft)
    if "network_reg_dims" in arguments:
        kept = [] if "in_dims" in arguments else IN_DIMS
        yield from (_rule(pattern, rank=0) for pattern in (*kept, OUTSIDE))
        yield from _patterns("network_reg_dims", "rank", int, arguments, draft)
    if "network_reg_lrs" in arguments:
        yield from _patterns("network_reg_lrs", "rate", float, arguments, draft)
    yield from _left_out(arguments, draft)
    for name, pattern in DIMS.items():
        if name in arguments:
            yield _rule(pattern, rank=arguments[name])
    if "in_dims" in arguments:
        yield from _in_dims(arguments["in_dims"], draft)


def _rule(pattern: str, **says: int | float) -> dict[str, Any]:
    return {"layers": f"/{pattern}/", **says}


def _families(arguments: dict[str, Any], draft: Draft) -> Iterator[dict[str, Any]]:
    wanted = arguments.get("train_blocks", "all")
    if wanted not in ("all", "single", "double"):
        where = f"--network_args train_blocks={wanted}"
        draft.complain(where, f"'{wanted}' is no kind of block", "write all, single or double")
    elif wanted != "all":
        other = {"single": "double", "double": "single"}[wanted]
        yield _rule(f"{other}_blocks_", rank=0)


def _left_out(arguments: dict[str, Any], draft: Draft) -> Iterator[dict[str, Any]]:
    for name, count in BLOCKS.items():
        try:
            kept = selected(arguments.get(name, "all"), count)
        except ValueError as error:
            where = f"--network_args {name}={arguments[name]}"
            draft.complain(where, str(error), "such as 0,1,8-12, all or none")
            continue
        left = [str(number) for number in range(count) if number not in kept]
        kind = name.removeprefix("train_").removesuffix("_block_indices")
        if left:
            which = rf"({'|'.join(left)})" if kept else r"\d+"
            yield _rule(f"{kind}_blocks_{which}_", rank=0)


def _patterns(
    name: str, says: str, read: type[int | float], arguments: dict[str, Any], draft: Draft
) -> Iterator[dict[str, Any]]:
    """`regex=number,regex=number`."""
    import re

    for text in str(arguments[name]).split(","):
        pattern, equals, value = text.strip().partition("=")
        try:
            re.compile(pattern)
            if not equals or not pattern:
                raise ValueError
            yield _rule(pattern, **{says: read(value)})
        except (ValueError, re.error):
            problem = f"'{text.strip()}' is not a pattern, an equals sign and a number"
            draft.complain(f"--network_args {name}", problem, "such as img_attn_qkv=8,proj=4")


def _in_dims(text: str, draft: Draft) -> Iterator[dict[str, Any]]:
    numbers = text.strip().removeprefix("[").removesuffix("]").split(",")
    if len(numbers) != len(IN_DIMS) or not all(one.strip().isdecimal() for one in numbers):
        where = f"--network_args in_dims={text}"
        remedy = "write five, for img_in, time_in, vector_in, guidance_in and txt_in: [4,2,2,2,4]"
        draft.complain(where, "must be five whole numbers", remedy)
        return
    for pattern, rank in zip(IN_DIMS, numbers, strict=True):
        if int(rank) > 0:
            yield _rule(pattern, rank=int(rank))
