"""Held-out pairs and references: painted beside what was shown, and compared with copies of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from scumble.caching import encoded
from scumble.data import held_pairs, shown
from scumble.data.held_out import measured
from scumble.events import Band, Event
from scumble.families import find
from scumble.families.family import Family
from scumble.families.weights import loaded
from scumble.hardware.blocks import Net, plain
from scumble.hardware.device import Place
from scumble.objective.process import Latents, Times
from scumble.observers import measurements, report
from scumble.preflight import showing
from scumble.preflight.plan import Plan, prepared
from scumble.preflight.survey import survey
from scumble.sample import Sampling, sampled
from scumble.sittings import contests, sittings
from scumble.spec.model import ModelSpec
from scumble.spec.validation import RequestSpec, ValidationSpec
from scumble.validation import copying, previews
from scumble.validation.copying import Contest
from scumble.validation.stitching import Beside, stitched
from scumble.validation.walks import Manner, Start, arrived
from tests.toys import checkpoint, job, journal, pictures, trained

KONTEXT = {
    "family": "flux",
    "flavour": "kontext",
    "path": "builtin:tiny-flux-kontext",
    "text_tokens": 20,
}
REQUESTS = [
    {"prompt": "with two", "references": ["more/p00.png", "more/p01.png"]},
    {"prompt": "the other way", "references": ["more/p01.png", "more/p00.png"], "seed": 42},
    {"prompt": "with two", "seed": 42},
]
CPU = Place(torch.device("cpu"), torch.float32)
LOOSE = {"folder": "before", "fit": "loose", "resolution": 32}


def wanted(root: Path, *references: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Six pairs of which three are held out, and two pictures that lie in no set."""
    if not (root / "after").exists():
        pictures(root / "after", [(64, 48)] * 6)
        pictures(root / "before", [(64, 48)] * 6, seed=1)
        pictures(root / "more", [(96, 64), (64, 64)], seed=5)
    one = {"id": "after", "folder": "after", "resolution": 48, "held_out": 0.5}
    one["references"] = list(references) or [{"folder": "before"}]
    small = {"every": 2, "steps": 2, "width": 64, "height": 48}
    return {
        "model": KONTEXT,
        "data": [one],
        "validation": {**small, **changes.pop("validation", {})},
        "training__steps": 3,
        "training__batch_size": 2,
        "adapter": {"rank": 2},
        "saving": {"every": 0},
        **changes,
    }


def planned(root: Path, *references: dict[str, Any], **changes: Any) -> Plan:
    return prepared(job(root, **wanted(root, *references, **changes)), root)


