"""The finished adapter as files for other tools, and the proof that they are what was trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scumble.adapters.attach import Adapters
from scumble.checkpoint import export
from scumble.errors import FileError
from scumble.events import Event, Exported, Warned
from scumble.preflight.plan import Plan

Tell = Callable[[Event], None]


def delivered(plan: Plan, adapters: Adapters, step: int, tell: Tell) -> Path:
    """The file for other tools: written, read back, and the same as what was trained."""
    job, file = plan.job, plan.folder / f"{plan.job.name}.safetensors"
    path = job.model.path or job.model.parts["denoiser"]
    about = {
        "scumble.job": job.name,
        "scumble.rank": str(job.adapter.rank),
        "scumble.alpha": str(job.adapter.alpha or job.adapter.rank),
        "scumble.steps": str(step),
        "scumble.base_model": path if path.startswith("builtin:") else Path(path).name,
    }
    trained = adapters.tensors()
    count = export.write(file, trained, dtype=job.export.dtype, about=about)
    if not export.holds(file, trained, dtype=job.export.dtype):
        problem = "the file read back is not what was written"
        raise FileError(file, problem, "look at the disk, then run the same command again")
    if all(bool((one.up == 0).all()) for one in trained.values()):
        tell(Warned(text="The adapter changes nothing: every `up` is still zero."))
    size, layout = file.stat().st_size, job.export.layouts[0]
    tell(Exported(step=step, file=file, layout=layout, tensors=count, bytes=size))
    return file
