"""Models of the Hugging Face hub: what lies on this machine first, and no more than is needed.

All of it goes through `huggingface_hub`, so that its cache is shared with every other program,
broken transfers go on, and tokens come from the environment or the library's own login alone.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from scumble.errors import DiskError, FileError
from scumble.families.hub_errors import in_words, offline, shown_size

if TYPE_CHECKING:
    from scumble.families.family import Part

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
ID = re.compile(rf"{NAME}/{NAME}")
WEIGHTS = ".safetensors"
SHARD = re.compile(r"-\d{5}-of-\d{5}\.safetensors$")
NEVER = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.msgpack", "*.h5", "*.onnx*", "*.gguf")
"""What is not fetched whatever a pattern says."""

TOKENIZERS = ("*.json", "*.txt", "*.model")


class Absent(FileError):
    """Weights that the hub has and this machine has not; they may be fetched."""

    def __init__(self, where: str, files: Sequence[tuple[str, int]], folder: Path | None) -> None:
        self.bytes = sum(size for _, size in files)
        self.folder = folder
        """Where the small files of a repository lie by now: configs, tokenizers, an index."""

        problem = f"{shown_size(self.bytes)} of it are still on the hub"
        super().__init__(where, problem, "`scumble train` fetches them")


def repository(text: str) -> str | None:
    """The repository that `owner/name` means; whether a folder is called so is asked before.

    What ends like a file of weights is a path that leads nowhere.
    """
    ends = any(fnmatchcase(text, pattern) for pattern in (f"*{WEIGHTS}", *NEVER))
    return text if ID.fullmatch(text) and not ends else None


def in_repository(text: str) -> tuple[str, str] | None:
    """The repository and the file in it that `owner/name/file.safetensors` means.

    The file may lie in a folder of the repository. Files on this machine are looked for before.
    """
    owner, _, rest = text.partition("/")
    name, _, file = rest.partition("/")
    steps = file.split("/")
    if not ID.fullmatch(f"{owner}/{name}") or not PurePosixPath(file).suffix:
        return None
    return None if any(step in {"", ".", ".."} for step in steps) else (f"{owner}/{name}", file)


def patterns(part: Part) -> tuple[str, ...]:
    """What one part of a model needs of a diffusers repository: no variants, no other formats."""
    weights = f"{part.folder}/{part.weights}"
    wanted = [
        f"{part.folder}/config.json",
        f"{weights}{WEIGHTS}",
        f"{weights}-?????-of-?????{WEIGHTS}",
        f"{weights}{WEIGHTS}.index.json",
    ]
    if part.tokenizer is not None:
        wanted += [f"{part.tokenizer}/{ending}" for ending in TOKENIZERS]
    return tuple(wanted)


def snapshot(repo: str, patterns: Sequence[str], revision: str | None, *, fetch: bool) -> Path:
    """The folder on this machine that holds what the patterns name of a repository.

    Whatever is not there is fetched; without `fetch` only what is small, and Absent is raised
    where weights are missing. The hub is asked for nothing where everything is here, whatever it
    has by now. FileError in words for all that can go wrong on the way.
    """
    folder = _snapshot_here(repo, revision)
    if folder is not None and _whole(repo, folder, patterns):
        return folder
    remedy = _by_hand(repo, patterns, revision)
    with in_words(repo, revision, remedy):
        folder = _small(repo, patterns, revision)
        missing = _missing(repo, patterns, folder)
        if not fetch and any(size for _, size in missing):
            raise Absent(repo, missing, folder)
        _fetch(repo, missing, folder.name)
    return folder


def file(repo: str, name: str, revision: str | None, *, fetch: bool) -> Path:
    """One file of a repository on this machine; otherwise as `snapshot`."""
    if not name.endswith(WEIGHTS):
        pickled = any(fnmatchcase(name, pattern) for pattern in NEVER[:4])
        problem = "holds pickles, which can run any code" if pickled else "is no safetensors file"
        raise FileError(f"{repo}/{name}", problem, "name a .safetensors file of the same model")
    here = _file_here(repo, name, revision)
    if here is not None:
        return here
    remedy = f"run `hf download {repo} {name}` where there is a network"
    with in_words(f"{repo}/{name}", revision, remedy):
        from huggingface_hub import hf_hub_download

        needed = _to_fetch(repo, name, revision)
        if needed and not fetch:
            raise Absent(f"{repo}/{name}", [(name, needed)], None)
        fits(needed)
        return Path(hf_hub_download(repo, name, revision=revision))


@contextmanager
def silent() -> Iterator[None]:
    """Without the bars that the library shows of large files on a terminal."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    before = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            enable_progress_bars()


def stored_bytes(repos: Collection[str]) -> int:
    """What the machine holds of these repositories, files on their way included."""
    total = 0
    for repo in set(repos):
        blobs = _blobs(repo)
        for blob in blobs.iterdir() if blobs.is_dir() else ():
            try:
                total += blob.stat().st_size
            except FileNotFoundError:  # it got its final name just now
                continue
    return total


def _snapshot_here(repo: str, revision: str | None) -> Path | None:
    """The folder that a revision was fetched to, complete or not."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:  # with a pattern that nothing has, nothing is found to be missing
        found = snapshot_download(
            repo, revision=revision, local_files_only=True, allow_patterns=["/"]
        )
    except LocalEntryNotFoundError:
        return None
    return Path(found)


def _file_here(repo: str, name: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, name, revision=revision)
    return Path(found) if type(found) is str else None


def _listed(repo: str, folder: Path) -> list[str] | None:
    """The repository's files at this folder's commit, if the library has asked for them once."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        return [one.path for one in get_cached_repo_tree(repo, revision=folder.name)]
    except CachedRepoTreeNotFoundError:
        return None


