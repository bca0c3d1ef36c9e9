"""No test reaches a network: whatever asks for anything beyond this machine is refused, and told.

Python tells its audit hooks of every look-up and connection before it is made, so that nothing goes
around them but foreign code with sockets of its own. With this folder on PYTHONPATH, every Python
that a test starts is watched from its beginning, for that is when it imports a module of this name.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

ASKED = "SCUMBLE_TESTS_ASKED"
"""The variable that names the file of what was asked for."""

HIDDEN = "SCUMBLE_TESTS_HIDDEN"
"""The variable that names modules which are to be as if they were not installed."""

LOOKED_UP = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
CONNECTED = ("socket.connect", "socket.sendto", "socket.sendmsg")


class Blocked(OSError):
    """Something beyond this machine was asked for."""


def refuse_beyond(event: str, arguments: tuple[Any, ...]) -> None:
    """The hook."""
    if event in LOOKED_UP:
        host = arguments[0]
    elif event in CONNECTED and isinstance(arguments[1], tuple) and arguments[1]:
        host = arguments[1][0]
    else:  # anything else, and sockets that have a path
        return
    name = host.decode(errors="replace") if isinstance(host, bytes) else host
    if not is_own(name):
        said = f"tests may reach nothing beyond this machine, and {event} was to reach {name}"
        if file := os.environ.get(ASKED):
            with Path(file).open("a", encoding="utf-8") as asked:
                asked.write(f"{said}\n")
        raise Blocked(said)


def is_own(host: object) -> bool:
    """Whether a name or an address is this machine's own."""
    from ipaddress import ip_address

    if host is None or host in {"", "localhost", "ip6-localhost"}:
        return True
    try:
        address = ip_address(str(host).split("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


if __name__ == "sitecustomize":
    for module in os.environ.get(HIDDEN, "").split():
        sys.modules[module] = None  # pyright: ignore[reportArgumentType] - it cannot be imported
    sys.addaudithook(refuse_beyond)
