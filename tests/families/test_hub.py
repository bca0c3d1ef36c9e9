"""Models of the hub, from a server on loopback: what is fetched, kept, and told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from scumble import families
from scumble.families import hub
from tests.families.toy_hub import COMMIT, Asker, Hub

BIG = bytes(range(256)) * 400
HUGE = BIG * 220  # two of the pieces that the library keeps of a transfer
PATTERNS = [
    "transformer/config.json",
    "transformer/model.safetensors",
    "transformer/model-?????-of-?????.safetensors",
    "transformer/model.safetensors.index.json",
    "tokenizer/*.json",
    "tokenizer/*.txt",
]
INDEX = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
SHARDED = {
    "transformer/model.safetensors.index.json": json.dumps(INDEX).encode(),
    "transformer/model-00001-of-00002.safetensors": BIG,
    "transformer/model-00002-of-00002.safetensors": b"second",
}
SMALL = {
    "model_index.json": b"{}",
    "transformer/config.json": b'{"a": 1}',
    "tokenizer/vocab.json": b'{"b": 2}',
    "tokenizer/merges.txt": b"#version",
}
BESIDE = {
    "whole.safetensors": b"not wanted" * 1000,
    "transformer/model.bin": b"pickled",
    "transformer/model.fp16.safetensors": b"a variant",
    "transformer/model.onnx": b"another format",
}
REPOSITORIES = {
    "toy/sharded": SMALL | SHARDED | BESIDE,
    "toy/single": SMALL | SHARDED | {"transformer/model.safetensors": b"one file"},
    "toy/files": {"flux1-toy.safetensors": HUGE, "sub/ae.safetensors": b"eyes"},
    "toy/gated": SMALL | SHARDED,
}


@pytest.fixture(scope="module")
def server() -> Iterator[Hub]:
    running = Hub(REPOSITORIES)
    running.gated = "toy/gated"
    yield running
    running.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def ask(server: Hub, folder: Path) -> Iterator[Asker]:
    asker = Asker(server.address, folder, HF_TOKEN="hf_nobodyshouldseethis")
    yield asker
    assert asker.close() == ""


@pytest.mark.parametrize(
    ("text", "repo", "file"),
    [
        ("black-forest-labs/FLUX.1-dev", "black-forest-labs/FLUX.1-dev", None),
        ("a/b/c.safetensors", None, ("a/b", "c.safetensors")),
        ("a/b/c/d.safetensors", None, ("a/b", "c/d.safetensors")),
        ("a/b/c", None, None),
        ("a/b/../c.safetensors", None, None),
        ("a/b//c.safetensors", None, None),
        ("models/flux.safetensors", None, None),
        ("models/flux.ckpt", None, None),
        ("./a/b", None, None),
        ("../a", None, None),
        ("/a/b", None, None),
        ("~/a", None, None),
        ("a", None, None),
        ("a\\b", None, None),
        ("C:/a", None, None),
        ("builtin:tiny-flux", None, None),
        ("", None, None),
    ],
)
def test_what_looks_like_the_hub(text: str, repo: str | None, file: tuple[str, str] | None) -> None:
    assert hub.repository(text) == repo
    assert hub.in_repository(text) == file


def test_a_part_asks_for_no_variants_and_no_other_formats() -> None:
    flux = families.find("flux", "dev")
    assert [*hub.patterns(flux.parts["t5"])] == [
        "text_encoder_2/config.json",
        "text_encoder_2/model.safetensors",
        "text_encoder_2/model-?????-of-?????.safetensors",
        "text_encoder_2/model.safetensors.index.json",
        *("tokenizer_2/*.json", "tokenizer_2/*.txt", "tokenizer_2/*.model"),
    ]
    assert not any("tokenizer" in one for one in hub.patterns(flux.parts["denoiser"]))


def test_only_what_a_part_needs_is_fetched_and_once(server: Hub, ask: Asker) -> None:
    server.asked.clear()
    told = ask("snapshot", "toy/sharded", PATTERNS, None, fetch=False)
    assert told["absent"] == len(BIG) + len(b"second")
    assert (Path(told["folder"]) / "transformer/config.json").is_file()
    assert "102.4 kB of it are still on the hub" in told["error"]
    assert not any(name.endswith(".safetensors") for name in server.fetched())
    got = Path(ask("snapshot", "toy/sharded", PATTERNS, None, fetch=True)["path"])
    assert (got / "transformer/model-00001-of-00002.safetensors").read_bytes() == BIG
    there = {one.relative_to(got).as_posix() for one in got.rglob("*") if one.is_file()}
    assert there == {*SMALL, *SHARDED} - {"model_index.json"}
    assert sorted(server.fetched()) == sorted(there)
    server.asked.clear()
    assert ask("snapshot", "toy/sharded", PATTERNS, None, fetch=True) == {"path": str(got)}
    assert ask("snapshot", "toy/sharded", PATTERNS, "main", fetch=False) == {"path": str(got)}
    assert ask("snapshot", "toy/sharded", PATTERNS, COMMIT, fetch=False) == {"path": str(got)}
    assert server.asked == []


def test_shards_are_left_where_the_whole_is_there_too(server: Hub, ask: Asker) -> None:
    got = Path(ask("snapshot", "toy/single", PATTERNS, None, fetch=True)["path"])
    assert [one.name for one in got.rglob("*.safetensors")] == ["model.safetensors"]
    server.asked.clear()
    assert "path" in ask("snapshot", "toy/single", PATTERNS, None, fetch=False)
    assert server.asked == []


def test_a_broken_transfer_goes_on_where_it_broke(server: Hub, ask: Asker) -> None:
    told = ask("file", "toy/files", "flux1-toy.safetensors", None, fetch=False)
    assert told["absent"] == len(HUGE)
    server.broken = "flux1-toy.safetensors"
    server.asked.clear()
    got = Path(ask("file", "toy/files", "flux1-toy.safetensors", None, fetch=True)["path"])
    assert got.read_bytes() == HUGE
    asked = [one.split()[-1] for one in server.asked if one.startswith("GET")]
    assert [one.startswith("bytes=") for one in asked] == [False, True]
    server.asked.clear()
    assert ask("file", "toy/files", "flux1-toy.safetensors", None, fetch=True)["path"] == str(got)
    assert server.asked == []


def test_what_the_hub_refuses_is_told_with_the_way_out(server: Hub, ask: Asker) -> None:
    def told(repo: str, revision: str | None = None) -> str:
        return ask("snapshot", repo, PATTERNS, revision, fetch=True)["error"]

    assert "accept the licence at https://huggingface.co/toy/gated and set HF_TOKEN" in told(
        "toy/gated"
    )
    assert "no such repository or hides it; check the name or path, or set" in told("toy/none")
    assert "has no revision 'v9'; check `model.revision`" in told("toy/sharded", "v9")
    assert "no weights in a folder 'transformer'" in told("toy/files")
    assert "toy/files/flux1-toy.safetensors" in told("toy/files")
    missing = ask("file", "toy/files", "gone.safetensors", None, fetch=True)["error"]
    assert missing.startswith("toy/files/gone.safetensors: has no such file")
    pickled = ask("file", "toy/files", "ae.ckpt", None, fetch=True)["error"]
    assert "holds pickles, which can run any code" in pickled
    for code, words in {403: "refuses it (403)", 429: "too often (429)", 503: "(503 "}.items():
        server.trouble = code
        said = told("toy/other")
        assert words in said and "hf_nobody" not in said
    server.trouble = 0


def test_with_the_server_gone_what_is_here_serves(
    server: Hub, folder: Path, tmp_path: Path
) -> None:
    nowhere = Hub({})
    nowhere.stop()
    gone = Asker(nowhere.address, folder)
    offline = Asker(server.address, folder, HF_HUB_OFFLINE="1")
    server.asked.clear()
    for one in (gone, offline):
        assert "path" in one("snapshot", "toy/sharded", PATTERNS, None, fetch=True)
        assert "path" in one("file", "toy/files", "flux1-toy.safetensors", None, fetch=False)
    told = gone("snapshot", "toy/absent", PATTERNS, None, fetch=False)["error"]
    assert "the hub cannot be reached" in told and "HTTPS_PROXY" in told
    assert "hf download toy/absent --include" in told
    told = gone("file", "toy/files", "sub/ae.safetensors", None, fetch=False)["error"]
    assert "the hub cannot be reached" in told
    told = offline("snapshot", "toy/absent", PATTERNS, None, fetch=False)["error"]
    assert "HF_HUB_OFFLINE forbids" in told and "unset it, or run `hf download" in told
    assert server.asked == []
    assert gone.close() == offline.close() == ""


def test_a_disk_that_refuses_is_told(server: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    blocked = Asker(server.address, tmp_path, HF_HUB_CACHE=str(tmp_path / "file" / "hub"))
    full = Asker(server.address, tmp_path, largest_file=len(BIG) // 2)
    told = blocked("snapshot", "toy/sharded", PATTERNS, None, fetch=True)
    assert told["kind"] == "DiskError" and "is not a folder" in told["error"]
    told = full("snapshot", "toy/sharded", PATTERNS, None, fetch=True)
    assert told["kind"] == "DiskError" and "the disk is full; free some space" in told["error"]
    assert not list((tmp_path / "hub").rglob("*.incomplete"))
    assert blocked.close() == full.close() == ""


def test_a_cache_that_lost_a_file_is_not_whole(server: Hub, folder: Path, ask: Asker) -> None:
    """Without a list of the repository's files, too: older programs leave none."""
    got = Path(ask("snapshot", "toy/sharded", PATTERNS, None, fetch=True)["path"])
    for listed in (True, False):
        if not listed:
            for one in (got.parents[1] / "trees").iterdir():
                one.unlink()
            assert "path" in ask("snapshot", "toy/sharded", PATTERNS, None, fetch=False)
        shard = got / "transformer/model-00001-of-00002.safetensors"
        shard.resolve().unlink()
        shard.unlink()
        told = ask("snapshot", "toy/sharded", PATTERNS, None, fetch=False)
        assert told["absent"] == len(BIG)
        ask("snapshot", "toy/sharded", PATTERNS, None, fetch=True)
        assert shard.read_bytes() == BIG