def _wanted(names: Collection[str], patterns: Sequence[str]) -> list[str]:
    """Of a repository's files those that are needed; shards are not where the whole is, too."""
    chosen = [
        name
        for name in names
        if any(fnmatchcase(name, pattern) for pattern in patterns)
        and not any(fnmatchcase(name, pattern) for pattern in NEVER)
    ]
    return [name for name in chosen if SHARD.sub(WEIGHTS, name) not in {*chosen} - {name}]


def _lacking(patterns: Sequence[str], names: Collection[str]) -> list[str]:
    """Folders that are to have weights and have none."""
    asked = {PurePosixPath(one).parent for one in patterns if one.endswith(WEIGHTS)}
    found = {PurePosixPath(name).parent for name in names if name.endswith(WEIGHTS)}
    return sorted(folder.as_posix() for folder in asked - found)


def _whole(repo: str, folder: Path, patterns: Sequence[str]) -> bool:
    """Whether all is there. Without a list of the repository's files, as other programs leave it,
    each folder has to look whole."""
    names = _listed(repo, folder)
    if names is not None:
        wanted = _wanted(names, patterns)
        there = all((folder / name).is_file() for name in wanted)
        return there and not _lacking(patterns, wanted)
    there = [one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()]
    places = {PurePosixPath(pattern).parent.as_posix() for pattern in patterns}
    return all(_looks_whole(folder, place, there, patterns) for place in places)


def _looks_whole(folder: Path, place: str, there: list[str], patterns: Sequence[str]) -> bool:
    """Of one of the folders: a config where one is asked for, weights, and all shards of them."""
    asked = [pattern for pattern in patterns if PurePosixPath(pattern).parent.as_posix() == place]
    found = _wanted(there, asked)
    if not any(pattern.endswith(WEIGHTS) for pattern in asked):
        return bool(found)
    configs = [pattern for pattern in asked if PurePosixPath(pattern).name == "config.json"]
    weights = [name for name in found if name.endswith(WEIGHTS)]
    shards = [name for name in weights if SHARD.search(name)]
    indices = [name for name in found if name.endswith(".index.json")] if shards else []
    named = {one for index in indices for one in _shards(folder / index)}
    return (
        all(config in found for config in configs)
        and bool(weights)
        and (not shards or bool(indices))
        and all((folder / place / one).is_file() for one in named)
    )


def _shards(index: Path) -> Collection[str]:
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError):
        return ["of an index that cannot be read"]


def _small(repo: str, patterns: Sequence[str], revision: str | None) -> Path:
    """Fetch all that is asked for but weights; they come last, so that weights vouch for it."""
    from huggingface_hub import snapshot_download

    with silent():  # a second's work
        folder = snapshot_download(
            repo,
            revision=revision,
            allow_patterns=list(patterns),
            ignore_patterns=[f"*{WEIGHTS}", *NEVER],
        )
    return Path(folder)


def _missing(repo: str, patterns: Sequence[str], folder: Path) -> list[tuple[str, int]]:
    """The weights that are not there yet, and what each has to be fetched of: nothing of one that
    another version shares. FileError where the hub has none."""
    names = _listed(repo, folder)
    if names is None:  # the hub did not answer, and the library took what there was
        raise offline(repo, _by_hand(repo, patterns, None), forbidden=False)
    wanted = [name for name in _wanted(names, patterns) if name.endswith(WEIGHTS)]
    _refuse_foreign(repo, patterns, names, wanted)
    absent = [name for name in wanted if not (folder / name).is_file()]
    return [(name, _to_fetch(repo, name, folder.name)) for name in absent]


def _to_fetch(repo: str, name: str, revision: str | None) -> int:
    """Bytes of a file that have to come: none where another version shares them.

    One question without further tries, so that a network that is not there is told at once.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    about = get_hf_file_metadata(hf_hub_url(repo, name, revision=revision))
    there = about.etag is not None and (_blobs(repo) / about.etag).is_file()
    return 0 if there else about.size or 0


def _blobs(repo: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}" / "blobs"


def _refuse_foreign(
    repo: str, patterns: Sequence[str], names: Sequence[str], wanted: Sequence[str]
) -> None:
    """FileError for a repository that has no weights in one of the folders asked for."""
    lacking = _lacking(patterns, wanted)
    if lacking:
        files = [name for name in names if name.endswith(WEIGHTS) and "/" not in name]
        remedy = "name a repository in the layout of diffusers"
        if files:
            remedy += f", or one of its files: {repo}/{files[0]}"
        raise FileError(repo, f"has no weights in a folder '{lacking[0]}'", remedy)


def _fetch(repo: str, files: Sequence[tuple[str, int]], commit: str) -> None:
    """One file after another, in this thread: in the library's threads, Ctrl-C would wait for all
    that is on its way."""
    from huggingface_hub import hf_hub_download

    fits(sum(size for _, size in files))
    for name, _ in files:
        hf_hub_download(repo, name, revision=commit)


def fits(needed: int) -> None:
    """DiskError when the disk of the hub's cache has no room for so many bytes."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    there = next(place for place in (cache, *cache.parents) if place.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        problem = f"{shown_size(needed)} are to be fetched, and {shown_size(free)} are free"
        raise DiskError(cache, problem, "free some space, or set HF_HOME to another disk")


def _by_hand(repo: str, patterns: Sequence[str], revision: str | None) -> str:
    folders = sorted({PurePosixPath(pattern).parent.as_posix() for pattern in patterns})
    which = "".join(f' --include "{folder}/*"' for folder in folders if folder != ".")
    at = f" --revision {revision}" if revision else ""
    return f"run `hf download {repo}{at}{which}` where there is a network"
