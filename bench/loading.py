"""How fast weights come from a file, and what memory that takes, beside the usual ways.

A part of FLUX.1's transformer at its real width (about 0.76 billion random numbers), in the
authors' layout and in that of diffusers, as bf16, fp32 and fp8 with scales; all become bf16 on the
CPU. Each way in a fresh process, one after the other, round after round; the files are in the
system's cache; medians. Peaks are over what the process held before.
`python bench/loading.py [ROUNDS]`, in a folder with room for 8 GB (TMPDIR).
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from scumble import families
from scumble.families import spelling, weights
from scumble.families.flux import files as flux_files
from scumble.families.flux import model as flux
from scumble.families.flux.keys import TRANSFORMER
from scumble.families.sources import Sought, in_file
from scumble.families.tensor_files import header

CPU = torch.device("cpu")
SIZES = {"num_layers": 1, "num_single_layers": 3}
NAMES = {torch.bfloat16: "BF16", torch.float32: "F32", torch.float8_e4m3fn: "F8_E4M3"}


def skeleton(sizes: Mapping[str, int]) -> nn.Module:
    """Without weights."""
    return flux.skeleton("denoiser", {**flux_files.DENOISER, **sizes})


def written(file: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> Path:
    """Random numbers of these shapes; matrices alone are fp8, with a scale beside each."""
    told, made, end = {}, list[Tensor](), 0
    for name, tensor in tensors.items():
        narrow = dtype.itemsize == 1 and tensor.dim() == 2
        kind = dtype if narrow or dtype.itemsize > 1 else torch.bfloat16
        rows = [(name, torch.randn(tensor.shape).to(kind))]
        if narrow:
            rows.append((f"{name.removesuffix('.weight')}.weight_scale", torch.tensor(0.02)))
        for key, one in rows:
            offsets = [end, end := end + one.nbytes]
            kept = {"dtype": NAMES[one.dtype], "shape": list(one.shape), "data_offsets": offsets}
            told[key] = kept
            made.append(one)
    text = json.dumps(told).encode()
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for one in made:
            stream.write(one.reshape(-1).view(torch.uint8).numpy().data)
    return file


def scumble(file: Path) -> nn.Module:
    """Ours."""
    family = families.find("flux", "dev")
    model = weights.Model(family, {"denoiser": in_file(Sought(family, "denoiser"), file)})
    return weights.loaded(model, "denoiser", dtype=torch.bfloat16, device=CPU)


def usual(file: Path) -> nn.Module:
    """safetensors' own reader, and torch's copy into a module of bf16."""
    from safetensors.torch import load_file

    doubles = any(name.startswith("transformer_blocks") for name in header(file))
    module = skeleton(SIZES if doubles and file.stat().st_size > 2**30 else SMALL)
    module = module.to(torch.bfloat16).to_empty(device=CPU)
    module.load_state_dict(load_file(file))
    return module


def bare(file: Path) -> list[Tensor]:
    """The file's bytes into memory, tensor by tensor, and nothing else."""
    found = []
    with file.open("rb", buffering=0) as stream:
        for stored in sorted(header(file).values(), key=lambda one: one.start):
            stream.seek(stored.start)
            room = torch.empty(stored.bytes, dtype=torch.uint8)
            done = 0
            while done < stored.bytes:
                done += stream.readinto(room.numpy().data[done:])
            found.append(room)
    return found


SMALL = {"num_layers": 1, "num_single_layers": 1, "num_attention_heads": 1}
WAYS: dict[str, Callable[[Path], object]] = {"scumble": scumble, "usual": usual, "bare": bare}
ROWS = (
    ("bf16, a bare loop", "bare", "ours-BF16"),
    ("bf16 of diffusers, load_file and load_state_dict", "usual", "ours-BF16"),
    ("bf16 of diffusers, scumble", "scumble", "ours-BF16"),
    ("bf16 of the authors, scumble", "scumble", "theirs-BF16"),
    ("fp32, a bare loop", "bare", "ours-F32"),
    ("fp32 of diffusers, load_file and load_state_dict", "usual", "ours-F32"),
    ("fp32 of the authors, scumble", "scumble", "theirs-F32"),
    ("fp8, a bare loop", "bare", "theirs-F8_E4M3"),
    ("fp8 with scales, of the authors, scumble", "scumble", "theirs-F8_E4M3"),
)


def memory(of: str) -> int:
    """Bytes that this process holds (VmRSS), or held at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(of))


def measure(way: str, small: Path, file: Path) -> None:
    """Print seconds and bytes at the peak; the first use of the libraries is not counted."""
    WAYS[way](small)
    before, start = memory("VmRSS:"), time.perf_counter()
    kept = WAYS[way](file)
    print(time.perf_counter() - start, memory("VmHWM:") - before)
    del kept


def measured(way: str, small: Path, file: Path) -> tuple[float, float]:
    """The same, of a fresh process."""
    command = [sys.executable, __file__, way, str(small), str(file)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(told[-2]), float(told[-1])


def main() -> None:
    """Print a table."""
    if len(sys.argv) > 2:
        return measure(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with TemporaryDirectory() as place:
        for spelt in ("ours", "theirs"):
            for sizes, size in ((SIZES, "large"), (SMALL, "small")):
                tensors = skeleton(sizes).state_dict()
                tensors = tensors if spelt == "ours" else spelling.fused(tensors, TRANSFORMER)
                for dtype, name in NAMES.items():
                    written(Path(place, f"{size}-{spelt}-{name}.safetensors"), tensors, dtype)
        found: dict[str, list[tuple[float, float]]] = {row[0]: [] for row in ROWS}
        for _ in range(rounds):
            for title, way, file in ROWS:
                small, large = (
                    Path(place, f"{size}-{file}.safetensors") for size in ("small", "large")
                )
                found[title].append(measured(way, small, large))
        sizes = {row[0]: Path(place, f"large-{row[2]}.safetensors").stat().st_size for row in ROWS}
    shown(found, sizes)
    return None


def shown(found: Mapping[str, list[tuple[float, float]]], sizes: Mapping[str, int]) -> None:
    """The table."""
    print("| what | file, MB | seconds | MB/s of the file | peak, MB |")
    print("| --- | --- | --- | --- | --- |")
    for title, rows in found.items():
        seconds, peak = (statistics.median(column) for column in zip(*rows, strict=True))
        file = sizes[title] / 1e6
        assert math.isfinite(seconds)
        print(f"| {title} | {file:.0f} | {seconds:.2f} | {file / seconds:.0f} | {peak / 1e6:.0f} |")


if __name__ == "__main__":
    main()
