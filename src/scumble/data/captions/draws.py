"""Many small random numbers from one key, cheaply: a hash has room for sixteen."""

import struct

from scumble import dice

SPAN = 1 << 32
"""A drawn number lies below this."""

BLOCK = struct.Struct("<16I")


def numbers(count: int, *key: int | str) -> list[int]:
    """So many whole numbers from 0 up to, not including, `SPAN`."""
    drawn: list[int] = []
    for block in range(0, count, 16):
        word = dice.word(*key, block, bits=8 * BLOCK.size)
        drawn += BLOCK.unpack(word.to_bytes(BLOCK.size, "little"))
    return drawn[:count]


def pick(count: int, *key: int | str) -> int:
    """One of 0 .. count - 1."""
    return dice.word(*key) * count // SPAN
