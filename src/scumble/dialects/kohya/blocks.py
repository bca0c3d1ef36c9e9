"""Which of FLUX's blocks are trained, as sd-scripts writes it: `0,1,8-12`, `all` or `none`."""

DOUBLE, SINGLE = 19, 38
"""Blocks of the published model; the grammar's limits, also for smaller ones."""


def selected(text: str, count: int) -> tuple[int, ...]:
    """The blocks that a text names, of `count`; ValueError, in words, for one that cannot be."""
    if text == "all":
        return tuple(range(count))
    if text in ("none", ""):
        return ()
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers = (_number(first, part), _number(last if "-" in part else first, part))
        if numbers[0] > numbers[1]:
            raise ValueError(f"'{part.strip()}' runs backwards")
        if numbers[1] >= count:
            raise ValueError(
                f"there is no block {numbers[1]}; they are counted from 0 to {count - 1}"
            )
        found.update(range(numbers[0], numbers[1] + 1))
    return tuple(sorted(found))


def _number(text: str, part: str) -> int:
    if not text.strip().isdecimal():
        raise ValueError(f"'{part.strip()}' is no block and no range of blocks")
    return int(text)
