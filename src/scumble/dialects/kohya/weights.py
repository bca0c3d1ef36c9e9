"""Which model the files of a command line are, from their headers alone."""

import json
from pathlib import Path
from typing import Any

from scumble.dialects.kohya.settings import Settings
from scumble.dialects.notes import Draft
from scumble.spec.document import as_section

PARTS = {
    "pretrained_model_name_or_path": "denoiser",
    "clip_l": "clip",
    "t5xxl": "t5",
    "ae": "autoencoder",
}
CALLED = {
    "pretrained_model_name_or_path": "FLUX.1's own file, such as flux1-dev.safetensors",
    "clip_l": "CLIP-L's file, such as clip_l.safetensors",
    "t5xxl": "T5-XXL's file, such as t5xxl_fp16.safetensors",
    "ae": "the autoencoder's file, such as ae.safetensors",
}
FILES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf")
GUIDED = (
    "guidance_in.in_layer.bias",
    "model.diffusion_model.guidance_in.in_layer.bias",
    "time_text_embed.guidance_embedder.linear_1.bias",
)
"""A key that dev has and schnell has not, in each way of spelling it."""

LONGEST = 100_000_000  # bytes of a header; as safetensors itself has it


def model(settings: Settings, draft: Draft) -> bool:
    """Put the model into the draft; whether it takes guidance as an input, as schnell does not."""
    main = settings["pretrained_model_name_or_path"]
    whole = main is not None and _is_whole(settings, main)
    for name, part in PARTS.items():
        text = settings[name]
        if text is None and not whole:
            draft.complain(f"--{name}", "is missing", f"name {CALLED[name]}")
        elif text is not None and not (name == "pretrained_model_name_or_path" and whole):
            there(settings, name, text, draft)
            draft.put(f"model.parts.{part}", text)
    guided = main is None or _guided(settings, main)
    draft.put("model.family", "flux")
    draft.put("model.flavour", "dev" if guided else "schnell")
    if whole:
        draft.put("model.path", main)
    return guided


def there(settings: Settings, option: str, text: str, draft: Draft) -> None:
    """Note a file that an option names and that is not there."""
    place = settings.path(text)
    if not text or not place.exists():
        remedy = "mend the path"
        if place.parent.is_dir() and place.name:
            from difflib import get_close_matches

            near = get_close_matches(place.name, [one.name for one in place.parent.iterdir()], n=1)
            remedy = f"did you mean {place.parent / near[0]}?" if near else remedy
        draft.complain(f"--{option}", f"there is no file {place}", remedy)


def _is_whole(settings: Settings, text: str) -> bool:
    """Whether it is a model with all its parts: a folder, a builtin one, or one on the hub."""
    if text.startswith("builtin:") or settings.path(text).is_dir():
        return True
    plain = text.count("/") == 1 and not text.startswith((".", "/", "~"))
    return plain and not text.endswith(FILES) and not settings.path(text).exists()


def _guided(settings: Settings, text: str) -> bool:
    """Whether a model takes guidance; one that cannot be looked into goes by its name."""
    place = settings.path(text)
    if place.is_dir():
        config = _json(place / "transformer" / "config.json")
        return config.get("guidance_embeds") is not False
    if place.is_file() and (names := _names(place)):
        return any(name in names for name in GUIDED)
    return "schnell" not in text.lower()


def _json(file: Path) -> dict[str, Any]:
    try:
        return as_section(json.loads(file.read_bytes()))
    except (OSError, ValueError):
        return {}


def _names(file: Path) -> set[str]:
    """The names of a safetensors file's tensors; none where it is no such file, which is told
    when it is opened. Of several shards, those of all."""
    found: set[str] = set()
    shards = [file]
    if "00001-of-" in file.name:
        ending = file.name.partition("00001-of-")[2]
        first = file.name.partition("00001-of-")[0]
        shards = sorted(file.parent.glob(f"{first}*-of-{ending}"))
    for shard in shards:
        try:
            with shard.open("rb") as stream:
                length = int.from_bytes(stream.read(8), "little")
                header = json.loads(stream.read(length)) if 0 < length < LONGEST else {}
        except (OSError, ValueError):
            header = {}
        found |= as_section(header).keys()
    return found