def ignored(event: Event) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a job with loose references has been run."""
    root = tmp_path_factory.mktemp("pairs")
    asked = {"requests": REQUESTS, "pairs": {"every": 1}}
    trained(root, **wanted(root, LOOSE, validation=asked))
    return root


def told(root: Path, number: int, step: int = 3) -> tuple[Path, dict[str, Any]]:
    (file,) = (root / f"out/toy/samples/step-{step:06d}").glob(f"{number:02d}-*.png")
    return file, json.loads(file.with_suffix(".json").read_text())


def levels(one: Image.Image, other: Image.Image) -> float:
    """How far pictures are apart at most, of 255."""
    left, right = (np.asarray(each.convert("RGB"), np.float32) for each in (one, other))
    return float(np.abs(left - right).max())


def test_a_pair_stands_between_what_it_was_shown_and_what_is_wanted(run: Path) -> None:
    file, about = told(run, 3)
    assert list(about["shows"]) == ["reference", "output", "target"]
    assert about["pair"] == "after/p01.png" and about["prompt"] == "picture 1 of after"
    with Image.open(file) as whole, Image.open(run / "after/p01.png") as target:
        cut = whole.crop(about["shows"]["target"])
        again = target.resize((about["width"], about["height"]), Image.Resampling.LANCZOS)
        assert whole.height == about["height"] and cut.size == again.size
        middle = target.crop((8, 0, 56, 48))
        assert levels(cut, middle) == 0, "the target is seen as it is trained on"
    assert previews.output(file).size == (about["width"], about["height"])


def test_the_json_names_what_was_shown_and_its_bytes(run: Path) -> None:
    _, about = told(run, 0)
    assert [Path(one["file"]).name for one in about["references"]] == ["p00.png", "p01.png"]
    assert len({one["hash"] for one in about["references"]}) == 2
    sizes = [(one["width"], one["height"]) for one in about["references"]]
    assert sizes == [(64, 48), (48, 48)] or sizes == [(64, 48), (64, 64)], sizes


def test_pictures_shown_in_another_order_or_not_at_all_make_another_picture(run: Path) -> None:
    one, other, none = (previews.output(told(run, number)[0]) for number in range(3))
    assert told(run, 1)[1]["seed"] == told(run, 0)[1]["seed"]
    assert levels(one, other) > 1 and levels(one, none) > 1


def test_a_picture_with_references_can_be_made_again_from_the_delivered_file(run: Path) -> None:
    asked = Sampling(
        model=ModelSpec.model_validate(KONTEXT),
        hardware=job(run).hardware,
        validation=ValidationSpec(
            requests=(RequestSpec.model_validate(REQUESTS[0]),), width=64, height=48, steps=2
        ),
        adapter=run / "out/toy/toy.safetensors",
        strength=1.0,
        out=run / "again",
        base=run,
    )
    (file,) = sampled(asked)
    own, about = told(run, 0)
    assert levels(previews.output(file), previews.output(own)) <= 2  # the file is in bf16
    again = json.loads(file.with_suffix(".json").read_text())
    assert again["references"] == about["references"] and again["shows"] == about["shows"]


def test_the_run_says_that_a_copy_was_closer_and_asks_why(run: Path) -> None:
    assert [one["step"] for one in journal(run, "Scored")] == [0, 1, 2, 3]
    (words,) = [one["text"] for one in journal(run, "Warned") if "swapped" in one["text"]]
    assert words.startswith("A copy of the input is closer to the target on 3 of 3 held-out pairs")
    page = report.page(run / "out/toy")
    assert "<h2>Held-out pairs</h2>" in page and "Are reference and target swapped?" in page
    assert "after/p01.png" in page and 'alt="picture 1 of after, target"' in page


def test_what_a_journal_says_of_pairs_is_read_back(run: Path) -> None:
    first, *_, last = measurements.read_scores(run / "out/toy")
    assert (first.step, last.step, len(last.pairs)) == (0, 3, 3)
    assert last.ratio is not None and last.ratio.low is not None
    ratios = [output / copy for output, copy in last.pairs.values()]
    assert last.ratio.mean == pytest.approx(sum(ratios) / 3)
    assert all(first.pairs[id][1] == pair[1] for id, pair in last.pairs.items())


def test_a_run_that_goes_on_compares_no_first_time_again_and_encodes_nothing(run: Path) -> None:
    before = len(journal(run, "Encoded"))
    asked = {"requests": REQUESTS, "pairs": {"every": 1}}
    trained(run, **wanted(run, LOOSE, validation=asked, training__steps=4))
    assert [one["step"] for one in journal(run, "Scored")] == [0, 1, 2, 3, 4]
    assert len(journal(run, "Encoded")) == before


def test_neither_pairs_nor_comparisons_touch_the_training(tmp_path: Path) -> None:
    trained(tmp_path, **wanted(tmp_path, name="with", validation={"pairs": {"every": 1}}))
    without = {"pairs": {"show": 0, "score": False}}
    trained(tmp_path, **wanted(tmp_path, name="without", validation=without))
    left, right = checkpoint(tmp_path, 3, "with"), checkpoint(tmp_path, 3, "without")
    assert all(torch.equal(left[key], right[key]) for key in left)
    assert journal(tmp_path, "Scored", "without") == journal(tmp_path, "Previewed", "without") == []


class Painted:
    """Distances of a plan's held-out pairs, with a network that paints as it is told."""

    def __init__(self, plan: Plan, paint: Callable[[Contest], Latents]) -> None:
        with encoded(plan, ignored) as library:
            self.rounds = list(contests(plan, library))
        made = {id(one): paint(one) for one in self.rounds}
        order = iter(self.rounds)
        found = copying.distances(self.rounds, lambda start: made[id(next(order))], 42)
        self.event = copying.scored(7, found, "alike")


