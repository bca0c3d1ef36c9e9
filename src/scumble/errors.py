"""What can go wrong that a user can put right.

ScumbleError
  JobError        the job asks for something that cannot be
  FileError       a file is missing, unreadable or not what it should be
  DiskError       nothing can be written there, or the disk is full
  NotFinite       a loss or a gradient is not a finite number

Anything else that escapes is our bug, and keeps its traceback.
"""

from collections.abc import Iterator


class ScumbleError(Exception):
    """Shown to the user as it is, without a traceback; the program exits with 2."""

    def __init__(self, where: object, problem: str, remedy: str) -> None:
        super().__init__(f"{where}: {problem}; {remedy}")
        self.where = str(where)
        self.problem = problem
        self.remedy = remedy


class JobError(ScumbleError):
    """The job asks for something that cannot be."""


class FileError(ScumbleError):
    """A file is missing, unreadable or not what it should be."""


class DiskError(ScumbleError):
    """Nothing can be written there, or the disk is full."""


class NotFinite(ScumbleError):
    """A loss or a gradient is not a finite number."""


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors of a group and of the groups in it, or the error itself."""
    match error:
        case BaseExceptionGroup():
            for inner in error.exceptions:
                yield from leaves(inner)
        case _:
            yield error


def gather(title: str, problems: list[ScumbleError]) -> None:
    """Raise all problems at once, if there are any."""
    if problems:
        raise ExceptionGroup(title, problems)
