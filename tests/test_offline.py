"""The suite needs no network, and cannot use one."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.conftest import ASKED
from tests.offline.sitecustomize import is_own


@pytest.fixture
def asked() -> Callable[[], str]:
    """What was asked for since; taken away, so that this test does not fail for it."""

    def taken() -> str:
        text = ASKED.read_text()
        ASKED.unlink()
        return text

    return taken


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("0.0.0.0", True),
        (None, True),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("10.0.0.1", False),
        ("192.0.2.1", False),
        ("2001:db8::1", False),
        ("huggingface.co", False),
    ],
)
def test_what_is_this_machine(host: str | None, own: bool) -> None:
    assert is_own(host) == own


def test_names_and_addresses_beyond_this_machine_are_refused(asked: Callable[[], str]) -> None:
    with pytest.raises(OSError, match=r"nothing beyond this machine, .* huggingface\.co"):
        socket.getaddrinfo("huggingface.co", 443)
    told = r"socket\.connect was to reach 192\.0\.2\.1"
    with socket.socket() as stream, pytest.raises(OSError, match=told):
        stream.connect(("192.0.2.1", 443))
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams, pytest.raises(OSError, match="sendto"):
        datagrams.sendto(b"", ("192.0.2.1", 53))
    assert len(asked().splitlines()) == 3


def test_processes_that_tests_start_are_watched_too(asked: Callable[[], str]) -> None:
    program = "import urllib.request as r; r.urlopen('http://example.org')"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 1 and "may reach nothing beyond this machine" in ended.stderr
    assert "example.org" in asked()
