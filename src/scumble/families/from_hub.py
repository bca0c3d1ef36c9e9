"""Parts of a model that lie on the hub: fetched when that is allowed, else told how large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scumble.errors import FileError
from scumble.families import hub
from scumble.families.family import Part
from scumble.families.sources import (
    Sought,
    Source,
    config_of,
    has_words,
    in_file,
    in_model_folder,
    in_own_folder,
    shipped,
)

OWN = ("tokenizer*.json", "special_tokens_map.json", "vocab.json", "merges.txt", "spiece.model")


@dataclass(frozen=True)
class Asking:
    """How the hub is asked."""

    revision: str | None
    fetch: bool
    """Whether weights may be fetched; what is small always may."""


def in_repository(sought: Sought, repo: str, asking: Asking) -> Source:
    """A part of a diffusers model on the hub."""
    found = _folder(repo, hub.patterns(sought.part), asking)
    return _told(_part_of(sought, repo, *found), sought, repo)


def in_own_repository(sought: Sought, repo: str, asking: Asking) -> Source:
    """A part from a diffusers model of its own, or from a repository that holds it alone."""
    try:
        return in_repository(sought, repo, asking)
    except FileError as first:
        try:
            folder, absent = _folder(repo, _alone(sought.part), asking)
        except FileError as second:  # of a repository that nobody sees, all of it is to be fetched
            raise (second if second.problem == first.problem else first) from None
    if absent:
        words = folder if has_words(folder) else shipped(sought.part, sought.name)
        return Source(config_of(folder, sought.part), (), words, "", f"{repo} on the hub", absent)
    return replace(in_own_folder(sought, folder), told=f"{repo} on the hub")


def in_hub_file(sought: Sought, repo: str, name: str, asking: Asking) -> Source:
    """A part from one file of a repository; as published where the file is not here yet."""
    told = f"{repo}/{name} on the hub"
    try:
        file = hub.file(repo, name, asking.revision, fetch=asking.fetch)
    except hub.Absent as absent:
        needed = {
            need.setting: need.value for need in sought.family.needs if need.part == sought.name
        }
        config = {**sought.part.loose.published, **needed}
        words = shipped(sought.part, sought.name)
        return Source(config, (), words, "", told, absent.bytes)
    return in_file(sought, file, told)


def _folder(repo: str, patterns: Sequence[str], asking: Asking) -> tuple[Path, int]:
    """Where the repository's files are, and how many bytes of them are not."""
    try:
        return hub.snapshot(repo, patterns, asking.revision, fetch=asking.fetch), 0
    except hub.Absent as absent:
        assert absent.folder is not None
        return absent.folder, absent.bytes


def _part_of(sought: Sought, repo: str, folder: Path, absent: int) -> Source:
    if not absent:
        return in_model_folder(sought, folder)
    part = sought.part
    words = folder / part.tokenizer if part.tokenizer else None
    return Source(config_of(folder / part.folder, part), (), words, "", repo, absent)


def _told(source: Source, sought: Sought, repo: str) -> Source:
    return replace(source, told=f"{repo}/{sought.part.folder} on the hub")


def _alone(part: Part) -> tuple[str, ...]:
    """What a repository that holds this part alone has of it."""
    weights = (
        "config.json",
        f"{part.weights}.safetensors",
        f"{part.weights}-?????-of-?????.safetensors",
        f"{part.weights}.safetensors.index.json",
    )
    return (*weights, *OWN) if part.tokenizer else weights
