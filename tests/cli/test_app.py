"""What a user types, and what comes back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scumble.cli import doctor, examples
from scumble.cli.app import main
from scumble.cli.jobs import open_job
from scumble.errors import FileError

JOB = """\
# A cat.
# With care.

name: my-cat
model: {family: flux, flavour: dev, path: weights}
data: [{id: cat, folder: photos}]
training: {steps: 15}
"""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(JOB)
    return path


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", *arguments]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


def test_help_needs_no_torch() -> None:
    done = run(
        "import sys; from scumble.cli.app import main; code = main(['--help']); "
        "heavy = {'torch', 'transformers', 'diffusers', 'pydantic', 'yaml'} & sys.modules.keys(); "
        "sys.exit(code or sorted(heavy) or 0)"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "explain" in done.stdout


def test_explain_and_wrong_jobs_need_no_torch(job: Path) -> None:
    done = run(
        "import sys; from scumble.cli.app import main; main(['explain']); "
        f"code = main(['train', {str(job)!r}, 'steps=1']); "
        "sys.exit(code if 'torch' not in sys.modules else 'torch is there')"
    )
    assert done.returncode == 2
    assert done.stderr == (
        "error: steps=1: there is no setting `steps`; "
        "did you mean `training.steps` or `validation.steps`?\n"
    )


@pytest.mark.parametrize("command", ["train", "check"])
def test_every_problem_is_one_line_on_stderr_and_the_code_is_2(
    command: str, job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(job), "training.steps=0", "adapter.rnk=1", "foo"]) == 2
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert (out, len(lines)) == ("", 3)
    assert all(line.startswith("error: ") for line in lines)
    assert "Traceback" not in err


def test_problems_found_later_are_told_the_same_way(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(job), "model.family=fluxx"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert "fluxx" in err


@pytest.mark.parametrize(
    "arguments", [["trian"], ["train"], ["check", "x", "--nothing"], ["examples", "copy"]]
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert main(arguments) == 2


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("scumble ")


def test_a_setting_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "adapter.rank"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("adapter.rank: whole number above 0; default 16; with kind: lora\n")
    assert "bottleneck" in out
    assert main(["explain", "adapter.rnk"]) == 2


def test_the_doctor_has_something_to_say_and_no_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor"]) in (0, 2)
    out, err = capsys.readouterr()
    assert err == ""
    assert {"python", "torch", "processor", "disk"} <= {
        line[7:].partition(":")[0] for line in out.splitlines()
    }


@pytest.mark.parametrize(
    ("capability", "built", "served"),
    [
        ((9, 0), ["sm_80", "sm_90"], True),
        ((8, 9), ["sm_80", "sm_86"], True),
        ((12, 0), ["sm_80", "sm_90"], False),
        ((12, 0), ["sm_80", "sm_90", "compute_90"], True),
        ((7, 0), ["sm_75", "sm_80"], False),
        ((9, 0), ["sm_90a"], True),
    ],
)
def test_a_card_that_torch_is_not_built_for_is_noticed(
    capability: tuple[int, int], built: list[str], served: bool
) -> None:
    assert doctor.runs_on(capability, built) is served


def test_a_job_comes_with_the_folder_its_paths_start_in(job: Path) -> None:
    opened, base = open_job(str(job), ["training.steps=7"])
    assert (opened.training.steps, base) == (7, job.parent)


def test_a_job_file_that_is_not_there_is_asked_back(job: Path) -> None:
    with pytest.raises(FileError, match=r"there is no such file; did you mean .*job.yaml\?"):
        open_job(str(job.with_name("jbo.yaml")))


def test_files_that_are_no_job_are_named_with_the_reason(job: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"this is a folder.*did you mean .*job.yaml\?"):
        open_job(str(tmp_path))
    (tmp_path / "job.txt").write_text(JOB)
    with pytest.raises(FileError, match=r"does not end in '.txt'; known endings: .yaml"):
        open_job(str(tmp_path / "job.txt"))
    job.write_bytes(JOB.encode("utf-16"))
    with pytest.raises(FileError, match="byte 0 is not UTF-8; save it as UTF-8"):
        open_job(str(job))
    with pytest.raises(FileError, match="this is a setting where the job belongs"):
        open_job("training.steps=20")
    with pytest.raises(FileError, match="there is no such example"):
        open_job("example=zzzz")


def test_every_example_is_listed_with_what_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["examples", "list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in examples.names())
    assert all(examples.about(examples.find(name)) for name in examples.names())


@pytest.mark.parametrize("name", examples.names())
def test_an_example_is_copied_but_never_over_anything(name: str, tmp_path: Path) -> None:
    to = tmp_path / "copy"
    assert main(["examples", "copy", name, str(to)]) == 0
    file = examples.job_in(to)
    if file.name == examples.JOB:
        assert open_job(str(file))[0] == open_job(f"example={name}")[0]
    file.write_text("mine")
    assert main(["examples", "copy", name, str(to)]) == 2
    assert file.read_text() == "mine"


def test_what_an_example_shows_is_its_first_comment(job: Path) -> None:
    assert examples.about(job.parent) == "A cat. With care."


def test_sampling_asks_for_what_it_needs(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample"]) == 2
    assert "one of --job and --model is needed, not both" in capsys.readouterr().err
    assert main(["sample", "--job", str(job)]) == 2
    assert 'there is nothing to paint; add --prompt "WORDS"' in capsys.readouterr().err
    assert main(["sample", "--job", str(job), "--prompt", "a: b", "--width", "0"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: validation.width=0: must be a whole number above 0, not 0;")
    assert main(["sample", "--job", str(job), "--prompt", "x", "--adapter", "no.safetensors"]) == 2
    assert "no.safetensors: there is no such file" in capsys.readouterr().err


def test_an_adapter_that_is_not_there_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapter", "info", "no.safetensors"]) == 2
    assert capsys.readouterr().err.startswith("error: no.safetensors: there is no such file")


ENDINGS = """
import sys
from scumble.cli.app import app, main

@app.command()
def bug(): raise OSError("a file of ours")

@app.command()
def interrupted(): raise KeyboardInterrupt

sys.exit(main([{command!r}]))
"""


def test_our_own_mistakes_keep_their_traceback() -> None:
    done = run(ENDINGS.format(command="bug"))
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "a file of ours" in done.stderr


def test_an_interrupted_command_exits_with_130() -> None:
    done = run(ENDINGS.format(command="interrupted"))
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.skipif(sys.platform != "linux", reason="names are text on other systems")
@pytest.mark.parametrize("encoding", ["utf-8:strict", "latin-1:strict"])
def test_any_name_can_be_told_to_any_terminal(encoding: str, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xc3\xa9-\xff.png")
    for folder in ("after", "before"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(b"no picture")
    words = ["--targets", tmp_path / "after", "--references", tmp_path / "before"]
    done = subprocess.run(
        [sys.executable, "-m", "scumble", "data", "pairs", *map(str, words)],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, b"")
    assert rb"-\udcff.png" in done.stdout
