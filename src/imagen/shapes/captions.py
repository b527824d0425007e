"""Captions: from a description to English and back."""

import re
from enum import Enum
from functools import singledispatch
from typing import TypeVar

from imagen.errors import UserError
from imagen.shapes.descriptions import Counting, Description, Look, Pair, Position, Single
from imagen.shapes.vocabulary import NUMBER_WORDS, Background, Colour, Relation, Shape, Size

Meaning = TypeVar("Meaning")
Word = TypeVar("Word", bound=Enum)

_PLURALS = {shape: f"{shape}es" if shape.endswith("s") else f"{shape}s" for shape in Shape}
_SINGULARS = {plural: shape for shape, plural in _PLURALS.items()}
_NUMBERS = {word: number for number, word in NUMBER_WORDS.items()}


def with_article(words: str) -> str:
    """`words` with "a" or "an" in front."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def noun(look: Look) -> str:
    """Colour and shape in words: "red circle"."""
    return f"{look.colour} {look.shape}"


def plural_of(shape: Shape) -> str:
    """The plural of a shape's name: "circles"."""
    return _PLURALS[shape]


def caption(description: Description) -> str:
    """The caption of a description: "a red circle to the left of a blue square on a white background"."""
    return f"{subject(description)} on a {description.background} background"


@singledispatch
def subject(description: Description) -> str:
    """The caption without its background."""
    raise AssertionError(f"no grammar for {type(description).__name__}")


@subject.register
def _(description: Single) -> str:
    return with_article(f"{description.size} {noun(description.look)}" if description.size else noun(description.look))


@subject.register
def _(description: Counting) -> str:
    return f"{NUMBER_WORDS[description.number]} {description.look.colour} {plural_of(description.look.shape)}"


@subject.register
def _(description: Pair) -> str:
    return f"{with_article(noun(description.first))} and {with_article(noun(description.second))}"


@subject.register
def _(description: Position) -> str:
    first, second = with_article(noun(description.first)), with_article(noun(description.second))
    return f"{first} {description.relation} {second}"


def parse(text: str) -> Description:
    """The description with this caption; upper case, spacing and a final full stop are ignored.

    Raises UserError that names the first word outside the grammar.
    """
    words = _Words(text)
    number = words.maybe_one_of(_NUMBERS)
    if number:
        look = Look(words.one_of(_by_value(Colour)), words.one_of(_SINGULARS))
        return Counting(number, look, _background(words))
    words.expect("a", "an")
    size = words.maybe_one_of(_by_value(Size))
    first = _look(words)
    if size or words.next_is("on"):
        return Single(first, _background(words), size)
    relation = _link(words)
    words.expect("a", "an")
    second = _look(words)
    if first == second:
        raise UserError(
            f"caption '{text}': both objects are a {noun(first)}; two objects of one caption differ in colour or shape"
        )
    if relation is None:
        return Pair(first, second, _background(words))
    return Position(first, relation, second, _background(words))


def _link(words: "_Words") -> Relation | None:
    """The link between two objects: None for "and", else a relation."""
    sides = {"left": Relation.LEFT, "right": Relation.RIGHT}
    word = words.one_of({name: name for name in ("and", "to", "above", "below")})
    if word == "and":
        return None
    if word != "to":
        return Relation(word)
    words.expect("the")
    relation = words.one_of(sides)
    words.expect("of")
    return relation


def _look(words: "_Words") -> Look:
    return Look(words.one_of(_by_value(Colour)), words.one_of(_by_value(Shape)))


def _background(words: "_Words") -> Background:
    words.expect("on")
    words.expect("a")
    background = words.one_of(_by_value(Background))
    words.expect("background")
    words.expect_end()
    return background


def _by_value(words: type[Word]) -> dict[str, Word]:
    return {word.value: word for word in words}


class _Words:
    """The words of a caption, read from the left."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._words = re.findall(r"[^\s]+", text.lower().strip().removesuffix("."))
        self._position = 0

    def next_is(self, word: str) -> bool:
        return self._position < len(self._words) and self._words[self._position] == word

    def maybe_one_of(self, meanings: dict[str, Meaning]) -> Meaning | None:
        """Reads the next word if it is a key of `meanings`, otherwise leaves it."""
        if self._position < len(self._words) and self._words[self._position] in meanings:
            self._position += 1
            return meanings[self._words[self._position - 1]]
        return None

    def one_of(self, meanings: dict[str, Meaning]) -> Meaning:
        """Reads the next word, which must be a key of `meanings`."""
        if self._position == len(self._words):
            raise UserError(f"caption '{self._text}' ends where one of these is needed: {', '.join(meanings)}")
        word = self._words[self._position]
        if word not in meanings:
            raise UserError(
                f"caption '{self._text}': word {self._position + 1}, '{word}', should be one of: {', '.join(meanings)}"
            )
        self._position += 1
        return meanings[word]

    def expect(self, *words: str) -> None:
        self.one_of({word: word for word in words})

    def expect_end(self) -> None:
        if self._position < len(self._words):
            word = self._words[self._position]
            raise UserError(
                f"caption '{self._text}': word {self._position + 1}, '{word}', is one too many; end with the background"
            )
