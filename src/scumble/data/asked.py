"""What a run asks of the cache, picture by picture: to record it, to explain it, to keep it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from scumble.data import held_out, origins
from scumble.data.cache import Missing
from scumble.data.captions.edits import possible
from scumble.data.library import Library, both
from scumble.data.looks import Look, looks
from scumble.data.origins import Origins, Parts
from scumble.data.picture_set import PictureSet


def pictures(library: Library) -> dict[str, list[Missing]]:
    """Every version of every picture that is kept, by set, whether it has an entry or not.

    Ids are `SET/PICTURE` or `SET.REFERENCE/PICTURE`; pictures whose bytes were never hashed are
    left out. Versions of one id come in order.
    """
    return {name: list(_of_set(library, name)) for name in library.sets}


def texts(library: Library, name: str) -> dict[str, tuple[str, ...]]:
    """All that may be said of each target of a set, by `SET/PICTURE`.

    Where captions are new each time, what they are made from.
    """
    one, measured = library.sets[name], library.held.get(name)
    said = {
        f"{name}/{example.id}": _said(one, member) for member, example in enumerate(one.examples)
    }
    if measured is not None:
        said |= {
            f"{name}/{example.id}": (held_out.caption(measured, member),)
            for member, example in enumerate(measured.examples)
        }
    return said


def keys(library: Library, wanted_texts: Sequence[str]) -> list[bytes]:
    """The keys of everything that a run asks for."""
    seen = [one.key for group in pictures(library).values() for one in group]
    return [*seen, *_masks(library), *(library.text_key(text) for text in wanted_texts)]


def record(
    library: Library,
    name: str,
    picture_recipe: Mapping[str, str],
    text_recipe: Mapping[str, str],
) -> Origins:
    """What makes the entries of a set, as it is now."""
    versions: dict[str, list[Parts]] = {}
    for each in _of_set(library, name):
        versions.setdefault(each.id, []).append(origins.parts(each.source, each.view))
    said = texts(library, name) if library.keeps_texts else {}
    return Origins(
        picture_recipe=picture_recipe,
        text_recipe=text_recipe,
        pictures={id: tuple(rows) for id, rows in versions.items()},
        texts={id: tuple(map(origins.brief, of_it)) for id, of_it in said.items()},
    )


def _of_set(library: Library, name: str) -> Iterator[Missing]:
    return (
        replace(library.wanted(look), id=_id(look))
        for one in both(library, name)
        for look in library.kept(one)
        if library.hash_of(look)
    )


def _masks(library: Library) -> Iterator[bytes]:
    every = (one for name in library.sets for one in both(library, name))
    for one in filter(library.keeps, every):
        for member in range(len(one.examples)):
            for version in one.versions(library.epochs[one.spec.id]):
                look = looks(one, member, version).mask
                if look is not None and library.hash_of(look):
                    yield library.mask(one, look).key


def _id(look: Look) -> str:
    """Pictures that are made from their target are told apart from it."""
    made = look.view.degraded
    return f"{look.place}/{look.image.id}" + (f" ({made.spec.kind})" if made else "")


def _said(one: PictureSet, member: int) -> tuple[str, ...]:
    raw = one.texts(member, one.there(member))
    key = (one.seed, one.spec.id, one.examples[member].id)
    edits, dropout = one.spec.caption_edits, one.spec.caption_dropout
    return possible(raw, edits, dropout=dropout, key=key) or tuple(raw)
