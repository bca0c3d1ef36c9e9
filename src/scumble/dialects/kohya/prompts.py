"""Prompt files of sd-scripts: one preview for each prompt, with the settings behind it."""

import json
import tomllib
from collections.abc import Iterator
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from scumble.dialects.kohya.config_file import text_of
from scumble.dialects.kohya.settings import Settings
from scumble.dialects.notes import Draft
from scumble.errors import FileError
from scumble.spec.document import as_entries, as_section

SIDE, STEPS, GUIDANCE = 512, 20, 3.5
"""What sd-scripts takes where a prompt says nothing."""

GRID, LEAST, MOST_STEPS = 16, 64, 1000
FLAGS = {
    "w": ("width", int),
    "h": ("height", int),
    "d": ("seed", int),
    "s": ("sample_steps", int),
    "l": ("scale", float),
    "g": ("guidance_scale", float),
    "n": ("negative_prompt", str),
    "ss": ("sample_sampler", str),
    "cn": ("controlnet_image", str),
    "ctr": ("cfg_trunc_ratio", float),
    "rcfg": ("renorm_cfg", float),
    "fs": ("flow_shift", float),
}
IDLE = {
    "sample_sampler": "FLUX is always sampled by Euler",
    "controlnet_image": "there is no control network here",
    "cfg_trunc_ratio": "is for other models",
    "renorm_cfg": "is for other models",
    "flow_shift": "is for other models",
}
KINDS = {"width": int, "height": int, "seed": int, "sample_steps": int, "prompt": str}
KINDS |= {"scale": float, "guidance_scale": float, "negative_prompt": str}


def previews(settings: Settings, draft: Draft, *, guided: bool) -> None:
    """Put the previews into the draft; `guided`: the model takes guidance as an input."""
    due = ("sample_every_n_steps", "sample_every_n_epochs", "sample_at_first")
    asked = [name for name in due if settings[name]]
    if settings["sample_prompts"] is None:
        for name in asked:
            draft.complain(f"--{name}", "there are no prompts", "add --sample_prompts=FILE.txt")
        draft.put("validation.every", 0)
        return
    every, epochs = settings["sample_every_n_steps"], settings["sample_every_n_epochs"]
    if (epochs or 0) > 0:
        draft.put("validation.every_epochs", epochs)
    elif (every or 0) > 0:
        draft.put("validation.every", every)
    elif not settings["sample_at_first"]:
        words = "has no effect without --sample_every_n_steps or --sample_every_n_epochs"
        draft.note("nothing", "--sample_prompts", words)
        draft.put("validation.every", 0)
        return
    else:  # before the first step and at the end
        draft.put("validation.every", settings["max_train_steps"])
    found = list(_asked(settings, draft))
    draft.put("validation.requests", [_request(one, draft, guided=guided) for one in found])


def _asked(settings: Settings, draft: Draft) -> Iterator[dict[str, Any]]:
    file = settings.path(settings["sample_prompts"])
    try:
        text = text_of(file, "--sample_prompts")
        found = list(_read(file, text, draft))
    except FileError as problem:
        draft.problems.append(problem)
        return
    except (JSONDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        draft.complain(str(file), f"it cannot be read ({error})", "mend it")
        return
    if not found:
        draft.complain(str(file), "there is no prompt in it", "write one on each line")
    yield from found


def _read(file: Path, text: str, draft: Draft) -> Iterator[dict[str, Any]]:
    match file.suffix.lower():
        case ".txt":
            yield from _lines(file, text, draft)
        case ".toml":
            table = as_section(tomllib.loads(text).get("prompt"))
            shared = {key: value for key, value in table.items() if key != "subset"}
            for number, one in enumerate(as_entries(table.get("subset"))):
                yield _checked({**shared, **as_section(one)}, f"{file}: prompt {number}", draft)
        case ".json":
            for number, one in enumerate(as_entries(json.loads(text))):
                where = f"{file}: prompt {number}"
                match one:
                    case str():
                        yield parsed(one, where, draft)
                    case _:
                        yield _checked(as_section(one), where, draft)
        case _:
            draft.complain(str(file), "is no prompt file by its ending", "use .txt, .toml or .json")


def _lines(file: Path, text: str, draft: Draft) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            yield parsed(line.strip(), f"{file}:{number}", draft)


def parsed(line: str, where: str, draft: Draft) -> dict[str, Any]:
    """A prompt with flags behind it, such as `a cat --w 768 --h 512 --d 1 --s 28`."""
    prompt, *rest = line.split(" --")
    found: dict[str, Any] = {"prompt": prompt.strip()}
    for part in rest:
        flag, _, value = part.strip().partition(" ")
        name, read = FLAGS.get(flag.lower(), ("", str))
        if not name:
            words = f"--{flag} is not known to sd-scripts, and left out"
            draft.note("nothing", where, words)
            continue
        try:
            found[name] = read(value.strip())
        except ValueError:
            wanted = "a whole number" if read is int else "a number"
            draft.complain(where, f"--{flag} must be {wanted}, not '{value}'", "mend it")
    return _checked(found, where, draft)


def _checked(found: dict[str, Any], where: str, draft: Draft) -> dict[str, Any]:
    """What of it there is a place for; the rest is told."""
    kept: dict[str, Any] = {}
    for name, value in found.items():
        if name in IDLE:
            draft.note("nothing", f"{where}: {name}", IDLE[name])
        elif name not in KINDS:
            words = "is not known to sd-scripts, and left out"
            draft.note("nothing", f"{where}: {name}", words)
        elif value is not None and not _fits(KINDS[name], value):
            draft.complain(f"{where}: {name}", f"'{value}' does not fit", "mend it")
        elif value is not None:
            kept[name] = value
    if not kept.get("prompt"):
        draft.complain(where, "has no prompt", "write what the picture shows")
    if kept.get("negative_prompt") and kept.get("scale", 1.0) == 1.0:
        words = "a negative prompt (--n) is used with a scale (--l) other than 1 alone"
        draft.note("nothing", where, words)
    return kept


def _fits(kind: type, value: Any) -> bool:
    match value:
        case bool():
            return False
        case int():
            return kind is not str
        case float():
            return kind is float
        case _:
            return kind is str


def _request(one: dict[str, Any], draft: Draft, *, guided: bool) -> dict[str, Any]:
    made: dict[str, Any] = {
        "prompt": one.get("prompt", ""),
        "width": _side(one.get("width", SIDE)),
        "height": _side(one.get("height", SIDE)),
        "steps": min(max(one.get("sample_steps", STEPS), 1), MOST_STEPS),
    }
    if guided:
        made["guidance"] = float(one.get("guidance_scale", GUIDANCE))
    elif "guidance_scale" in one:
        words = "schnell takes no guidance (--g): left out"
        draft.note("nothing", "--sample_prompts", words)
    if (scale := float(one.get("scale", 1.0))) != 1.0:
        made |= {"scale": scale, "negative": one.get("negative_prompt", "")}
    if "seed" in one:
        made["seed"] = one["seed"]
    return made


def _side(pixels: int) -> int:
    return max(LEAST, pixels // GRID * GRID)
