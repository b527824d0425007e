"""Other true sentences about a scene, for pre-training the text encoder by filling in masked words."""

from functools import singledispatch

from imagen.shapes.captions import noun, plural_of, subject, with_article
from imagen.shapes.descriptions import Counting, Description, Look, Pair, Position, Single
from imagen.shapes.vocabulary import NUMBER_WORDS


def paraphrases(description: Description) -> list[str]:
    """Sentences that are true of every scene of the description, all different and without its caption.

    Each states bindings of the caption (colour to shape, object to relation, word to background), so that a masked word
    can be filled in only by reading the bindings. "The circle" and "the red one" appear only if one object fits.
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
    sentences = [
        f"the {look.shape} is {look.colour}",
        f"the {look.shape} is {look.colour} and the background is {ground}",
        f"the only object is {with_article(noun(look))}",
        f"the {look.colour} object is {with_article(look.shape.value)}",
        f"one {noun(look)} on a {ground} background",
    ]
    if description.size:
        sentences += [
            f"the {noun(look)} is {description.size}",
            f"the {description.size} {look.shape} is {look.colour}",
            f"the {look.colour} {look.shape} on the {ground} background is {description.size}",
        ]
    return sentences


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
    relation_to, back = description.relation, description.relation.inverse
    sentences = [f"{with_article(noun(second))} {back} {with_article(noun(first))} on a {ground} background"]
    for one, relation, other in ((first, relation_to, second), (second, back, first)):
        sentences += [
            f"the {noun(one)} is {relation} the {noun(other)}",
            f"the {noun(one)} is {relation} the {noun(other)} and the background is {ground}",
            f"the object {relation} the {noun(other)} is {with_article(noun(one))}",
            f"the object {relation.side} is {with_article(noun(one))}",
            f"{relation.side} is {with_article(noun(one))} and {relation.inverse.side} is {with_article(noun(other))}",
            *_bindings(one, other),
        ]
        if one.shape != other.shape:
            sentences += [
                f"the {one.shape} is {relation.side}",
                f"the {one.shape} is {relation} the {other.shape}",
                f"the {one.shape} {relation} the {other.shape} is {one.colour}",
            ]
        if one.colour != other.colour:
            sentences += [
                f"the {one.colour} object is {relation.side}",
                f"the {one.colour} object is {relation} the {other.colour} one",
                f"the {one.colour} object {relation} the {other.colour} one is {with_article(one.shape.value)}",
            ]
    return sentences


def _bindings(one: Look, other: Look) -> list[str]:
    """Which colour belongs to which shape, if that property alone identifies the object."""
    sentences = []
    if one.shape != other.shape:
        sentences.append(f"the {one.shape} is {one.colour} and the {other.shape} is {other.colour}")
    if one.colour != other.colour:
        sentences.append(
            f"the {one.colour} object is {with_article(one.shape.value)} and "
            f"the {other.colour} object is {with_article(other.shape.value)}"
        )
    return sentences
