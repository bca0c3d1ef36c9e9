"""2,000 JPEGs of 512 px trained at 128 px: scanning, encoding and starting, cold and warm.

The encoder is compared with a bare loop that opens and encodes the same batches, in turn with it.
`python bench/throughput.py [PICTURES]`
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from scumble import families
from scumble.data.cache import Missing, Store
from scumble.data.sizes.frame import Frame
from scumble.data.view import View
from scumble.families import encoding, weights
from scumble.hardware.device import Place
from scumble.spec.model import ModelSpec

MODEL = ModelSpec(family="flux", flavour="dev", path="builtin:tiny-flux")
PLACE = Place(torch.device("cpu"), torch.float32)
JOB = """
name: bench
model: {{family: flux, flavour: dev, path: "builtin:tiny-flux", text_tokens: 64}}
data: [{{id: photos, folder: "{folder}", resolution: 128, captions: filename}}]
training: {{steps: 1, batch_size: 4}}
validation: {{every: 0}}
output_dir: "{out}"
"""


def photos(folder: Path, count: int) -> None:
    """Pictures with the detail of photographs: noise at several scales."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        picture = np.zeros((512, 512, 3), np.float32)
        for side, strength in ((4, 60), (32, 30), (256, 12)):
            raw = random.normal(0, strength, (side, side, 3)).clip(-127, 127) + 128
            layer = Image.fromarray(raw.astype(np.uint8)).resize((512, 512))
            picture += np.asarray(layer, np.float32) - 128
        file = folder / f"photo of place {'abcdefghij'[number % 10]} number {number:04d}x.jpg"
        Image.fromarray((picture + 128).clip(0, 255).astype(np.uint8)).save(file, quality=88)


def run(job: Path) -> tuple[float, list[dict], float]:
    """Seconds of a whole `scumble train`, its journal and the peak of its memory in MB."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "scumble", "train", str(job)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0
    seconds = time.perf_counter() - start
    journal = job.parent / "out" / "bench" / "journal.jsonl"
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    journal.unlink()
    return seconds, records, used.ru_maxrss / 1024


def bare(model: weights.Model, files: Sequence[Path], cut: Frame, batch: int) -> float:
    """Pictures per second of a loop that opens, resizes and encodes, one batch after another."""
    module = weights.loaded(model, "autoencoder", dtype=torch.float32, device=PLACE.device)
    start = time.perf_counter()
    for first in range(0, len(files), batch):
        opened = []
        for file in files[first : first + batch]:
            with Image.open(file) as picture:
                picture.draft("RGB", (cut.size[1], cut.size[0]))
                small = picture.convert("RGB").resize(cut.size[::-1], Image.Resampling.LANCZOS)
            opened.append(np.asarray(small))
        pixels = torch.from_numpy(np.stack(opened)).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.inference_mode():
            module.encode(pixels).latent_dist.mode()
    return len(files) / (time.perf_counter() - start)


def ours(model: weights.Model, files: Sequence[Path], cut: Frame, folder: Path) -> float:
    """Pictures per second of the same, written to a cache."""
    store = Store(folder, "bench")
    wanted = [Missing(number.to_bytes(16), file, View(cut)) for number, file in enumerate(files)]
    *_, last = encoding.encode_pictures(model, PLACE, store, wanted, "fp32")
    return len(files) / last.seconds


def encoders(folder: Path, pairs: int = 5, count: int = 256) -> None:
    """Print the ratio of the two loops, run in turn."""
    files = sorted((folder / "photos").iterdir())[:count]
    model = weights.opened(families.find("flux", "dev"), MODEL, Path())
    cut = Frame((512, 512), (128, 128), (0, 0), (128, 128))
    batch = len(encoding.batches([Missing(bytes(16), files[0], View(cut))] * count)[0])
    rates: tuple[list[float], list[float]] = ([], [])
    for pair in range(pairs):
        rates[0].append(bare(model, files, cut, batch))
        rates[1].append(ours(model, files, cut, folder / f"bench-{pair}"))
    theirs, found = (statistics.median(side) for side in rates)
    print(
        f"encode at batch {batch}: bare {theirs:.0f}/s, ours {found:.0f}/s, x{found / theirs:.2f}"
    )


def main() -> None:
    """Print what it costs, cold and warm."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos(folder / "photos", count)
        job = folder / "job.yaml"
        job.write_text(JOB.format(folder=folder / "photos", out=folder / "out"))
        check = [sys.executable, "-m", "scumble", "check", str(job)]
        for turn in ("first", "second"):
            start = time.perf_counter()
            subprocess.run(check, check=True, capture_output=True)
            print(f"check, {turn} time: {time.perf_counter() - start:.2f} s")
        for turn in ("cold", "warm"):
            seconds, records, peak = run(job)
            print(f"{turn} run of one step: {seconds:.1f} s, peak memory {peak:.0f} MB")
            for kind in ("texts", "pictures"):
                of_kind = [r for r in records if r["event"] == "Encoded" and r["kind"] == kind]
                if of_kind:
                    last = of_kind[-1]
                    rate, size = last["total"] / last["seconds"], last["bytes"] / 1e6
                    print(f"  {kind}: {last['total']} at {rate:.0f}/s, {size:.1f} MB")
        encoders(folder)


if __name__ == "__main__":
    main()
