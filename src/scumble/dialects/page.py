"""Tables of options as a page, so that it cannot differ from what the program does."""

from collections.abc import Callable, Iterator, Mapping

from scumble.dialects.option import Option

START, END = "<!-- options: made by scripts/make_docs.py -->", "<!-- end of the options -->"
FATES = {
    "recorded": "recorded only",
    "nothing": "no effect",
    "not yet": "not yet",
    "refused": "refused",
}

Groups = Mapping[str, tuple[Option, ...]]


def meaning(option: Option) -> str:
    """What becomes of an option, in a few words."""
    if option.fate == "acts":
        return option.words
    return f"{FATES[option.fate]}: {option.words}"


def default(option: Option) -> str:
    """What holds where it is not given."""
    return "" if option.default in (None, False, "") else str(option.default)


def markdown(groups: Groups, title: str, written: Callable[[Option], str]) -> str:
    """All options, by group, as tables; `written` is how one is written by its users."""
    return "\n".join([START, *_tables(groups, title, written), END])


def filled(page: str, tables: str) -> str:
    """A page with the tables of now between its two marks."""
    before, _, rest = page.partition(START)
    return before + tables + rest.partition(END)[2]


def _tables(groups: Groups, title: str, written: Callable[[Option], str]) -> Iterator[str]:
    for group, options in groups.items():
        yield from ("", f"### {title}s: {group}", "", f"| {title.lower()} | default | here |")
        yield "| --- | --- | --- |"
        for option in options:
            told = ", ".join(f"`{one}`" for one in option.targets) or meaning(option)
            yield f"| `{written(option)}` | {default(option)} | {told} |"
    yield ""
