"""All keys of a configuration with their values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scumble.dialects.simpletuner.table import OPTIONS


@dataclass(frozen=True)
class Settings:
    """What was asked for."""

    told: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The keys that were given, without leading dashes and under their newest names, with their
    values."""

    base: Path = Path()
    """Where relative paths start: the folder that the command is started in."""

    processes: int = 1
    """How many train together. What SimpleTuner counts for each of them, a job counts for all."""

    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """What `{env:NAME}` stands for."""

    def __getitem__(self, key: str) -> Any:
        """The value of a key, given or not."""
        return self.told.get(key, OPTIONS[key].default)

    def without(self, key: str) -> "Settings":
        """The same as if this key had not been given."""
        kept = {name: value for name, value in self.told.items() if name != key}
        return Settings(kept, self.base, self.processes, self.environment)

    def path(self, text: str) -> Path:
        """Where a path of the user's leads."""
        return self.base / Path(text).expanduser()
