"""Captions that are wrong in exactly one attribute, for training and testing judges."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from imagen.shapes import Background, Colour, Counting, Description, Look, Pair, Position, Shape, Single, Size
from imagen.shapes.vocabulary import NUMBER_WORDS


def wrong_descriptions(description: Description) -> dict[str, list[Description]]:
    """Every description that differs from `description` in one attribute and is false of all its scenes, by attribute.

    `relation` inverts a position ("left of" becomes "right of"); `binding` swaps the colours of two objects. Attributes
    that a description lacks have no entry. The order of objects does not matter: "a and b" is never wrong for "b and
    a".
    """
    by_attribute = {
        "colour": list(_with_other_looks(description, "colour", tuple(Colour))),
        "shape": list(_with_other_looks(description, "shape", tuple(Shape))),
        "count": [],
        "size": [],
        "relation": [],
        "binding": list(_with_colours_exchanged(description)),
        "background": [
            _changed(description, background=other) for other in Background if other != description.background
        ],
    }
    if isinstance(description, Counting):
        by_attribute["count"] = [replace(description, number=n) for n in NUMBER_WORDS if n != description.number]
    if isinstance(description, Single) and description.size:
        by_attribute["size"] = [replace(description, size=size) for size in Size if size != description.size]
    if isinstance(description, Position):
        by_attribute["relation"] = [replace(description, relation=description.relation.inverse)]
    return {attribute: wrong for attribute, wrong in by_attribute.items() if wrong}


def contents(description: Description) -> tuple[str, ...]:
    """Objects and background, without arrangement and size. Scenes of equal contents may fit each other's captions."""
    looks = sorted(f"{look.colour} {look.shape}" for look in description.looks)
    return (description.background.value, *looks)


def _changed(description: Description, **changes: Any) -> Description:
    """A copy with other values of some fields: every kind of description is a dataclass."""
    dataclass: Any = description
    return replace(dataclass, **changes)


def _with_other_looks(description: Description, attribute: str, values: tuple) -> Iterator[Description]:
    for field in ("look", "first", "second"):
        look: Look | None = getattr(description, field, None)
        if look is None:
            continue
        for value in values:
            other = _changed(description, **{field: replace(look, **{attribute: value})})
            if _is_proper(other) and contents(other) != contents(description):
                yield other


def _with_colours_exchanged(description: Description) -> Iterator[Description]:
    if not isinstance(description, Pair | Position) or description.first.colour == description.second.colour:
        return
    first, second = description.first, description.second
    other = replace(
        description, first=replace(first, colour=second.colour), second=replace(second, colour=first.colour)
    )
    # Two objects of the same shape that are only named in the other order are the same pair.
    if isinstance(description, Position) or contents(other) != contents(description):
        yield other


def _is_proper(description: Description) -> bool:
    """Whether the grammar allows the description: the two objects of a pair have different looks."""
    return not isinstance(description, Pair | Position) or description.first != description.second
