"""What quantised layers take, how long they take to make and to read again, and what a step costs.

A single block of FLUX.1's transformer at its real width with the edges, 0.2 billion random numbers
in bf16, as a diffusers file. Each quantiser in a fresh process with one thread: it loads the part,
quantises it and keeps it (imports aside), loads it again from what is kept, and takes forward and
backward passes over 80 tokens; the wide part likewise. Seconds are the processor's. Peaks are what
the process held at most over what it held before, while it quantised. `python bench/quantised.py
[NAME ...]`, in a folder with room for 2 GB (TMPDIR).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from scumble import families
from scumble.families import weights
from scumble.families.family import Told
from scumble.families.flux import files as flux_files
from scumble.families.flux import model as flux
from scumble.families.packed_files import write
from scumble.hardware.blocks import Net, plain
from scumble.hardware.memory import forget_peak, peak_bytes
from scumble.hardware.quantisers.numbers import kept
from scumble.hardware.quantisers.table import QUANTISERS
from scumble.spec.model import ModelSpec

CPU = torch.device("cpu")
WIDE = "wide"
CONFIG = {**flux_files.DENOISER, "num_layers": 0, "num_single_layers": 1}
SIDE = 8  # latents a side: 16 tokens, beside 64 of text
PASSES = 3


def written(root: Path) -> None:
    """The part with random weights, as a diffusers folder has it."""
    module = flux.skeleton("denoiser", CONFIG)
    shapes = {name: one.shape for name, one in module.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: (0.02 * torch.randn(shape, generator=generator)).bfloat16()
        for name, shape in shapes.items()
    }
    root.mkdir()
    (root / "config.json").write_text(json.dumps(CONFIG))
    layers: dict[str, dict[str, Tensor]] = {}
    for name, one in tensors.items():
        layer, _, kind = name.rpartition(".")
        layers.setdefault(layer, {})[kind] = one
    write(root / "diffusion_pytorch_model.safetensors", layers, "{}")


def opened(root: Path, name: str) -> weights.Model:
    """The denoiser alone."""
    family = families.find("flux", "dev")
    quantised = {} if name == WIDE else {"denoiser": name}
    spec = ModelSpec.model_validate(
        {
            "family": "flux",
            "flavour": "dev",
            "parts": {"denoiser": str(root / "transformer")},
            "quantised": quantised,
        }
    )
    model = weights.opened(family, spec, Path(), parts=["denoiser"])
    return weights.kept_in(model, root / name)


def timed(act: Callable[[], object]) -> float:
    """Seconds of the processor."""
    start = time.process_time()
    act()
    return time.process_time() - start


def measured(root: Path, name: str) -> dict[str, float]:
    """One row; in a process of its own."""
    torch.set_num_threads(1)
    if name != WIDE:
        kept(name, torch.ones(64, 64))  # imports
    model = opened(root, name)

    def load() -> torch.nn.Module:
        return weights.loaded(model, "denoiser", dtype=torch.bfloat16, device=CPU)

    weights.packed(model, "denoiser", torch.bfloat16, read=True) if name != WIDE else None
    forget_peak(CPU)
    before = peak_bytes(CPU) or 0
    first = timed(load)
    peak = (peak_bytes(CPU) or 0) - before
    again = timed(load)
    module = load()
    held = sum(one.nbytes for one in [*module.parameters(), *module.buffers()])
    net = Net(module, plain)
    text = torch.randn(1, 64, 4096, dtype=torch.bfloat16).requires_grad_()
    values = {
        "text": text,
        "summary": torch.randn(1, 768, dtype=torch.bfloat16),
        "guidance": torch.ones(1),
    }
    noisy = torch.randn(1, 16, SIDE, SIDE)

    def step() -> None:
        answer = flux.predict(net, noisy, torch.tensor([0.5]), Told(values=values))
        answer.float().square().mean().backward()

    step()
    taken = statistics.median(timed(step) for _ in range(PASSES))
    return {"held": held, "peak": peak, "first": first, "again": again, "step": taken}


def main() -> None:
    """A table on standard output."""
    if len(sys.argv) > 2 and sys.argv[1] == "--one":
        print(json.dumps(measured(Path(sys.argv[2]), sys.argv[3])))
        return
    names = sys.argv[1:] or [WIDE, *(one.name for one in QUANTISERS)]
    with TemporaryDirectory() as place:
        root = Path(place)
        written(root / "transformer")
        print("| kept as | held, GB | peak, GB | quantise and keep, s | read again, s | a step |")
        print("| --- | --- | --- | --- | --- | --- |")
        wide = 0.0
        for name in names:
            command = [sys.executable, __file__, "--one", str(root), name]
            row = json.loads(subprocess.check_output(command, text=True).splitlines()[-1])
            wide = wide or row["step"]
            cells = (name, row["held"] / 1e9, row["peak"] / 1e9, row["first"], row["again"])
            told = "| {} | {:.2f} | {:.2f} | {:.1f} | {:.1f} |".format(*cells)
            print(f"{told} {row['step'] / wide:.2f} |", flush=True)


if __name__ == "__main__":
    main()
