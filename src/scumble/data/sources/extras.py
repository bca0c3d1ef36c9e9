"""Which libraries a source needs that scumble does without until one asks for it."""

from importlib.util import find_spec

from scumble.errors import JobError

EXTRAS = {"s3": ("s3fs",), "hub": ("datasets",), "tables": ("pyarrow",)}
"""The libraries behind each extra of the package."""


def demanded(extra: str, place: str) -> None:
    """JobError that names the extra to install, unless all its libraries are there."""
    missing = [library for library in EXTRAS[extra] if find_spec(library) is None]
    if missing:
        problem = f"needs the library {', '.join(missing)}, which is not installed"
        raise JobError(place, problem, f"run `pip install 'scumble[{extra}]'`")
