"""How the blocks of a denoiser are run, one after another.

A family walks its blocks through `net.run`; recomputing, streaming and compiling are runs around
one another, and no family knows which of them is at work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """What flows from block to block."""

    image: Tensor
    """Tokens of the pictures [batch, tokens, features]; once joined, text comes first."""

    text: Tensor | None
    """Tokens of the text, None once joined."""

    time: Tensor
    """Noise level, guidance and summary of the text in one vector [batch, features]."""

    places: tuple[Tensor, Tensor]
    """Cosine and sine of every token's position, text first: [tokens, head features] each."""

    seen: Tensor | None = None
    """True for each token that attention may look at, text first: [batch, 1, 1, tokens]. None:
    all of them."""


Run = Callable[[int, nn.Module, Stream], Stream]


@dataclass(frozen=True)
class Net:
    """A denoiser and the way its blocks are run."""

    module: nn.Module
    run: Run


def plain(index: int, block: nn.Module, stream: Stream) -> Stream:
    """Just the block."""
    return block(stream)


def recomputed(index: int, block: nn.Module, stream: Stream) -> Stream:
    """Keep a block's input only and compute the rest again in the backward pass.

    Adapter dropout takes its masks from stored seeds, so no generator state needs to be kept.
    """
    answer = checkpoint(block, stream, use_reentrant=False, preserve_rng_state=False)
    assert isinstance(answer, Stream)
    return answer


def recomputed_inside(network: nn.Module) -> nn.Module:
    """A network that runs its blocks by itself, with each keeping its input only.

    The blocks are those of its outermost list, one after another.
    """
    blocks = next(one for one in network.modules() if isinstance(one, nn.ModuleList))
    for block in blocks:
        block.forward = partial(
            checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False
        )
    return network


def run_for(*, gradient_checkpointing: bool) -> Run:
    """The run that the job's hardware section asks for."""
    return recomputed if gradient_checkpointing else plain
