"""Toys that go through the real loaders, made once for all tests; and no network for any."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.offline import sitecustomize as offline

OUTSIDE = ("HF_ENDPOINT", "HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""What a machine may have set for the hub's library; it is read when that is imported."""

PLACE = TemporaryDirectory(prefix="scumble-tests-", ignore_cleanup_errors=True)
ASKED = Path(PLACE.name, "asked")

for name in OUTSIDE:
    os.environ.pop(name, None)
os.environ["HF_HOME"] = PLACE.name
os.environ[offline.ASKED] = str(ASKED)
paths = [str(Path(offline.__file__).parent), os.environ.get("PYTHONPATH", "")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
sys.addaudithook(offline.refuse_beyond)

import torch  # noqa: E402 - whatever it brings is watched already

from scumble.errors import ScumbleError  # noqa: E402


@pytest.fixture(autouse=True)
def network() -> Iterator[None]:
    """Fail a test that asked for anything beyond this machine, whatever became of the question."""
    yield
    if ASKED.exists():
        asked = ASKED.read_text(encoding="utf-8")
        ASKED.unlink()
        pytest.fail(asked)


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
