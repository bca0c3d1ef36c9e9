"""What is trained: a LoRA, an adapter of LyCORIS, or the layers themselves."""

from typing import Any

from scumble.dialects.kohya.config_file import text_of
from scumble.dialects.notes import Draft
from scumble.dialects.simpletuner import models
from scumble.dialects.simpletuner.lycoris import lycoris
from scumble.dialects.simpletuner.settings import Settings
from scumble.errors import FileError
from scumble.spec.document import Document, as_section, parse, read_json

QUERIES = ("to_k", "to_q", "to_v", "to_out.0")
ADDED = ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
ALL = (*QUERIES, *ADDED)
CONTEXT_FORWARD = ("ff_context.net.0.proj", "ff_context.net.2")
FORWARD = ("ff.net.0.proj", "ff.net.2", *CONTEXT_FORWARD, "proj_mlp", "proj_out")
MODULATION = ("norm.linear", "norm1.linear", "norm1_context.linear")
TINY = ("single_transformer_blocks.7.proj_out", "single_transformer_blocks.20.proj_out")

FLUX_TARGETS = {
    "all": ALL,
    "mmdit": QUERIES,
    "context": ADDED,
    "context+ffs": (*ADDED, *CONTEXT_FORWARD),
    "all+ffs": (*ALL, *FORWARD),
    "all+ffs+embedder": (*ALL, *FORWARD, "x_embedder"),
    "all+ffs+embedder+controlnet": QUERIES,
    "ai-toolkit": (*ALL, *FORWARD, *MODULATION),
    "tiny": TINY,
    "nano": TINY[:1],
}
"""The sets of spec 4.1 as ends of layers' names. Fused projections, `to_qkv` and its like, do not
stand here: layers are never fused. One set has a name that SimpleTuner passes over: it then trains
what it trains for all other families."""

FIRST = {"default": "uniform", "gaussian": "gaussian", "pissa": "pissa", "olora": "olora"}
LAYOUTS = {"diffusers": "diffusers", "comfyui": "comfy"}
OF_LORA = ("lora_type", "lora_rank", "lora_alpha", "lora_dropout", "lycoris_config", "init_lora")
PLAIN = ("lora_dropout", "lora_init_type", "flux_lora_target", "peft_lora_target_modules")
"""Keys that LyCORIS does not look at."""


def model_type(asked: Settings) -> str | None:
    """What is trained; a configuration that speaks of a LoRA and not of this means one."""
    said = asked.told.get("model_type")
    if said is None and any(key in asked.told for key in OF_LORA):
        return "lora"
    return said


def adapter(asked: Settings, draft: Draft) -> None:
    """Put what is trained, and in which form it is saved, into the draft."""
    said = asked.told.get("model_type")
    if said is None:
        draft.complain("model_type", "nothing says what is trained", "write lora, or full")
    tree: dict[str, Any]
    if said == "full":
        tree = {"kind": "full"}
    elif asked["lora_type"] == "lycoris":
        tree = _lycoris(asked, draft)
    else:
        tree = _dora(asked, draft) if asked["use_dora"] else _lora(asked, draft)
    draft.put("adapter", tree)
    if said != "full" and asked["lora_type"] == "standard":
        draft.put("export.layout", LAYOUTS[asked["lora_format"]])


def _lora(asked: Settings, draft: Draft) -> dict[str, Any]:
    tree: dict[str, Any] = {"kind": "lora", "rank": asked["lora_rank"]}
    if asked["lora_alpha"] is not None:
        tree["alpha"] = asked["lora_alpha"]
    tree["dropout"] = asked["lora_dropout"]
    tree["targets"] = targets(asked, draft)
    kind = asked["lora_init_type"]
    if kind == "loftq":
        quantised = asked["base_model_precision"] != "no_change"
        why = "a base that is already quantised cannot be fitted" if quantised else "is not there"
        remedy = "write default, gaussian, pissa or olora"
        draft.complain("lora_init_type", f"loftq: {why}", remedy)
    elif asked["init_lora"] is None:
        tree["first"] = FIRST[kind]
    if asked["init_lora"] is not None:
        tree["start"] = {"file": asked["init_lora"]}
        _there(asked, "init_lora", asked["init_lora"], draft)
    return tree


def _dora(asked: Settings, draft: Draft) -> dict[str, Any]:
    """PEFT's DoRA in LyCORIS' form: the same product, with a magnitude for each output."""
    words = "is trained and saved as LyCORIS does it (dora_scale), which ComfyUI reads"
    draft.note("hint", "use_dora", words)
    tree = {"kind": "lycoris", "algo": "dora", "rank": asked["lora_rank"]}
    alpha = asked["lora_alpha"]
    tree |= {} if alpha is None else {"alpha": alpha}
    if asked["lora_dropout"]:
        tree["options"] = {"dropout": asked["lora_dropout"]}
    if asked["init_lora"] is not None:
        tree["start"] = asked["init_lora"]
    return tree | {"targets": targets(asked, draft)}


def targets(asked: Settings, draft: Draft) -> list[str]:
    """Which layers a LoRA is put on, by the ends of their names."""
    listed = asked["peft_lora_target_modules"]
    if listed is not None:
        return _listed(asked, listed, draft)
    if models.flavour(asked).family != "flux":
        return list(QUERIES)
    name = asked["flux_lora_target"]
    if name == "controlnet":
        problem = "ControlNets are not trained"
        draft.complain("flux_lora_target", problem, "choose another set, such as all+ffs")
    if name == "all+ffs+embedder+controlnet":
        words = "SimpleTuner has no such set, and trains to_q, to_k, to_v and to_out.0 for it"
        draft.note("hint", "flux_lora_target", words)
    return list(FLUX_TARGETS.get(name, ALL))


def _listed(asked: Settings, listed: Any, draft: Draft) -> list[str]:
    key = "peft_lora_target_modules"
    found = _file(asked, key, listed, draft) if isinstance(listed, str) else listed
    if isinstance(found, list) and found and all(isinstance(one, str) for one in found):
        return found
    if found is not None:
        draft.complain(key, "is no list of layers' names", 'write ["to_q", "to_v"]')
    return list(QUERIES)


def _lycoris(asked: Settings, draft: Draft) -> dict[str, Any]:
    if asked["train_text_encoder"]:
        problem = "LyCORIS trains no text encoders"
        draft.complain("train_text_encoder", problem, "leave it out")
    if asked["use_dora"]:
        words = "is for lora_type=standard; here `dora_wd` in lycoris_config.json says it"
        draft.note("nothing", "use_dora", words)
    told = _file(asked, "lycoris_config", asked["lycoris_config"], draft)
    if told is None:
        return {"kind": "lycoris"}
    if asked["init_lora"] is not None:
        _there(asked, "init_lora", asked["init_lora"], draft)
    return lycoris(asked, as_section(told), draft)


def _there(asked: Settings, key: str, text: str, draft: Draft) -> None:
    """Note a file on this machine that is not there; the hub's look like owner/name."""
    place = asked.path(text)
    on_hub = text.count("/") >= 1 and not text.startswith((".", "/", "~"))
    if not place.exists() and not on_hub:
        draft.complain(key, f"there is no file {place}", "mend the path")


def _file(asked: Settings, key: str, text: str, draft: Draft) -> Any:
    """What a file of JSON holds; None where it cannot be read, which is told."""
    document = Document(name=text)
    try:
        parse(text_of(asked.path(text), key), document, read_json)
    except FileError as problem:
        draft.problems.append(problem)
        return None
    draft.problems.extend(document.problems)
    return document.tree
