"""How things look in a terminal."""

from __future__ import annotations

import pytest

from scumble.cli import show
from scumble.errors import JobError
from scumble.preflight.survey import SetSurvey, Survey


def test_groups_in_groups_are_told_once_each(capsys: pytest.CaptureFixture[str]) -> None:
    one, two = JobError("a", "b", "c"), JobError("d", "e", "f")
    show.errors(ExceptionGroup("all", [one, ExceptionGroup("some", [two, one])]))
    assert capsys.readouterr().err == "error: a: b; c\nerror: d: e; f\n"


def test_a_survey_is_told_in_human_units(capsys: pytest.CaptureFixture[str]) -> None:
    one = SetSurvey(
        id="cat",
        folder="photos",
        funnel={"found": 12, "readable": 11},
        buckets={"512x384": 9, "512x512": 2},
        captions=11,
        passes="2",
        notes=("3 pictures are smaller than they are trained at",),
    )
    seen = Survey(
        sets=(one,),
        device="cpu",
        precision="fp32",
        trained_parameters=1_234_567,
        examples_per_epoch=22,
        steps_per_epoch=11.0,
        epochs_are_alike=True,
        steps=110,
        cached_entries=0,
        missing_entries=22,
        cache_bytes=34_000_000,
        run_bytes=2_000_000_000,
        free_bytes=90_000_000_000,
        seconds=5400.0,
        warnings=("The disk is slow.",),
    )
    show.survey(seen, "name: my-cat\n")
    out = " ".join(capsys.readouterr().out.split())
    for words in (
        "job name: my-cat",
        "data cat (photos)",
        "12 found -> 11 readable",
        "512x384: 9, 512x512: 2",
        "2 times in an epoch",
        "110, which is 10 epochs",
        "2.0 GB at most (34.0 MB for the cache, 2.0 GB for the run); 90.0 GB are free",
        "roughly 1.5 hours",
        "warning: The disk is slow.",
    ):
        assert words in out


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(5.0, "5 seconds"), (600.0, "10 minutes"), (7200.0, "2.0 hours"), (200_000.0, "2.3 days")],
)
def test_times_are_told_in_the_unit_that_suits_them(seconds: float, words: str) -> None:
    assert show.duration(seconds) == words
