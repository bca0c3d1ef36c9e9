"""Batches of examples that differ in references, sizes and masks lose what each loses alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from scumble.assembly import source
from scumble.caching import encoded
from scumble.data.batch import Batch
from scumble.families import weights
from scumble.families.family import Knobs
from scumble.hardware.blocks import Net, plain
from scumble.preflight.plan import Plan, prepared
from scumble.trainer.draws import Draw
from scumble.trainer.feeder import Fed
from scumble.trainer.step import Method, losses
from tests.toys import job, pictures

COUNT = 24
KONTEXT = {"family": "flux", "flavour": "kontext", "path": "builtin:tiny-flux-kontext"}


def pairs(root: Path, seed: int, sampling: str = "combined") -> list[dict[str, Any]]:
    """Targets of two shapes, each with 0 to 3 references of two, and some masks."""
    random = np.random.default_rng(seed)

    def size() -> tuple[int, int]:
        width, height = random.choice([(64, 64), (96, 60)]).tolist()
        return width, height

    pictures(root / "after", [(64, 64), (96, 64)] * (COUNT // 2), seed=seed)
    for number in range(3):
        pictures(root / f"before{number}", [size() for _ in range(COUNT)], seed=seed + number)
    for place in range(COUNT):
        for number in random.permutation(3)[: place % 4].tolist():
            (root / f"before{number}" / f"p{place:02d}.png").unlink()
    masks = root / "masks"
    masks.mkdir()
    for place in range(0, COUNT, 2):
        grey = random.integers(0, 2, (5, 7), dtype=np.uint8) * 255
        with Image.open(root / f"after/p{place:02d}.png") as target:
            Image.fromarray(grey).resize(target.size, 0).save(masks / f"p{place:02d}.png")
    references = [
        {"folder": f"before{number}", "fit": "loose", "resolution": 32 + 16 * number}
        for number in range(3)
    ]
    return [
        {
            "id": "edits",
            "folder": "after",
            "resolution": 48,
            "references": references,
            "unpaired": "fewer",
            "reference_sampling": sampling,
            "mask": {"folder": "masks", "missing": "whole", "minimum": 0.1},
        }
    ]


def planned(root: Path, batch: int, **changes: Any) -> Plan:
    data = changes.pop("data", None) or pairs(root, batch)
    sizes = {"training__batch_size": batch, "training__units_per_step": 1}
    model = {**KONTEXT, "text_tokens": 16}
    return prepared(job(root, data=data, model=model, **sizes, **changes), root)


def method(plan: Plan) -> Method:
    denoiser = weights.loaded(
        plan.model, "denoiser", dtype=torch.float32, device=torch.device("cpu")
    )
    return Method(
        family=plan.family,
        net=Net(denoiser, plain),
        place=plan.place,
        knobs=Knobs(guidance=1.0),
        objective=plan.job.objective,
    )


def fed(plan: Plan, steps: int) -> Iterator[Fed]:
    with encoded(plan, lambda event: None) as library:
        where = source(plan, library)
        yield from (one for step in range(1, steps + 1) for one in where.step(step))


def alone(batch: Batch, draw: Draw, place: int) -> tuple[Batch, Draw]:
    """One example of a batch, as a batch of one."""
    one = slice(place, place + 1)
    single = replace(
        batch,
        latents=batch.latents[one],
        words={name: words[one] for name, words in batch.words.items()},
        frames=batch.frames[one],
        weights=batch.weights[one],
        references=tuple(reference[one] for reference in batch.references),
        masks=None if batch.masks is None else batch.masks[one],
    )
    return single, draw.mapped(lambda tensor: tensor[one])


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_a_batch_loses_the_mean_of_what_its_examples_lose_alone(tmp_path: Path, batch: int) -> None:
    plan = planned(tmp_path, batch)
    how, counts, masked = method(plan), set(), set()
    sizes, full = set(), False
    with torch.no_grad():
        for one in fed(plan, COUNT // batch):
            together = losses(how, one.batch, one.draw)
            for place in range(len(together)):
                single = losses(how, *alone(one.batch, one.draw, place))
                assert together[place].item() == pytest.approx(single.item(), rel=1e-4)
            full = full or len(together) > 1
            counts.add(len(one.batch.references))
            masked.add(one.batch.masks is not None)
            sizes |= {tuple(ref.shape[-2:]) for ref in one.batch.references}
    assert counts == {0, 1, 2, 3} and masked == {True, False} and len(sizes) > 2
    assert batch == 1 or full


def test_a_step_has_every_slot_once_however_it_is_cut(tmp_path: Path) -> None:
    plan = planned(tmp_path, 4, data=pairs(tmp_path, 1, "random"))
    steps: dict[int, list[int]] = {}
    last: dict[int, int] = {}
    for one in fed(plan, 5):
        steps.setdefault(one.step, []).extend(one.batch.slots)
        assert one.step not in last, "nothing comes after a step's last batch"
        if one.last:
            last[one.step] = one.number
        assert one.examples_in_step == 4
    assert all(sorted(slots) == [0, 1, 2, 3] for slots in steps.values())
    assert last.keys() == steps.keys() and max(last.values()) > 0


def test_what_is_encoded_on_demand_is_what_the_cache_holds(tmp_path: Path) -> None:
    data = pairs(tmp_path, 3)
    kept = list(fed(planned(tmp_path, 3, data=data), 4))
    made = list(fed(planned(tmp_path, 3, data=data, cache={"mode": "on_demand"}), 4))
    assert len(kept) == len(made) >= 4
    for left, right in zip(kept, made, strict=True):
        assert left.batch.ids == right.batch.ids and left.batch.captions == right.batch.captions
        torch.testing.assert_close(left.batch.latents, right.batch.latents, atol=1e-5, rtol=0)
        torch.testing.assert_close(left.batch.words, right.batch.words, atol=1e-5, rtol=0)
        torch.testing.assert_close(left.batch.references, right.batch.references, atol=1e-5, rtol=0)
        torch.testing.assert_close(left.batch.masks, right.batch.masks, atol=0, rtol=0)


def test_nothing_is_learnt_outside_a_hard_mask(tmp_path: Path) -> None:
    pictures(tmp_path / "a", [(64, 64)] * 2)
    for place in range(2):
        mask = Image.new("L", (64, 64))
        mask.paste(255, (0, 0, 32, 64))
        (tmp_path / "m").mkdir(exist_ok=True)
        mask.save(tmp_path / "m" / f"p{place:02d}.png")
    data = [{"id": "a", "folder": "a", "resolution": 64, "mask": {"folder": "m"}}]
    plan = planned(tmp_path, 2, data=data)
    (one,) = fed(plan, 1)
    assert one.batch.masks is not None and one.batch.masks.shape == (2, 1, 8, 8)
    assert one.batch.masks[..., :4].eq(1).all() and one.batch.masks[..., 4:].eq(0).all()
    latents = one.batch.latents.clone().requires_grad_()
    how = method(plan)
    closing = how.net.module.get_submodule("proj_out")
    answer: list[torch.Tensor] = []

    def keep(_: object, __: object, out: torch.Tensor) -> None:
        out.retain_grad()
        answer.append(out)

    closing.register_forward_hook(keep)
    losses(how, replace(one.batch, latents=latents), one.draw).sum().backward()
    grads = answer[0].grad
    assert grads is not None
    patches = grads.reshape(2, 4, 4, -1)
    assert patches[:, :, 2:].eq(0).all() and patches[:, :, :2].ne(0).any()
