"""The table of options as a page, so that it cannot differ from what the program does."""

from scumble.dialects import page
from scumble.dialects.kohya.table import GROUPS


def markdown() -> str:
    """All options, by group, as tables."""
    return page.markdown(GROUPS, "Option", lambda option: option.flag)


def filled(text: str) -> str:
    """A page with the tables of now between its two marks."""
    return page.filled(text, markdown())
