"""Where the pictures of a set come from: a folder, a bucket, a table, a data set of the hub."""

from collections.abc import Mapping
from typing import Any

from scumble.dialects.notes import Draft
from scumble.dialects.simpletuner.entry import Entry
from scumble.spec.document import as_section

Source = dict[str, Any]
"""`folder`, or `source`."""

NEEDED = {
    "aws": (
        *("aws_bucket_name", "aws_region_name", "aws_endpoint_url", "aws_access_key_id"),
        "aws_secret_access_key",
    ),
    "csv": ("csv_file", "csv_url_column", "csv_caption_column", "csv_cache_dir"),
    "huggingface": ("dataset_name",),
    "local": ("instance_data_dir",),
}
MAY_BE_NULL = ("aws_region_name", "aws_endpoint_url")
SECRETS = {
    "aws_access_key_id": "AWS_ACCESS_KEY_ID",
    "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
}
"""Fields whose values never come into a job, and the variables that stand for them."""

IDLE = {
    "parquet": {
        "width_column": "sizes are read from the pictures themselves",
        "height_column": "sizes are read from the pictures themselves",
    },
    "huggingface": {
        "width_column": "sizes are read from the pictures themselves",
        "height_column": "sizes are read from the pictures themselves",
        "auto_load": "the data set is loaded anyway",
        "num_proc": "rows are read as they are needed",
        "cache_dir": "data sets lie where the hub's own library keeps them (HF_HOME)",
    },
}
NOT_YET = {
    "filter_func": "rows are not chosen: all of them are used",
    "quality_column": "rows are not chosen: all of them are used",
}
READ = {
    "parquet": frozenset(
        {"path", "filename_column", "caption_column", "fallback_caption_column"}
        | {"identifier_includes_extension"}
    ),
    "huggingface": frozenset(
        {"image_column", "caption_column", "fallback_caption_column", "description_column"}
        | {"composite_image_config"}
    ),
}
EMPTY_TABLE: Mapping[str, Any] = {}


def source(one: Entry, draft: Draft) -> Source:
    """Where the pictures are; {} where that is wrong, which is told."""
    if "webshart" in (one["type"], one["metadata_backend"]):
        remedy = "unpack it to a folder, or use a data set of the hub"
        draft.complain(one.where("type"), "shards of webshart are not read", remedy)
        return {}
    if missing := _missing(one):
        names = ", ".join(missing)
        remedy = f'add "{missing[0]}": "..."'
        draft.complain(one.where(), f"a set of type {one['type']} needs {names}", remedy)
        return {}
    match one["type"]:
        case "aws":
            return _bucket(one, draft)
        case "csv":
            return _csv(one, draft)
        case "huggingface":
            return _hub(one, draft)
        case _:
            return _folder(one, draft)


def _missing(one: Entry) -> list[str]:
    needed = NEEDED.get(one["type"], ())
    there = {name for name in MAY_BE_NULL if name in one.fields}
    there |= {name for name, variable in SECRETS.items() if one.settings.environment.get(variable)}
    return [name for name in needed if name not in there and not one.said(name)]


def _folder(one: Entry, draft: Draft) -> Source:
    told = one["instance_data_dir"]
    place = one.settings.path(told)
    if not place.is_dir():
        problem = f"there is no folder {place}" if not place.exists() else f"{place} is no folder"
        draft.complain(one.where("instance_data_dir"), problem, "mend the path")
    return _parquet(one, draft) if one["metadata_backend"] == "parquet" else {"folder": told}


def _parquet(one: Entry, draft: Draft) -> Source:
    """Pictures of a folder that a table names."""
    told = one.table("parquet")
    _inner(one, "parquet", told, draft)
    path = told.get("path")
    if not path:
        remedy = 'add "parquet": {"path": "table.parquet"}'
        draft.complain(one.where("metadata_backend"), "parquet needs a table", remedy)
        return {}
    _there(one, ("parquet", "path"), str(path), draft)
    all_sets = one.settings
    made = {
        "kind": "table",
        "file": path,
        "folder": one["instance_data_dir"],
        "image_column": told.get("filename_column") or all_sets["parquet_filename_column"] or "id",
        "caption_column": told.get("caption_column")
        or all_sets["parquet_caption_column"]
        or "description",
        "fallback_caption_column": told.get("fallback_caption_column"),
    }
    return {"source": made}


