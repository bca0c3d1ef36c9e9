"""A run in the words of sd-scripts: its dates, its pictures and the hashes of its base model.

For jobs that were made from one of its commands; others have none of this.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from scumble.checkpoint import kohya_memory
from scumble.checkpoint.bases import DENOISER
from scumble.checkpoint.kohya_memory import Memory
from scumble.checkpoint.kohya_metadata import Facts, entries
from scumble.checkpoint.kohya_names import Dates
from scumble.data.picture_set import PictureSet
from scumble.families.fingerprints import fingerprints
from scumble.preflight.plan import Plan
from scumble.spec.dataset import DatasetSpec
from scumble.spec.job import JobSpec
from scumble.spec.sizing import BucketsSizing

SLICE = (0x100000, 0x10000)
"""Where the short hash of a file is taken, and over how many bytes."""


def is_of(job: JobSpec) -> bool:
    """Whether the job was made from one of its commands."""
    return job.origin is not None and job.origin.tool == "sd-scripts"


def dates(plan: Plan) -> Dates:
    """When which file is due."""
    origin = plan.job.origin
    assert origin
    return Dates(
        settings=origin.settings,
        name=origin.output_name,
        steps=max(plan.job.training.steps, plan.newest.step if plan.newest else 0),
        steps_per_epoch=max(1, math.ceil(plan.steps_per_epoch)),
    )


def metadata(plan: Plan, step: int, epoch: int | None = None) -> dict[str, str]:
    """What a file written now says of the run, as sd-scripts' files do; nothing for other jobs.

    `epoch` as the file counts it; unset: all epochs of the run.
    """
    if not is_of(plan.job):
        return {}
    assert plan.job.origin
    remembered = memory(plan)
    when = dates(plan)
    facts = Facts(
        settings=plan.job.origin.settings,
        name=plan.job.origin.output_name,
        dates=when,
        seed=plan.job.training.seed,
        session=remembered.session,
        started=remembered.started,
        data=data(plan),
        hashes=hashes(plan),
    )
    return entries(facts, step=step, epoch=when.epochs if epoch is None else epoch, now=time.time())


def memory(plan: Plan) -> Memory:
    """What the run remembers of the files that it has written."""
    return kohya_memory.read(plan.folder, plan.job.training.seed, plan.job.name)


def hashes(plan: Plan) -> dict[str, str]:
    """The entries about the base model and a VAE that was named; a large file is read once, not
    for every run."""
    origin = plan.job.origin
    assert origin
    told = str(origin.settings.get("pretrained_model_name_or_path"))
    files = plan.model.files(DENOISER)
    main = next((one for one in files if one.name == Path(told).name), None)
    found = _file("sd_model", main, Path(told).name)
    if vae := origin.settings.get("vae"):
        place = Path(str(vae)).expanduser()
        found |= _file("vae", place if place.is_file() else None, place.name)
    return found


def _file(what: str, file: Path | None, name: str) -> dict[str, str]:
    """A folder or a model of the hub has a name and no hash."""
    told = {f"ss_{what}_name": name}
    if file is None:
        return told
    known = fingerprints([file]) or {}
    with file.open("rb") as stream:
        stream.seek(SLICE[0])
        short = sha256(stream.read(SLICE[1])).hexdigest()[:8]
    new = {f"ss_new_{what}_hash": one for one in known.values()}
    return told | {f"ss_{what}_hash": short} | new


def data(plan: Plan) -> dict[str, str]:
    """The entries about pictures, batches and captions; counts are with repeats."""
    origin = plan.job.origin
    assert origin
    sets = [one for one in plan.sets if one.spec.held_out < 1]
    pools = range(len(plan.order.pools))
    told = {
        "ss_num_train_images": _shown(sets, regularisation=False),
        "ss_num_reg_images": _shown(sets, regularisation=True),
        "ss_num_validation_images": sum(len(one.held) for one in plan.parted),
        "ss_num_batches_per_epoch": sum(plan.order.units_in_epoch(0, pool) for pool in pools),
    }
    if origin.settings.get("dataset_config") is None:
        told |= _plain(sets, origin.settings, plan.job.training.units_per_step)
    else:
        told |= _grouped(sets, origin.settings.get("datasets") or [])
    return {name: str(value) for name, value in told.items()}


def _grouped(sets: Sequence[PictureSet], groups: Sequence[Sequence[str]]) -> dict[str, Any]:
    """For a dataset file: each of its datasets, and tags and folders of all together."""
    by_id = {one.spec.id: one for one in sets}
    found = [[by_id[id] for id in group if id in by_id] for group in groups]
    return {
        "ss_datasets": json.dumps([_dataset(group) for group in found if group]),
        "ss_tag_frequency": json.dumps(_tags(sets)),
        "ss_dataset_dirs": json.dumps(_folders(sets, regularisation=False)),
    }


def _plain(sets: Sequence[PictureSet], settings: Mapping[str, Any], units: int) -> dict[str, Any]:
    """For options alone, which make one dataset; `units`: batches of a step, over all processes."""
    whole = _dataset(sets)
    batch = whole["batch_size_per_device"]
    by_name = ("color_aug", "flip_aug", "random_crop", "shuffle_caption", "keep_tokens")
    return {
        **{f"ss_{name}": settings.get(name) for name in by_name},
        "ss_bucket_no_upscale": settings.get("bucket_no_upscale"),
        "ss_batch_size_per_device": batch,
        "ss_total_batch_size": batch * units,
        "ss_resolution": tuple(whole["resolution"]),
        "ss_enable_bucket": whole["enable_bucket"],
        "ss_min_bucket_reso": whole["min_bucket_reso"],
        "ss_max_bucket_reso": whole["max_bucket_reso"],
        "ss_dataset_dirs": json.dumps(_folders(sets, regularisation=False)),
        "ss_reg_dataset_dirs": json.dumps(_folders(sets, regularisation=True)),
        "ss_tag_frequency": json.dumps(_tags(sets)),
        "ss_bucket_info": json.dumps(whole["bucket_info"]),
    }


def _dataset(sets: Sequence[PictureSet]) -> dict[str, Any]:
    first = sets[0].spec
    made: dict[str, Any] = {
        "is_dreambooth": first.source is None,
        "batch_size_per_device": sets[0].batch,
        "num_train_images": _shown(sets, regularisation=False),
        "num_reg_images": _shown(sets, regularisation=True),
        "resolution": _sides(first),
        "enable_bucket": False,
        "min_bucket_reso": None,
        "max_bucket_reso": None,
        "tag_frequency": _tags(sets),
        "bucket_info": _buckets(sets),
        "resize_interpolation": first.interpolation,
        "subsets": [_subset(one) for one in sets],
    }
    match first.sizing:
        case BucketsSizing(enable=True) as sizing:
            limits = {"min_bucket_reso": sizing.minimum, "max_bucket_reso": sizing.maximum}
            return made | limits | {"enable_bucket": True}
        case _:
            return made


def _subset(one: PictureSet) -> dict[str, Any]:
    spec, edits = one.spec, one.spec.caption_edits
    cut = spec.sizing.model_dump().get("random_crop", False)
    return {
        "img_count": len(one.examples),
        "num_repeats": spec.repeats,
        "color_aug": bool(spec.colour),
        "flip_aug": spec.flip,
        "random_crop": bool(cut),
        "shuffle_caption": edits.shuffle,
        "keep_tokens": edits.keep_tokens,
        "keep_tokens_separator": edits.keep_tokens_separator,
        "secondary_separator": edits.secondary_separator,
        "enable_wildcard": edits.wildcards,
        "caption_prefix": edits.prefix,
        "caption_suffix": edits.suffix,
        "resize_interpolation": spec.interpolation,
        "image_dir": _folder(spec),
        "class_tokens": spec.prompt,
        "is_reg": spec.regularisation,
    }


def _sides(spec: DatasetSpec) -> list[int]:
    match spec.resolution:
        case int(side):
            return [side, side]
        case (width, height):
            return [int(width), int(height)]
        case _:
            return []


def _folder(spec: DatasetSpec) -> str:
    """The last name of where a set's pictures lie; for a table its own."""
    return PurePosixPath(Path(spec.folder).as_posix()).name if spec.folder else spec.id


