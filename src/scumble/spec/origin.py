"""What another tool's configuration said, where a job was made from one."""

from typing import Any, Literal

from pydantic import Field

from scumble.spec.base import Spec


class OriginSpec(Spec):
    """The tool and its settings, kept for the metadata that its users' other programs read."""

    tool: Literal["sd-scripts", "simpletuner"]
    """Whose configuration it was."""

    settings: dict[str, Any] = Field(default_factory=dict)
    """All its settings with their values, secrets left out."""

    output_dir: str | None = None
    """Where that tool would put its files; deliverables are put there too."""

    output_name: str | None = None
    """What that tool would call them, without an ending."""
