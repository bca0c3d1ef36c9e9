"""Asking the `datasets` library for a dataset, and saying in plain words why there is none."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scumble.errors import FileError, JobError, ScumbleError
from scumble.spec.sources import HubSource

if TYPE_CHECKING:
    import datasets

HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
SAVED = ("state.json", "dataset_dict.json")
"""Files by which a folder made by `save_to_disk` is known."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which dataset, and where to keep what the library makes of it."""

    place: str
    """The settings' place in the job, for messages."""

    source: HubSource
    base: Path
    cache: Path | None

    @property
    def folder(self) -> Path | None:
        """The local folder that is meant, absolute; None for a dataset of the hub."""
        folder = Path(os.path.abspath(self.base / Path(self.source.dataset).expanduser()))  # noqa: PTH100
        return folder if folder.is_dir() else None

    @property
    def saved(self) -> bool:
        """Whether it is a folder in which the library itself saved a dataset."""
        return self.folder is not None and any((self.folder / name).is_file() for name in SAVED)


def dataset(asked: Asked) -> datasets.Dataset:
    """All rows of the split on this machine, downloaded if need be; ScumbleError if it fails."""
    import datasets

    _quiet()
    if asked.saved:
        return _loaded(asked)
    maker = prepared(asked)
    try:
        maker.download_and_prepare()
        rows = maker.as_dataset(split=asked.source.split)
    except failures() as error:
        raise named(asked, error) from error
    assert isinstance(rows, datasets.Dataset), "one split is asked for"
    return rows


def prepared(asked: Asked) -> datasets.DatasetBuilder:
    """What knows a dataset's files, splits and version, but has no rows yet."""
    import datasets

    _quiet()
    source, folder = asked.source, asked.folder
    if folder is None and not HUB_ID.fullmatch(source.dataset):
        problem = f"there is no such folder: {asked.base / source.dataset}"
        raise JobError(f"{asked.place}.dataset", problem, "check it; it is relative to the job")
    try:
        maker = datasets.load_dataset_builder(
            source.dataset if folder is None else str(folder),
            source.config,
            revision=source.revision if folder is None else None,
            cache_dir=None if folder is None or asked.cache is None else str(_kept(asked.cache)),
        )
    except failures() as error:
        raise named(asked, error) from error
    _check_split(asked, maker)
    return maker


def version(maker: datasets.DatasetBuilder) -> str:
    """What changes with the files of a dataset: a commit of the hub, or their names and times."""
    return "/".join(Path(maker.cache_dir).parts[-4:])


def failures() -> tuple[type[Exception], ...]:
    """What the library raises where the dataset, the network or the disk is to blame."""
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HTTPError

    return (OSError, ValueError, RuntimeError, DatasetsError, HTTPError)


def unreachable(error: BaseException | None) -> bool:
    """Whether the network is to blame."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500
    return isinstance(error, ConnectionError | TimeoutError | HTTPError)


def named(asked: Asked, error: Exception) -> ScumbleError:
    """Why the library gives no rows, and the way out."""
    from datasets import config
    from datasets.exceptions import DatasetNotFoundError

    where = f"dataset {asked.source.dataset}"
    reason = _reason(error)
    if isinstance(error, DatasetNotFoundError):
        problem = "is no folder, and the hub has no such dataset or shows it after a login only"
        return FileError(where, problem, "check `dataset` and `revision`, or set HF_TOKEN")
    if unreachable(error):
        if config.HF_HUB_OFFLINE:
            problem = "is not on this machine, and HF_HUB_OFFLINE forbids asking the hub"
            return FileError(where, problem, "unset it, or download the dataset before")
        remedy = "check the network, HF_ENDPOINT and HTTPS_PROXY; what was fetched is kept"
        no_folder = "is no folder, and " if asked.folder is None else ""
        return FileError(where, f"{no_folder}the hub cannot be reached ({reason})", remedy)
    if "config name is missing" in reason.lower() or "builderconfig" in reason.lower():
        return JobError(f"{asked.place}.config", reason, "set it to one of these")
    remedy = "check its files, and `config`, `split` and `revision`"
    return FileError(where, f"cannot be loaded ({reason})", remedy)


def _loaded(asked: Asked) -> datasets.Dataset:
    import datasets

    assert asked.folder is not None, "only folders are saved"
    try:
        rows = datasets.load_from_disk(str(asked.folder))
    except (OSError, ValueError) as error:
        raise named(asked, error) from error
    if isinstance(rows, datasets.Dataset):
        return rows
    if asked.source.split not in rows:
        raise _no_split(asked, [str(name) for name in rows])
    return rows[asked.source.split]


def _quiet() -> None:
    """Let the library show no bars and no warnings of its own."""
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()


def _kept(cache: Path) -> Path:
    return cache / "datasets"


def _check_split(asked: Asked, maker: datasets.DatasetBuilder) -> None:
    """JobError for a split that is not there, where the splits are known without any rows."""
    splits = [str(name) for name in (maker.config.data_files or maker.info.splits or ())]
    first = re.split(r"[\[+]", asked.source.split)[0].strip()
    if splits and first not in {*splits, "all"}:
        raise _no_split(asked, splits)


def _no_split(asked: Asked, splits: list[str]) -> JobError:
    problem = f"there is no split '{asked.source.split}'"
    return JobError(f"{asked.place}.split", problem, f"there are: {', '.join(splits)}")


def _reason(error: BaseException) -> str:
    """The first line that the innermost error says: the outer ones only say where it happened."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