def _shown(sets: Iterable[PictureSet], *, regularisation: bool) -> int:
    """Pictures with their repeats."""
    chosen = (one for one in sets if one.spec.regularisation == regularisation)
    return sum(len(one.examples) * one.spec.repeats for one in chosen)


def _folders(sets: Iterable[PictureSet], *, regularisation: bool) -> dict[str, dict[str, int]]:
    """By folder; of two with the same name the second has a number."""
    found: dict[str, dict[str, int]] = {}
    for one in sets:
        if one.spec.regularisation != regularisation:
            continue
        plain = name = _folder(one.spec)
        number = 2
        while name in found:
            name, number = f"{plain} ({number})", number + 1
        found[name] = {"n_repeats": one.spec.repeats, "img_count": len(one.examples)}
    return found


def _tags(sets: Iterable[PictureSet]) -> dict[str, dict[str, int]]:
    """How often a folder's captions have each tag; a folder that is used twice counts once."""
    found: dict[str, dict[str, int]] = {}
    for one in sets:
        said = (text for example in one.examples for text in example.target.captions)
        tags = (tag.strip().lower() for text in said for tag in text.split(","))
        found.setdefault(_folder(one.spec), dict(Counter(filter(None, tags))))
    return found


def _buckets(sets: Sequence[PictureSet]) -> dict[str, Any]:
    """How many pictures, with repeats, are trained at which size, and how far their shapes were
    from it."""
    counts: Counter[tuple[int, int]] = Counter()
    errors: list[float] = []
    for one in sets:
        for frame in one.frames:
            (height, width), (rows, columns) = frame.size, frame.original
            counts[width, height] += one.spec.repeats
            errors.append(abs(columns / rows - width / height))
    listed = {
        str(number): {"resolution": size, "count": counts[size]}
        for number, size in enumerate(sorted(counts))
    }
    return {"buckets": listed, "mean_img_ar_error": sum(errors) / max(1, len(errors))}
