"""Pictures in a bucket that speaks S3; nothing is downloaded to know which there are.

Keys to the bucket come from the environment or from AWS's own files, never from a job.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from io import BufferedReader
from typing import TYPE_CHECKING, Any, BinaryIO

from scumble.data.sources.extras import demanded
from scumble.data.sources.folder import ENDINGS, UNSUPPORTED, visible
from scumble.data.sources.record import Beside, Found, Lent, Listing, Where
from scumble.data.sources.remote import Remote
from scumble.data.sources.retry import Answer, tried
from scumble.errors import FileError, ScumbleError
from scumble.spec.sources import S3Source

if TYPE_CHECKING:
    import s3fs

BUSY = (errno.EBUSY, errno.EREMOTEIO)
"""What s3fs makes of 503 and 500."""

PAGE_KEYS = 1000
CONNECT_SECONDS = 10
READ_SECONDS = 60
KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Object:
    """One version of an object."""

    bucket: str
    key: str
    etag: str
    size_bytes: int
    mark: str
    """Its version and when it was written."""


def listing(where: Where, source: S3Source) -> Listing:
    """The objects under the prefix, which is taken for a folder: `cats` is `cats/`.

    Ids begin behind it. FileError if the bucket cannot be listed after several tries.
    """
    demanded("s3", f"data.{where.id}.source")
    prefix = source.prefix.strip("/") + "/" if source.prefix.strip("/") else ""
    files = _connected(source)
    delimiter = "" if where.subfolders else "/"
    objects = _listed(files, source, prefix, delimiter)
    texts = {} if where.text_ending is None else _texts(objects, where.text_ending)
    pictures: list[Found] = []
    unsupported: Counter[str] = Counter()
    absent: list[tuple[str, str]] = []
    for one in objects:
        id = one.key[len(prefix) :]
        stem, ending = os.path.splitext(id)  # noqa: PTH122
        if not visible(id):
            continue
        if ending.lower() in UNSUPPORTED - ENDINGS:
            unsupported[ending.lower()] += 1
        elif ending.lower() in ENDINGS and _odd(id):
            absent.append((id, "has a key that is no path"))
        elif ending.lower() in ENDINGS:
            pictures.append(_found(files, id, one, texts.get(prefix + stem)))
    return Listing(
        root=f"s3://{source.bucket}/{prefix}",
        pictures=tuple(sorted(pictures, key=lambda one: one.id)),
        unsupported=dict(sorted(unsupported.items())),
        absent=tuple(absent),
    )


def _connected(source: S3Source) -> s3fs.S3FileSystem:
    """A client that has not said a word yet; it can be sent to other processes."""
    from s3fs import S3FileSystem

    files = S3FileSystem(
        anon=source.anonymous,
        endpoint_url=source.endpoint,
        client_kwargs={} if source.region is None else {"region_name": source.region},
        config_kwargs={
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": READ_SECONDS,
            "retries": {"total_max_attempts": 1},  # `tried` asks again
        },
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    files.retries = 1
    return files


def _listed(
    files: s3fs.S3FileSystem, source: S3Source, prefix: str, delimiter: str
) -> list[Object]:
    """All objects, page by page, or none."""
    from botocore.exceptions import BotoCoreError

    def ask() -> list[Object]:
        return [
            Object(
                bucket=source.bucket,
                key=one["Key"],
                etag=one["ETag"].strip('"'),
                size_bytes=one["Size"],
                mark=f"{one['ETag']} {one['LastModified'].isoformat()}",
            )
            for page in _pages(files, source.bucket, prefix, delimiter)
            for one in page.get("Contents", ())
            if not one["Key"].endswith("/")  # what stands for a folder
        ]

    try:
        return tried(partial(_patient, ask), _passing())
    except (OSError, BotoCoreError, ValueError) as error:
        raise _named(source, error) from error


def _pages(
    files: s3fs.S3FileSystem, bucket: str, prefix: str, delimiter: str
) -> Iterable[dict[str, Any]]:
    token: dict[str, str] = {}
    while True:
        page: Any = files.call_s3(
            "list_objects_v2",
            Bucket=bucket,
            Prefix=prefix,
            Delimiter=delimiter,
            MaxKeys=PAGE_KEYS,
            **token,
        )
        yield page
        if not page.get("IsTruncated"):
            return
        token = {"ContinuationToken": page["NextContinuationToken"]}


def _patient(ask: Callable[[], Answer]) -> Answer:
    """What `ask` gives; that a service is busy is an error that may pass."""
    try:
        return ask()
    except OSError as error:
        if error.errno in BUSY:
            raise ConnectionError(str(error)) from error
        raise


def _passing() -> tuple[type[Exception], ...]:
    """What may be otherwise the next time."""
    from botocore import exceptions

    lost = (exceptions.ConnectionError, exceptions.HTTPClientError)
    return (ConnectionError, TimeoutError, EOFError, *lost)


def _texts(objects: Iterable[Object], ending: str) -> dict[str, Object]:
    """The text files by their keys without ending; of two, the one spelt as asked for."""
    alike = [one for one in objects if one.key.lower().endswith(ending.lower())]
    ordered = sorted(alike, key=lambda one: one.key.endswith(ending))
    return {one.key[: -len(ending)]: one for one in ordered}


def _found(files: s3fs.S3FileSystem, id: str, one: Object, text: Object | None) -> Found:
    facts = ("s3", one.bucket, one.key, one.etag, one.size_bytes)
    beside = None
    if text is not None:
        beside = Beside(file=_lent(files, text), size_bytes=text.size_bytes, mtime_ns=_number(text))
    return Found(
        id=id,
        file=_lent(files, one),
        size_bytes=one.size_bytes,
        mtime_ns=_number(one),
        beside=beside,
        source=blake2b(repr(facts).encode(), digest_size=16).hexdigest(),
    )


def _number(one: Object) -> int:
    """Stands for the version as a time does."""
    return int.from_bytes(blake2b(one.mark.encode(), digest_size=7).digest(), "little")


def _lent(files: s3fs.S3FileSystem, one: Object) -> Lent:
    return Lent(f"s3://{one.bucket}/{one.key}", partial(_opened, files, one))


def _opened(files: s3fs.S3FileSystem, one: Object) -> BinaryIO:
    return BufferedReader(Remote(one.key, one.size_bytes, partial(_fetched, files, one)))


def _fetched(files: s3fs.S3FileSystem, one: Object, first: int, last: int) -> bytes:
    """Some bytes of just the version that was listed; OSError if it is gone or cannot be had.

    Its number tells it from what Pillow raises for a picture that is broken.
    """
    from botocore.exceptions import BotoCoreError
    from fsspec.asyn import sync

    def ask() -> Any:
        return sync(files.loop, _asked, files, one, first, last)

    try:
        return tried(partial(_patient, ask), _passing())
    except (BotoCoreError, OSError, EOFError) as error:
        raise OSError(errno.EIO, f"cannot be fetched ({error})") from error


async def _asked(files: s3fs.S3FileSystem, one: Object, first: int, last: int) -> bytes:
    answer = await files._call_s3(
        "get_object",
        Bucket=one.bucket,
        Key=one.key,
        IfMatch=f'"{one.etag}"',
        Range=f"bytes={first}-{last}",
    )
    async with answer["Body"] as body:
        return await body.read()


def _odd(id: str) -> bool:
    """Whether a key could lead elsewhere as a path."""
    return any(part in {"", ".", ".."} for part in id.split("/")) or "\\" in id


def _named(source: S3Source, error: Exception) -> ScumbleError:
    """Why a bucket cannot be listed, in plain words, and the way out."""
    from botocore.exceptions import BotoCoreError, NoCredentialsError

    service = source.endpoint or "Amazon S3"
    where = f"s3://{source.bucket} at {service}"
    if isinstance(error, NoCredentialsError):
        remedy = f"set {KEYS} in the environment, or `anonymous: true` for a public bucket"
        return FileError(where, "no keys to it were found", remedy)
    if isinstance(error, FileNotFoundError):
        return FileError(where, "there is no such bucket", "check `bucket` and `endpoint`")
    if isinstance(error, PermissionError):
        problem = f"access is denied ({error})"
        remedy = f"check {KEYS} in the environment, and that they may list this bucket"
        return FileError(where, problem, remedy)
    if isinstance(error, BotoCoreError | ConnectionError | TimeoutError):
        remedy = "check `endpoint`, `region` and the network"
        return FileError(where, f"cannot be reached ({error})", remedy)
    remedy = "check `bucket`, `region` and `endpoint`"
    return FileError(where, f"cannot be listed ({error})", remedy)
