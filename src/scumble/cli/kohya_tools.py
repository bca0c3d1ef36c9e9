"""sd-scripts' small tools by their own names and flags; what they do is done by ours.

Where that tool does something that its documents do not say and nobody can want, ours differs and
says so: ratios are shares of the change, not of each matrix.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from scumble.cli import kohya_inference
from scumble.cli.kohya_flags import Flag, Line, read, usage
from scumble.errors import JobError, ScumbleError, gather

PRECISIONS = ("float", "fp16", "bf16")
ADAPTER_DTYPES = {"float": "float32", "fp16": "float16", "bf16": "bfloat16"}
MODEL_DTYPES = {
    **dict.fromkeys(("float", "fp32", "float32"), "float32"),
    **dict.fromkeys(("fp16", "float16"), "float16"),
    **dict.fromkeys(("bf16", "bfloat16"), "bfloat16"),
    **dict.fromkeys(("fp8", "fp8_e4m3fn"), "fp8_e4m3fn"),
    "fp8_e5m2": "fp8_e5m2",
}
STREAMED = "has nothing to do: files are always read and written piece by piece"
MODULE = {"ss_v2": "False", "ss_network_args": "{}"}
SPEC = {
    "modelspec.sai_model_spec": "1.0.1",
    "modelspec.architecture": "flux-1-dev/lora",
    "modelspec.implementation": "https://github.com/black-forest-labs/flux",
}
"""What sd-scripts writes of every LoRA for FLUX that is not a training's."""

EXTRACT = (
    Flag("model_org", needed=True, help="the model before"),
    Flag("model_tuned", needed=True, help="the model after"),
    Flag("save_to", needed=True, help="the new .safetensors file"),
    Flag("dim", "whole", 4, "rank of every layer"),
    Flag("save_precision", choices=PRECISIONS, help="float unless given"),
    Flag("device", help="where it is computed, such as cuda"),
    Flag("clamp_quantile", "number", 0.99, "1 does not clamp"),
    Flag("mem_eff_safe_open", "flag", idle=STREAMED),
    Flag("no_metadata", "flag", help="without modelspec entries"),
)
MERGE = (
    Flag("flux_model", help="a model to merge into; without any, LoRA files become one"),
    Flag("clip_l", help="CLIP-L to merge into"),
    Flag("t5xxl", help="T5-XXL to merge into"),
    Flag("save_to", help="the new .safetensors file"),
    Flag("clip_l_save_to", help="the new CLIP-L"),
    Flag("t5xxl_save_to", help="the new T5-XXL"),
    Flag("models", "texts", [], "LoRA files"),
    Flag("ratios", "numbers", [], "one for each of --models; 1 is all of it"),
    Flag("precision", idle="has nothing to do: sums are always made in float32"),
    Flag("save_precision", choices=tuple(MODEL_DTYPES), help="as the model has it, else float"),
    Flag("loading_device", idle="has nothing to do: files are read piece by piece"),
    Flag("working_device", default="cpu", help="where it is computed"),
    Flag("mem_eff_load_save", "flag", idle=STREAMED),
    Flag("no_metadata", "flag", help="without modelspec entries"),
    Flag("concat", "flag", idle="is how LoRA files are always merged here: exactly"),
    Flag("shuffle", "flag", idle="has nothing to do: the order of columns changes no picture"),
    Flag("diffusers", "flag", idle="has nothing to do: every layout is recognised"),
)
RESIZE = (
    Flag("model", needed=True, help="the LoRA file"),
    Flag("save_to", needed=True, help="the new .safetensors file"),
    Flag("new_rank", "whole", 4, "of every layer, at most"),
    Flag("new_conv_rank", "whole", None, "of convolutions, at most; new_rank unless given"),
    Flag("save_precision", choices=PRECISIONS, help="float unless given"),
    Flag("device", help="where it is computed, such as cuda"),
    Flag("dynamic_method", choices=("sv_ratio", "sv_fro", "sv_cumulative"), help="per layer"),
    Flag("dynamic_param", "number", help="with --dynamic_method"),
    Flag("verbose", "flag", help="tell of every layer"),
)
CONVERT = (
    Flag("src", default="ai-toolkit", choices=("ai-toolkit", "sd-scripts"), help="layout"),
    Flag("dst", default="sd-scripts", choices=("ai-toolkit", "sd-scripts"), help="layout"),
    Flag("src_path", needed=True, help="the LoRA file"),
    Flag("dst_path", needed=True, help="the new .safetensors file"),
)


def main(tool: str, words: Sequence[str] | None = None) -> int:
    """Run a tool as it would be from its own file; return the exit code."""
    from scumble.cli import show
    from scumble.cli.app import _say_whatever_is_asked  # the same for every way in

    given = list(sys.argv[1:] if words is None else words)
    flags, act = TOOLS[tool]
    code = 0
    _say_whatever_is_asked()
    if {"-h", "--help"} & set(given):
        show.table(usage(tool, flags))
        return 0
    try:
        line = read(tool, flags, given)
        for note in line.notes:
            show.line(f"note: {note}")
        act(line)
    except* ScumbleError as group:
        show.errors(group)
        code = 2
    return code


