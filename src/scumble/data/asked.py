"""What a run asks of the cache, picture by picture: to record it, to explain it, to keep it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from scumble.data import held_out, origins
from scumble.data.cache import Missing
from scumble.data.library import Library, both, keeps_words, sayings
from scumble.data.looks import Look, looks
from scumble.data.origins import Origins, Parts
from scumble.data.picture_set import PictureSet
from scumble.data.saying import Saying, Spoken, at_turn, possibly


def pictures(library: Library) -> dict[str, list[Missing]]:
    """Every version of every picture that is kept, by set, whether it has an entry or not.

    Ids are `SET/PICTURE` or `SET.REFERENCE/PICTURE`; pictures whose bytes were never hashed are
    left out. Versions of one id come in order.
    """
    return {name: list(_of_set(library, name)) for name in library.sets}


def texts(library: Library, name: str) -> dict[str, tuple[Saying, ...]]:
    """All that may be said of each target of a set, by `SET/PICTURE`.

    Where captions are new each time, what they are made from.
    """
    one, measured = library.sets[name], library.held.get(name)
    said = {
        f"{name}/{example.id}": _said(library, one, member)
        for member, example in enumerate(one.examples)
    }
    if measured is not None:
        rows = [replace(held_out.SHOWN, member=n) for n in range(len(measured.examples))]
        seen = library.glance is not None
        said |= {
            f"{name}/{measured.examples[row.member].id}": (
                library.saying(*at_turn(measured, row, 1, seen=seen)),
            )
            for row in rows
        }
    return said


def keys(library: Library, wanted_texts: Sequence[Spoken]) -> list[bytes]:
    """The keys of everything that a run asks for."""
    seen = [one.key for group in pictures(library).values() for one in group]
    seen += [library.wanted(look).key for look in library.shown]
    return [*seen, *_masks(library), *map(library.text_key, sayings(library, wanted_texts))]


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
    keeps = keeps_words(library, library.sets[name])
    said = texts(library, name) if keeps else {}
    return Origins(
        picture_recipe=picture_recipe,
        text_recipe=text_recipe,
        pictures={id: tuple(rows) for id, rows in versions.items()},
        texts={id: tuple(map(brief, of_it)) for id, of_it in said.items()},
    )


def brief(one: Saying) -> str:
    """A text as it is recorded, with what marks the pictures that it is read with."""
    told = origins.brief(one.text)
    seen = ", ".join(f"{sight.id} {sight.key.hex()[:8]}" for sight in one.sights)
    return f"{told} (read with {seen})" if seen else told


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


def _said(library: Library, one: PictureSet, member: int) -> tuple[Saying, ...]:
    shows = library.glance is not None and bool(one.spec.references)
    versions = one.versions(library.epochs[one.spec.id]) if shows else None
    told = possibly(one, member, versions)
    if told is None:
        told = [(text, ()) for text in one.texts(member, one.there(member))]
    return tuple(sayings(library, told))
