"""`data_backend_sampling`: how likely each set is to come next."""

import os
from collections.abc import Sequence

from scumble.dialects.notes import Draft
from scumble.dialects.simpletuner.entry import Entry
from scumble.dialects.simpletuner.settings import Settings

KEY = "data_backend_sampling"
ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"})


def uniform(trained: Sequence[Entry], asked: Settings, draft: Draft) -> dict[str, float]:
    """The `probability` of each set for `uniform`; {} where that is not asked, or not known.

    `auto-weighting` is what a job does by itself: the larger set comes more often. With
    `uniform`, a set's own probability decides, so a batch of a large set is as much less likely.
    """
    if asked[KEY] != "uniform" or len(trained) < 2:
        return {}
    if any(one["type"] != "local" for one in trained):
        words = "sets are drawn by their sizes: those that are no folders cannot be counted ahead"
        draft.note("not yet", f"{KEY}=uniform", words)
        return {}
    seen = {one.id: max(1, _count(one)) * (max(one["repeats"], 0) + 1) for one in trained}
    mean = sum(seen.values()) / len(seen)
    return {one.id: round(one["probability"] * mean / seen[one.id], 6) for one in trained}


def _count(one: Entry) -> int:
    folders = os.walk(one.settings.path(one["instance_data_dir"] or ""))
    names = (name for _, _, inside in folders for name in inside)
    return sum(os.path.splitext(name)[1].lower() in ENDINGS for name in names)  # noqa: PTH122
