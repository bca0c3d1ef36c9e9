"""Which records a set has, wherever they come from: the one door to all sources."""

from __future__ import annotations

from pathlib import Path

from scumble.data.sources import folder, hub, s3, table
from scumble.data.sources.record import Listing, Where
from scumble.spec.sources import HubSource, S3Source, TableSource


def listed(where: Where, base: Path, cache: Path | None) -> Listing:
    """All records, sorted by id, without opening pictures that lie on this machine.

    Paths are relative to `base`. What must be fetched or unpacked is kept in the `cache` folder,
    never beside the pictures. ScumbleError that names the place and the way out.
    """
    match where.source:
        case S3Source():
            return s3.listing(where, where.source)
        case HubSource():
            return hub.listing(where, where.source, base, cache)
        case TableSource():
            return table.listing(where, where.source, base, cache)
        case None:
            assert where.folder is not None, "a set has a folder or a source"
            root = (base / Path(where.folder).expanduser()).resolve()
            return folder.listing(root, subfolders=where.subfolders, text_ending=where.text_ending)
