"""Importing large libraries without what they do besides."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

KERNELS = "kernels"
ASKING = "bitsandbytes.backends.cpu.ops"


@contextmanager
def from_this_machine() -> Iterator[None]:
    """Import without asking the hub for compiled kernels, and without a complaint of having none.

    bitsandbytes, which diffusers imports where it is installed, does so on CPUs with bf16 units.
    """
    loud = logging.getLogger(ASKING)
    before, there = loud.level, KERNELS in sys.modules
    loud.setLevel(logging.ERROR)
    if not there:
        sys.modules[KERNELS] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        yield
    finally:
        loud.setLevel(before)
        if not there:
            del sys.modules[KERNELS]
