"""Which model is trained, from where, and in how many bits its frozen layers are kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from scumble.dialects.notes import Draft
from scumble.dialects.simpletuner.settings import Settings


@dataclass(frozen=True)
class Flavour:
    """What a flavour of SimpleTuner's is here."""

    family: str
    flavour: str
    path: str
    """Where its weights are, unless a configuration says another place."""

    guided: bool = False
    """Takes guidance as an input."""

    shown: bool = False
    """Is shown references, and previews are of held-out pairs."""

    led: bool = False
    """Is led away from a negative text as published (true CFG)."""


@dataclass(frozen=True)
class Kind:
    """A family of SimpleTuner's."""

    default: str
    flavours: Mapping[str, Flavour]
    encoders: tuple[str, ...]
    """Parts that read texts, as `text_encoder_1_precision` and so on count them."""

    alignment: int
    """Sides of training pictures are multiples of it."""

    own: frozenset[str] = frozenset()
    """Keys that act on it alone."""


BFL, QWEN = "black-forest-labs", "Qwen"
KINDS = {
    "flux": Kind(
        default="krea",
        flavours={
            "krea": Flavour("flux", "dev", f"{BFL}/FLUX.1-Krea-dev", guided=True),
            "dev": Flavour("flux", "dev", f"{BFL}/FLUX.1-dev", guided=True),
            "schnell": Flavour("flux", "schnell", f"{BFL}/FLUX.1-schnell"),
            "kontext": Flavour(
                "flux", "kontext", f"{BFL}/FLUX.1-Kontext-dev", guided=True, shown=True
            ),
        },
        encoders=("clip", "t5"),
        alignment=64,
        own=frozenset({"flux_fast_schedule", "flux_attention_masked_training", "t5_padding"}),
    ),
    "qwen_image": Kind(
        default="v2.0",
        flavours={
            "v1.0": Flavour("qwen-image", "base", f"{QWEN}/Qwen-Image", led=True),
            "v2.0": Flavour("qwen-image", "base", f"{QWEN}/Qwen-Image-2512", led=True),
            "edit-v1": Flavour(
                "qwen-image", "edit-v1", f"{QWEN}/Qwen-Image-Edit", shown=True, led=True
            ),
            "edit-v2": Flavour(
                "qwen-image", "edit-v2", f"{QWEN}/Qwen-Image-Edit-2509", shown=True, led=True
            ),
        },
        encoders=("qwen",),
        alignment=32,
    ),
}
"""Flavours and where their weights are, as SimpleTuner has them."""

LIKE = 0.4  # how much a name must be like a family's
COMING = {
    "sdxl": "SDXL and its refiner are still to come",
    "sd1x": "Stable Diffusion 1.x is still to come",
    "deepfloyd": "DeepFloyd-IF is still to come",
}
ABSENT = {
    "fluxbooru": "takes guidance of its own, which is not there",
    "libreflux": "takes guidance of its own, which is not there",
    "edit-v2+": "tells references another time than the picture, which is not there; edit-v2 is",
    "edit-v3": "tells references another time than the picture, which is not there; edit-v2 is",
}
FLAVOUR = Flavour("flux", "dev", "", guided=True)
"""In the place of one that was not found, so that all else is looked at, too."""

PARTS = {
    "pretrained_transformer_model_name_or_path": "denoiser",
    "pretrained_vae_model_name_or_path": "autoencoder",
    "pretrained_t5_model_name_or_path": "t5",
    "qwen_text_encoder_model_name_or_path": "qwen",
}


def kind(asked: Settings) -> Kind | None:
    """The family, where it is one that is read here."""
    return KINDS.get(asked["model_family"])


def heeds(asked: Settings, key: str) -> bool:
    """Whether a key that is some family's own acts on this one."""
    found = kind(asked)
    return found is None or key in found.own


def flavour(asked: Settings) -> Flavour:
    """The flavour that is meant; FLUX.1 dev where there is none."""
    found = kind(asked)
    return FLAVOUR if found is None else found.flavours.get(_name(asked, found), FLAVOUR)


def _name(asked: Settings, found: Kind) -> str:
    return asked["model_flavour"] or found.default


def model(asked: Settings, draft: Draft) -> None:
    """Put the model into the draft; a family or a flavour that is not here is told."""
    found = _known(asked, draft)
    one = flavour(asked)
    draft.put("model.family", one.family)
    draft.put("model.flavour", one.flavour)
    draft.put("model.path", asked["pretrained_model_name_or_path"] or one.path)
    if asked["revision"] is not None:
        draft.put("model.revision", asked["revision"])
    if found is not None:
        _parts(asked, found, draft)
        _quantised(asked, found, draft)
    _guidance(asked, one, draft)
    _padding(asked, draft)


