"""A whole job: what to train, on what, how, and what to keep."""

from pydantic import Field, model_validator

from scumble.spec.adapter import AdapterSpec, LoraSpec
from scumble.spec.base import Spec
from scumble.spec.dataset import DatasetSpec
from scumble.spec.hardware import HardwareSpec
from scumble.spec.model import ModelSpec
from scumble.spec.objective import ObjectiveSpec
from scumble.spec.saving import CacheSpec, ExportSpec, SavingSpec
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
    objective: ObjectiveSpec = ObjectiveSpec()
    validation: ValidationSpec = ValidationSpec()
    saving: SavingSpec = SavingSpec()
    export: ExportSpec = ExportSpec()
    hardware: HardwareSpec = HardwareSpec()
    cache: CacheSpec = CacheSpec()

    output_dir: str = "outputs"
    """Where the run's folder is made. Relative to the folder the command is started in."""

    @model_validator(mode="after")
    def _ids_differ(self) -> "JobSpec":
        ids = [dataset.id for dataset in self.data]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"data: two sets have the id '{twice[0]}'; rename one")
        return self