def test_a_perfect_edit_wins_and_a_copy_does_not(tmp_path: Path) -> None:
    plan = planned(tmp_path, LOOSE)
    won = Painted(plan, lambda one: one.batch.latents).event
    assert won.won and won.better == 3
    assert won.ratio == Band(mean=0.0, low=0.0, high=0.0, pictures=3)
    copied = Painted(plan, lambda one: one.copies).event
    assert not copied.won and copied.better == 0
    assert copied.ratio is not None and copied.ratio.mean == pytest.approx(1.0)
    half = Painted(plan, lambda one: (one.copies + one.batch.latents) / 2).event
    assert half.won and half.ratio is not None and half.ratio.mean == pytest.approx(0.5)


def test_a_pair_whose_input_is_its_target_is_named_and_not_counted(tmp_path: Path) -> None:
    changes = wanted(tmp_path)
    (tmp_path / "before/p01.png").write_bytes((tmp_path / "after/p01.png").read_bytes())
    plan = prepared(job(tmp_path, **changes), tmp_path)
    event = Painted(plan, lambda one: one.batch.latents + 1).event
    assert event.alike == ("after/p01.png",) and len(event.pairs) == 2
    assert event.ratio is not None and event.ratio.pictures == 2


def test_no_pair_to_compare_is_no_victory() -> None:
    event = copying.scored(0, {"a/1.png": (0.5, 0.0)}, "alike")
    assert event.ratio is None and not event.won and event.alike == ("a/1.png",)


def test_the_copy_of_a_loose_reference_lies_over_its_target(tmp_path: Path) -> None:
    loose, strict = planned(tmp_path, LOOSE), planned(tmp_path)
    for pair in showing.scored(loose.job, loose.parted):
        (reference,) = pair.references
        assert reference.view.frame.size == (32, 48) and pair.copy.view.frame.size == (48, 48)
        assert pair.copy.view.frame.corner == pair.target.view.frame.corner
    assert all(
        pair.copy == pair.references[0] for pair in held_pairs.pairs(measured(strict.parted))
    )


def test_a_pair_begins_at_the_same_noise_in_any_company(tmp_path: Path) -> None:
    together, alone = (
        Painted(planned(tmp_path, training__batch_size=size), lambda one: one.batch.latents)
        for size in (3, 1)
    )
    assert [len(one.batch.ids) for one in together.rounds] == [3]
    noises = {one.batch.ids[0]: one.start(42).noise[0] for one in alone.rounds}
    (all_of_it,) = together.rounds
    for id, noise in zip(all_of_it.batch.ids, all_of_it.start(42).noise, strict=True):
        assert torch.equal(noise, noises[id])
    assert not torch.equal(all_of_it.start(42).noise, all_of_it.start(43).noise)


def test_nothing_is_kept_and_pairs_are_compared_all_the_same(tmp_path: Path) -> None:
    changes = wanted(tmp_path, LOOSE, cache={"mode": "on_demand"}, training__steps=1)
    trained(tmp_path, **changes, validation__requests=REQUESTS[:1])
    assert [len(one["pairs"]) for one in journal(tmp_path, "Scored")] == [3, 3]
    assert len(journal(tmp_path, "Previewed")[-1]["pictures"]) == 4


def test_pairs_show_what_the_held_out_loss_is_measured_on(tmp_path: Path) -> None:
    plan = planned(tmp_path, LOOSE, {"folder": "more", "fit": "strict"} | {"folder": "before"})
    with encoded(plan, ignored) as library:
        sitting, *rest = sittings(plan, library)
        (contest, *_) = contests(plan, library)
    assert len(rest) == 2 and sitting.pair == contest.batch.ids[0]
    for own, column in zip(sitting.references, contest.batch.references, strict=True):
        assert torch.equal(own, column[0])
    assert [one.shape[-2:] for one in sitting.references] == [(4, 6), (6, 6)]


