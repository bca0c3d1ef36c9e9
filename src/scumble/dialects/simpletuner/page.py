"""The tables of keys and of a data set's fields as a page, so that it cannot differ from what the
program does."""

from scumble.dialects import page
from scumble.dialects.option import Option
from scumble.dialects.simpletuner.entry_keys import FIELDS
from scumble.dialects.simpletuner.table import GROUPS

ENTRIES = tuple(
    Option(field.name, "text", field.default, field.fate, field.words) for field in FIELDS
)


def filled(text: str) -> str:
    """A page with the tables of now between its two marks."""
    groups = {**GROUPS, "fields of a set in the data file": ENTRIES}
    return page.filled(text, page.markdown(groups, "Key", lambda option: option.name))