def _csv(one: Entry, draft: Draft) -> Source:
    if one["caption_strategy"] not in (None, "csv"):
        remedy = 'write "caption_strategy": "csv"'
        problem = "a set of type csv takes captions from its table alone"
        draft.complain(one.where("caption_strategy"), problem, remedy)
    _there(one, ("csv_file",), one["csv_file"], draft)
    made = {
        "kind": "table",
        "file": one["csv_file"],
        "image_column": one["csv_url_column"],
        "caption_column": one["csv_caption_column"],
    }
    return {"source": made}


def _bucket(one: Entry, draft: Draft) -> Source:
    if one["metadata_backend"] == "parquet":
        problem = "a table beside a bucket is not read"
        draft.complain(one.where("metadata_backend"), problem, "use captions of text files")
    words = "stay out of the job: they are taken from this file, or from the environment, each time"
    if one.said("aws_access_key_id"):
        names = "aws_access_key_id, aws_secret_access_key"
        draft.note("hint", f"{one.file}: {names}", words)
    made = {
        "kind": "s3",
        "bucket": one["aws_bucket_name"],
        "prefix": one["aws_data_prefix"] or "",
        "endpoint": one["aws_endpoint_url"],
        "region": one["aws_region_name"],
    }
    return {"source": made}


def keys(entries: list[Entry], draft: Draft) -> dict[str, str]:
    """The variables that keys to buckets are taken from, with what the file says of them."""
    found: dict[str, str] = {}
    for one in entries:
        for name, variable in SECRETS.items():
            value = one[name]
            if value and found.setdefault(variable, value) != value:
                problem = "is another key than that of the set before"
                draft.complain(one.where(name), problem, "use one key for all buckets")
    return found


def _hub(one: Entry, draft: Draft) -> Source:
    told = one.table("huggingface")
    _inner(one, "huggingface", told, draft)
    described = told.get("description_column", "description")
    made = {
        "kind": "hub",
        "dataset": one["dataset_name"],
        "config": one["dataset_config"],
        "split": one["split"] or "train",
        "revision": one["revision"],
        "streaming": one["streaming"],
        "image_column": told.get("image_column", "image"),
        "caption_column": told.get("caption_column"),
        "fallback_caption_column": told.get("fallback_caption_column"),
    }
    if told.get("description_column") and not made["fallback_caption_column"]:
        made["fallback_caption_column"] = described
    return {"source": made | _slice(one, told, draft)}


def _slice(one: Entry, told: Mapping[str, Any], draft: Draft) -> dict[str, int]:
    """Which part of pictures that stand side by side."""
    cut = as_section(told.get("composite_image_config"))
    if not cut.get("enabled"):
        return {}
    count, chosen = cut.get("image_count", 1), cut.get("select_index", 0)
    if not isinstance(count, int) or not isinstance(chosen, int) or not 0 <= chosen < count:
        where = one.where("huggingface", "composite_image_config")
        problem = f"there is no part {chosen} of {count}, which are counted from 0"
        draft.complain(where, problem, "change select_index or image_count")
        return {}
    return {"slices": count, "slice": chosen}


def _inner(one: Entry, key: str, told: Mapping[str, Any], draft: Draft) -> None:
    """Tell of fields of an inner object that do nothing, and of those that there are not."""
    for name in told:
        where = f"{one.file}: {key}.{name}"
        if name in IDLE[key]:
            draft.note("nothing", where, IDLE[key][name])
        elif key == "huggingface" and name in NOT_YET:
            draft.note("not yet", where, NOT_YET[name])
        elif name not in READ[key]:
            known = ", ".join(sorted(READ[key]))
            draft.complain(one.where(key, name), "there is no such field", f"known: {known}")


def _there(one: Entry, keys: tuple[str, ...], path: str, draft: Draft) -> None:
    if not one.settings.path(path).is_file():
        problem = f"there is no file {one.settings.path(path)}"
        draft.complain(one.where(*keys), problem, "mend the path")
