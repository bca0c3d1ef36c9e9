"""Importing large libraries without what they do and say besides."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from io import StringIO
from typing import Any

KERNELS = "kernels"
LOUD = (
    "bitsandbytes.backends.cpu.ops",
    "diffusers.quantizers.torchao.torchao_quantizer",
    "torch.utils._pytree",
    "torchao",
)
"""What complains of other packages while it is imported: of kernels that are not there, and of
libraries that were built for another torch."""


@contextmanager
def from_this_machine() -> Iterator[None]:
    """Import without asking the hub for compiled kernels, and without a complaint of having none.

    bitsandbytes, which diffusers imports where it is installed, does so on CPUs with bf16 units;
    transformers and accelerate import torchao where it is.
    """
    before = {name: logging.getLogger(name).level for name in LOUD}
    there = KERNELS in sys.modules
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.ERROR)
    if not there:
        sys.modules[KERNELS] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
        if not there:
            del sys.modules[KERNELS]


@contextmanager
def quietly() -> Iterator[None]:
    """Keep from the terminal all that a library says and warns of while it is imported.

    What it changes belongs to the whole process: not for what other threads run beside.
    """
    before = logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stdout(StringIO()), from_this_machine():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def imported(name: str) -> Any:
    """A library by its dotted name, quietly where this is the first time."""
    if name not in sys.modules:
        with quietly():
            import_module(name)
    return sys.modules[name]