def _known(asked: Settings, draft: Draft) -> Kind | None:
    name = asked["model_family"]
    if name is None:
        remedy = f"such as {', '.join(KINDS)}"
        draft.complain("model_family", "nothing says which model is trained", remedy)
    elif name not in KINDS:
        near = [] if name in COMING else get_close_matches(name, KINDS, n=1, cutoff=LIKE)
        problem = COMING.get(name, f"'{name}' is no family that is read here")
        remedy = f"did you mean {near[0]}?" if near else f"here so far: {', '.join(KINDS)}"
        draft.complain("model_family", problem, remedy)
    else:
        found = KINDS[name]
        if (said := _name(asked, found)) not in found.flavours:
            near = get_close_matches(said, found.flavours, n=1)
            problem = f"{said} {ABSENT.get(said, f'is no flavour of {name}')}"
            known = f"here so far: {', '.join(found.flavours)}"
            remedy = f"did you mean {near[0]}?" if near and said not in ABSENT else known
            draft.complain("model_flavour", problem, remedy)
        elif asked["model_flavour"] is None and asked["pretrained_model_name_or_path"] is None:
            draft.note("hint", "model_flavour", f"is not given: {said} is taken, as there")
        return found
    return None


def _parts(asked: Settings, found: Kind, draft: Draft) -> None:
    parts: dict[str, str] = {}
    for key, part in PARTS.items():
        said = asked.told.get(key)
        if said is None or (part in ("t5", "qwen") and part not in found.encoders):
            continue
        if part == "autoencoder" and "sdxl" in said:
            words = "is an autoencoder of SDXL, and is passed over, as there"
            draft.note("nothing", key, words)
            continue
        parts[part] = _within(asked, said) if part == "denoiser" else said
    if parts:
        draft.put("model.parts", parts)


def _within(asked: Settings, said: str) -> str:
    """The folder that is meant inside a model's folder: `none` is that folder itself."""
    inner = asked["pretrained_transformer_subfolder"]
    if inner in ("none", "None", "") or not (asked.path(said) / inner).is_dir():
        return said
    return f"{said.rstrip('/')}/{inner}"


HERE = {
    "int8-quanto": "int8-quanto",
    "int4-quanto": "int4-quanto",
    "int2-quanto": "int2-quanto",
    "fp8-quanto": "fp8-quanto",
    "int8-torchao": "int8-torchao",
    "fp8-torchao": "fp8-torchao",
    "fp8wo-torchao": "fp8-torchao",
    "nf4-bnb": "nf4-bnb",
}
"""Precisions of SimpleTuner's that there are here."""

NEAREST = {
    "fp8uz-quanto": "fp8-quanto",
    "int8dq-torchao": "int8-torchao",
    "int8dq-int4-torchao": "int4-quanto",
    "int4-torchao": "int4-quanto",
    "fp8-int4-torchao": "int4-quanto",
    "fp8-native": "fp8-torchao",
    "fp8-transformerengine": "fp8-torchao",
}
"""What comes near to those that there are not."""

ENCODERS = tuple(f"text_encoder_{number}_precision" for number in (1, 2, 3, 4))


def _quantised(asked: Settings, found: Kind, draft: Draft) -> None:
    wanted = {"base_model_precision": "denoiser"}
    wanted |= dict(zip(ENCODERS, found.encoders, strict=False))
    quantised = {part: _here(key, asked[key], draft) for key, part in wanted.items()}
    quantised = {part: name for part, name in quantised.items() if name is not None}
    for key in ENCODERS[len(found.encoders) :]:
        if asked[key] != "no_change":
            count = f"{len(found.encoders)} text encoder{'s' * (len(found.encoders) > 1)}"
            draft.note("nothing", key, f"{asked['model_family']} has {count}")
    if quantised:
        draft.put("model.quantised", quantised)
        draft.put("model.quantise_on", "cpu" if asked["quantize_via"] == "cpu" else "device")
    if asked.told.get("model_type") == "full" and "denoiser" in quantised:
        problem = "layers that are trained themselves cannot be kept in fewer bits"
        remedy = "set model_type to lora, or leave it out"
        draft.complain("base_model_precision", problem, remedy)


def _here(key: str, said: str, draft: Draft) -> str | None:
    """What the quantiser is called here; None for no quantiser, or for one that is not there."""
    if said == "no_change":
        return None
    if said not in HERE:
        near = NEAREST.get(said, "nf4-bnb" if "4" in said else "int8-quanto")
        draft.complain(key, f"{said} is not there", f"the nearest here is {near}")
        return None
    if said == "fp8-torchao":
        words = "keeps weights alone in fp8; activations stay as they are computed"
        draft.note("hint", key, words)
    return HERE[said]


def _guidance(asked: Settings, one: Flavour, draft: Draft) -> None:
    if not one.guided:
        return
    if asked["flux_guidance_mode"] == "random-range":
        low, high = asked["flux_guidance_min"], asked["flux_guidance_max"]
        draft.put("model.guidance", {"low": low, "high": high})
    else:
        draft.put("model.guidance", asked["flux_guidance_value"])


def _padding(asked: Settings, draft: Draft) -> None:
    """Whether T5's padding is hidden; where it is, it does not matter what it would hold."""
    masked = "flux_attention_masked_training"
    if asked[masked] and heeds(asked, masked):
        draft.put("model.text_mask", True)
        words = "hides padding from T5 itself, too"
        draft.note("hint", masked, words)
    elif asked["t5_padding"] == "zero" and heeds(asked, "t5_padding"):
        problem = "padding is not set to zero: it stays as T5 makes it, or is hidden altogether"
        remedy = "leave it out, or set flux_attention_masked_training to true"
        draft.complain("t5_padding", problem, remedy)
