"""What the pictures of a set are called: where captions come from, and what becomes of them."""

import re
from collections.abc import Mapping
from typing import Any

from scumble.dialects.kohya.config_file import text_of
from scumble.dialects.notes import Draft
from scumble.dialects.simpletuner.entry import Entry
from scumble.errors import FileError
from scumble.spec.document import as_entries, said

KINDS = {
    "filename": "filename",
    "textfile": "textfile",
    "instanceprompt": "prompt",
    "instance_prompt": "prompt",
    "parquet": "column",
    "huggingface": "column",
    "csv": "column",
}
"""Ours, by `caption_strategy`; config.json spells one of them with an underscore."""

FOR_HUB = ("huggingface", "instanceprompt", "instance_prompt")
REPLACEMENT = re.compile(r"s/(?:[^/\\]|\\.)+/(?:[^/\\]|\\.)*/")
SIGNS = frozenset(".^$*+?{}[]\\|()")
"""What makes a text more than itself, as a regular expression."""

SEPARATORS = {"comma": ",", "space": " ", "period": "."}
SHUFFLE = ("enable", "count", "seed", "split_on", "position_start", "include_original")


def captioned(one: Entry, filters: list[str], draft: Draft) -> dict[str, Any]:
    """`captions`, `prompt`, `caption_edits` and `caption_dropout` of a set."""
    said = strategy(one)
    made: dict[str, Any] = {"caption_dropout": float(one.settings["caption_dropout_probability"])}
    made |= source(one, said, draft)
    edits: dict[str, Any] = {"filters": filters}
    if made.get("captions") == "textfile":
        edits["lines"] = "join" if _asked(one, "disable_multiline_split") else "choose"
    if _asked(one, "prepend_instance_prompt") and made.get("captions") != "prompt":
        edits["prefix"] = _prefix(one, draft)
    made["caption_edits"] = edits | _shuffled(one, draft)
    return made


def strategy(one: Entry) -> str:
    """Where the captions come from, by the name that it has there."""
    if one.said("caption_strategy"):
        return one["caption_strategy"]
    plain = one["type"] in ("huggingface", "csv")
    return str(one["type"] if plain else one.settings["caption_strategy"])


def source(one: Entry, said: str, draft: Draft) -> dict[str, Any]:
    """`captions` and `prompt` for a strategy; problems are told."""
    said = "instanceprompt" if _asked(one, "only_instance_prompt") else said
    where = one.where("caption_strategy")
    if wrong := _misfit(one, said):
        draft.complain(where, *wrong)
    if KINDS.get(said) != "prompt":
        return {"captions": KINDS.get(said)}
    texts = prompts(one)
    if not texts:
        remedy = 'add "instance_prompt": "a photo of a sks cat"'
        draft.complain(where, "there is no instance_prompt", remedy)
    return {"captions": "prompt", "prompt": texts or ["?"]}


def _misfit(one: Entry, said: str) -> tuple[str, str] | None:
    """Why a set cannot have such captions, and what to write; None where it can."""
    plain = "write textfile, filename or instanceprompt"
    if one["type"] == "huggingface" and said not in FOR_HUB:
        remedy = 'write "caption_strategy": "huggingface"'
        return f"'{said}' is nothing that a data set of the hub has", remedy
    if said == "parquet" and one["metadata_backend"] != "parquet":
        remedy = 'add "metadata_backend": "parquet" and "parquet": {"path": "..."}'
        return "parquet needs the table that it reads", remedy
    if said in ("huggingface", "csv") and one["type"] != said:
        return f"{said} goes with a set of that type alone", plain
    return None if said in KINDS else (f"captions of {said} are not read", plain)


def prompts(one: Entry) -> list[str]:
    """The instance prompts of a set, or of all."""
    told = one["instance_prompt"] or one.settings["instance_prompt"]
    return [told] if isinstance(told, str) else [str(each) for each in told or ()]


def _asked(one: Entry, key: str) -> bool:
    """A switch of the set; unset, that of config.json."""
    return bool(one[key] if one.said(key) else one.settings[key])


def _prefix(one: Entry, draft: Draft) -> str | None:
    texts = prompts(one)
    if not texts:
        remedy = 'add "instance_prompt": "a photo of a sks cat"'
        where = one.where("prepend_instance_prompt")
        draft.complain(where, "there is no instance_prompt to put before captions", remedy)
        return None
    if len(texts) > 1:
        words = "several cannot take turns before captions: the first of them is put there"
        draft.note("not yet", one.where("instance_prompt"), words)
    return texts[0]


def _shuffled(one: Entry, draft: Draft) -> dict[str, Any]:
    """Tags in other orders, in so many versions."""
    told: Mapping[str, Any] = one.table("caption_shuffle")
    for name in told.keys() - set(SHUFFLE):
        known = f"known: {', '.join(SHUFFLE)}"
        draft.complain(one.where("caption_shuffle", name), "there is no such field", known)
    if not told.get("enable"):
        return {}
    split = told.get("split_on", "comma")
    if split not in SEPARATORS:
        problem, remedy = f"'{split}' splits nothing", f"known: {', '.join(SEPARATORS)}"
        draft.complain(one.where("caption_shuffle", "split_on"), problem, remedy)
    if "seed" in told:
        words = "all draws follow the one `seed` of the run"
        draft.note("nothing", f"{one.file}: caption_shuffle.seed", words)
    if told.get("include_original", True):
        words = "the caption as it is written is one of many orders, and not set apart"
        draft.note("nothing", f"{one.file}: caption_shuffle.include_original", words)
    counts = {name: told.get(name, least) for name, least in (("count", 1), ("position_start", 0))}
    for name, count in counts.items():
        if not isinstance(count, int) or count < 0:
            where = one.where("caption_shuffle", name)
            draft.complain(
                where, f"must be a whole number, not {said(count)}", "write it such as 2"
            )
            return {}
    return {
        "shuffle": True,
        "keep_tokens": counts["position_start"],
        "separator": SEPARATORS.get(split, ","),
        "variants": counts["count"] + bool(told.get("include_original", True)),
    }


def filters(cache: Entry | None, draft: Draft) -> list[str]:
    """What `caption_filter_list` of a text cache takes out of captions.

    A line is taken out as it stands, and once more as a regular expression, if it is one.
    """
    if cache is None or not cache.said("caption_filter_list"):
        return []
    told = cache["caption_filter_list"]
    if isinstance(told, str):
        try:
            told = text_of(cache.settings.path(told), cache.where("caption_filter_list"))
        except FileError as problem:
            draft.problems.append(problem)
            return []
        told = told.splitlines()
    lines = [line for each in as_entries(told) if (line := str(each).strip())]
    return [text for line in lines for text in _filters(line)]


def _filters(line: str) -> list[str]:
    if REPLACEMENT.fullmatch(line):
        return [line]
    slashed = line.replace("/", "\\/")
    plain = SIGNS.isdisjoint(line) or not _compiles(line)
    return [line] if plain else [line, f"s/{slashed}//"]


def _compiles(line: str) -> bool:
    try:
        re.compile(line)
    except re.error:
        return False
    return True
