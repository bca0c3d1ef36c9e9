"""Promises of the pages and of the data room that no other test holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from typer.main import get_command

from scumble.caching import encoded
from scumble.cli.app import app
from scumble.data.manifest import samples
from scumble.preflight.plan import prepared
from scumble.preflight.survey import survey
from scumble.spec.sizing import AspectSizing, BucketsSizing
from scumble.trainer.step import losses
from tests.conftest import told as told_of
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


def told(root: Path, **changes: Any) -> str:
    """All notes and warnings of `check`."""
    seen = survey(job(root, **changes), root)
    return " ".join([*(note for one in seen.sets for note in one.notes), *seen.warnings])


def black(root: Path, count: int) -> dict[str, Any]:
    """So many pictures, the first of them with masks that are black all over."""
    pictures(root / "a", [(64, 64)] * 3)
    (root / "m").mkdir()
    for number in range(3):
        shade = 0 if number < count else 255
        Image.new("L", (64, 64), shade).save(root / f"m/p{number:02d}.png")
    return {"id": "a", "folder": "a", "resolution": 32, "mask": {"folder": "m"}}


def test_masks_that_leave_nothing_to_learn_are_named(tmp_path: Path) -> None:
    said: list[str] = []
    plan = prepared(job(tmp_path, data=[black(tmp_path, 1)]), tmp_path)
    with encoded(plan, lambda event: said.append(str(event))):
        assert any("1 pictures have a mask that is black all over" in one for one in said)


def test_a_set_of_nothing_but_black_masks_is_refused(tmp_path: Path) -> None:
    plan = prepared(job(tmp_path, data=[black(tmp_path, 3)]), tmp_path)
    with pytest.raises(ExceptionGroup) as refused:
        encoded(plan, lambda _: None)
    assert "black all over" in told_of(refused.value)


def test_transparency_that_is_nowhere_is_refused_as_a_mask(tmp_path: Path) -> None:
    pictures(tmp_path / "a", [(64, 64)] * 3)
    data = [{"id": "a", "folder": "a", "resolution": 32, "mask": {"alpha": True}}]
    with pytest.raises(ExceptionGroup) as refused:
        encoded(prepared(job(tmp_path, data=data), tmp_path), lambda _: None)
    assert "have no transparent part" in told_of(refused.value)


def test_transparency_that_is_not_used_is_told(tmp_path: Path) -> None:
    pictures(tmp_path / "a", [(64, 64)] * 3)
    Image.new("RGBA", (64, 64), (9, 9, 9, 0)).save(tmp_path / "a/p00.png")
    data = [{"id": "a", "folder": "a", "resolution": 32}]
    assert "1 picture has an alpha channel" in told(tmp_path, data=data)


def test_references_without_the_caption_they_should_have_are_named(tmp_path: Path) -> None:
    pictures(tmp_path / "a", [(64, 64)] * 3)
    pictures(tmp_path / "b", [(64, 64)] * 3)
    (tmp_path / "b/p01.txt").unlink()
    reference = {"folder": "b", "captions": "textfile"}
    data = [{"id": "a", "folder": "a", "resolution": 32, "references": [reference]}]
    said = told(tmp_path, data=data, model={**KONTEXT, "text_tokens": 16})
    assert "has no caption of its own, and its target's is told instead: p01.png" in said


def test_edits_that_change_nothing_are_told(tmp_path: Path) -> None:
    pictures(tmp_path / "a", [(64, 64)] * 3)
    edits = {"caption_edits": {"keep_tokens": 2}}
    data = [{"id": "a", "folder": "a", "resolution": 32, **edits}]
    assert "`caption_edits.keep_tokens` changes nothing" in told(tmp_path, data=data)


def test_more_than_one_in_twenty_left_out_is_a_warning(tmp_path: Path) -> None:
    pictures(tmp_path / "a", [(64, 64)] * 5 + [(40, 40)] * 5)
    data = [{"id": "a", "folder": "a", "resolution": 32, "minimum_side": 50}]
    assert "5 of 10 pictures of a (50%) are left out" in told(tmp_path, data=data)


def test_columns_of_one_table_pair_by_their_rows(tmp_path: Path) -> None:
    pictures(tmp_path / "after", [(64, 64)] * 3)
    for number in range(3):
        source = tmp_path / f"after/p{number:02d}.png"
        (tmp_path / f"before_{number}.png").write_bytes(source.read_bytes())
    rows = [f"after/p{n:02d}.png,before_{n}.png,edit {n}" for n in range(3)]
    (tmp_path / "pairs.csv").write_text("\n".join(["image,before,caption", *rows]))
    table = {"kind": "table", "file": "pairs.csv"}
    references = [{"column": "before"}]
    data = [{"id": "a", "source": table, "resolution": 32, "references": references}]
    model = {**KONTEXT, "text_tokens": 16}
    plan = prepared(job(tmp_path, data=data, model=model), tmp_path)
    found = [
        (str(one.target.file), str(one.references[0] and one.references[0].file))
        for one in plan.scans[0].examples
    ]
    names = [tuple(Path(path).name for path in pair) for pair in found]
    assert names == [(f"p{n:02d}.png", f"before_{n}.png") for n in range(3)]


@pytest.mark.parametrize(
    "idle",
    [
        {"crop_aspect": "closest"},
        {"crop_aspect": "random"},
        {"max_upscale_threshold": 0.1},
        {"target_downsample_size": 512},
        {"crop_aspect_buckets": [0.5]},
        {"maximum_image_size": 2048, "target_downsample_size": 1024},
    ],
    ids=str,
)
def test_sizes_that_change_nothing_are_refused(idle: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AspectSizing.model_validate({"kind": "aspect", **idle})


def test_buckets_that_are_off_take_no_limits() -> None:
    with pytest.raises(ValidationError):
        BucketsSizing.model_validate({"kind": "buckets", "enable": False, "no_upscale": True})
