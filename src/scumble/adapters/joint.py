"""The adapters of all networks that a job trains, as one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor, nn

from scumble.adapters.attach import Adapters, Role
from scumble.adapters.layouts import Changes


@dataclass(frozen=True)
class Joint:
    """Adapters that are switched, named and delivered together."""

    parts: tuple[Adapters, ...]

    def matrices(self) -> Iterator[tuple[str, nn.Parameter, Role]]:
        """What is trained with its name, once each, part after part."""
        for one in self.parts:
            yield from one.matrices()

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by name."""
        return {name: parameter for name, parameter, _ in self.matrices()}

    def changes(self) -> Changes:
        """What is delivered, by part and layer."""
        return {one.names.part: one.tensors() for one in self.parts}

    @contextmanager
    def off(self) -> Iterator[None]:
        """The base model alone; may be nested."""
        with ExitStack() as stack:
            for one in self.parts:
                stack.enter_context(one.off())
            yield

    @contextmanager
    def dropping(self, seeds: Int[Tensor, " batch"] | None) -> Iterator[None]:
        """Dropout drawn from these seeds; outside there is none."""
        with ExitStack() as stack:
            for one in self.parts:
                stack.enter_context(one.dropping(seeds))
            yield

    def detach(self) -> None:
        """Give the networks their own layers back."""
        for one in self.parts:
            one.detach()
