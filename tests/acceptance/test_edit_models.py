"""Edit models from pairs to files that other tools load; run by `make acceptance`."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from scumble import families
from scumble.adapters.attach import matches
from scumble.adapters.lora import LoraTensors
from scumble.checkpoint import bases, export
from scumble.cli.app import main
from scumble.families.family import Family
from scumble.validation import probes
from tests.toys import checkpoint, journal, pictures, trained

pytestmark = pytest.mark.acceptance

MODELS = {
    ("flux", "kontext"): "builtin:tiny-flux-kontext",
    ("qwen-image", "base"): "builtin:tiny-qwen-image",
    ("qwen-image", "edit-v1"): "builtin:tiny-qwen-edit",
    ("qwen-image", "edit-v2"): "builtin:tiny-qwen-edit-plus",
}
OURS, THEIRS = ["diffusers", "kohya", "comfy"], {"flux": 1, "qwen-image": 3}
"""Layouts, and how many of them diffusers reads of a toy: of FLUX it knows the real size alone."""

COUNT = 8
KINDS = [*MODELS][:1] + [*MODELS][2:]


def model(kind: tuple[str, str]) -> dict[str, Any]:
    family, flavour = kind
    return {"family": family, "flavour": flavour, "path": MODELS[kind], "text_tokens": 24}


def folders(root: Path) -> None:
    """Targets, three references of which some are missing, and pictures without any."""
    pictures(root / "after", [(64, 64), (96, 64)] * (COUNT // 2))
    pictures(root / "before0", [(64, 64), (96, 64)] * (COUNT // 2), seed=1)
    for number in (1, 2):
        sizes = [(64 + 16 * number, 64)] * COUNT
        pictures(root / f"before{number}", sizes, seed=1 + number)
    pictures(root / "plain", [(64, 64)] * 3, seed=9)
    pictures(root / "whole", [(64, 64), (96, 64)] * 2, seed=7)
    for number in range(3):
        pictures(root / f"all{number}", [(64, 64), (96, 64)] * 2, seed=4 + number)
    for place in range(COUNT):
        for number in range(place % 4, 3):  # 0, 1, 2 and 3 of them stay
            (root / f"before{number}" / f"p{place:02d}.png").unlink()


def sets(kind: tuple[str, str]) -> list[dict[str, Any]]:
    """Everything the flavour takes, mixed: strict and loose, random and combined, and none."""
    loose = {"fit": "loose", "resolution": 32}
    all_three = [{"folder": f"all{number}"} for number in range(3)]
    drawn = {
        "id": "drawn",
        "folder": "whole",
        "resolution": 48,
        "references": [all_three[0], all_three[1] | loose],
        "reference_sampling": "random",
    }
    if families.find(*kind).references == 1:
        one = {"id": "one", "folder": "whole", "resolution": 32, "references": all_three[:1]}
        return [drawn, one]
    mixed = {
        "id": "mixed",
        "folder": "after",
        "resolution": 32,
        "references": [
            {"folder": "before0"},
            {"folder": "before1"} | loose,
            {"folder": "before2"} | loose,
        ],
        "unpaired": "fewer",
    }
    two = {"id": "two", "folder": "whole", "resolution": 32, "references": all_three[:2]}
    three = {"id": "three", "folder": "whole", "resolution": 32, "references": all_three}
    return [
        mixed,
        drawn,
        two,
        three | {"held_out": 0.25},
        {"id": "plain", "folder": "plain", "resolution": 32},
    ]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_an_epoch_of_everything_that_a_flavour_takes_ends_well_and_resumes_bit_for_bit(
    tmp_path: Path, kind: tuple[str, str], batch: int
) -> None:
    """Killed half-way and started again, it takes the steps of a run that was never broken."""
    folders(tmp_path)
    steps = 6 if kind[1] == "edit-v1" else 8
    changes: dict[str, Any] = {
        "model": model(kind),
        "data": sets(kind),
        "training__batch_size": batch,
        "training__units_per_step": 4 // batch,
        "saving__every": steps // 2,
        "validation__pairs": {"score": False},
        "validation__every": 0,
    }
    assert trained(tmp_path, **changes, training__steps=steps, name="whole").code == 0
    for last in (steps // 2, steps):
        assert trained(tmp_path, **changes, training__steps=last, name="broken").code == 0
    whole, broken = (checkpoint(tmp_path, steps, name) for name in ("whole", "broken"))
    assert whole.keys() == broken.keys()
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    losses = [record["loss"] for record in journal(tmp_path, "StepDone", "whole")]
    assert len(losses) == steps and all(map(math.isfinite, losses))
    assert journal(tmp_path, "Resumed", "broken")
    file = tmp_path / "out/whole/whole.safetensors"
    assert main(["adapter", "verify", str(file), "--model", MODELS[kind]]) == 0


def alike(said: str) -> float:
    """The decibels of a verdict; above 60, fewer than one number in 15 is off, by one of 255."""
    told = re.search(r"PSNR ([\d.]+) dB", said)
    if told is None:
        assert "equal in every pixel" in said
        return math.inf
    return float(told[1])


@pytest.mark.parametrize("kind", MODELS, ids="-".join)
def test_every_layout_is_proven_and_the_published_pipeline_paints_the_same(
    tmp_path: Path, kind: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = families.find(*kind).references
    pictures(tmp_path / "after", [(64, 96)] * 3)
    pictures(tmp_path / "before", [(64, 96)] * 3, seed=1)
    references = {"references": [{"folder": "before"}]} if shown else {}
    data = {"id": "a", "folder": "after", "resolution": 64, **references}
    asked = {"prompt": "turn it", "negative": "dark", "scale": 2.5, "width": 64, "height": 96}
    if shown:
        asked["references"] = [str(tmp_path / "before/p00.png")]
    outcome = trained(
        tmp_path,
        model=model(kind),
        data=[data],
        adapter={"rank": 2},
        validation={"every": 3, "steps": 2, "requests": [asked]},
        training__steps=3,
        export={"proof": "fresh_process", "layout": OURS, "dtype": "float32"},
    )
    assert outcome.code == 0
    run = tmp_path / "out/toy"
    kit = probes.read(run / "proof" / probes.FILE)
    assert len(kit.probes.references) == len(kit.preview.references) == min(1, shown)
    files = [run / "toy.safetensors", run / "toy.kohya.safetensors", run / "toy.comfy.safetensors"]
    capsys.readouterr()
    read = files[: THEIRS[kind[0]]]
    words = ["adapter", "verify", "--json", "--run", str(run), "--against", "diffusers"]
    code = main([*words, *map(str, read)])
    pairs = len(load_file(files[0])) // 2
    for row in json.loads(capsys.readouterr().out.splitlines()[-1])["files"]:
        found = {one["name"]: (one["state"], one["text"]) for one in row["verdicts"]}
        assert found["velocity"][0] == found["pipeline keys"][0] == "ok", row["file"]
        assert f"all {pairs} layers" in found["pipeline keys"][1], "no key is left over"
        assert alike(found["pipeline picture"][1]) > 60, row["file"]
    assert code == 0


def full(family: Family) -> dict[str, dict[str, LoraTensors]]:
    """A change of rank 1 for each attention and feed-forward layer of the published network."""
    shapes = bases.published(family).shapes[bases.DENOISER]
    names = [one for one in shapes if any(matches(n, one) for n in family.targets["blocks"])]
    assert len(names) > 400
    layers = {
        name: LoraTensors(torch.ones(1, shapes[name][1]), torch.ones(shapes[name][0], 1), 1.0)
        for name in names
    }
    return {bases.DENOISER: layers}


@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        *((("flux", "kontext"), layout) for layout in ("diffusers", "kohya")),
        *((("qwen-image", "edit-v2"), layout) for layout in OURS),
    ],
    ids=str,
)
def test_names_of_the_published_size_are_known_to_diffusers(
    tmp_path: Path, kind: tuple[str, str], layout: str
) -> None:
    """Without weights: what its reader makes of the file are layers of its transformer."""
    import diffusers
    from diffusers import FluxTransformer2DModel, QwenImageTransformer2DModel

    family = families.find(*kind)
    changes, file = full(family), tmp_path / "full.safetensors"
    export.write(file, changes, family.keys, layout=layout, dtype="bfloat16", about={})
    networks = {"flux": FluxTransformer2DModel, "qwen-image": QwenImageTransformer2DModel}
    with torch.device("meta"):
        told = {"guidance_embeds": True} if family.guidance_embedded else {}
        network = networks[family.name](**told)
    linear = {n for n, one in network.named_modules() if isinstance(one, torch.nn.Linear)}
    pipeline: Any = getattr(diffusers, family.pipeline)
    state = pipeline.lora_state_dict(str(file))
    found = {key.split(".lora_")[0].removeprefix("transformer.") for key in state}
    assert found <= linear and found == changes[bases.DENOISER].keys()
