"""Fetching pictures by their addresses, each once, into a folder of the cache.

A file there is whole: its name holds a hash of the address and one of the content.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from http.client import HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path
from urllib import error, parse, request

from scumble.data.sources.magic import HEAD_BYTES, ending_of
from scumble.data.sources.retry import tried
from scumble.disk import SIGNED, made, orphaned, signature, told

AT_ONCE = 8
LIMIT_BYTES = 512 << 20
TIMEOUT_SECONDS = 30.0
"""Of silence; a server that goes on sending is waited for."""

CHUNK_BYTES = 1 << 20
PATIENCE = 5
"""After so many addresses of one host in a row that it did not answer, it is asked no more."""

HEADERS = {"User-Agent": "scumble", "Accept": "image/*,*/*"}
SAFE = "%/:=&?~#+!$,;'@()*[]"
"""What stays in an address; anything else, such as a space, is written as %20 is."""

PASSING = (ConnectionError, TimeoutError)
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """A picture that was fetched, now or before."""

    file: Path
    size_bytes: int
    mtime_ns: int
    source: str
    """Hash of its bytes."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An address that leads to no picture."""

    reason: str
    """The rest of a sentence about it."""

    passing: bool = False
    """Whether the network is to blame, so that it may do later."""


def is_address(text: str) -> bool:
    """Whether a cell names something on the web rather than a file."""
    return text[:8].lower().startswith(("http://", "https://"))


def host_and_path(address: str) -> tuple[str, str]:
    """The two parts of an address, however wrong it is."""
    host, _, path = re.split(r"[?#]", address.split("://", 1)[-1])[0].partition("/")
    return host, path


def fetched(addresses: Sequence[str], folder: Path) -> dict[str, Fetched | Failed]:
    """Where the picture of each address lies now; those that are there are not fetched again.

    DiskError if the folder cannot be written to.
    """
    made(folder)
    there = _kept(folder)
    missing = [one for one in dict.fromkeys(addresses) if _hash(one) not in there]
    silent: Counter[str] = Counter()
    pool = ThreadPoolExecutor(max_workers=AT_ONCE)
    try:
        got = dict(
            zip(missing, pool.map(lambda one: _got(one, folder, silent), missing), strict=True)
        )
    finally:
        pool.shutdown(cancel_futures=True)
    return {one: got[one] if one in got else there[_hash(one)] for one in addresses}


def _kept(folder: Path) -> dict[str, Fetched]:
    """What was fetched before, by the hash of its address; what dead processes left is removed."""
    there: dict[str, Fetched] = {}
    with told(folder), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                signed = entry.name[1:]
                if SIGNED.fullmatch(signed) and orphaned(signed):
                    Path(entry.path).unlink(missing_ok=True)
            elif len(names := entry.name.split(".")[0].split("-")) == 2:
                there[names[0]] = _fetched(Path(entry.path), names[1])
    return there


def _got(address: str, folder: Path, silent: Counter[str]) -> Fetched | Failed:
    """The picture of one address, or why there is none; `silent` counts what hosts owe."""
    host, _ = host_and_path(address)
    if silent[host] >= PATIENCE:
        return Failed(f"was not asked for, as {host} does not answer", passing=True)
    try:
        file = tried(lambda: _asked(address, folder), PASSING)
    except error.HTTPError as answer:
        answer.close()
        reason = f"cannot be fetched ({answer.code} {answer.reason})"
        return Failed(reason, passing=answer.code in BUSY)
    except PASSING as lost:
        silent[host] += 1
        return Failed(f"cannot be fetched ({lost or 'no answer'})", passing=True)
    except (HTTPException, ValueError) as odd:
        return Failed(f"cannot be fetched ({odd})")
    silent[host] = 0
    return file


def _asked(address: str, folder: Path) -> Fetched | Failed:
    """One request; PASSING errors for all that may be otherwise the next time."""
    question = request.Request(parse.quote(address, safe=SAFE), headers=HEADERS)
    try:
        with _opener().open(question, timeout=TIMEOUT_SECONDS) as answer:
            return _saved(answer, folder, _hash(address))
    except error.HTTPError as answer:
        if answer.code in BUSY:
            answer.close()
            raise ConnectionError(f"{answer.code} {answer.reason}") from None
        raise
    except error.URLError as lost:
        raise ConnectionError(str(lost.reason)) from None
    except (IncompleteRead, OSError) as lost:  # on the way, as TLS that breaks
        raise ConnectionError(f"it broke off: {lost}") from None


def _saved(answer: HTTPResponse, folder: Path, name: str) -> Fetched | Failed:
    """Write what comes beside, and rename it when it is whole and begins like a picture."""
    partial = folder / f".{signature()}"
    digest, size_bytes, ending = blake2b(digest_size=16), 0, ""
    try:
        with told(folder):
            stream = partial.open("xb")
        with stream:
            while chunk := answer.read(CHUNK_BYTES):
                if size_bytes == 0 and not (ending := ending_of(chunk[:HEAD_BYTES])):
                    return Failed(f"is no picture ({answer.headers.get_content_type()})")
                size_bytes += len(chunk)
                if size_bytes > LIMIT_BYTES:
                    return Failed(f"is larger than {LIMIT_BYTES >> 20} MB")
                digest.update(chunk)
                with told(folder):
                    stream.write(chunk)
        promised = answer.headers.get("Content-Length")
        if promised is not None and size_bytes < int(promised):
            raise ConnectionError(f"it broke off after {size_bytes} of {promised} bytes")
        if size_bytes == 0:
            return Failed("has no bytes")
        file = folder / f"{name}-{digest.hexdigest()}{ending}"
        with told(folder):
            partial.replace(file)
        return _fetched(file, digest.hexdigest())
    finally:
        partial.unlink(missing_ok=True)


def _fetched(file: Path, source: str) -> Fetched:
    status = file.stat()
    return Fetched(file=file, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns, source=source)


def _opener() -> request.OpenerDirector:
    """One that can do nothing but the web: a redirection to a file or to FTP ends there."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.UnknownHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPRedirectHandler(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _hash(address: str) -> str:
    return blake2b(address.encode(errors="surrogatepass"), digest_size=16).hexdigest()
