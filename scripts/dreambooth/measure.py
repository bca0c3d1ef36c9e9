"""Measure what holds a model back when it learns one subject: `docs/dreambooth.md` has its figures.

`python scripts/dreambooth/measure.py OUT [--seeds 3] [--arms plain prior ...]` trains the example
`emoji-subject` in several ways, three seeds each, and prints for each way the loss on held-out
faces of the subject and how far the base model has drifted on captions of its class, some of which
prior preservation is shown and some of which it never is. A run that is finished is not repeated.
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import yaml
from PIL import Image

Job = dict[str, Any]
"""A job's settings, or an event of a journal."""

EXAMPLE = Path(__file__).parents[2] / "examples" / "emoji-subject"
SIDE = 64
WEIGHT = 0.15
"""Of the loss on pictures whose prior is preserved."""
SHOWN = ("a bear face", "a cow face", "a fox face", "a lion face", "a rabbit face", "a wolf face")
"""Of the captions that prior preservation is trained on."""

OTHERS = ("a unicorn face", "a gorilla", "a koala", "a chicken", "a raccoon", "a polar bear")
"""Animals that no run is shown."""


def plain(job: Job, out: Path) -> None:
    """Five pictures and nothing else."""


def class_pictures(job: Job, out: Path) -> None:
    """Pictures of the class beside them, learnt like any others."""
    beside = {"id": "class", "folder": str(EXAMPLE / "data" / "class"), "resolution": SIDE}
    job["data"].append({**beside, "share": 1.0})
    job["data"][0]["share"] = 1.0
    job["training"]["units_per_step"] = 2


def prior(job: Job, out: Path) -> None:
    """The same pictures, on which the network is to answer as the base model does."""
    class_pictures(job, out)
    job["data"][-1] |= {"prior_preservation": True, "loss_weight": WEIGHT}


def rollout(job: Job, out: Path) -> None:
    """Every example walked by up to 10 steps, as a guide of SimpleTuner advises."""
    job["objective"] = {"rollout": {"most": 10, "probability": 1.0, "ramp_steps": 40}}


def ema(job: Job, out: Path) -> None:
    """A moving average; both are measured."""
    job["training"]["ema"] = {"decay": 0.95, "previews": "raw"}
    job["training"]["schedule"] = {"kind": "constant", "warmup_steps": 10}


def constant(job: Job, out: Path) -> None:
    """What `ema` is held against: the same schedule without an average."""
    job["training"]["schedule"] = {"kind": "constant", "warmup_steps": 10}


def cluttered(job: Job, out: Path) -> None:
    """The subject on grounds of noise, where the held-out pictures are on white."""
    job["data"][0]["folder"] = str(clutter(out / "cluttered") / "pictures")


def masked(job: Job, out: Path) -> None:
    """The same, with masks that leave the ground out."""
    cluttered(job, out)
    folder = str(out / "cluttered" / "masks")
    job["data"][0]["mask"] = {"folder": folder, "normalise": True}


ARMS: dict[str, Callable[[Job, Path], None]] = {
    "plain": plain,
    "class": class_pictures,
    "prior": prior,
    "rollout": rollout,
    "constant": constant,
    "ema": ema,
    "cluttered": cluttered,
    "masked": masked,
}


def clutter(out: Path) -> Path:
    """The pictures to learn from on grounds of coloured noise, and masks of what stands on them."""
    source, rng = np.random.default_rng(0), 8
    for file in sorted((EXAMPLE / "data" / "seen").glob("*.png")):
        picture = np.asarray(Image.open(file).convert("RGB"))
        white = (picture.min(-1, keepdims=True) > 250).astype(np.uint8)
        small = source.integers(0, 256, (SIDE // rng, SIDE // rng, 3), dtype=np.uint8)
        ground = np.asarray(Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        for name, values in (
            ("pictures", picture * (1 - white) + ground * white),
            ("masks", np.repeat(255 * (1 - white), 3, axis=-1)),
        ):
            (out / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(out / name / file.name)
        text = file.with_suffix(".txt").read_text(encoding="utf-8")
        (out / "pictures" / f"{file.stem}.txt").write_text(text, encoding="utf-8")
    return out


def job_of(arm: str, seed: int, out: Path, changes: Job) -> Job:
    """The example's job, changed for one way and one seed."""
    job: Job = yaml.safe_load((EXAMPLE / "job.yaml").read_text(encoding="utf-8"))
    for one in job["data"]:
        one["folder"] = str(EXAMPLE / one["folder"])
    job["name"] = f"{arm}-{seed}"
    job["training"] = {**job["training"], "seed": seed, **deepcopy(changes)}
    prompts = [f"a 3d emoji of {one}" for one in (*SHOWN, *OTHERS)]
    job["validation"] = {
        "every": 0,
        "held_out": {"every": 20, "noises": 4},
        "drift": {"prompts": prompts, "every": 0, "side": SIDE, "noises": 4},
    }
    job["saving"] = {"every": 0}
    job["export"] = {"proof": "in_process"}
    job["output_dir"] = str(out / "runs")
    ARMS[arm](job, out)
    return job


def events(folder: Path, kind: str) -> Iterator[Job]:
    """What a run's journal tells of one kind."""
    for line in (folder / "journal.jsonl").read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        if told.get("event") == kind:
            yield told


def run(arm: str, seed: int, out: Path, changes: Job) -> Path:
    """Train, unless it has been done; the run's folder."""
    job, folder = job_of(arm, seed, out, changes), out / "runs" / f"{arm}-{seed}"
    if not (folder / f"{arm}-{seed}.safetensors").exists():
        file = out / f"{arm}-{seed}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(job, sort_keys=False), encoding="utf-8")
        command = [sys.executable, "-m", "scumble", "train", str(file)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def row_of(arm: str, folder: Path) -> tuple[float, ...]:
    """Held-out loss; drift over captions that prior preservation is shown, over others, over all.

    Of the average, where there is one, drift is told over all alone.
    """
    loss, drift = list(events(folder, "Measured"))[-1], list(events(folder, "Drifted"))[-1]
    if arm == "ema":
        return loss["ema"]["mean"], math.nan, math.nan, drift["ema"]
    parts = (
        fmean(drift["prompts"][f"a 3d emoji of {one}"] for one in things)
        for things in (SHOWN, OTHERS)
    )
    return loss["mean"], *parts, drift["drift"]


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--training", type=json.loads, default={}, help="changes, as JSON")
    arguments = parser.parse_args()
    print("| way | seed | held-out loss | drift, captions shown | others | all |")
    for arm in arguments.arms:
        rows = []
        for seed in range(arguments.seeds):
            rows.append(row_of(arm, run(arm, seed, arguments.out, arguments.training)))
            print(f"| {arm} | {seed} | " + " | ".join(f"{one:.4f}" for one in rows[-1]) + " |")
        means = " | ".join(f"{fmean(column):.4f}" for column in zip(*rows, strict=True))
        print(f"| {arm} | mean | {means} |", flush=True)


if __name__ == "__main__":
    main()
