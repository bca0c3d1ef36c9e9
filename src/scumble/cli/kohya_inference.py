"""sd-scripts' `flux_minimal_inference` by its own flags: pictures from loose files, also by lines
typed one after another."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from scumble import families
from scumble.cli.kohya_flags import Flag, Line
from scumble.errors import FileError, JobError, ScumbleError, gather

if TYPE_CHECKING:
    from scumble.sample import Sampling, Studio

PRECISIONS = {
    **dict.fromkeys(("float", "fp32", "float32"), "fp32"),
    **dict.fromkeys(("bf16", "bfloat16"), "bf16"),
    **dict.fromkeys(("fp16", "float16"), "bf16"),
}
ONE = "has nothing to do: all parts are computed in what --dtype says"
STEPS = {"dev": 50, "schnell": 4}
"""What that tool takes where nothing is said."""

OPTIONS = {"w": "width", "h": "height", "s": "steps", "d": "seed", "g": "guidance", "c": "scale"}
"""Of a typed line, each a letter after two dashes; `n` and `m` come besides."""

FLAGS = (
    Flag("ckpt_path", needed=True, help="FLUX's transformer"),
    Flag("model_type", default="flux", choices=("flux",), help="flux"),
    Flag("clip_l", needed=True, help="CLIP-L"),
    Flag("t5xxl", needed=True, help="T5-XXL"),
    Flag("ae", needed=True, help="the autoencoder"),
    Flag("apply_t5_attn_mask", "flag", help="leave padding out of the network's attention"),
    Flag("prompt", default="A photo of a cat"),
    Flag("output_dir", default=".", help="folder for the pictures"),
    Flag("dtype", default="bfloat16", choices=tuple(PRECISIONS), help="fp16 is computed in bf16"),
    Flag("clip_l_dtype", idle=ONE),
    Flag("ae_dtype", idle=ONE),
    Flag("t5xxl_dtype", idle=ONE),
    Flag("flux_dtype", idle=ONE),
    Flag("seed", "whole", help="random unless given"),
    Flag("steps", "whole", help="4 for schnell, 50 for dev unless given"),
    Flag("guidance", "number", 3.5, "that the network is told"),
    Flag("negative_prompt", help="what is led away from, with --cfg_scale"),
    Flag("cfg_scale", "number", 1.0, "1 does not look at the negative prompt"),
    Flag("offload", "flag", idle="has nothing to do: the encoders go before the transformer comes"),
    Flag("merge_lora_weights", "flag", help="work LoRA into the weights"),
    Flag("lora_weights", "texts", [], "path or path;multiplier"),
    Flag("width", "whole", 1360),
    Flag("height", "whole", 768),
    Flag("interactive", "flag", help="read prompts from standard input; an empty line ends"),
)


@dataclass(frozen=True)
class Picture:
    """What a line asks for."""

    prompt: str
    width: int
    height: int
    steps: int
    guidance: float
    seed: int | None
    negative: str
    scale: float
    strengths: tuple[float, ...] | None = None
    """Of every adapter; None: as they are."""


def paint(line: Line) -> None:
    """One picture, or one for each line that is typed."""
    asked, first = _asked(line)
    from scumble.cli import show
    from scumble.sample import Studio

    if (line.text("dtype") or "") in ("fp16", "float16"):
        show.line("note: --dtype: FLUX overflows in fp16, so it is computed in bf16")
    studio = Studio(asked, stays=line.on("interactive"))
    if not line.on("interactive"):
        _one(studio, first, asked.out)
        return
    show.line("Type a prompt, with --w --h --s --d --g --m --n --c; an empty line ends.")
    for words in _lines(sys.stdin):
        try:
            _one(studio, typed(words, first), asked.out)
        except* ScumbleError as group:  # the next line may be better
            show.errors(group)


def _asked(line: Line) -> tuple[Sampling, Picture]:
    """The flags as our own; an ExceptionGroup of all that is wrong with them."""
    adapters, problems = _adapters(line.texts("lora_weights"))
    files = {
        part: Path(line.text(name) or "")
        for part, name in {
            "denoiser": "ckpt_path", "clip": "clip_l", "t5": "t5xxl", "autoencoder": "ae"
        }.items()
    }  # fmt: skip
    problems += [
        FileError(file, "there is no such file or folder", "mend the path")
        for file in files.values()
        if not file.exists()
    ]
    gather("these pictures cannot be made", problems)
    flavour = _flavour(files["denoiser"])
    told = families.find("flux", flavour).guidance_embedded
    steps, seed = line.whole("steps"), line.whole("seed")
    guidance = line.number("guidance")
    picture = Picture(
        prompt=line.text("prompt") or "",
        width=line.whole("width") or 0,
        height=line.whole("height") or 0,
        steps=STEPS[flavour] if steps is None else steps,
        guidance=guidance if guidance is not None and told else 0.0,
        seed=seed,
        negative=line.text("negative_prompt") or "",
        scale=line.number("cfg_scale") or 0.0,
    )
    return _sampling(line, files, flavour, adapters, picture), picture


def _sampling(
    line: Line,
    files: Mapping[str, Path],
    flavour: str,
    adapters: Sequence[tuple[Path, float]],
    picture: Picture,
) -> Sampling:
    from scumble.cli.merge import family_of
    from scumble.cli.sample import REST_OF_A_JOB
    from scumble.sample import Sampling
    from scumble.spec.load import read_job

    side = family_of("flux").pixels_per_step
    settings = [
        "model.family=flux",
        f"model.flavour={flavour}",
        *(f"model.parts.{part}={_quoted(str(file))}" for part, file in files.items()),
        f"model.text_mask={str(line.on('apply_t5_attn_mask')).lower()}",
        f"validation.prompts=[{_quoted(picture.prompt)}]",
        f"validation.width={_down(picture.width, side)}",
        f"validation.height={_down(picture.height, side)}",
        f"validation.steps={picture.steps}",
        f"hardware.precision={PRECISIONS[line.text('dtype') or 'bfloat16']}",
    ]
    job = read_job(REST_OF_A_JOB, name="the flags", format="yaml", overrides=settings)
    return Sampling(
        model=job.model,
        hardware=job.hardware,
        validation=job.validation,
        adapter=None,
        strength=1.0,
        beside=tuple(adapters),
        merged=line.on("merge_lora_weights"),
        out=Path(line.text("output_dir") or "."),
        base=Path(),
    )


def _down(pixels: int, side: int) -> int:
    """To a multiple of what the model works in, as that tool does it."""
    return pixels // side * side


def _quoted(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False)


def _adapters(texts: Iterable[str]) -> tuple[list[tuple[Path, float]], list[ScumbleError]]:
    """`path` or `path;multiplier`."""
    found: list[tuple[Path, float]] = []
    problems: list[ScumbleError] = []
    for text in texts:
        path, _, much = text.partition(";")
        try:
            found.append((Path(path), float(much or 1)))
        except ValueError:
            remedy = "write path;0.8"
            problems.append(JobError("--lora_weights", f"'{much}' is no number", remedy))
            continue
        if not Path(path).is_file():
            problems.append(FileError(path, "there is no such file", "mend the path"))
    return found, problems


def _flavour(file: Path) -> str:
    """Which FLUX it is: schnell's transformer takes no guidance."""
    from scumble.checkpoint import on_disk
    from scumble.cli.merge import family_of

    (denoiser, *_) = on_disk.within(family_of("flux"), file)
    return "dev" if any("guidance" in name for name in denoiser.readings) else "schnell"


