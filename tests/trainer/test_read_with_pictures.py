"""Texts that are read with references, from the files to the loss, with Qwen-Image-Edit's toy."""

from __future__ import annotations

import os
import weakref
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from scumble import caching, families
from scumble.caching import complete, encoded
from scumble.data import asked, origins
from scumble.data.explanations import Explainer
from scumble.data.inventory import SEEN
from scumble.data.library import sayings
from scumble.errors import FileError
from scumble.events import Encoded, Event, Warned
from scumble.families import encoding, weights
from scumble.families.family import TEXT_MASK
from scumble.families.filling import ahead
from scumble.families.qwen.text import glanced
from scumble.preflight import reference_sizes, staying
from scumble.preflight.plan import Plan, prepared
from scumble.preflight.survey import survey
from scumble.run import train
from scumble.spec.job import JobSpec
from scumble.trainer.step import losses
from tests.conftest import told
from tests.data.test_skip_bad import damaged
from tests.toys import job, pictures
from tests.trainer.test_mixed_batches import COUNT, alone, fed, method, pairs

QWEN = {"family": "qwen-image", "flavour": "edit-v2", "path": "builtin:tiny-qwen-edit-plus"}
CPU = torch.device("cpu")


def wanted(root: Path, batch: int = 2, **changes: Any) -> JobSpec:
    """Three pairs with one reference, unless other data are given."""
    if "data" not in changes:
        changes["data"] = few(root)
    sizes = {"training__batch_size": batch, "training__units_per_step": 1}
    return job(root, model={**QWEN, **changes.pop("model", {})}, **sizes, **changes)


def few(root: Path, **changes: Any) -> list[dict[str, Any]]:
    if not (root / "after").exists():
        pictures(root / "after", [(64, 64)] * 3)
        pictures(root / "before", [(64, 64)] * 3, seed=1)
    one = {"id": "p", "folder": "after", "resolution": 32, "references": [{"folder": "before"}]}
    return [one | changes]


def many(root: Path, seed: int) -> list[dict[str, Any]]:
    """With 0 to 3 references each and captions of several lengths."""
    data = pairs(root, seed)
    for place in range(COUNT):
        text = root / "after" / f"p{place:02d}.txt"
        text.write_text(f"picture {place} " + "and so on " * (place % 4))
    return data


def planned(root: Path, batch: int = 2, **changes: Any) -> Plan:
    """With references shown to the reader at about 56 x 56, which takes little time."""
    plan = prepared(wanted(root, batch, **changes), root)
    family = replace(plan.family, glance=partial(glanced, 56 * 56))
    return replace(plan, family=family, model=replace(plan.model, family=family))


