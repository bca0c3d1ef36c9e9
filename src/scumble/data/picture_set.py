"""One set of a job, cut to size: which versions of its pictures there are, and which is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scumble import dice
from scumble.data.captions import edits as wording
from scumble.data.captions.edits import When
from scumble.data.example import Example
from scumble.data.order import Row
from scumble.data.sizes.frame import Frame, Size, of_area
from scumble.data.sizes.framer import Framer, framer
from scumble.spec.dataset import DatasetSpec
from scumble.spec.references import ReferenceSpec
from scumble.spec.training import TrainingSpec

TURNS = 1 << 16  # more often than that no picture is seen in one epoch


@dataclass(frozen=True, kw_only=True)
class PictureSet:
    """The examples of one set and everything that is drawn for them."""

    spec: DatasetSpec
    examples: tuple[Example, ...]
    framer: Framer
    loose: tuple[Framer | None, ...]
    """One for each reference; None for those that have the target's size."""

    frames: tuple[Frame, ...]
    """Each target's first cut."""

    step: int
    """Sides are multiples of it."""

    batch: int
    steps: int
    """Of the whole run, for captions that grow."""

    seed: int

    @classmethod
    def of(
        cls, spec: DatasetSpec, examples: Sequence[Example], training: TrainingSpec, *, step: int
    ) -> PictureSet:
        """With every example's first cut; sides are multiples of `step`."""
        seed = training.seed
        cutter = framer(spec.sizing, spec.resolution, step)
        targets = [example.target for example in examples]
        frames = tuple(
            cutter.frame(one.width, one.height, drawing(seed, spec.id, one.id, 0))
            for one in targets
        )
        return cls(
            spec=spec,
            examples=tuple(examples),
            framer=cutter,
            loose=tuple(_loose(one, spec, step) for one in spec.references),
            frames=frames,
            step=step,
            batch=spec.batch_size or training.batch_size,
            steps=training.steps,
            seed=seed,
        )

    def versions(self, epochs: int) -> range:
        """Of each picture, all that a run of so many epochs keeps; none if none are kept."""
        match self.spec.variants:
            case "fresh":
                return range(0)
            case "epoch":
                last = self.spec.end_epoch or epochs
                return range(self.spec.start_epoch - 1, min(epochs, last))
            case count:
                return range(int(count) * (2 if self.spec.flip else 1))

    def version(self, row: Row) -> int:
        """Which version an example shows at a turn; where sizes differ by version, all turns of an
        epoch show the same."""
        turn = 0 if self.framer.varies else row.turn
        match self.spec.variants:
            case "fresh":
                return row.epoch * TURNS + turn
            case "epoch":
                return row.epoch
            case _ if len(self.versions(1)) == 1:
                return 0
            case _:
                key = (self.spec.id, row.epoch, turn, self.examples[row.member].id)
                return dice.word(self.seed, "version", *key) % len(self.versions(1))

    def parted(self, version: int) -> tuple[int, bool | None]:
        """The number a version's draws are made with, and whether it is mirrored; None: drawn."""
        match self.spec.variants:
            case "fresh" | "epoch":
                return version, None
            case _ if self.spec.flip:
                return version // 2, version % 2 == 1
            case _:
                return version, False

    def frame(self, member: int, version: int) -> Frame:
        """The target's cut in a version."""
        drawn, _ = self.parted(version)
        if drawn == 0 or not self.framer.random:
            return self.frames[member]
        target = self.examples[member].target
        draw = drawing(self.seed, self.spec.id, target.id, drawn)
        return self.framer.frame(target.width, target.height, draw)

    def packed(self, number: int, size: Size) -> Size:
        """At what size a reference is shown whose `fit` gives it that one."""
        side = self.spec.references[number].area
        return size if side is None else of_area(size, side, self.step)

    def there(self, member: int) -> tuple[int, ...]:
        """Numbers of the references that an example has."""
        images = self.examples[member].references
        made = [one.degrade is not None for one in self.spec.references]
        return tuple(n for n, image in enumerate(images) if image is not None or made[n])

    def shown(self, row: Row) -> tuple[int, ...]:
        """Numbers of the references an example shows at a turn."""
        there = self.there(row.member)
        if self.spec.reference_sampling == "combined" or len(there) < 2:
            return there
        key = (self.seed, "reference", self.spec.id, row.epoch, self.examples[row.member].id)
        return (there[dice.word(*key) % len(there)],)

    def texts(self, member: int, shown: Sequence[int]) -> tuple[str, ...]:
        """All that may be said of an example: the texts of its references where they have any."""
        example = self.examples[member]
        images = [example.references[number] for number in shown]
        own = tuple(text for image in images if image is not None for text in image.captions)
        return own or example.target.captions

    def caption(self, row: Row, step: int) -> str:
        """An example's text at a turn, and at a step, from 1, for captions that grow."""
        return wording.told(
            self.texts(row.member, self.shown(row)),
            self.spec.caption_edits,
            dropout=self.spec.caption_dropout,
            key=(self.seed, self.spec.id, row.epoch, row.turn, self.examples[row.member].id),
            when=When(row.epoch, step, self.steps),
        )


def drawing(seed: int, place: str, id: str, drawn: int) -> Callable[[str], float]:
    """What a picture's cut is drawn with: a number in [0, 1) for each word."""

    def draw(what: str) -> float:
        return dice.uniform(seed, "crop", place, id, drawn, what)

    return draw


def _loose(one: ReferenceSpec, spec: DatasetSpec, step: int) -> Framer | None:
    if one.fit == "strict":
        return None
    return framer(one.sizing or spec.sizing, one.resolution or spec.resolution, step)
