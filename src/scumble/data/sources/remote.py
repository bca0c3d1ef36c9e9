"""Reading what lies behind a network with few requests: its head, its tail, or all at once."""

from __future__ import annotations

import errno
from collections.abc import Callable
from io import SEEK_CUR, SEEK_END, SEEK_SET, RawIOBase

END_BYTES = 64 << 10
"""So much of each end is fetched alone; a header and the last mark of a picture lie there."""

WHOLE_BYTES = 4 * END_BYTES
"""What is not larger is fetched at once."""

LIMIT_BYTES = 512 << 20
"""What is larger is not fetched whole: it would fill the memory."""


class Remote(RawIOBase):
    """A file that is fetched as far as it is read: at most three requests, whatever is read.

    `fetch` gives the bytes from a first place to a last one, which is included. The end of a
    larger file is fetched alone when a reader jumps to it.
    """

    mode = "rb"

    def __init__(self, name: str, size_bytes: int, fetch: Callable[[int, int], bytes]) -> None:
        super().__init__()
        self.name = name
        self._size = size_bytes
        self._fetch = fetch
        self._place = 0
        self._ends: dict[int, bytes] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        start = {SEEK_SET: 0, SEEK_CUR: self._place, SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("a place before the beginning")
        self._place = start + offset
        return self._place

    def readall(self) -> bytes:
        return self.read(-1)

    def read(self, size: int | None = -1, /) -> bytes:
        last = self._size if size is None or size < 0 else min(self._place + size, self._size)
        if last <= self._place:
            return b""
        begin, held = self._around(self._place, last)
        piece = held[self._place - begin : last - begin]
        self._place = last
        return piece

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # pyright: ignore
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def _around(self, first: int, last: int) -> tuple[int, bytes]:
        """Bytes that hold those from `first` to before `last`, and where they begin."""
        for begin, held in self._ends.items():
            if begin <= first and last <= begin + len(held):
                return begin, held
        tail = self._size - END_BYTES
        if self._size > WHOLE_BYTES and last <= END_BYTES:
            begin, end = 0, END_BYTES
        elif self._size > WHOLE_BYTES and first >= tail:
            begin, end = tail, self._size
        elif self._size > LIMIT_BYTES:
            raise OSError(errno.EFBIG, f"is larger than {LIMIT_BYTES >> 20} MB")
        else:
            begin, end = 0, self._size
            self._ends.clear()
        held = self._fetch(begin, end - 1)
        if len(held) != end - begin:
            raise OSError(errno.EIO, f"gave {len(held)} bytes instead of {end - begin}")
        self._ends[begin] = held
        return begin, held
