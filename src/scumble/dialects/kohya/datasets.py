"""The sets of pictures of a job, from a dataset file or from `--train_data_dir`."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scumble.dialects.kohya import combinations, metadata
from scumble.dialects.kohya.dataset_file import read_dataset
from scumble.dialects.kohya.settings import Settings
from scumble.dialects.kohya.subsets import Subset, native
from scumble.dialects.notes import Draft
from scumble.spec.document import Document, as_entries, as_section

STRANGE = re.compile(r"[^\w.-]+")


def data(settings: Settings, draft: Draft) -> list[list[str]]:
    """Put the sets into the draft; the ids of those that one `[[datasets]]` made, together."""
    draft.put("data", [])
    groups: list[list[str]] = []
    for subsets in _datasets(settings, draft):
        before = len(draft.tree["data"])
        for one in subsets:
            _set(one, draft)
        groups.append([made["id"] for made in draft.tree["data"][before:]])
    return groups


def _datasets(settings: Settings, draft: Draft) -> Iterator[list[Subset]]:
    if settings["dataset_config"] is None:
        yield from _by_options(settings, draft)
        return
    for name in ("train_data_dir", "reg_data_dir", "in_json"):
        if settings[name] is not None:
            draft.note("nothing", f"--{name}", "is not looked at with --dataset_config")
    document = read_dataset(settings.path(settings["dataset_config"]))
    draft.problems.extend(document.problems)
    if not document.problems:
        yield from in_file(document, settings)


def in_file(document: Document, settings: Settings) -> Iterator[list[Subset]]:
    """The subsets of each dataset of a file without problems; those of `[validation]` last."""
    tree = as_section(document.tree)
    general = as_section(tree.get("general"))
    listed = [(("datasets", n), one) for n, one in enumerate(as_entries(tree.get("datasets")))]
    measured = [(("validation",), tree["validation"])] if "validation" in tree else []
    for path, table in [*listed, *measured]:
        dataset = as_section(table)
        yield [
            Subset(
                (as_section(subset), dataset, general),
                settings,
                document.where((*path, "subsets", number)),
                measured=path[0] == "validation",
            )
            for number, subset in enumerate(as_entries(dataset["subsets"]))
        ]


def _by_options(settings: Settings, draft: Draft) -> Iterator[list[Subset]]:
    """`--train_data_dir` with folders like `10_cat`, or with `--in_json`; and `--reg_data_dir`."""
    folder, reg, file = (settings[name] for name in ("train_data_dir", "reg_data_dir", "in_json"))
    if folder is None:
        remedy = "add --dataset_config=FILE.toml, or --train_data_dir=FOLDER"
        draft.complain("--dataset_config", "nothing says which pictures to learn from", remedy)
        return
    made = {"image_dir": folder}
    if file is not None:
        made["metadata_file"] = file
    found = [Subset((made,), settings, "--train_data_dir")]
    if reg is not None:
        about = {"image_dir": reg, "is_reg": True}
        found.append(Subset((about,), settings, "--reg_data_dir"))
    yield found


def _set(one: Subset, draft: Draft) -> None:
    """Put what a subset stands for into the draft, or say why it is left out."""
    if _is_twice(one, draft):
        draft.note("nothing", one.where, "is the same folder again in one dataset: left out")
        return
    if not one.measured and one["num_repeats"] < 1:
        draft.note("nothing", one.where, "num_repeats is below 1: the subset is left out")
        return
    size = _resolution(one, draft)
    if size is None:
        return
    made = native(one, draft)
    made["resolution"] = size
    if one.where.startswith("--") and not one.said("metadata_file"):
        made["repeats_in_names"] = True
    if one.said("metadata_file"):
        made |= metadata.source(one, draft)
    combinations.kept(one, draft)
    _steps(one, draft)
    draft.tree["data"].append({"id": _id(one, made, draft), **made})


def _is_twice(one: Subset, draft: Draft) -> bool:
    """sd-scripts leaves out a second subset of the same pictures in the same dataset."""
    own = ("image_dir", "metadata_file", "conditioning_data_dir")
    key = tuple(str(one.tables[0].get(name)) for name in own)
    seen = draft.seen.setdefault(_dataset_of(one), set())
    if key in seen:
        return True
    seen.add(key)
    return False


def _dataset_of(one: Subset) -> str:
    return one.where.rpartition("subsets")[0].partition(": ")[2]


def _resolution(one: Subset, draft: Draft) -> int | list[int] | None:
    value = one["resolution"]
    match value:
        case None:
            remedy = "write resolution = 1024 in the dataset, or --resolution=1024"
            draft.complain(one.where, "nothing says at which resolution it is trained", remedy)
            return None
        case str():
            numbers = [part.strip() for part in value.split(",")]
            if len(numbers) > 2 or not all(part.isdecimal() for part in numbers):
                remedy = "write --resolution=1024 or --resolution=1024,768"
                draft.complain("--resolution", f"'{value}' is not one or two numbers", remedy)
                return None
            sides = [int(part) for part in numbers]
            return sides[0] if len(set(sides)) == 1 else sides
        case list():
            sides = [int(side) for side in value]
            return sides[0] if sides[0] == sides[1] else sides
        case _:
            return int(value)


def _steps(one: Subset, draft: Draft) -> None:
    step = one["bucket_reso_steps"]
    if one["enable_bucket"] and (step < 64 or step % 64):
        remedy = "write 64, or leave it out"
        draft.complain(one.where, f"bucket_reso_steps is {step}, no multiple of 64", remedy)


def _id(one: Subset, made: Mapping[str, Any], draft: Draft) -> str:
    """The folder's name; where that is taken, with the resolution, and then with a number."""
    taken = {each["id"] for each in draft.tree["data"]}
    listed = one.said("metadata_file")
    source = Path(one["metadata_file"]).stem if listed else Path(one["image_dir"]).name
    name = STRANGE.sub("_", source).strip("-._")[:80] or "data"
    name = f"{name}-held-out" if one.measured and name in taken else name
    if name in taken:
        sides = made["resolution"]
        size = "x".join(map(str, sides)) if isinstance(sides, list) else str(sides)
        name = f"{name}-{size}"
    number = 2
    wanted = name
    while wanted in taken:
        wanted, number = f"{name}-{number}", number + 1
    return wanted
