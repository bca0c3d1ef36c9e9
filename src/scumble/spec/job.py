"""A whole job: what to train, on what, how, and what to keep."""

from pathlib import Path

from pydantic import Field, model_validator

from scumble.spec.adapter import AdapterSpec, LoraSpec
from scumble.spec.base import Spec
from scumble.spec.dataset import DatasetSpec
from scumble.spec.hardware import HardwareSpec
from scumble.spec.model import ModelSpec
from scumble.spec.objective import ObjectiveSpec
from scumble.spec.origin import OriginSpec
from scumble.spec.saving import CacheSpec, ExportSpec, SavingSpec
from scumble.spec.tracking import TrackingSpec
from scumble.spec.training import TrainingSpec
from scumble.spec.validation import ValidationSpec


class JobSpec(Spec):
    """The one value every other room reads a section of. Built once, never changed."""

    name: str = Field(pattern=r"^[\w][\w.-]*$", max_length=100)
    """Names the run's folder and its output file."""

    model: ModelSpec
    data: tuple[DatasetSpec, ...] = Field(min_length=1)
    """The sets of pictures to learn from."""

    training: TrainingSpec
    adapter: AdapterSpec = LoraSpec()
    """Which weights are trained, and how."""

    objective: ObjectiveSpec = ObjectiveSpec()
    validation: ValidationSpec = ValidationSpec()
    saving: SavingSpec = SavingSpec()
    export: ExportSpec = ExportSpec()
    hardware: HardwareSpec = HardwareSpec()
    cache: CacheSpec = CacheSpec()
    tracking: TrackingSpec = TrackingSpec()

    origin: OriginSpec | None = None
    """Which other tool's configuration the job was made from. Written by `scumble convert` and
    `scumble kohya`; nothing but names and metadata of files depends on it."""

    output_dir: str = "outputs"
    """Where the run's folder is made. Relative to the folder the command is started in."""

    @property
    def cache_folder(self) -> Path:
        """Where encoded pictures and texts are kept."""
        return Path(self.cache.folder or Path(self.output_dir) / ".cache").expanduser()

    @model_validator(mode="after")
    def _ids_differ(self) -> "JobSpec":
        ids = [dataset.id for dataset in self.data]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"data: two sets have the id '{twice[0]}'; rename one")
        return self

    @model_validator(mode="after")
    def _sets_are_mixed_in_one_way(self) -> "JobSpec":
        used = [dataset for dataset in self.data if not dataset.disabled]
        if not used:
            raise ValueError("data: every set is disabled; leave one on")
        trained = [dataset for dataset in used if dataset.held_out < 1]
        if not trained:
            raise ValueError("data: every set is held out; leave one to train on")
        without = [dataset.id for dataset in trained if dataset.share is None]
        if without and len(without) < len(trained):
            raise ValueError(f"data: '{without[0]}' has no `share` and others have; give all one")
        if all(dataset.regularisation for dataset in trained):
            raise ValueError("data: every set is for regularisation; add one to learn from")
        return self
