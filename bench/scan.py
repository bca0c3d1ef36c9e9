"""How fast a set is looked at: the first time, when nothing is known, and when everything is.

Small JPEGs with captions, each of its own bytes; the pages are warm, for they were just written.
Every figure is that of a fresh process. `python bench/scan.py [PICTURES] [ROUNDS]`
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

SIZES = [(64, 64), (96, 64), (64, 96), (128, 72), (72, 128), (80, 60)]
IN_A_FOLDER = 1000

MEASURED = """
import json, resource, sys, time
start = time.perf_counter()
{imports}
imported = time.perf_counter()
{body}
done = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
cpu = time.process_time()
print(json.dumps([imported - start, done - imported, cpu, peak, count]))
"""

OURS = (
    """
from pathlib import Path
from scumble.data.scan import problems, scanned
from scumble.spec.dataset import DatasetSpec
""",
    """
spec = DatasetSpec(id="bench", folder=sys.argv[1])
scan = scanned(spec, Path(), Path(sys.argv[2]))
assert problems(scan, spec, 0) == []
count = len(scan.examples)
""",
)

BARE = (
    """
import os
from PIL import Image
""",
    """
count = 0
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        if name.endswith(".jpg"):
            with Image.open(folder + "/" + name) as picture:
                count += picture.size > (0, 0)
""",
)

JOB = """
name: bench
model: {{path: "builtin:tiny-flux", family: flux, flavour: dev}}
data: [{{id: bench, folder: {folder}}}]
training: {{steps: 1}}
cache: {{folder: {cache}}}
"""


def encoded(width: int, height: int) -> bytes:
    """A JPEG of noise."""
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    held = BytesIO()
    Image.fromarray(noise).save(held, "JPEG", quality=60)
    return held.getvalue()


def make(folder: Path, count: int) -> None:
    """Pictures that differ by a comment, and a text for each."""
    kinds = [encoded(*size) for size in SIZES]
    for number in range(count):
        place = folder / f"{number // IN_A_FOLDER:04d}"
        if number % IN_A_FOLDER == 0:
            place.mkdir(parents=True)
        data, comment = kinds[number % len(kinds)], f"{number:08d}".encode()
        mark = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        (place / f"p{number:08d}.jpg").write_bytes(data[:2] + mark + data[2:])
        text = f"picture {number}, a cat on a mat in the afternoon sun, photographed from above"
        (place / f"p{number:08d}.txt").write_text(text)


def measured(code: tuple[str, str], *arguments: Path) -> list[float]:
    """Seconds of imports, seconds of the work, CPU seconds, peak MB and count."""
    program = MEASURED.format(imports=code[0], body=code[1])
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], check=True, capture_output=True
    )
    return json.loads(done.stdout)


def command(folder: Path, cache: Path, job: Path) -> float:
    """Seconds of the whole of `scumble data scan`, from launch to end."""
    job.write_text(JOB.format(folder=folder, cache=cache))
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "scumble", "data", "scan", str(job)], check=True, capture_output=True
    )
    return time.perf_counter() - start


def main() -> None:
    """Print the best of a few rounds of each as a table in Markdown."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory() as place:
        folder, cache = Path(place, "pictures"), Path(place, "cache")
        make(folder, count)
        load = os.getloadavg()[0]
        rows: dict[str, list[list[float]]] = {"bare PIL.Image.open": [], "first": [], "second": []}
        for _ in range(rounds):
            rows["bare PIL.Image.open"].append(measured(BARE, folder))
            shutil.rmtree(cache, ignore_errors=True)
            rows["first"].append(measured(OURS, folder, cache))
            rows["second"].append(measured(OURS, folder, cache))
        whole = min(command(folder, cache, Path(place, "job.yaml")) for _ in range(rounds))
    print(f"{count:,} pictures, {os.cpu_count()} cores, load {load:.1f}, best of {rounds}\n")
    print("| scan | seconds | pictures a second | CPU seconds | imports | peak MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, runs in rows.items():
        imports, seconds, cpu, peak, seen = min(runs, key=lambda run: run[1])
        assert seen == count
        figures = f"{seconds:.2f} | {seen / seconds:,.0f} | {cpu:.2f} | {imports:.2f} | {peak:.0f}"
        print(f"| {name} | {figures} |")
    print(f"\n`scumble data scan`, everything remembered: {whole:.2f} s from launch to end")


if __name__ == "__main__":
    main()
