"""Fine-tuning style: a metadata file that names pictures and holds their captions."""

import json
from collections.abc import Iterator
from hashlib import blake2b
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from scumble.dialects.kohya.config_file import text_of
from scumble.dialects.kohya.subsets import Subset
from scumble.dialects.notes import Draft
from scumble.errors import FileError
from scumble.spec.document import as_section

FOLDER = "sd-scripts"
"""Beside the cache: tables made from metadata files."""


def source(one: Subset, draft: Draft) -> dict[str, Any]:
    """The source of a set, read from a table that is made of the metadata file.

    Neither its JSON, an object by path, nor tags beside captions are what a table of ours has.
    """
    place = one.settings.path(one["metadata_file"])
    try:
        rows = list(_rows(text_of(place, one.where), place.suffix.lower() == ".jsonl"))
    except FileError as problem:
        draft.problems.append(problem)
        return {}
    except (JSONDecodeError, RecursionError) as error:
        draft.complain(str(place), f"this is not valid JSON ({error})", "mend it")
        return {}
    lines = [json.dumps(_row(name, about, one), ensure_ascii=False) for name, about in rows]
    text = "\n".join(lines) + "\n"
    if not rows:
        remedy = 'it needs entries such as "cat.png": {"caption": "a cat"}'
        draft.complain(str(place), "names no pictures", remedy)
    digest = blake2b(text.encode(), digest_size=6).hexdigest()
    parent = Path(one.settings["output_dir"] or "outputs") / ".cache" / FOLDER
    file = str(one.settings.path(str(parent / f"{place.stem}-{digest}.jsonl")).absolute())
    draft.files[file] = text
    folder = one["image_dir"] if one.said("image_dir") else None
    table = {
        "kind": "table",
        "file": file,
        "folder": str(one.settings.path(folder).absolute()) if folder else str(place.parent),
        "image_column": "image",
        "caption_column": "caption",
    }
    return {"source": table, "captions": "column", "subfolders": True}


def _rows(text: str, lines: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    if lines:
        for line in filter(str.strip, text.splitlines()):
            about = as_section(json.loads(line))
            yield str(about.get("image_path", "")), about
    else:
        for name, about in as_section(json.loads(text)).items():
            yield name, as_section(about)


def _row(name: str, about: dict[str, Any], one: Subset) -> dict[str, str]:
    """Caption and tags as one text, each line of the caption with the tags where lines are
    alternatives."""
    caption, tags = str(about.get("caption") or ""), str(about.get("tags") or "")
    separator = one["caption_separator"]
    if one["enable_wildcard"]:
        tags = separator.join(tags.splitlines())
        said = [line.strip() for line in caption.splitlines() if line.strip()]
        joined = "\n".join(f"{line}{separator}{tags}" if tags else line for line in said or [""])
        text = joined.removeprefix(separator)
    else:
        text = separator.join(part for part in (caption, tags) if part)
    return {"image": name, "caption": text}
