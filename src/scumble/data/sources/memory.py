"""Bytes in memory that are used as a file."""

from io import BytesIO


class Memory(BytesIO):
    """A file that was read already; it has a name and a mode as those on disk have."""

    def __init__(self, name: str, content: bytes) -> None:
        super().__init__(content)
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    @property
    def mode(self) -> str:
        return "rb"