def _one(studio: Studio, picture: Picture, folder: Path) -> None:
    from scumble.cli import show
    from scumble.validation.previews import Request

    side = studio.family.pixels_per_step
    if min(picture.width, picture.height) < side:
        told = f"{picture.width} x {picture.height} pixels are too few"
        raise JobError("--w and --h", told, f"give {side} at least")
    if picture.strengths is not None:
        studio.strengths(picture.strengths)
    request = Request(
        prompt=picture.prompt,
        width=_down(picture.width, side),
        height=_down(picture.height, side),
        steps=picture.steps,
        guidance=picture.guidance,
        seed=secrets.randbits(32) if picture.seed is None else picture.seed,
        negative=picture.negative,
        scale=picture.scale if picture.negative else 1.0,
    )
    show.line(str(studio.paint(request, named(folder))))


def named(folder: Path) -> Path:
    """A file named by the time, as that tool does it; a second one of a second gets a number."""
    stem = time.strftime("%Y%m%d_%H%M%S")
    names = [stem, *(f"{stem}_{number}" for number in range(1, 1000))]
    return next(file for name in names if not (file := folder / f"{name}.png").exists())


def _lines(stream: Iterable[str]) -> Iterable[str]:
    """Lines up to an empty one."""
    for words in stream:
        if not words.strip():
            return
        yield words.strip()


def typed(words: str, before: Picture) -> Picture:
    """What a line asks for; what it does not say is as the flags have it.

    An ExceptionGroup of all that is wrong with it.
    """
    prompt, *options = words.split(" --")
    found, problems = replace(before, prompt=prompt.strip(), strengths=None), list[ScumbleError]()
    for option in options:
        letter, _, value = option.strip().partition(" ")
        try:
            found = _with(found, letter, value.strip())
        except ValueError as error:
            problems.append(JobError(f"--{letter}", str(error), "the line is left out"))
    gather("this line cannot be painted", problems)
    return found


def _with(picture: Picture, letter: str, value: str) -> Picture:
    """The picture with one option more; ValueError says what is wrong with it."""
    if letter == "n":
        return replace(picture, negative="" if value == "-" else value)
    if letter == "m":
        much = tuple(_number(one) for one in value.split(","))
        return replace(picture, strengths=much)
    if letter not in OPTIONS:
        raise ValueError(f"there is no such option; known: {', '.join((*OPTIONS, 'm', 'n'))}")
    if letter in "gc":
        return replace(picture, **{OPTIONS[letter]: _number(value)})
    if not value.isdecimal() or (int(value) == 0 and letter != "d"):
        raise ValueError(f"'{value}' is no whole number above 0")
    return replace(picture, **{OPTIONS[letter]: int(value)})


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"'{text}' is no number") from None
