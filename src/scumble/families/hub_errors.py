"""What goes wrong between this machine and the hub, in words and with the way out."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scumble.data.sources.builder import unreachable
from scumble.disk import disk_error
from scumble.errors import FileError, ScumbleError

DISK = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}
)
TOO_MANY = 429
REFUSED = frozenset({401, 403})


def shown_size(count: int) -> str:
    """A number of bytes as hubs show it."""
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= one:
            return f"{count / one:.1f} {unit}"
    return f"{count} bytes"


def offline(where: str, by_hand: str, *, forbidden: bool) -> FileError:
    """Nothing on this machine, and nobody to ask."""
    if forbidden:
        problem = "is not on this machine as a whole, and HF_HUB_OFFLINE forbids asking the hub"
        return FileError(where, problem, f"unset it, or {by_hand}")
    problem = "is not on this machine as a whole, and the hub cannot be reached"
    return FileError(where, problem, f"check the network, or {by_hand}")


@contextmanager
def in_words(where: str, revision: str | None, by_hand: str) -> Iterator[None]:
    """Turn what the library raises into a FileError or DiskError; its own log is kept quiet.

    `where` is a repository, or one with a file; `by_hand` how to get it elsewhere.
    """
    from huggingface_hub import is_offline_mode
    from huggingface_hub.utils import logging

    if is_offline_mode():
        raise offline(where, by_hand, forbidden=True)
    logging.set_verbosity_error()  # its warnings name addresses that are signed
    try:
        yield
    except ScumbleError:
        raise
    except (OSError, RuntimeError, ValueError, *_others()) as error:
        raise _named(error, where, revision, by_hand) from error


def _others() -> tuple[type[Exception], ...]:
    """What the library raises besides the usual."""
    from huggingface_hub.errors import EntryNotFoundError, HTTPError, XetDownloadError

    return (EntryNotFoundError, HTTPError, XetDownloadError)


def _named(error: Exception, where: str, revision: str | None, by_hand: str) -> ScumbleError:
    """The first error that can be told, of those it was raised from."""
    for one in _chain(error):
        if (told := _told(one, where, revision, by_hand)) is not None:
            return told
    problem = f"cannot be fetched ({_reason(error)})"
    return FileError(where, problem, f"start again, what was fetched is kept; or {by_hand}")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from, the outermost first."""
    inner: BaseException | None = error
    while inner is not None:
        yield inner
        inner = inner.__cause__


def _told(
    error: BaseException, where: str, revision: str | None, by_hand: str
) -> ScumbleError | None:
    from huggingface_hub import errors

    repo = "/".join(where.split("/")[:2])
    match error:
        case errors.GatedRepoError():
            problem = "is shown only to those who accepted its licence"
            page = f"https://huggingface.co/{repo}"
            return FileError(where, problem, f"accept the licence at {page} and set HF_TOKEN")
        case errors.RepositoryNotFoundError():
            problem = "is not on this machine, and the hub has no such repository or hides it"
            return FileError(where, problem, "check the name or path, or set HF_TOKEN")
        case errors.RevisionNotFoundError():
            problem = f"has no revision '{revision}'"
            return FileError(where, problem, "check `model.revision`, or leave it out")
        case errors.RemoteEntryNotFoundError():
            return FileError(where, "has no such file", "look at its list of files on the hub")
        case errors.HfHubHTTPError():
            return _refused(error, where) or _unreached(error, where, by_hand)
        case OSError() if error.errno in DISK:
            return disk_error(_cache(), error)
        case _:
            return _unreached(error, where, by_hand)


def _refused(error: BaseException, where: str) -> FileError | None:
    """What the hub's number means; None where it is the hub's own trouble."""
    from huggingface_hub.errors import HfHubHTTPError

    assert isinstance(error, HfHubHTTPError)
    code = error.response.status_code
    if code in REFUSED:
        return FileError(where, f"the hub refuses it ({code})", "check HF_TOKEN and its rights")
    if code == TOO_MANY:
        remedy = "wait some minutes and start again; with HF_TOKEN set it allows more"
        return FileError(where, f"the hub was asked too often ({code})", remedy)
    return None


def _unreached(error: BaseException, where: str, by_hand: str) -> FileError | None:
    """None where the network is not to blame."""
    if not unreachable(error):
        return None
    problem = f"is not on this machine as a whole, and the hub cannot be reached ({_reason(error)})"
    remedy = (
        f"check the network, HF_ENDPOINT and HTTPS_PROXY (what was fetched is kept), or {by_hand}"
    )
    return FileError(where, problem, remedy)


def _reason(error: BaseException) -> str:
    """One line without addresses, which may be signed, and without the user's token."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return f"{error.response.status_code} {error.response.reason_phrase}"
    lines = str(error).replace(get_token() or "\0", "***").strip().splitlines()
    return lines[0][:200].split(" for url")[0] if lines else type(error).__name__


def _cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)
