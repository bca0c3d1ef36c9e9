"""Pictures made while training, and the loss on those that are kept from it."""

import json
import re
from collections.abc import Iterator
from itertools import product
from json import JSONDecodeError
from typing import Any

from scumble.dialects.kohya.config_file import text_of
from scumble.dialects.notes import Draft
from scumble.dialects.simpletuner import models
from scumble.dialects.simpletuner.running import intervals
from scumble.dialects.simpletuner.settings import Settings
from scumble.errors import FileError
from scumble.spec.document import as_entries, as_section

STEP = 16  # pixels; sides of previews are multiples of it
MEGAPIXELS = 128  # a single number below this one is no side but an area
SIZE = re.compile(r"(\d+(?:\.\d+)?)(?:\s*[xX]\s*(\d+))?")
GRID = 1000
LAST = 0.999
"""The first of the fixed noise levels, pure noise, as far as it is a level between both ends."""

LIBRARY = (
    "a portrait photograph of an elderly fisherman with a weathered face",
    "a red bicycle leaning against a whitewashed wall",
    "a watercolour of a harbour town at dawn",
    "a close-up of a honeybee on a sunflower",
    "an empty library with tall windows, rain outside",
    'a shop sign that reads "OPEN"',
)
"""For `validation_prompt_library`: subjects, a style and a text."""


def previews(asked: Settings, draft: Draft) -> None:
    """Put previews into the draft."""
    one = models.flavour(asked)
    if asked["validation_disable"]:
        draft.put("validation.every", 0)
        draft.put("validation.pairs", {"show": 0, "score": False})
        return
    intervals(asked, draft, "validation", "validation")
    draft.put("validation.steps", asked["validation_num_inference_steps"])
    seed = _seed(asked)
    draft.put("validation.seed", seed)
    requests = list(_shown(asked, draft) if one.shown else _painted(asked, draft))
    draft.put("validation.requests", requests)
    _led(asked, one, draft)
    if one.shown:
        draft.put("validation.pairs.show", asked["num_eval_images"])
        for key in (key for key in UNSEEN if key in asked.told and not requests):
            words = "models that edit are previewed on held-out pairs, at their own sizes"
            draft.note("nothing", key, words)


UNSEEN = ("validation_prompt", "validation_prompt_library", "user_prompt_library")
UNSEEN += ("validation_resolution",)
"""What pairs leave nothing to say for."""


def _seed(asked: Settings) -> int:
    own, run = asked["validation_seed"], asked["seed"]
    return max(0, run or 0) if own is None else own


def _painted(asked: Settings, draft: Draft) -> Iterator[dict[str, Any]]:
    """One preview of each prompt in each size, from the same noise each."""
    if asked["validation_input"] is not None:
        words = "previews of this model begin from noise, not from pictures"
        draft.note("not yet", "validation_input", words)
    sizes = list(_sizes(asked, draft))
    numbers = range(max(1, asked["num_validation_images"]))
    for prompt, (width, height), number in product(_prompts(asked, draft), sizes, numbers):
        seed = _seed(asked) + number
        yield {"prompt": prompt, "width": width, "height": height, "seed": seed}


def _prompts(asked: Settings, draft: Draft) -> Iterator[str]:
    if not asked["validation_disable_unconditional"]:
        yield ""
    if asked["validation_prompt_library"]:
        yield from LIBRARY
        words = f"is {len(LIBRARY)} prompts of this program's own"
        draft.note("hint", "validation_prompt_library", words)
    if asked["user_prompt_library"] is not None:
        yield from _library(asked, draft)
    if asked["validation_prompt"] is not None:
        yield asked["validation_prompt"]


def _library(asked: Settings, draft: Draft) -> Iterator[str]:
    """The prompts of a file: `{name: text}` or `{name: {"prompt": text, ...}}`."""
    where = "user_prompt_library"
    for name, entry in as_section(_json(asked, where, asked[where], draft)).items():
        match entry:
            case str():
                yield entry
            case {"prompt": str(prompt)}:
                for key in sorted(as_section(entry).keys() - {"prompt"}):
                    draft.note("not yet", f"{where} {key}", "previews show the adapter as it is")
                yield prompt
            case _:
                remedy = 'write {"name": "what the picture shows"}'
                draft.complain(f"{asked[where]}: {name}", "is no prompt", remedy)


