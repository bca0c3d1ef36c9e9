"""Asking again when a network stumbles."""

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")

WAITS = (0.5, 2.0)
"""Seconds between tries; there is one try more than waits."""


def tried(ask: Callable[[], Answer], passing: tuple[type[Exception], ...]) -> Answer:
    """What `ask` gives; it is asked again after an error that may pass, and the last one rises."""
    for wait in WAITS:
        try:
            return ask()
        except passing:
            time.sleep(wait)
    return ask()
