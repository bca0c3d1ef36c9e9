"""Toys that go through the real loaders, made once for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from scumble.errors import ScumbleError


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty home for builtin models, so that tests see what a new user sees."""
    folder = tmp_path_factory.mktemp("home")
    torch.set_num_threads(1)  # toys are too small for more
    before = os.environ.get("SCUMBLE_HOME")
    os.environ["SCUMBLE_HOME"] = str(folder)
    yield folder
    if before is None:
        del os.environ["SCUMBLE_HOME"]
    else:
        os.environ["SCUMBLE_HOME"] = before


def told(group: BaseException) -> str:
    """Everything a group of errors says, for looking words up in it."""
    if isinstance(group, BaseExceptionGroup):
        return "\n".join(told(error) for error in group.exceptions)
    assert isinstance(group, ScumbleError)
    return str(group)
