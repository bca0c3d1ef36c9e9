"""From the command to the first step: a warm cache, previews off, a process of its own each time.

Compared with the bare imports that a run cannot do without. `python bench/startup.py [ROUNDS]`
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

IMPORTS = {
    "import torch": "import torch",
    "import our FLUX classes": "import scumble.families.flux.model",
    "import diffusers' FLUX class": "from diffusers import FluxTransformer2DModel",
    "import a pipeline and peft": "import peft; from diffusers import FluxPipeline",
}


def seconds_of(code: str) -> float:
    """A fresh interpreter that runs some code."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True)
    return time.perf_counter() - start


def first_step(folder: Path, number: int) -> tuple[float, float]:
    """Seconds from the launch to the first step done, and to the end of the process."""
    name = f"start-{number}"
    settings = [f"name={name}", f"output_dir={folder}", "training.steps=1", "validation.every=0"]
    settings.append("training.schedule.warmup_steps=0")
    launch = time.time()
    subprocess.run(
        [sys.executable, "-m", "scumble", "train", "example=emoji-style", *settings],
        check=True,
        capture_output=True,
    )
    end = time.time()
    for line in (folder / name / "journal.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["event"] == "StepDone":
            return datetime.fromisoformat(record["time"]).timestamp() - launch, end - launch
    raise AssertionError("no step was taken")


def main() -> None:
    """Print the best and the median of each."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        cold, _ = first_step(Path(folder), 0)
        print(f"{'cold: everything encoded first':34} {cold:6.2f} s")
        times: dict[str, list[float]] = {"warm: launch to first step": []}
        times |= {name: [] for name in IMPORTS}
        for number in range(1, rounds + 1):
            times["warm: launch to first step"].append(first_step(Path(folder), number)[0])
            for name, code in IMPORTS.items():
                times[name].append(seconds_of(code))
    for name, found in times.items():
        print(f"{name:34} {statistics.median(found):6.2f} s   best {min(found):.2f}")


if __name__ == "__main__":
    main()
