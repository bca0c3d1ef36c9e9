"""What the trainer, previews and checkpoints need to know of whatever is being trained."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from jaxtyping import Int
from torch import Tensor, nn


@runtime_checkable
class Trained(Protocol):
    """Adapters beside frozen layers, or the layers' own weights."""

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by name; the same objects each time, in the same order."""
        ...

    def off(self) -> AbstractContextManager[None]:
        """The base model alone, bit for bit; may be nested."""
        ...

    def dropping(self, seeds: Int[Tensor, " batch"] | None) -> AbstractContextManager[None]:
        """Dropout drawn from these seeds, one for each example; outside there is none."""
        ...

    def detach(self) -> None:
        """Leave the model as it was loaded."""
        ...