def extract(line: Line) -> None:
    """`networks/flux_extract_lora.py`: every layer of the blocks, at one rank."""
    from scumble.checkpoint.extract import Asked
    from scumble.cli.extract import Taking, take
    from scumble.cli.merge import place

    clamp, rank = line.number("clamp_quantile"), line.whole("dim")
    assert rank is not None
    asked = Asked(
        rank=rank,
        clamp=None if clamp == 1 else clamp,
        layers=BLOCKS,
        layout="kohya",
        unchanged=True,
        device=line.text("device") or "cpu",
    )
    out = Path(line.text("save_to") or "")
    spec = {} if line.on("no_metadata") else {**SPEC, "modelspec.title": out.stem}
    base, tuned = place(line.text("model_org") or ""), place(line.text("model_tuned") or "")
    dtype = ADAPTER_DTYPES[line.text("save_precision") or "float"]
    take(Taking(base, tuned, out, asked, dtype, about={**MODULE, **spec}))


def merge(line: Line) -> None:
    """`networks/flux_merge_lora.py`: into a model, or LoRA files with one another."""
    from scumble.cli.merge import Adding, Working, add, work

    files = [Path(one) for one in line.texts("models")]
    ratios = [float(one) for one in line.texts("ratios")]
    gather("this cannot be merged", [*_unpaired(line, len(files), len(ratios))])
    wanted = list(zip(files, ratios, strict=True))
    precision = line.text("save_precision")
    if places := _places(line):
        dtype = None if precision is None else MODEL_DTYPES[precision]
        device = line.text("working_device") or "cpu"
        return work(Working(wanted, places, dtype, device, forgiving=True))
    out = Path(line.text("save_to") or "")
    spec = {} if line.on("no_metadata") else {**SPEC, "modelspec.title": out.stem}
    dtype = MODEL_DTYPES[precision or "float"]
    adding = Adding(wanted, out, "kohya", None, dtype, about={**MODULE, **spec})
    return add(replace(adding, bare=line.on("no_metadata")), verbose=False)


def _unpaired(line: Line, files: int, ratios: int) -> list[ScumbleError]:
    """What cannot be, before any file is opened."""
    problems: list[ScumbleError] = []
    if not files:
        problems.append(JobError("--models", "there is nothing to merge", "name LoRA files"))
    if files != ratios:
        told = f"{files} models and {ratios} ratios"
        problems.append(JobError("--ratios", told, "give one ratio for each of --models"))
    given = [name for name in OUTS if line.text(name)]
    for name, out in OUTS.items():
        if line.text(name) and not line.text(out):
            problems.append(JobError(f"--{out}", f"goes with --{name}", "say where it is put"))
        if line.text(out) and not line.text(name) and (given or name != "flux_model"):
            problems.append(JobError(f"--{name}", f"goes with --{out}", "say what is changed"))
    if not any(line.text(out) for out in OUTS.values()):
        problems.append(JobError("--save_to", "is needed", "say where the new file is put"))
    fp8 = (line.text("save_precision") or "").startswith("fp8")
    if fp8 and not given:
        told = "fp8 is too coarse for a LoRA file"
        problems.append(JobError("--save_precision", told, "give float, fp16 or bf16"))
    return problems


def _places(line: Line) -> list[tuple[Path, Path]]:
    from scumble.cli.merge import place

    pairs = [(line.text(name), line.text(out)) for name, out in OUTS.items()]
    return [(place(model), Path(out)) for model, out in pairs if model and out]


def resize(line: Line) -> None:
    """`networks/resize_lora.py`."""
    from scumble.checkpoint.low_rank import METHODS, Cut, Method
    from scumble.checkpoint.resize import Asked
    from scumble.cli.resize import cut

    method, param = line.text("dynamic_method"), line.number("dynamic_param")
    if (method is None) != (param is None):
        remedy = "give both or neither, such as --dynamic_method sv_fro --dynamic_param 0.9"
        raise JobError("--dynamic_method", "goes with --dynamic_param", remedy)
    kind: Method | None = next((one for one in METHODS if one == method), None)
    rank = line.whole("new_rank")
    assert rank is not None
    windows = line.whole("new_conv_rank") or rank
    asked = Asked(
        cut=Cut(rank, kind, param or 0.0),
        windows=Cut(windows, kind, param or 0.0),
        dtype=ADAPTER_DTYPES[line.text("save_precision") or "float"],
        alphas=True,
        device=line.text("device") or "cpu",
    )
    file, out = Path(line.text("model") or ""), Path(line.text("save_to") or "")
    cut(file, out, asked, verbose=line.on("verbose"), family="flux")


def convert(line: Line) -> None:
    """`networks/convert_flux_lora.py`."""
    from scumble.cli.convert import adapter_convert

    source, target = line.text("src"), line.text("dst")
    if source == target:
        told, remedy = f"both are {source}", "name the other layout; nothing is to be converted"
        raise JobError("--dst", told, remedy)
    file, out = Path(line.text("src_path") or ""), Path(line.text("dst_path") or "")
    adapter_convert(file, out, "kohya" if target == "sd-scripts" else "ai-toolkit")


OUTS: Mapping[str, str] = {
    "flux_model": "save_to",
    "clip_l": "clip_l_save_to",
    "t5xxl": "t5xxl_save_to",
}
"""Models and where each is put."""

BLOCKS = tuple(
    f"{block}.*{'.*' * depth}"
    for block in ("transformer_blocks", "single_transformer_blocks")
    for depth in range(1, 5)
)
"""Patterns of all layers in FLUX's blocks, whose names have one to four words after the number."""

TOOLS: Mapping[str, tuple[Sequence[Flag], Callable[[Line], None]]] = {
    "flux_extract_lora": (EXTRACT, extract),
    "flux_merge_lora": (MERGE, merge),
    "resize_lora": (RESIZE, resize),
    "convert_flux_lora": (CONVERT, convert),
    "flux_minimal_inference": (kohya_inference.FLAGS, kohya_inference.paint),
}
"""Flags and what is done, by the tool's name."""
