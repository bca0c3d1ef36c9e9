"""What a job file may say, and what is said when it says something else."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from scumble.errors import JobError
from scumble.spec.adapter import LoraSpec
from scumble.spec.dataset import DatasetSpec
from scumble.spec.document import Format
from scumble.spec.job import JobSpec
from scumble.spec.load import read_job, resolved
from scumble.spec.model import ModelSpec
from scumble.spec.objective import HuberLoss, ObjectiveSpec, SigmoidTimes, UniformTimes
from scumble.spec.schema import walk
from scumble.spec.training import OptimizerSpec, TrainingSpec
from scumble.spec.validation import ValidationSpec
from scumble.spec.wording import KNOWN_AS

JOB = """\
name: my-cat
model: {family: flux, flavour: dev, path: weights}
data:
  - {id: cat, folder: photos/cat}
training:
  steps: 1500
"""
JOB_JSON = """\
{
  // a comment with "quotes"
  "name": "my-cat", /* over
  two lines */
  "model": {"family": "flux", "flavour": "dev", "path": "C://no/*comment*/",},
  "data": [{"id": "cat", "folder": "photos"},],
  "training": {
    "steps": 1500,
  },
}
"""
JOB_TOML = """\
name = "my-cat"
model = {family = "flux", flavour = "dev", path = "weights"}
[[data]]
id = "cat"
folder = "photos"
[training]
steps = 1_500
"""


def read(text: str, *overrides: str, format: Format = "yaml") -> JobSpec:
    return read_job(text, name=f"job.{format}", format=format, overrides=overrides)


def told(text: str, *overrides: str, format: Format = "yaml") -> list[str]:
    """All that is said about a job that cannot run."""
    with pytest.raises(ExceptionGroup) as caught:
        read(text, *overrides, format=format)
    assert all(isinstance(error, JobError) for error in caught.value.exceptions)
    return [str(error) for error in caught.value.exceptions]


def told_once(text: str, *overrides: str, format: Format = "yaml") -> str:
    (said,) = told(text, *overrides, format=format)
    return said


@pytest.mark.parametrize(
    ("text", "format"), [(JOB, "yaml"), (JOB_JSON, "json"), (JOB_TOML, "toml")]
)
def test_the_same_job_reads_from_each_format(text: str, format: Format) -> None:
    job = read(text, format=format)
    assert (job.name, job.training.steps, job.data[0].id) == ("my-cat", 1500, "cat")


def test_a_byte_order_mark_and_windows_line_ends_are_no_problem() -> None:
    assert read("\ufeff" + JOB.replace("\n", "\r\n")) == read(JOB)


def test_comment_marks_inside_json_texts_are_text() -> None:
    assert read(JOB_JSON, format="json").model.path == "C://no/*comment*/"


@pytest.mark.parametrize("written", ["1e-4", "1E-4", "1.0e-4", ".0001", "0.0001"])
def test_every_way_to_write_a_small_number_is_a_number(written: str) -> None:
    assert read(f"{JOB}  learning_rate: {written}").training.learning_rate == 1e-4


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "16:9", "2024-01-01", "0x10", "1_000"])
def test_words_that_old_yaml_changes_stay_words(word: str) -> None:
    assert read(JOB.replace("path: weights", f"path: {word}")).model.path == word


def test_anchors_and_merges_are_read() -> None:
    two = "  - &one {id: cat, folder: a, repeats: 3}\n  - {<<: *one, id: dog}"
    first, second = read(JOB.replace("  - {id: cat, folder: photos/cat}", two)).data
    assert second == first.model_copy(update={"id": "dog"})


def test_whole_numbers_do_for_fractions() -> None:
    assert read(f"{JOB}  learning_rate: 1").training.learning_rate == 1.0


WRONG = [
    ("  seed: '16'", "job.yaml:7: training.seed: must be a whole number from 0 up, not the text"),
    ("  seed: '16'", "write it without quotes or underscores: 16"),
    ("  seed: 1.5", "must be a whole number from 0 up, not 1.5; see `scumble explain training.se"),
    ("  seed: 1e3", "must be a whole number from 0 up, not 1000.0; write 1000"),
    ("  seed: true", "must be a whole number from 0 up, not true"),
    ("  seed: -1", "must be a whole number from 0 up, not -1"),
    ("  seed:", "must be a whole number from 0 up, not empty (null); give it a value or leave"),
    ("  learning_rate: .nan", "must be a number above 0, not nan"),
    ("  learning_rate: .inf", "must be a number above 0, not inf"),
    ("  clip_norm: x", "must be a number above 0 or null, not the text 'x'"),
    ("  when_not_finite: Stopp", "must be `stop` or `skip`, not 'Stopp'; did you mean `stop`?"),
    ("  schedule: cosine", "training.schedule: must be a section, not the text 'cosine'"),
    ("  schedule: {warmup_steps: 2000}", "training: `schedule.warmup_steps` is more than `steps`"),
    ("adapter: {targets: [1]}", "must be text or a list of text, not the list [1]"),
    ("objective: {shift: 0}", "must be a number above 0 or `resolution`, not 0"),
    ("objective: {times: {law: sigmod}}", "objective.times.law: must be `uniform` or `sigmoid`"),
    ("objective: {times: {law: uniform, mean: 1}}", "times.mean: is only for `law` `sigmoid`"),
    ("objective: {loss: {delta: 1}}", "is only for `kind` `huber` or `smooth_l1`; change `kind`"),
    ("validation: {prompts: a cat}", "not the text 'a cat'; write a list: [\"a cat\"]"),
    ("validation: [1]", "must be a section, not the list [1]; write its settings as `name: value`"),
    ("saving:", "job.yaml:7: saving: must be a section, not empty (null)"),
    ("hardware: {gradient_checkpointing: yes}", "must be true or false, not the text 'yes'; write"),
    ("hardware: {device: gpu}", "must be text such as `auto`, `cpu`, `cuda`, `cuda:1` or `mps`"),
    ("output_dir: 2024", "must be text, not 2024; put it in quotes"),
    ("adapter: {alfa: 8}", "job.yaml:7: adapter.alfa: there is no such setting; did you mean `al"),
    ("rank: 8", "job.yaml:7: rank: there is no such setting; did you mean `adapter.rank`?"),
    ("seed: 8", "did you mean `training.seed` or `validation.seed`?"),
    ("lr: 8", "did you mean `training.learning_rate`?"),
    ("qqq: 8", "there is no such setting; known here: name, model, data"),
]


@pytest.mark.parametrize(("line", "said"), WRONG, ids=[line for line, _ in WRONG])
def test_a_wrong_setting_is_told_with_its_line_and_a_way_out(line: str, said: str) -> None:
    assert said in told_once(f"{JOB}{line}\n")


def test_all_problems_are_told_at_once() -> None:
    text = JOB.replace("steps: 1500", "stpes: 10\n  seed: x").replace("my-cat", "my cat")
    said = told(text, "adapter.rank=0", "foo=1")
    assert len(said) == 6
    assert any(one.startswith("job.yaml:1: name: must be text made of letters") for one in said)
    assert any(one.startswith("job.yaml:5: training.steps: is missing; add a wh") for one in said)
    assert any(one.startswith("adapter.rank=0: must be a whole number above 0") for one in said)


def test_a_single_set_without_its_list_is_told_to_be_one() -> None:
    said = told_once(JOB.replace("  - {id: cat", "  {id: cat"))
    assert "must be a list of sections with at least one entry, not a section; begin each" in said


def test_bad_entries_do_not_make_their_list_too_short() -> None:
    assert "data.0.short=full: must be `keep`" in told_once(JOB, "data.0.short=full")


def test_json_problems_have_lines_too() -> None:
    text = JOB_JSON.replace('"steps": 1500', '"steps": "1500"')
    assert told_once(text, format="json").startswith("job.json:8: training.steps: must be a whole")


def test_toml_problems_have_their_paths() -> None:
    text = JOB_TOML.replace("1_500", "2024-01-01")
    assert told(text, format="toml")[0].startswith("job.toml: training.steps: is a date or a time")


BROKEN: list[tuple[str, Format, str]] = [
    ("", "yaml", "job.yaml: there is no job in it"),
    ("# nothing", "yaml", "job.yaml: there is no job in it"),
    ("- a\n- b", "yaml", "a job is a list of settings such as `name: my-cat`"),
    ("5", "yaml", "a job is a list of settings"),
    ("a: b: c", "yaml", "job.yaml:1: there is a `: ` where a value stands; put it in quotes"),
    ("name: x\n\tmodel: y", "yaml", "job.yaml:2: this line is indented with a tab; YAML wants"),
    ("a:\n\t- x", "yaml", "job.yaml:2: this line is indented with a tab"),
    ("a: [1,\nb: 2", "yaml", "job.yaml:2: a bracket or brace is not closed"),
    ('a: "x', "yaml", "job.yaml:1: a quote is opened and not closed"),
    ("a: 1\n---\nb: 2", "yaml", "a second document begins here"),
    ("a: \x07", "yaml", "a character that YAML does not take"),
    ("[" * 2000, "yaml", "nested too deeply"),
    ('{"a": 1 "b": 2}', "json", "job.json:1: this is not valid JSON (expecting ','); look at col"),
    ("{a: 1}", "json", "expecting a name in double quotes"),
    ('{"a": NaN}', "json", "the word NaN stands for no number"),
    ('{"a": 1}\n}', "json", "job.json:2: this is not valid JSON (something follows the end)"),
    ("// empty", "json", "there is no job in it"),
    ("a = abc", "toml", "job.toml:1: this is not valid TOML (invalid value)"),
    ("a = 1\na = 2", "toml", "a name is given twice"),
    ('{"--model_family": "flux"}', "json", "a configuration for SimpleTuner; run it as it is"),
    ('{"model_family": "flux", "lora_rank": 4}', "json", "this is a configuration for SimpleTuner"),
    (
        '[{"id": "a", "instance_data_dir": "x"}]',
        "json",
        "SimpleTuner (data backends), not a job; name it with",
    ),
    ("[[datasets]]\n[[datasets.subsets]]\nimage_dir='x'", "toml", "sd-scripts (a dataset file)"),
    ("network_dim = 4", "toml", "this is a file for sd-scripts"),
]


@pytest.mark.parametrize(("text", "format", "said"), BROKEN)
def test_what_is_no_job_gets_one_plain_answer(text: str, format: Format, said: str) -> None:
    assert said in told_once(text, format=format)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("name: other", "job.yaml:7: name: is given twice, first on line 1; keep one of them"),
        ("output_dir: &a [*a]", "holds itself, by an alias"),
        ("output_dir: !!python/name:os x", "'x' cannot be read as !!python/name:os"),
        ("5: x", "'5' on line 7 names no setting"),
    ],
)
def test_yaml_that_parses_can_still_be_wrong(line: str, said: str) -> None:
    assert any(said in one for one in told(f"{JOB}{line}\n"))


def test_a_key_given_twice_in_json_is_told_with_both_lines() -> None:
    text = JOB_JSON.replace('"steps": 1500,', '"steps": 1500,\n"steps": 20')
    assert "job.json:9: training.steps: is given twice, first on line 8" in told_once(
        text, format="json"
    )


def test_aliases_of_aliases_cannot_fill_the_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    names = [f"*a{number}" for number in range(9)]
    lines += [f"a{n + 1}: &a{n + 1} [{', '.join([name] * 10)}]" for n, name in enumerate(names)]
    assert told("\n".join(lines)) == [
        "job.yaml: this text names more values than a job can have; correct this value"
    ]


def test_overrides_name_the_paths_of_the_job() -> None:
    job = read(
        JOB,
        "training.steps=20",
        "data.0.repeats=2",
        "data.cat.folder=a: b # c",
        "training.clip_norm=null",
        "adapter={kind: lora, rank: 4}",
        "validation.prompts=[a, 'b, c']",
        "objective.times.mean=1e-1",
        "training.optimizer.options.betas=[0.9, 0.99]",
    )
    assert isinstance(job.adapter, LoraSpec)
    assert (job.training.steps, job.training.clip_norm, job.adapter.rank) == (20, None, 4)
    assert (job.data[0].repeats, job.data[0].folder) == (2, "a: b # c")
    assert job.validation.prompts == ("a", "b, c")
    assert job.objective.times == SigmoidTimes(mean=0.1)
    assert job.training.optimizer.options == {"betas": [0.9, 0.99]}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.steps=abc", "training.steps=abc: must be a whole number above 0, not the text"),
        ("steps=20", "steps=20: there is no setting `steps`; did you mean `training.steps`"),
        ("training.stesp=20", "there is no setting `training.stesp`; did you mean `steps`?"),
        ("lr=1", "did you mean `training.learning_rate`?"),
        ("steps", "steps: is not of the form key=value; such as training.steps=20"),
        ("data.dog.repeats=2", "`data` has no entry 'dog'; known: cat"),
        ("data.1.repeats=2", "`data` has no entry '1'; known: cat"),
        ("training.steps.x=2", "`training.steps` is one value; write training.steps=VALUE"),
        ("adapter={rnk: 4}", "adapter={rnk: 4}: adapter.rnk: there is no such setting; did you"),
        ("validation.prompts=[a", "validation.prompts=[a: a bracket or brace is not closed"),
        ("model.family=", "model.family=: must be text, not empty (null)"),
    ],
)
def test_a_wrong_override_is_told_as_it_was_typed(override: str, said: str) -> None:
    assert said in told_once(JOB, override)


def test_an_override_puts_right_what_the_file_has_wrong() -> None:
    assert read(JOB.replace("1500", "many"), "training.steps=5").training.steps == 5


def test_an_id_with_a_dot_names_its_set() -> None:
    job = read(JOB.replace("id: cat", "id: cat.v2"), "data.cat.v2.repeats=4")
    assert job.data[0].repeats == 4


def test_a_resolved_job_reads_back_the_same_with_and_without_its_defaults() -> None:
    dice = random.Random(7)
    for _ in range(30):
        job = any_job(dice)
        for full in (True, False):
            text = resolved(job, full=full)
            assert read(text) == job, text


def test_a_resolved_job_can_leave_out_what_is_default() -> None:
    assert resolved(read(JOB), full=False).count("\n") == 10
    assert "kind: huber" in resolved(read(JOB, "objective.loss={kind: huber}"), full=False)


def test_every_name_of_another_tool_leads_to_a_setting_we_have() -> None:
    assert set(KNOWN_AS.values()) <= {path for path, _, _ in walk()}


TEXTS = ["a cat", "1e-4", "no", "null", "~", "", " x ", "a: b", "# c", "- d", "16:9", "0x1"]
TEXTS += ["two\nlines\n", "\u00e9\u4e2d\U0001f600", "'\"\\", "{a}", "*x", "!y", "%", "\x85\t", "<<"]


def any_job(dice: random.Random) -> JobSpec:
    def some(texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(dice.sample(texts, dice.randint(0, 4)))

    def one(*choices: float | None) -> float | None:
        return dice.choice(choices)

    sets = tuple(
        DatasetSpec(
            id=f"{dice.choice(['1e4', 'null', 'cat', '007', 'a.b'])}{number}",
            folder=dice.choice(TEXTS),
            repeats=dice.randint(1, 9),
            captions="prompt",
            prompt=dice.choice(TEXTS),
        )
        for number in range(dice.randint(1, 3))
    )
    options = {dice.choice(TEXTS): [dice.random(), dice.choice(TEXTS), None, True, {"a": 10**20}]}
    return JobSpec(
        name=dice.choice(["x", "true", "1_0", "12", "1.5", "_"]),
        model=ModelSpec(family="flux", flavour="dev", path=dice.choice(TEXTS)),
        data=sets,
        training=TrainingSpec(
            steps=dice.randint(1, 10**6),
            learning_rate=dice.random() * 10 ** dice.randint(-9, 9) + 1e-12,
            clip_norm=one(None, 1.0, 3.5),
            optimizer=OptimizerSpec(options=options if dice.random() < 0.5 else {}),
        ),
        adapter=LoraSpec(alpha=one(None, 1e-7), targets=some(TEXTS) or "all"),
        objective=ObjectiveSpec(
            times=dice.choice([UniformTimes(), SigmoidTimes(spread=2e16)]),
            loss=dice.choice([HuberLoss(kind="smooth_l1"), HuberLoss(delta=0.5)]),
        ),
        validation=ValidationSpec(prompts=some(TEXTS), guidance=one(None, 0.0)),
    )
