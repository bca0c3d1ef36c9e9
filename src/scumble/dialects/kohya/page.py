"""The table of options as a page, so that it cannot differ from what the program does."""

from collections.abc import Iterator

from scumble.dialects.kohya.option import Option
from scumble.dialects.kohya.table import GROUPS

START, END = "<!-- options: made by scripts/make_docs.py -->", "<!-- end of the options -->"
FATES = {
    "recorded": "recorded only",
    "nothing": "no effect",
    "not yet": "not yet",
    "refused": "refused",
}


def meaning(option: Option) -> str:
    """What becomes of an option, in a few words."""
    if option.fate == "acts":
        return option.words
    return f"{FATES[option.fate]}: {option.words}"


def default(option: Option) -> str:
    """What holds where it is not given."""
    return "" if option.default in (None, False, "") else str(option.default)


def markdown() -> str:
    """All options, by group, as tables."""
    return "\n".join([START, *_tables(), END])


def filled(page: str) -> str:
    """A page with the tables of now between its two marks."""
    before, _, rest = page.partition(START)
    return before + markdown() + rest.partition(END)[2]


def _tables() -> Iterator[str]:
    for group, options in GROUPS.items():
        yield from ("", f"### Options: {group}", "", "| option | default | here |")
        yield "| --- | --- | --- |"
        for option in options:
            told = ", ".join(f"`{one}`" for one in option.targets) or meaning(option)
            yield f"| `{option.flag}` | {default(option)} | {told} |"
    yield ""
