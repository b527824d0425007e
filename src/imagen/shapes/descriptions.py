"""What a caption states about a scene: the kinds of `Description`, and the list of all descriptions."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product
from typing import ClassVar

from imagen.shapes.vocabulary import NUMBER_WORDS, Background, Colour, Relation, Shape, Size


@dataclass(frozen=True)
class Look:
    """The two properties that tell one object from another."""

    colour: Colour
    shape: Shape


@dataclass(frozen=True)
class Composition:
    """One object and its arrangement: the unit that is held out from training.

    `arrangement` is "alone", "several", "together", or the object's side of the other object: "left", "right", "above"
    or "below".
    """

    look: Look
    arrangement: str


class Description(ABC):
    """What a caption states. Hashable. Two descriptions are equal exactly if their captions are."""

    kind: ClassVar[str]
    background: Background

    @property
    @abstractmethod
    def looks(self) -> tuple[Look, ...]:
        """The look of every object of the scene, in the order of the caption."""

    @property
    @abstractmethod
    def compositions(self) -> tuple[Composition, ...]:
        """The distinct compositions that the scene shows."""


@dataclass(frozen=True)
class Single(Description):
    """One object. `size` is None if the caption does not state it."""

    look: Look
    background: Background
    size: Size | None = None
    kind: ClassVar[str] = "single"

    @property
    def looks(self) -> tuple[Look, ...]:
        return (self.look,)

    @property
    def compositions(self) -> tuple[Composition, ...]:
        return (Composition(self.look, "alone"),)


@dataclass(frozen=True)
class Counting(Description):
    """`number` (2, 3 or 4) objects that look the same."""

    number: int
    look: Look
    background: Background
    kind: ClassVar[str] = "counting"

    @property
    def looks(self) -> tuple[Look, ...]:
        return (self.look,) * self.number

    @property
    def compositions(self) -> tuple[Composition, ...]:
        return (Composition(self.look, "several"),)


@dataclass(frozen=True)
class Pair(Description):
    """Two objects of different looks, in any place."""

    first: Look
    second: Look
    background: Background
    kind: ClassVar[str] = "pair"

    @property
    def looks(self) -> tuple[Look, ...]:
        return (self.first, self.second)

    @property
    def compositions(self) -> tuple[Composition, ...]:
        return (Composition(self.first, "together"), Composition(self.second, "together"))


@dataclass(frozen=True)
class Position(Description):
    """Two objects of different looks, the first in `relation` to the second."""

    first: Look
    relation: Relation
    second: Look
    background: Background
    kind: ClassVar[str] = "position"

    @property
    def looks(self) -> tuple[Look, ...]:
        return (self.first, self.second)

    @property
    def compositions(self) -> tuple[Composition, ...]:
        return (
            Composition(self.first, self.relation.name.lower()),
            Composition(self.second, self.relation.inverse.name.lower()),
        )


KINDS: tuple[type[Description], ...] = (Single, Counting, Pair, Position)
LOOKS: tuple[Look, ...] = tuple(Look(colour, shape) for colour, shape in product(Colour, Shape))


def enumerate_descriptions() -> Iterator[Description]:
    """All 13,590 descriptions of the grammar, once each, in a fixed order."""
    for look, size, background in product(LOOKS, (None, *Size), Background):
        yield Single(look, background, size)
    for number, look, background in product(NUMBER_WORDS, LOOKS, Background):
        yield Counting(number, look, background)
    for (first, second), background in product(permutations(LOOKS, 2), Background):
        yield Pair(first, second, background)
    for (first, second), relation, background in product(permutations(LOOKS, 2), Relation, Background):
        yield Position(first, relation, second, background)