def test_few_pairs_are_painted_and_new_ones_move_few_of_them(tmp_path: Path) -> None:
    for name in ("after", "before", "b"):
        pictures(tmp_path / name, [(64, 48)] * 20)
    one = {"id": "after", "folder": "after", "resolution": 48, "references": [{"folder": "before"}]}
    other = {**one, "id": "b", "folder": "b", "held_out": 0.1}
    changes = wanted(tmp_path, data=[{**one, "held_out": 1.0}, other])
    plan = prepared(job(tmp_path, **changes), tmp_path)
    ids = [pair.id for pair in showing.painted(plan.job, plan.parted)]
    assert len(ids) == 4 and len(showing.scored(plan.job, plan.parted)) == 22
    few = [pair for pair in showing.pairs(plan.job, plan.parted) if pair.id != ids[0]]
    drawn = [pair.id for pair in held_pairs.drawn(few, 4, plan.job.validation.seed)]
    assert len(set(drawn) & set(ids)) == 3


def test_check_tells_what_pairs_cost(tmp_path: Path) -> None:
    asked = wanted(tmp_path, LOOSE, validation={"requests": REQUESTS, "scale": 2.0})
    seen = survey(job(tmp_path, **asked), tmp_path)
    assert seen.compared is not None and "3 pairs are painted 2 times" in seen.compared
    assert "12 forward passes each time (24 together)" in seen.compared
    # 3 + 3 targets and references, 3 copies of loose ones, 2 named; captions, prompts, the empty
    quiet = wanted(tmp_path, LOOSE, validation={"pairs": {"score": False, "show": 0}})
    fewer = survey(job(tmp_path, **quiet), tmp_path)
    assert fewer.compared is None and seen.missing_entries - fewer.missing_entries == 3 + 2 + 3


@pytest.mark.parametrize(
    ("validation", "words"),
    [
        ({"pairs": {"dataset": "others"}}, "there is no set 'others'"),
        ({"requests": [{"prompt": "a", "references": ["no.png"]}]}, "there is no such file"),
        ({"requests": [{"prompt": "a", "references": ["after/p00.txt"]}]}, "as a picture"),
        ({"requests": [{"prompt": "a", "references": ["more"]}]}, "is a folder"),
        ({"prompts": ["a"], "negative": "b"}, "it changes nothing"),
        ({"requests": [{"prompt": "a", "negative": "b"}]}, "its scale is 1"),
        ({"requests": [{"prompt": "a", "references": ["more/p00.png"] * 17}]}, "16 references"),
    ],
)
def test_what_cannot_be_shown_is_told_before(
    tmp_path: Path, validation: dict[str, Any], words: str
) -> None:
    with pytest.raises(ExceptionGroup) as found:
        planned(tmp_path, validation=validation)
    assert any(words in str(one) for one in found.value.exceptions), found.value.exceptions


def test_all_that_is_wrong_with_references_is_told_at_once(tmp_path: Path) -> None:
    pictures(tmp_path / "after", [(64, 48)] * 2)
    requests = [{"prompt": "a", "references": ["no.png", "nor.png"]}]
    dev = {"family": "flux", "flavour": "dev", "path": "builtin:tiny-flux"}
    data = [{"id": "after", "folder": "after", "resolution": 48, "held_out": 0.5}]
    asked = {"requests": requests, "pairs": {"dataset": "after"}}
    with pytest.raises(ExceptionGroup) as found:
        planned(tmp_path, model=dev, data=data, validation=asked)
    told = [str(one) for one in found.value.exceptions]
    assert len(told) == 4
    assert "dev takes no references" in told[0] and "nor.png" in told[2]
    assert "'after' has no references" in told[3]


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((96, 64), 55, (48, 64)),
        ((64, 96), 55, (64, 48)),
        ((1000, 1000), 1024, (1024, 1024)),
        ((3000, 100), 1024, (192, 5616)),
        ((1, 1), 4, (16, 16)),
    ],
)
def test_a_named_picture_keeps_its_shape(
    tmp_path: Path, size: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    Image.new("RGB", size).save(tmp_path / "one.png")
    (image,), problems = shown.found([str(tmp_path / "one.png")])
    frame = shown.seen(image, side, 16).view.frame
    assert not problems and frame.size == frame.resized == expected and frame.corner == (0, 0)


def test_a_named_picture_is_as_large_as_the_jobs_references(tmp_path: Path) -> None:
    requests = [{"prompt": "a", "references": ["more/p00.png", "more/p01.png"]}]
    asked = {"validation": {"requests": requests}}
    plain = planned(tmp_path, **asked)
    sized = planned(tmp_path, {"folder": "before", "area": 96}, **asked)
    sizes = [
        [look.view.frame.size for look in showing.of_job(plan.job, plan.family)[0]]
        for plan in (plain, sized)
    ]
    assert sizes == [[(48, 64), (48, 48)], [(80, 112), (48, 48)]]


def plainly(net: Net, noisy: Latents, times: Times, told: Any) -> Latents:
    """A network that answers with what it is told."""
    return told.values["text"].mean() + 0 * noisy


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 2.0), (3.0, 4.0), (0.0, 1.0)])
def test_answers_are_led_away_by_the_familys_own_rule(scale: float, expected: float) -> None:
    family: Family = replace(find("flux", "kontext"), predict=plainly)
    start = Start(
        noise=torch.zeros(1, 16, 2, 2),
        words={"text": torch.full((1, 4, 8), 2.0)},
        without={"text": torch.full((1, 3, 8), 1.0)},
        frames=torch.tensor([[16, 16, 16, 16, 0, 0, 16, 16]]),
    )
    manner = Manner(steps=1, guidance=2.5, scale=scale)
    clean = arrived(family, Net(torch.nn.Identity(), plain), CPU, start, manner)
    assert clean.unique().tolist() == pytest.approx([-expected])


