"""Which device computes, and in which precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from scumble.errors import JobError
from scumble.launch import Launch, launched
from scumble.spec.hardware import HardwareSpec

CPU_UNITS_FOR_BF16 = ("amx_bf16", "avx512_bf16")


@dataclass(frozen=True)
class Place:
    """A device and what it computes in."""

    device: torch.device
    dtype: torch.dtype

    @property
    def precision(self) -> str:
        """As the job spells it."""
        return "bf16" if self.dtype is torch.bfloat16 else "fp32"

    def autocast(self) -> torch.autocast:
        """The only autocast there is: lower precision inside, float32 left alone outside."""
        lower = self.dtype is not torch.float32
        return torch.autocast(self.device.type, dtype=self.dtype if lower else None, enabled=lower)


def place_for(spec: HardwareSpec) -> Place:
    """The device and precision that a job's hardware section means on this machine."""
    device = _device(spec.device)
    if spec.precision == "auto":
        return Place(device, torch.bfloat16 if has_bf16_units(device) else torch.float32)
    return Place(device, {"fp32": torch.float32, "bf16": torch.bfloat16}[spec.precision])


def _device(name: str) -> torch.device:
    mine = launched()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if mine.world > 1 and name != "cpu":
        return _own_card(name, mine)
    device = torch.device("cuda", 0) if name == "cuda" else torch.device(name)
    there = {"cpu": 1, "cuda": torch.cuda.device_count()}
    there["mps"] = int(torch.backends.mps.is_available())
    if (device.index or 0) >= there[device.type]:
        remedy = "see `scumble doctor`, or use `hardware.device: cpu`"
        raise JobError("hardware.device", f"torch finds no device '{name}' here", remedy)
    return device


def _own_card(name: str, mine: Launch) -> torch.device:
    """The card of one process among several."""
    if name != "cuda":
        problem = f"{mine.world} processes cannot share '{name}'"
        raise JobError("hardware.device", problem, "say cuda, and each takes a card of its own")
    cards = torch.cuda.device_count()
    if mine.local_world > cards:
        problem = f"{mine.local_world} processes were started here, and torch finds {cards} cards"
        raise JobError("hardware.device", problem, "start as many processes as there are cards")
    return torch.device("cuda", mine.local_rank)


def has_bf16_units(device: torch.device) -> bool:
    """Whether bf16 is faster than fp32 there; without such units a CPU is 2-3 times slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    facts = Path("/proc/cpuinfo")
    words = set(facts.read_text().split()) if device.type == "cpu" and facts.exists() else set()
    return any(unit in words for unit in CPU_UNITS_FOR_BF16)


@contextmanager
def visiting(device: torch.device, module: nn.Module) -> Iterator[nn.Module]:
    """Have a module on the device for a while; afterwards it waits on the CPU again."""
    module.to(device)
    try:
        yield module
    finally:
        module.to("cpu")
