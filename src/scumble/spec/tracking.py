"""Which services draw the run's curves while it goes on."""

from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from scumble.spec.base import Spec

TrackerName = Literal["tensorboard", "wandb"]
PROJECT = "scumble"
REFUSED = r"/\#?%:"  # by Weights & Biases, in the names of projects


class TrackingSpec(Spec):
    """Services that are told of the run besides its own journal and report. Keys are no settings:
    they come from the environment alone (WANDB_API_KEY, or what `wandb login` has kept)."""

    to: TrackerName | tuple[TrackerName, ...] = ()
    """`tensorboard` (files in the run's folder), `wandb` (Weights & Biases; WANDB_MODE=offline
    keeps its files in the run's folder, too), or both as a list. Empty: none."""

    project: str = Field(default=PROJECT, min_length=1, max_length=128)
    """Project of Weights & Biases that the run stands in."""

    run: str | None = Field(default=None, min_length=1, max_length=128)
    """Name it is shown under there. Unset: the job's name."""

    entity: str | None = Field(default=None, min_length=1, max_length=128)
    """User or team there whose project it is. Unset: as the key's owner has chosen."""

    every: PositiveInt = 1
    """Steps between two points of a curve; pictures and messages are always sent."""

    @property
    def trackers(self) -> tuple[TrackerName, ...]:
        """All of them."""
        return (self.to,) if isinstance(self.to, str) else self.to

    @model_validator(mode="after")
    def _settings_fit_together(self) -> "TrackingSpec":
        if len(set(self.trackers)) < len(self.trackers):
            raise ValueError("`to` names a service twice; name each once")
        if refused := sorted(set(REFUSED) & set(self.project)):
            raise ValueError(f"`project` may not hold {refused[0]}; choose another name")
        told = {"project": self.project != PROJECT, "run": self.run, "entity": self.entity}
        for name in (name for name, used in told.items() if used and "wandb" not in self.trackers):
            raise ValueError(f"`{name}` needs wandb in `to`; add it, or leave `{name}` out")
        return self