def test_the_output_is_untouched_by_what_stands_beside_it() -> None:
    random = np.random.default_rng(0)
    output = Image.fromarray(random.integers(0, 255, (48, 64, 3), dtype=np.uint8))
    wide = random.integers(0, 255, (24, 96, 3), dtype=np.uint8)
    whole, parts = stitched(output, Beside(references=(wide, wide), target=np.asarray(output)))
    assert list(parts) == ["reference 1", "reference 2", "output", "target"]
    assert levels(whole.crop(parts["output"]), output) == 0
    assert whole.size == (parts["target"][2], 48) and parts["reference 1"] == (0, 0, 192, 48)
    alone, none = stitched(output, Beside())
    assert alone is output and none == {}


def test_a_comparison_is_the_same_twice_and_in_any_company(tmp_path: Path) -> None:
    found: list[copying.Distances] = []
    for size in (3, 3, 1):
        plan = planned(tmp_path, LOOSE, training__batch_size=size, validation={"scale": 2.0})
        net = Net(loaded(plan.model, "denoiser", dtype=torch.float32, device=CPU.device), run=plain)
        manner = previews.manner(plan.job.validation, plan.family)
        paint = partial(arrived, plan.family, net, CPU, manner=manner)
        with encoded(plan, ignored) as library:
            found.append(copying.distances(contests(plan, library), paint, 42))
    first, again, alone = found
    assert first.keys() == again.keys() == alone.keys() and len(first) == 3
    for id, pair in first.items():
        assert again[id] == pytest.approx(pair, abs=1e-6)
        assert alone[id] == pytest.approx(pair, abs=1e-4)


def test_pairs_of_an_edit_flavour_are_led_away_from_a_text_read_with_their_own_pictures(
    tmp_path: Path,
) -> None:
    model = {"family": "qwen-image", "flavour": "edit-v2", "path": "builtin:tiny-qwen-edit-plus"}
    requests = [{"prompt": "a", "references": ["more/p00.png", "more/p01.png"]}, {"prompt": "a"}]
    asked = {"requests": requests, "negative": "grey"}
    plan = planned(tmp_path, LOOSE, model=model, validation=asked)
    with encoded(plan, ignored) as library:
        two, none, *pairs = sittings(plan, library)
        (contest, *_) = contests(plan, library)
    assert {one.request.scale for one in (two, none, *pairs)} == {4.0}
    assert len(two.text["text"]) > len(none.text["text"]), "pictures take room in the text"
    first, other, _ = (one.without for one in pairs)
    assert first is not None and other is not None
    assert not torch.equal(first["text"], other["text"]), "each is read with its own picture"
    assert contest.without is not None
    assert torch.equal(contest.without["text"][0], first["text"])
