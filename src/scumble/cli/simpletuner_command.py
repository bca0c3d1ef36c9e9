"""The command `simpletuner` with the words of its guides; what it does is done by `scumble`.

simpletuner train [env=NAME | example=NAME] [key=value ...] [--config FILE] [--data FILE]
simpletuner examples list | copy NAME [--dest FOLDER]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scumble.errors import JobError

USAGE = (
    *("usage: simpletuner train [env=NAME | example=NAME] [key=value ...]",),
    "       simpletuner train --config config/config.json --data config/multidatabackend.json",
    "       simpletuner examples list",
    "       simpletuner examples copy NAME [--dest FOLDER]",
)
ELSEWHERE = {
    "configure": "write config.json by hand, or begin with `simpletuner examples list`",
    "server": "there is no server: `simpletuner train` starts at once",
    "shutdown": "there is no server: Ctrl-C ends a run, which goes on from where it was",
    "worker": "there is no server: start the same command on the other machine",
    **dict.fromkeys(
        ("jobs", "cloud", "auth", "quota", "notifications", "backup", "database", "metrics"),
        "there is no server: start runs by `simpletuner train`, one after the other",
    ),
    "webhooks": "set webhook_config in config.json",
}
"""Sub-commands that are not here, and what to do instead."""

NAMED = {"--env": "env=", "-e": "example=", "--example": "example="}
"""Options that stand for a word."""

OURS = ("--config", "--data")


def main(words: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    from scumble.cli import app, show

    match list(words):
        case [] | ["-h" | "--help", *_] | ["train" | "examples", "-h" | "--help", *_]:
            for line in USAGE:
                show.line(line)
            return 0 if words else 2
        case ["-v" | "--version", *_]:
            return app.main(["--version"])
        case ["train", *rest]:
            return app.main(["train", *told(rest)])
        case ["examples", "list", *_]:
            return app.main(["examples", "list"])
        case ["examples", "copy", name, *rest]:
            return app.main(["examples", "copy", name, *_destination(name, rest)])
        case [other, *_]:
            return _refused(other)
        case _:
            return 2


def told(words: Sequence[str]) -> list[str]:
    """The words of `scumble train`: the job first, options of the trainer as `key=value`."""
    listed = list(_plain(words))
    jobs = [word for word in listed if word.startswith(("env=", "example="))]
    return [*jobs, *(word for word in listed if word not in jobs)]


def _plain(words: Sequence[str]) -> Iterator[str]:
    """`--env NAME` as `env=NAME`, `--lora_rank 8` as `lora_rank=8`, a bare word as a switch."""
    waiting = ""
    for word in words:
        if waiting:
            if not word.startswith("--"):
                yield waiting + word
                waiting = ""
                continue
            yield f"{waiting}true"
            waiting = ""
        name, equals, value = word.partition("=")
        if name in OURS:
            yield from (name, value) if equals else ()
            waiting = "" if equals else f"{name}="
        elif name in NAMED:
            yield from (NAMED[name] + value,) if equals else ()
            waiting = "" if equals else NAMED[name]
        elif name.startswith("--"):
            yield from (word.removeprefix("--"),) if equals else ()
            waiting = "" if equals else f"{name.removeprefix('--')}="
        else:
            yield word if equals else f"{word}=true"
    if waiting:
        yield f"{waiting}true"


def _destination(name: str, words: Sequence[str]) -> list[str]:
    """The new folder: NAME inside that which `--dest` names."""
    match list(words):
        case ["-d" | "--dest", folder]:
            return [f"{folder}/{name}"]
        case [word] if word.startswith("--dest="):
            return [f"{word.removeprefix('--dest=')}/{name}"]
        case _:
            return []


def _refused(command: str) -> int:
    from scumble.cli import show

    remedy = ELSEWHERE.get(command, "there are train and examples")
    problem = "is not there" if command in ELSEWHERE else "is no command"
    show.errors(ExceptionGroup("", [JobError(f"simpletuner {command}", problem, remedy)]))
    return 2
