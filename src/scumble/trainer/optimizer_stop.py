"""Prodigy that keeps the rate it has found after a number of steps."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from scumble.errors import JobError

STOP = "stop_after"
WHERE = "training.optimizer.options.stop_after"


def stopped(optimizer: torch.optim.Optimizer, steps: Any) -> None:
    """Have it seek for so many steps and no longer; JobError where that is no number of steps.

    It counts its steps in `k`, which a checkpoint holds, so there is nothing else to keep.
    """
    match steps:
        case int() if steps > 0 and not isinstance(steps, bool):
            optimizer.register_step_pre_hook(partial(_hold, steps))
        case _:
            remedy = "give it a whole number above 0, or leave it out"
            raise JobError(WHERE, f"{steps!r} is no number of steps", remedy)


def _hold(steps: int, optimizer: torch.optim.Optimizer, arguments: Any, named: Any) -> None:
    """Neither a new estimate nor growth moves `d` any more: d = min(d_max, d * growth_rate)."""
    for group in optimizer.param_groups:
        if group["k"] >= steps:
            group["d_coef"], group["growth_rate"] = 0.0, 1.0
