"""The colour of things in one colour: hearts, circles, squares and the like."""

import re

import numpy as np

from imagen.data.openmoji.palette import COLOURS, nearest, rows_of
from imagen.data.source import Picture

COLOURLESS = ("white", "grey", "black")

THING = re.compile(
    rf"(?:hollow )?(?:(?:large|small) )?(?P<colour>{'|'.join(COLOURS)}) (?:(?:large|medium|medium-small|small) )?"
    "(?:apple|book|circle|diamond|heart|square|triangle)(?: pointed (?:up|down))?",
    re.IGNORECASE,
)

ACCEPTED = {"blue": ("blue", "light blue")}
"""The blue circle is light blue, the blue heart is not: who asks for blue may get either."""

DOMINANT = 0.15
"""A colour fills the thing if it covers this share of the box around it. A ring is the least filled."""

SMALLEST = 0.01
"""Of the picture: a smaller thing is not recognised."""


def asked_colour(caption: str) -> str | None:
    """The colour of the thing that a caption names, such as "red heart"; None if it names no thing in one colour."""
    match = THING.fullmatch(caption.strip())
    return match["colour"].lower() if match else None


def has_colour(seen: str | None, asked: str) -> bool:
    """Whether a thing of the colour `seen` has the colour `asked`."""
    return seen in ACCEPTED.get(asked, (asked,))


def read_colour(picture: Picture) -> str | None:
    """The colour that fills the one thing in a picture on white; None if there is no thing.

    White, grey and black are read in the middle of the thing, because outlines are black and their edges grey.
    """
    colours = nearest(picture)
    thing = _box(colours != rows_of(COLOURS["white"])[0])
    if thing is None:
        return None
    inside = colours[thing]
    area = {word: np.isin(inside, rows_of(palette)).mean() for word, palette in COLOURS.items()}
    filling = max((word for word in COLOURS if word not in COLOURLESS), key=lambda word: area[word])
    if area[filling] >= DOMINANT:
        return filling
    height, width = inside.shape
    middle = inside[height // 4 : height - height // 4, width // 4 : width - width // 4]
    return max(COLOURLESS, key=lambda word: np.isin(middle, rows_of(COLOURS[word])).mean())


def _box(thing: np.ndarray) -> tuple[slice, slice] | None:
    """The box around all pixels of the thing; None if it is too small."""
    rows, columns = (np.flatnonzero(thing.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return box if thing[box].size >= SMALLEST * thing.size else None
