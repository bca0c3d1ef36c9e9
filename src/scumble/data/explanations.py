"""Whether a picture's entries are there, and if not, what differs from when they were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from scumble.data import asked, origins
from scumble.data.cache import Missing
from scumble.data.index import Index
from scumble.data.library import Library, keeps_words
from scumble.data.origins import Change, Origins
from scumble.data.saying import Saying

NEVER = "it was never encoded here"
LOST = "nothing changed: its shard was removed or is damaged, or the build was cut short"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One entry that was asked about."""

    what: str
    """`cat/p01.png`, `cat/p01.png, version 2` or `'a cat'`."""

    shard: Path | None
    """Where it lies; None if it does not."""

    changes: tuple[Change, ...] | None = ()
    """What differs, if it does not lie anywhere; None if it never was made."""

    @property
    def reason(self) -> str:
        """Why it has to be made, in words; empty if it need not be."""
        if self.shard is not None:
            return ""
        if self.changes is None:
            return NEVER
        if not self.changes:
            return LOST
        return "; ".join(f"{one.what}: {one.was} -> {one.now}" for one in self.changes)


@dataclass(frozen=True, kw_only=True)
class Explainer:
    """Answers for one set. `before` is what was recorded when it was last complete."""

    library: Library
    name: str
    before: Origins | None
    picture_recipe: Mapping[str, str]
    text_recipe: Mapping[str, str]

    def about(self, files: Sequence[str]) -> dict[str, list[Answer]]:
        """For each of these paths, names or ids, its versions and texts; no answers where the set
        has no such picture."""
        wanted = asked.pictures(self.library)[self.name]
        said = asked.texts(self.library, self.name)
        found: dict[str, list[Answer]] = {}
        for file in files:
            own = [one for one in wanted if _names(file, one)]
            found[file] = self._pictures(own)
            for id in dict.fromkeys(one.id for one in own):
                found[file] += self._texts(id, said.get(id, ()))
        return found

    def _pictures(self, own: Sequence[Missing]) -> list[Answer]:
        store = self.library.pictures[self.name]
        index = Index.of(store.folder, store.kind)
        counts: dict[str, int] = {}
        answers = []
        for one in own:
            version = counts.get(one.id, 0)
            counts[one.id] = version + 1
            place = index.find(one.key)
            parts = origins.parts(one.source, one.view)
            why = origins.why_picture(self.before, one.id, version, parts, self.picture_recipe)
            label = f"{one.id}, version {version + 1}" if version else one.id
            answers.append(Answer(what=label, shard=place.shard if place else None, changes=why))
        return answers

    def _texts(self, id: str, said: Sequence[Saying]) -> list[Answer]:
        if not keeps_words(self.library, self.library.sets[self.name]):
            return []
        store = self.library.texts
        index = Index.of(store.folder, store.kind)
        answers = []
        for one in said:
            place = index.find(self.library.text_key(one))
            why = origins.why_text(self.before, id, asked.brief(one), self.text_recipe)
            with_them = ", ".join(sight.id for sight in one.sights)
            read = f", read with {with_them}" if with_them else ""
            label = f"'{origins.brief(one.text)}'{read}"
            answers.append(Answer(what=label, shard=place.shard if place else None, changes=why))
        return answers


def _names(file: str, one: Missing) -> bool:
    """Whether a user who writes `file` means this picture: its path, its id or its name."""
    plain = PurePath(one.id.split(" (")[0])
    inside = PurePath(*plain.parts[1:]) if len(plain.parts) > 1 else plain
    names = {one.id, str(plain), str(inside), inside.name, inside.stem, str(one.file)}
    return file in names or str(Path(file).absolute()) == str(one.file)