@pytest.mark.parametrize("batch", [2, 4])
def test_a_batch_loses_what_its_examples_lose_alone(tmp_path: Path, batch: int) -> None:
    """Alone a text has no padding and no mask."""
    plan = planned(tmp_path, batch, data=many(tmp_path, batch))
    how, counts, lengths = method(plan), set(), set()
    with torch.no_grad():
        for one in fed(plan, COUNT // batch):
            together = losses(how, one.batch, one.draw)
            for place in range(len(together)):
                single, draw = alone(one.batch, one.draw, place)
                words = dict(single.words)
                if (mask := words.pop(TEXT_MASK, None)) is not None:
                    words["text"] = words["text"][:, : int(mask.sum())]
                cut = replace(single, words=words)
                assert together[place].item() == pytest.approx(
                    losses(how, cut, draw).item(), rel=1e-4
                )
                lengths.add(words["text"].shape[1])
            counts.add(len(one.batch.references))
    assert counts == {0, 1, 2, 3} and len(lengths) > 4


def test_what_is_read_on_demand_is_what_the_cache_holds(tmp_path: Path) -> None:
    data = many(tmp_path, 3)
    kept = list(fed(planned(tmp_path, 3, data=data), 4))
    for cache in ({"mode": "on_demand"}, {"texts": "on_demand"}):
        made = list(fed(planned(tmp_path, 3, data=data, cache=cache), 4))
        assert len(kept) == len(made) >= 4
        for left, right in zip(kept, made, strict=True):
            assert left.batch.captions == right.batch.captions
            torch.testing.assert_close(left.batch.words, right.batch.words, atol=1e-5, rtol=0)


def test_a_reference_that_is_swapped_makes_another_text(tmp_path: Path) -> None:
    (one,) = fed(planned(tmp_path, 3), 1)
    before = tmp_path / "before"
    first, second = (before / f"p0{n}.png" for n in (0, 1))
    held = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(held)
    (other,) = fed(planned(tmp_path, 3), 1)
    assert one.batch.ids == other.batch.ids and one.batch.captions == other.batch.captions
    moved = {
        id: (left - right).abs().max().item() > 1e-3
        for id, left, right in zip(
            one.batch.ids, one.batch.words["text"], other.batch.words["text"], strict=True
        )
    }
    assert moved == {"p/p00.png": True, "p/p01.png": True, "p/p02.png": False}


def test_a_dropped_caption_is_read_with_its_picture_too(tmp_path: Path) -> None:
    plan = planned(tmp_path, data=few(tmp_path, caption_dropout=0.5))
    with encoded(plan, lambda event: None) as library:
        entries = [library.texts.read(library.text_key(s)) for s in sayings(library, plan.texts())]
        empty = [e["text"] for e, (text, _) in zip(entries, plan.texts(), strict=True) if not text]
    assert len(entries) == 6 and len(empty) == 3
    assert (empty[0] - empty[1]).abs().max() > 1e-3
    assert {len(one) for one in empty} == {min(len(entry["text"]) for entry in entries)}


def texts_made(plan: Plan) -> int:
    events: list[Event] = []
    with encoded(plan, events.append):
        pass
    return max((e.done for e in events if isinstance(e, Encoded) and e.kind == "texts"), default=0)


def test_only_what_changes_is_read_again(tmp_path: Path) -> None:
    assert texts_made(planned(tmp_path)) == 3
    assert texts_made(planned(tmp_path)) == 0
    (tmp_path / "after" / "p01.txt").write_text("another one")
    assert texts_made(planned(tmp_path)) == 1
    pictures(tmp_path / "before", [(64, 64)], seed=9)  # the first picture
    assert texts_made(planned(tmp_path)) == 1
    assert texts_made(planned(tmp_path, data=few(tmp_path, flip=True))) == 3
    assert texts_made(planned(tmp_path, data=few(tmp_path, resolution=48))) == 0  # the same glance
    folders = {one.parent.name for one in (tmp_path / "out" / ".cache").rglob("text-*")}
    assert folders == {SEEN}


def explained(plan: Plan) -> list[tuple[str, str]]:
    recipes = encoding.recipes(plan.model, plan.place, plan.tokens, plan.job.cache, read=True)
    assert recipes is not None
    library = plan.library(recipes, plan.hashes(read=True))
    before = origins.read(origins.at(plan.cache, "p", plan.scans[0].root))
    one = Explainer(
        library=library,
        name="p",
        before=before,
        picture_recipe=recipes.pictures,
        text_recipe=recipes.texts,
    )
    return [(each.what, each.reason) for each in one.about(["p00.png"])["p00.png"]]


def test_a_changed_reference_is_why_a_text_is_read_anew(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    texts_made(plan)
    assert [reason for _, reason in explained(plan)] == ["", "", ""]
    pictures(tmp_path / "before", [(64, 64)], seed=9)
    what, reason = explained(planned(tmp_path))[-1]
    assert what == "'picture 0 of after', read with p.1/p00.png"
    assert reason.startswith("caption: picture 0 of after (read with p.1/p00.png ")
    assert reason.count("read with") == 2


def test_the_keys_a_job_asks_for_are_those_that_a_build_makes(tmp_path: Path) -> None:
    plan = planned(tmp_path, data=few(tmp_path, flip=True, caption_dropout=0.5))
    with encoded(plan, lambda event: None) as library:
        keys = asked.keys(library, plan.texts())
        missing = ahead(library, plan.texts())
    assert len(set(keys)) == 12 + 12 and missing.entries == 0
    fresh = planned(tmp_path, data=few(tmp_path, flip=True), model={"text_tokens": 30})
    recipes = encoding.recipes(fresh.model, fresh.place, fresh.tokens, fresh.job.cache, read=True)
    assert recipes is not None
    whole = ahead(fresh.library(recipes, fresh.hashes(read=True)), fresh.texts())
    parts = [whole.part((number, 2)).texts for number in range(2)]
    assert sorted(key for part in parts for key, _ in part) == sorted(k for k, _ in whole.texts)
    assert len(whole.texts) == 6


@pytest.mark.parametrize("skip", [True, False])
def test_a_reference_that_cannot_be_decoded_is_named_once(tmp_path: Path, *, skip: bool) -> None:
    data = few(tmp_path, skip_bad=skip)
    damaged(tmp_path / "before" / "p01.png")
    said: list[str] = []

    def tell(event: Event) -> None:
        if isinstance(event, Warned):
            said.append(event.text)

    own = wanted(tmp_path, data=data)
    if not skip:
        with pytest.raises(ExceptionGroup) as caught:
            complete(own, tmp_path, prepared(own, tmp_path), tell)
        assert [type(one) for one in caught.value.exceptions] == [FileError]
        assert told(caught.value).count("before/p01.png") == 1
        return
    plan, library = complete(own, tmp_path, prepared(own, tmp_path), tell)
    assert [one.id for one in plan.sets[0].examples] == ["p00.png", "p02.png"]
    assert len(said) == 1 and "1 picture left out" in said[0]
    assert not library.missing_texts(sayings(library, plan.texts()))


def test_a_reference_that_spoils_only_a_text_is_told(tmp_path: Path) -> None:
    """Its own entry is there: of the same bytes, before they were spoilt on the disk."""
    plan = planned(tmp_path)
    with encoded(plan, lambda event: None) as library:
        pass
    file = tmp_path / "before" / "p01.png"
    stamp = file.stat()
    damaged(file)
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    (tmp_path / "after" / "p01.txt").write_text("another one")
    again = planned(tmp_path)
    assert not library.missing_pictures()["p"]
    with pytest.raises(ExceptionGroup) as caught:
        encoded(again, lambda event: None)
    assert "before/p01.png" in told(caught.value) and "has changed" in told(caught.value)


class Loading:
    """Every part that is loaded, seen from afar: it keeps none of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.parts: list[tuple[str, weakref.ref[nn.Module]]] = []
        self.alive: list[str] = []
        """What was still there when the denoiser was loaded first."""
        load = weights.loaded

        def loaded(model: weights.Model, part: str, **how: Any) -> nn.Module:
            if part == "denoiser" and not any(name == part for name, _ in self.parts):
                self.alive = [name for name, one in self.parts if one() is not None]
            made = load(model, part, **how)
            self.parts += [(part, weakref.ref(one)) for one in made.modules()]
            return made

        monkeypatch.setattr(weights, "loaded", loaded)


@pytest.mark.parametrize("flavour", ["kontext", "edit-v2"])
def test_no_encoder_is_left_when_the_denoiser_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flavour: str
) -> None:
    seen = Loading(monkeypatch)
    own = wanted(tmp_path, training__steps=1)
    if flavour == "kontext":
        model = {"family": "flux", "flavour": "kontext", "path": "builtin:tiny-flux-kontext"}
        own = job(tmp_path, model=model, data=few(tmp_path), training__steps=1)
    train(own, tmp_path)
    family = families.find(own.model.family, flavour)
    assert {name for name, _ in seen.parts} >= set(family.parts)
    assert seen.alive == []


def test_what_a_job_needs_on_the_way_stays_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Loading(monkeypatch)
    own = wanted(tmp_path, data=few(tmp_path, variants="fresh", flip=True), training__steps=1)
    train(own, tmp_path)
    assert {*seen.alive} == {"autoencoder", "qwen"}
    first, second = staying.sentences(prepared(own, tmp_path))
    assert first.startswith("The autoencoder stays loaded, ") and "(`variants: fresh`)" in first
    assert second.startswith("The text encoders stay loaded, ") and "new pictures of p" in second
    held = Counter(name for name, _ in seen.parts)
    assert held["qwen"] and " kB in fp32" in second
    plain = prepared(wanted(tmp_path), tmp_path)
    assert staying.sentences(plain) == [] and not (staying.sees(plain) or staying.reads(plain))


def test_a_check_counts_texts_with_their_pictures(tmp_path: Path) -> None:
    own = wanted(tmp_path, data=few(tmp_path, flip=True, caption_dropout=0.5))
    before = survey(own, tmp_path)
    assert (before.cached_entries, before.missing_entries) == (0, 12 + 12)
    with encoded(prepared(own, tmp_path), lambda event: None):
        pass
    after = survey(own, tmp_path)
    assert (after.cached_entries, after.missing_entries) == (12 + 12, 0)
    written = sum(one.stat().st_size for one in (tmp_path / "out" / ".cache" / SEEN).iterdir())
    pictures_too = before.cache_bytes
    assert written / 2 < pictures_too < 2 * written


def test_a_check_tells_at_what_sizes_references_are_shown(tmp_path: Path) -> None:
    loose = [{"folder": "before", "fit": "loose", "resolution": 48}]
    assert not any("are shown at" in note for note in notes(tmp_path, few(tmp_path)))
    said = notes(tmp_path, few(tmp_path, references=loose))
    assert "references of p.1 are shown at 48x48 (3)" in said
    large = [{"folder": "before", "area": 96}]
    assert "references of p.1 are shown at 96x96 (3)" in notes(
        tmp_path, few(tmp_path, references=large)
    )


def notes(root: Path, data: list[dict[str, Any]]) -> tuple[str, ...]:
    return survey(wanted(root, data=data), root).sets[0].notes


def test_a_large_edit_model_is_told_at_what_area_it_was_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, packed = planned(tmp_path), few(tmp_path, references=[{"folder": "before", "area": 96}])
    assert reference_sizes.remarks(small) == []  # a toy
    monkeypatch.setattr(reference_sizes, "FULL", 1)
    (said,) = reference_sizes.remarks(small)
    assert said.startswith("References of p are shown at 32x32; this model was published with")
    assert "`area: 1024`" in said
    family = replace(small.family, reference_side=96)
    assert reference_sizes.remarks(replace(planned(tmp_path, data=packed), family=family)) == []


def test_an_area_that_is_packed_reaches_the_network(tmp_path: Path) -> None:
    data = few(tmp_path, references=[{"folder": "before", "area": 64}])
    (one,) = fed(planned(tmp_path, 3, data=data), 1)
    assert one.batch.latents.shape[-2:] == (4, 4)
    assert one.batch.references[0].shape[-2:] == (8, 8)


def test_encoders_read_in_the_precision_of_the_job(tmp_path: Path) -> None:
    plan = planned(tmp_path, hardware={"precision": "bf16", "device": "cpu"})
    filling = caching.Filling(
        model=plan.model, place=plan.place, tokens=plan.tokens, kept=plan.job.cache
    )
    modules = filling.reader()._modules
    assert {p.dtype for one in modules.values() for p in one.parameters()} == {torch.bfloat16}


def test_padding_that_is_not_there_cannot_be_hidden(tmp_path: Path) -> None:
    own = wanted(tmp_path, model={"text_mask": True})
    with pytest.raises(ExceptionGroup) as caught:
        prepared(own, tmp_path)
    assert "model.text_mask: qwen-image reads texts without padding" in told(caught.value)
