"""What around a run may explain its pace and its memory: versions, driver, threads, load."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from scumble import __version__

LIBRARIES = ("torch", "diffusers", "transformers")
DRIVER = Path("/proc/driver/nvidia/version")
LOAD = "load"
CORES = "cores"


def surroundings(device: torch.device) -> dict[str, str]:
    """All of it by name; what is not known here is left out."""
    found = {"scumble": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    if device.type == "cuda":
        found["CUDA"] = str(torch.version.cuda or torch.version.hip)
        if driver := _driver():
            found["driver"] = driver
    found["threads"] = str(torch.get_num_threads())
    found[CORES] = str(_cores())
    return found | load()


def load() -> dict[str, str]:
    """How busy the machine has been in the last minute, this process included."""
    if os.name != "nt":
        with suppress(OSError):
            return {LOAD: f"{os.getloadavg()[0]:.1f}"}
    return {}


def changed(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs, each as "torch 2.12.0 -> 2.13.0"; a load counts from half of the cores on."""
    found = [
        f"{name} {then.get(name, 'none')} -> {now.get(name, 'none')}"
        for name in {**then, **now}
        if name != LOAD and then.get(name) != now.get(name)
    ]
    with suppress(KeyError, ValueError):
        if float(now[LOAD]) - float(then[LOAD]) > int(now[CORES]) / 2:
            found.append(f"load of the machine {then[LOAD]} -> {now[LOAD]}")
    return found


def _driver() -> str:
    try:
        found = re.search(r"\b\d{3,}\.\d+(\.\d+)*\b", DRIVER.read_text())
    except OSError:
        return ""
    return found.group() if found else ""


def _cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
