"""Options about the files in the output folder: which are idle, and what a run goes on from.

The files themselves follow from `origin`, where all options are kept; the job is the same.
"""

from scumble.dialects.kohya.settings import Settings
from scumble.dialects.notes import Draft

NEEDS = {
    "save_last_n_epochs": ("save_every_n_epochs", "save_n_epoch_ratio"),
    "save_last_n_steps": ("save_every_n_steps",),
    "save_last_n_epochs_state": ("save_state",),
    "save_last_n_steps_state": ("save_state",),
}
"""Options that take away what others have written: without any of these there is nothing."""

OPTIONS = frozenset(
    {*NEEDS, "save_every_n_epochs", "save_every_n_steps", "save_n_epoch_ratio", "save_state"}
    | {"output_name", "resume"}
)
"""Those that the files follow whatever the job says."""


def files(settings: Settings, draft: Draft) -> None:
    """Note what is idle, and a folder or a picture that is not there."""
    for name, others in NEEDS.items():
        if settings[name] is not None and not any(settings[other] for other in others):
            needed = " or ".join(f"--{other}" for other in others)
            draft.note("nothing", f"--{name}", f"has no effect without {needed}")
    for name in ("save_every_n_epochs", "save_every_n_steps", "save_n_epoch_ratio"):
        if settings[name] is not None and settings[name] < 1:
            draft.complain(f"--{name}", "must be above 0", "leave it out for the last file alone")
    _thumbnail(settings, draft)
    _resume(settings, draft)


def _thumbnail(settings: Settings, draft: Draft) -> None:
    picture = settings["metadata_thumbnail"]
    if not picture or picture.startswith("data:") or settings.path(picture).is_file():
        return
    words = f"there is no file {settings.path(picture)}: left out"
    draft.note("nothing", "--metadata_thumbnail", words)


def _resume(settings: Settings, draft: Draft) -> None:
    if settings["resume"] is None:
        return
    place = settings.path(settings["resume"])
    if not place.is_dir():
        remedy = "name a folder that ends in -state; the same command again needs no --resume"
        draft.complain("--resume", f"there is no folder {place}", remedy)
    else:
        words = (
            "the run goes on from this state, or from its own newest checkpoint if that is later"
        )
        draft.note("hint", "--resume", words)
