import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from scumble.errors import DiskError
from scumble.events import (
    Exported,
    Failed,
    Finished,
    Interrupted,
    Previewed,
    Proven,
    Resumed,
    Scanned,
    State,
    Stopped,
    Verdict,
    Warned,
)
from scumble.observers import charts, journal
from scumble.observers.journal import Journal
from scumble.observers.report import Report, write
from tests.observers.runs import preview, started, step

HOSTILE = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>"
WITHOUT_END = {"meta", "img"}


class Page(HTMLParser):
    """The page as a reader sees it: its words, its elements, and whether all are closed."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.words, self.open = "", []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.source = file.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in WITHOUT_END:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def finished(folder: Path, *, steps: int = 30) -> Path:
    """A whole run, previews and all."""
    note = Journal(folder)
    note(Scanned(dataset="cat", funnel={"found": 12, "in a bucket": 9}))
    note(started(folder, steps=steps, every=10))
    note(Warned(text="a caption is <empty>"))
    for number in range(1, steps + 1):
        note(step(number, math.nan if number == 7 else 1 / number, applied=number != 7))
    for number in (0, 10, 20, 30):
        preview(folder, number, (HOSTILE, "a cat"))
    file = folder / "my-cat.safetensors"
    file.write_bytes(bytes(2500))
    note(Exported(step=steps, file=file, layout="kohya", tensors=4, bytes=2500))
    note(Finished(step=steps, seconds=12.0))
    (folder / "job.yaml").write_text("name: my-cat  # <b>bold</b> & more\n")
    return write(folder)


def test_the_page_is_whole_and_asks_the_world_for_nothing(tmp_path: Path) -> None:
    page = Page(finished(tmp_path))
    assert page.open == []
    beside_pictures = re.sub(r"base64,[\w+/=]+", "", page.source)
    assert re.search(r"http|//|@import|url\(", beside_pictures.replace("http-equiv", "")) is None
    asked = [a.get("src") or a.get("href") for _, a in page.elements if {"src", "href"} & a.keys()]
    assert len(asked) == 8
    assert all(str(address).startswith("data:image/webp;base64,") for address in asked)


def test_a_hostile_prompt_is_only_words(tmp_path: Path) -> None:
    page = Page(finished(tmp_path))
    assert page.named("script") == []
    assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]
    assert HOSTILE in page.words
    assert f"{HOSTILE}, step 30" in [image["alt"] for image in page.named("img")]


def test_the_page_tells_state_facts_data_warnings_file_and_job(tmp_path: Path) -> None:
    words = Page(finished(tmp_path)).words
    for expected in (
        "Finished.",
        "30 of 30",
        "1,234",
        "in a bucket",
        "a caption is <empty>",
        "step 7.",
        "my-cat.safetensors",
        "2.5 kB",
        "<b>bold</b> & more",
        "seed 42, width 32, height 32",
    ):
        assert expected in words


def test_of_many_previews_eight_steps_are_shown_the_first_and_last_among_them(
    tmp_path: Path,
) -> None:
    for number in range(0, 210, 10):
        preview(tmp_path, number, ("a cat",))
    page = Page(write(tmp_path))
    shown = [str(image["alt"]).removeprefix("a cat, step ") for image in page.named("img")]
    assert (len(shown), shown[0], shown[-1]) == (8, "0", "200")


def test_a_prompt_that_came_late_has_gaps_not_wrong_pictures(tmp_path: Path) -> None:
    preview(tmp_path, 0, ("a cat",))
    preview(tmp_path, 10, ("a dog",))
    page = Page(write(tmp_path))
    assert [image["alt"] for image in page.named("img")] == ["a cat, step 0", "a dog, step 10"]
    assert page.named("div").count({"class": "none"}) == 2


def test_a_torn_picture_or_sidecar_does_not_cost_the_page(tmp_path: Path) -> None:
    preview(tmp_path, 0, ("a cat", "a dog"))
    place = tmp_path / "samples/step-000000"
    whole = (place / "00-cat.png").read_bytes()
    (place / "00-cat.png").write_bytes(whole[: len(whole) // 2])
    (place / "01-cat.json").write_text('{"prompt": "a d')
    assert "not readable" in Page(write(tmp_path)).words


def test_thousands_of_steps_are_drawn_with_few_points(tmp_path: Path) -> None:
    losses = [(number, math.sin(number) + 2) for number in range(1, 20_001)]
    drawing = charts.loss_chart(losses)
    assert len(drawing) < 40_000
    assert drawing.count("h0") == charts.POINTS


@pytest.mark.parametrize("losses", [[0.5], [0.5, 0.5], [0.0, 0.0], [math.nan, 1e9], [-1.0, 1.0]])
def test_any_losses_can_be_drawn(losses: list[float]) -> None:
    drawing = charts.loss_chart(list(enumerate(losses, start=1)))
    assert "<svg" in drawing
    assert "nan" not in drawing


@pytest.mark.parametrize("rates", [[0.0, 0.0], [1e-4], [1e-4, 5e-5]])
def test_any_rates_can_be_drawn(rates: list[float]) -> None:
    assert "<svg" in charts.rate_chart(list(enumerate(rates, start=1)))


def test_the_running_mean_neither_lags_nor_strays() -> None:
    ramp = [float(value) for value in range(101)]
    assert charts.smoothed(ramp)[50] == pytest.approx(50.0)
    assert charts.smoothed([3.0] * 20) == pytest.approx([3.0] * 20)


def test_round_numbers_stand_at_the_axes() -> None:
    assert charts.ticks(0.0, 300.0, 5) == [0, 50, 100, 150, 200, 250, 300]
    assert charts.ticks(0.11, 0.42, 4) == pytest.approx([0.2, 0.3, 0.4])


def proven(folder: Path, state: State, text: str, *, pictures: bool = False) -> Proven:
    """What a proof found, good but for one thing."""
    names = ("again.png", "base.png") if pictures else ()
    for name in names:
        (folder / "proof").mkdir(exist_ok=True)
        Image.new("RGB", (64, 32), (200, 80, 120)).save(folder / "proof" / name)
    return Proven(
        file=folder / "my-cat.safetensors",
        verdicts=(
            Verdict(name="finite", state="ok", text="every value is a finite number"),
            Verdict(name="velocity", state=state, text=text),
        ),
        fresh_process=True,
        seconds=7.0,
        pictures=tuple(folder / "proof" / name for name in names),
    )


def test_the_verdicts_of_the_newest_proof_stand_in_the_report(tmp_path: Path) -> None:
    note, file = Journal(tmp_path), tmp_path / "my-cat.safetensors"
    exported = Exported(step=1, file=file, layout="kohya", tensors=4, bytes=2500)
    for event in (exported, proven(tmp_path, "failed", HOSTILE)):
        note(event)
    page = Page(write(tmp_path))
    assert "FAILED" in page.words and HOSTILE in page.words and page.named("script") == []
    note(exported)
    assert "FAILED" not in Page(write(tmp_path)).words, "an older proof is of another file"
    note(proven(tmp_path, "ok", "off by 2e-05", pictures=True))
    page = Page(write(tmp_path))
    assert "my-cat.safetensors, read again by a fresh process in 7.0 s" in page.words
    assert "off by 2e-05" in page.words and page.open == []
    captions = ["made again from the file", "the base model alone"]
    assert [image["alt"] for image in page.named("img")] == captions
    (tmp_path / "proof/base.png").unlink()
    assert "not readable" in Page(write(tmp_path)).words


def test_a_failed_run_is_told_as_one(tmp_path: Path) -> None:
    note, report = Journal(tmp_path), Report(tmp_path)
    for event in (started(tmp_path), Failed(problems=("the file is <not> what was trained",))):
        note(event)
        report(event)
    for page in (Page(tmp_path / "report.html"), Page(write(tmp_path))):
        assert "Failed." in page.words and page.open == []
        assert "What went wrong" in page.words
        assert "the file is <not> what was trained" in page.words
    note(started(tmp_path))
    assert "went wrong" not in Page(write(tmp_path)).words, "that was an earlier session"


def test_a_run_that_was_ended_at_once_is_not_shown_as_running(tmp_path: Path) -> None:
    note, report = Journal(tmp_path), Report(tmp_path)
    for event in (started(tmp_path), step(1), Interrupted()):
        note(event)
        report(event)
    for page in (Page(tmp_path / "report.html"), Page(write(tmp_path))):
        assert "Interrupted." in page.words and "Running." not in page.words


def test_the_file_of_an_earlier_step_is_told_as_such(tmp_path: Path) -> None:
    note = Journal(tmp_path)
    for step_of, name in ((20, "cat.kohya.safetensors"), (40, "cat.safetensors")):
        file = tmp_path / name
        file.write_bytes(b"x")
        note(Exported(step=step_of, file=file, layout="kohya", tensors=4, bytes=1))
    source = Page(write(tmp_path)).source
    assert "<td>cat.kohya.safetensors</td><td>20</td>" in source
    assert "<td>cat.safetensors</td><td>40</td>" in source


def test_an_empty_folder_has_a_page_that_says_so(tmp_path: Path) -> None:
    words = Page(write(tmp_path)).words
    assert "No step has been taken yet." in words
    assert "No previews were made." in words


def test_a_run_without_an_end_is_running_until_it_has_been_silent_for_long(
    tmp_path: Path,
) -> None:
    note = Journal(tmp_path)
    note(started(tmp_path))
    note(step(1))
    assert "Running." in Page(write(tmp_path)).words
    file = tmp_path / journal.FILE
    file.write_text(re.sub(r'"time": "\d{4}', '"time": "2020', file.read_text()))
    assert "Interrupted." in Page(write(tmp_path)).words


def test_a_resumed_run_is_running_again_and_marked_in_the_curve(tmp_path: Path) -> None:
    note = Journal(tmp_path)
    for event in (started(tmp_path), step(1), step(2), Stopped(step=2, signal="SIGINT")):
        note(event)
    assert "Stopped." in Page(write(tmp_path)).words
    for event in (
        started(tmp_path, after=2),
        Resumed(step=2, restored=(), changed=()),
        step(3),
    ):
        note(event)
    words = Page(write(tmp_path)).words
    assert "Running." in words
    assert "Resumed after step 2" in words
    assert "in 2 sessions" in words


def test_a_page_that_cannot_be_written_leaves_nothing_beside(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(DiskError):
        write(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_the_observer_writes_when_there_is_something_to_see(tmp_path: Path) -> None:
    note, report = Journal(tmp_path), Report(tmp_path)
    page = tmp_path / "report.html"
    note(started(tmp_path, steps=1))
    report(started(tmp_path, steps=1))
    report(step(1))
    assert not page.exists()
    report(Previewed(step=0, pictures=(), prompts=(), seconds=1.0))
    assert "Running." in Page(page).words
    report(Finished(step=1, seconds=1.0))
    assert "Finished." in Page(page).words, "even where the journal has not heard of it yet"
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []
