"""One entry of multidatabackend.json: its values, and where in the file they stand."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scumble.dialects.notes import Draft
from scumble.dialects.simpletuner.entry_keys import BY_NAME, CACHES
from scumble.dialects.simpletuner.settings import Settings
from scumble.spec.document import Document

STRANGE = re.compile(r"[^\w.-]+")
REGULARISATION = ("is_regularisation_data", "is_regularization_data")


@dataclass(frozen=True)
class Entry:
    """A set of pictures, or a place where something of them is kept."""

    number: int
    """Its place in the file, from 0."""

    fields: Mapping[str, Any]
    document: Document
    settings: Settings

    def __getitem__(self, key: str) -> Any:
        """The value of a field, given or not; null is as if it were not given."""
        value = self.fields.get(key)
        return BY_NAME[key].default if value is None else value

    def said(self, key: str) -> bool:
        """Whether the entry itself gives a value."""
        return self.fields.get(key) is not None

    def table(self, key: str) -> Mapping[str, Any]:
        """The inner fields of an object; none where there is no such object."""
        return self[key] or {}

    @property
    def id(self) -> str:
        """As it is written in the file."""
        return str(self.fields.get("id") or f"entry {self.number + 1}")

    @property
    def name(self) -> str:
        """The id as a job has it: without blanks and other strange signs."""
        return STRANGE.sub("_", self.id).lstrip(".-")[:100] or f"set-{self.number + 1}"

    @property
    def kind(self) -> str:
        """`dataset_type`; whatever has a `conditioning_type` is conditioning."""
        if self["dataset_type"] == "image" and self.said("conditioning_type"):
            return "conditioning"
        return self["dataset_type"]

    @property
    def file(self) -> str:
        """The name of the file, as notes about a field of any set have it."""
        return Path(self.document.name).name

    @property
    def disabled(self) -> bool:
        """Left out altogether."""
        return bool(self["disabled"] or self["disable"])

    @property
    def is_cache(self) -> bool:
        """It has no pictures."""
        return self.kind in CACHES

    @property
    def holds_back(self) -> bool:
        """It has pictures of the class, which are to be answered as by the base model."""
        return any(self[key] for key in REGULARISATION)

    def where(self, *keys: str) -> str:
        """What messages call a field, or the entry: `data.json:12: cat.crop_style`."""
        lines, path = self.document.lines, (self.number, *keys)
        while path and path not in lines:
            path = path[:-1]
        line = f":{lines[path]}" if path else ""
        return f"{self.document.name}{line}: {'.'.join((self.id, *keys))}"

    def noted(self, draft: Draft, key: str) -> None:
        """Tell that a field has no effect, once for all sets."""
        field = BY_NAME[key]
        about = "not yet" if field.fate == "not yet" else "nothing"
        draft.note(about, f"{self.file}: {key}", field.words)