def _shown(asked: Settings, draft: Draft) -> Iterator[dict[str, Any]]:
    """`validation_input`: pictures with what is to become of them."""
    given = asked["validation_input"]
    if given is None:
        return
    entries = given if isinstance(given, list) else _json(asked, "validation_input", given, draft)
    for (width, height), entry in product(_sizes(asked, draft), as_entries(entries)):
        match entry:
            case {"path": str(path), "prompt": str(prompt)}:
                if not asked.path(path).exists():
                    problem = f"there is no file {asked.path(path)}"
                    draft.complain("validation_input", problem, "mend the path")
                request = {"prompt": prompt, "references": [path], "seed": _seed(asked)}
                yield {**request, "width": width, "height": height}
            case _:
                remedy = 'write [{"path": "cat.png", "prompt": "make it snow"}]'
                draft.complain("validation_input", "needs `path` and `prompt`", remedy)


def _sizes(asked: Settings, draft: Draft) -> Iterator[tuple[int, int]]:
    """Width and height in pixels of each size that is asked for."""
    where, words = (
        "validation_resolution",
        [word.strip() for word in asked["validation_resolution"].split(",")],
    )
    for word in words:
        match = SIZE.fullmatch(word)
        if match is None:
            draft.complain(where, f"'{word}' is no size", "write 1024, or 1280x768")
            continue
        width, height = match.groups()
        sides = (_side(float(width)),) * 2 if height is None else (int(float(width)), int(height))
        rounded = tuple(max(STEP, round(side / STEP) * STEP) for side in sides)
        if rounded != sides:
            told = f"{sides[0]}x{sides[1]} is painted as {rounded[0]}x{rounded[1]}"
            draft.note("hint", where, f"{told}: sides are multiples of {STEP}")
        yield rounded[0], rounded[1]


def _side(number: float) -> int:
    """Of a square: pixels, or, from a small number, as SimpleTuner makes them of megapixels."""
    if number >= MEGAPIXELS:
        return int(number)
    return 1024 if number == 1 else int(number * GRID) // 8 * 8


def _led(asked: Settings, one: models.Flavour, draft: Draft) -> None:
    """Guidance as this model takes it: as an input, as CFG, or both."""
    real, told = asked["validation_guidance_real"], "validation_guidance" in asked.told
    guidance = asked["validation_guidance"]
    if one.guided:
        draft.put("validation.guidance", guidance)
        if not told:
            words = f"is not given: {guidance}, as there; FLUX is published with 3.5 and 2.5"
            draft.note("hint", "validation_guidance", words)
    if not one.led:
        if real > 1:
            draft.put("validation.scale", real)
            draft.put("validation.negative", asked["validation_negative_prompt"])
        return
    if real > 1 or told:
        draft.put("validation.scale", real if real > 1 else guidance)
    draft.put("validation.negative", asked["validation_negative_prompt"])
    if told and real <= 1:
        words = "is the scale of true CFG: this model takes no guidance as an input"
        draft.note("hint", "validation_guidance", words)


def held_out(asked: Settings, draft: Draft) -> None:
    """Put the measuring of what is kept from training into the draft; nothing where there is
    nothing kept."""
    if not any(one.get("held_out") for one in draft.tree["data"]):
        return
    count = max(1, asked["eval_timesteps"])
    times = [min(LAST, round((count - place) / count, 6)) for place in range(count)]
    tree: dict[str, Any] = {"times": times, "limit": asked["num_eval_images"], "seed": 0}
    steps, epochs = asked["eval_steps_interval"], asked["eval_epoch_interval"]
    if asked["eval_loss_disable"]:
        tree["every"] = 0
    elif steps:
        tree["every"] = steps
        if epochs:
            words = "does not count beside eval_steps_interval: one of them says when"
            draft.note("nothing", "eval_epoch_interval", words)
    elif epochs:
        tree["every_epochs"] = max(1, round(epochs))
        if epochs != tree["every_epochs"]:
            words = f"is rounded to {tree['every_epochs']}: whole epochs lie between measurements"
            draft.note("hint", "eval_epoch_interval", words)
    draft.put("validation.held_out", tree)


def _json(asked: Settings, key: str, text: str, draft: Draft) -> Any:
    """What a file holds; None where it cannot be read, which is told."""
    try:
        return json.loads(text_of(asked.path(text), key))
    except FileError as problem:
        draft.problems.append(problem)
    except (JSONDecodeError, RecursionError) as error:
        draft.complain(text, f"this is not valid JSON ({error})", "mend it")
    return None
