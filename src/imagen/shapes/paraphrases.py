"""Other true sentences about a scene, for pre-training the text encoder by filling in masked words."""

from functools import singledispatch

from imagen.shapes.captions import noun, plural_of, subject, with_article
from imagen.shapes.descriptions import Counting, Description, Look, Pair, Position, Single
from imagen.shapes.vocabulary import NUMBER_WORDS


def paraphrases(description: Description) -> list[str]:
    """Sentences that are true of every scene of the description, its caption not among them; all different.

    Each binds what the caption binds (colour to shape, object to relation, word to background), so that a masked word
    can only be filled in by reading the bindings. "The circle" and "the red one" appear only where one object fits.
    """
    ground = description.background
    about = subject(description)
    verb = "are" if isinstance(description, Counting) else "is"
    return [
        f"on a {ground} background there {verb} {about}",
        f"there {verb} {about} and the background is {ground}",
        f"the background is {ground}",
        *_sentences(description),
    ]


@singledispatch
def _sentences(description: Description) -> list[str]:
    raise AssertionError(f"no sentences for {type(description).__name__}")


@_sentences.register
def _(description: Single) -> list[str]:
    look, ground = description.look, description.background
    said = [
        f"the {look.shape} is {look.colour}",
        f"the {look.shape} is {look.colour} and the background is {ground}",
        f"the only object is {with_article(noun(look))}",
        f"the {look.colour} object is {with_article(look.shape.value)}",
        f"one {noun(look)} on a {ground} background",
    ]
    if description.size:
        said += [
            f"the {noun(look)} is {description.size}",
            f"the {description.size} {look.shape} is {look.colour}",
            f"the {look.colour} {look.shape} on the {ground} background is {description.size}",
        ]
    return said


@_sentences.register
def _(description: Counting) -> list[str]:
    number, look, ground = NUMBER_WORDS[description.number], description.look, description.background
    shapes = plural_of(look.shape)
    return [
        f"the {shapes} are {look.colour}",
        f"the {number} {shapes} are {look.colour} and the background is {ground}",
        f"there are {number} {shapes} and all of them are {look.colour}",
        f"the {look.colour} objects are {number} {shapes}",
        f"the number of {look.colour} {shapes} is {number}",
    ]


@_sentences.register
def _(description: Pair) -> list[str]:
    first, second, ground = description.first, description.second, description.background
    swapped = f"{with_article(noun(second))} and {with_article(noun(first))}"
    return [
        f"{swapped} on a {ground} background",
        f"there is {swapped} and the background is {ground}",
        f"the two objects are {with_article(noun(first))} and {with_article(noun(second))}",
        *_bindings(first, second),
        *_bindings(second, first),
    ]


@_sentences.register
def _(description: Position) -> list[str]:
    first, second, ground = description.first, description.second, description.background
    there, back = description.relation, description.relation.inverse
    said = [f"{with_article(noun(second))} {back} {with_article(noun(first))} on a {ground} background"]
    for one, relation, other in ((first, there, second), (second, back, first)):
        said += [
            f"the {noun(one)} is {relation} the {noun(other)}",
            f"the {noun(one)} is {relation} the {noun(other)} and the background is {ground}",
            f"the object {relation} the {noun(other)} is {with_article(noun(one))}",
            f"the object {relation.side} is {with_article(noun(one))}",
            f"{relation.side} is {with_article(noun(one))} and {relation.inverse.side} is {with_article(noun(other))}",
            *_bindings(one, other),
        ]
        if one.shape != other.shape:
            said += [
                f"the {one.shape} is {relation.side}",
                f"the {one.shape} is {relation} the {other.shape}",
                f"the {one.shape} {relation} the {other.shape} is {one.colour}",
            ]
        if one.colour != other.colour:
            said += [
                f"the {one.colour} object is {relation.side}",
                f"the {one.colour} object is {relation} the {other.colour} one",
                f"the {one.colour} object {relation} the {other.colour} one is {with_article(one.shape.value)}",
            ]
    return said


def _bindings(one: Look, other: Look) -> list[str]:
    """Which colour belongs to which shape, where one property names the object."""
    said = []
    if one.shape != other.shape:
        said.append(f"the {one.shape} is {one.colour} and the {other.shape} is {other.colour}")
    if one.colour != other.colour:
        said.append(
            f"the {one.colour} object is {with_article(one.shape.value)} and "
            f"the {other.colour} object is {with_article(other.shape.value)}"
        )
    return said
