"""Promises of the pages and of the data room that no other test holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.main import get_command

from scumble.caching import encoded
from scumble.cli.app import app
from scumble.data.manifest import samples
from scumble.preflight.plan import prepared
from scumble.trainer.step import losses
from tests.toys import job, pictures
from tests.trainer.test_mixed_batches import KONTEXT, alone, fed, method, planned

PAGES = (
    "README.md",
    "docs/data.md",
    "docs/decisions.md",
    "docs/benchmarks.md",
    "examples/README.md",
)
TYPED = re.compile(r"(?:^    |`)scumble ([a-z][^`\n#]*)", re.MULTILINE)


def unknown(line: str) -> list[str]:
    """What of a command line the program does not know: the command itself, or flags."""
    words, here = line.split(), get_command(app)
    while (known := getattr(here, "commands", None)) is not None:
        if not words or words[0] not in known:
            return words[:1] or ["nothing"]
        here = known[words.pop(0)]
    flags = {flag for one in here.params for flag in (*one.opts, *one.secondary_opts)}
    return [word for word in words if word.startswith("--") and word not in flags]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_on_a_page_can_be_typed(page: str) -> None:
    lines = TYPED.findall(Path(page).read_text(encoding="utf-8"))
    assert {line: wrong for line in lines if (wrong := unknown(line))} == {}


def test_a_row_of_the_job_page_has_four_cells() -> None:
    """A bar within a cell would begin another, also between backticks."""
    rows = [line for line in Path("docs/job.md").read_text().splitlines() if line[:1] == "|"]
    odd = [row for row in rows if len(re.findall(r"(?<!\\)\|", row)) != 5]
    assert odd == []


def edits(root: Path, **settings: Any) -> list[dict[str, Any]]:
    """Pairs of several shapes with masks; every text is that of its own picture."""
    shapes = [(64, 64), (96, 64), (64, 90), (120, 52)] * 3
    for side in ("after", "before", "style"):
        pictures(root / side, shapes, seed=len(side))
    for text in (root / "style").glob("*.txt"):
        text.unlink()
    for number, shape in enumerate(shapes):
        (root / "masks").mkdir(exist_ok=True)
        mask = Image.new("L", shape)
        mask.paste(255, (0, 0, 40, 40))
        mask.save(root / "masks" / f"p{number:02d}.png")
    references = [{"folder": "before", "captions": "textfile"}, {"folder": "style", "fit": "loose"}]
    shared = {"id": "edits", "folder": "after", "resolution": 48, "mask": {"folder": "masks"}}
    return [{**shared, "references": references, **settings}]


def test_the_manifest_names_what_was_shown_and_told_together(tmp_path: Path) -> None:
    data = edits(tmp_path, reference_sampling="combined")
    plan = prepared(job(tmp_path, data=data, model={**KONTEXT, "text_tokens": 16}), tmp_path)
    with encoded(plan, lambda event: None) as library:
        rows = list(samples(library))
    assert len(rows) == 12
    for row in rows:
        name = row["picture"]
        assert row["references"] == [f"edits.1/{name}", f"edits.2/{name}"]
        assert row["mask"] == f"edits.mask/{name}"
        assert row["captions"] == [f"picture {int(str(name)[1:3])} of before"]


@pytest.mark.parametrize("batch", [2, 4])
def test_pairs_of_many_shapes_lose_together_what_they_lose_alone(
    tmp_path: Path, batch: int
) -> None:
    data = edits(tmp_path, sizing={"kind": "shapes", "crop": "random"}, flip=True, variants=2)
    plan = planned(tmp_path, batch, data=data)
    how, sizes = method(plan), set()
    with torch.no_grad():
        for one in fed(plan, 12 // batch):
            together = losses(how, one.batch, one.draw)
            sizes.add(tuple(one.batch.latents.shape[-2:]))
            assert one.batch.references[0].shape[-2:] == one.batch.latents.shape[-2:]
            for place in range(len(together)):
                single = losses(how, *alone(one.batch, one.draw, place))
                assert together[place].item() == pytest.approx(single.item(), rel=1e-4)
    assert len(sizes) > 1
