"""How much memory was in use at most since it was last asked to forget."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

PROCESS = Path("/proc/self")
FORGET = "5"  # proc(5), clear_refs: the peak becomes what is in use now


def forget_peak(device: torch.device) -> bool:
    """Count from here: of a card what torch has given out, else what this process has.

    False where that is not possible, and a peak would tell of what was before.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    if device.type != "cpu":
        return False
    try:
        (PROCESS / "clear_refs").write_text(FORGET)
    except OSError:
        return False
    return True


def peak_bytes(device: torch.device) -> int | None:
    """The most at any time since `forget_peak`; None where that cannot be known.

    Read on the host: the card is not waited for.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type != "cpu":
        return None
    with suppress(OSError):
        for line in (PROCESS / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None
