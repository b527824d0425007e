"""The colour of things in one colour: hearts, circles, squares and the like."""

import re
from typing import Any

import numpy as np

from imagen.data.openmoji.palette import COLOURS, nearest, oklab, rows_of
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

COLOURFUL = 0.03
"""The least distance from grey in OKLab; brown has 0.06. The greys of edges are nearest to brown in the palette."""

PAPER = (0.85, 0.06)
"""The background is at least as light as this, and no farther from grey: white with some noise."""

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
    """The colour that fills the one thing in a picture on white; None if there is no thing, or it has many colours.

    White, grey and black are read in the middle of the thing, because outlines are black and their edges grey.
    """
    lightness, *sides = np.moveaxis(oklab(picture), -1, 0)
    from_grey = np.hypot(*sides)
    thing = _box((lightness < PAPER[0]) | (from_grey > PAPER[1]))
    if thing is None:
        return None
    inside, colourful = nearest(picture)[thing], from_grey[thing] > COLOURFUL
    area = {word: (np.isin(inside, rows_of(palette)) & colourful).mean() for word, palette in COLOURS.items()}
    colours = {word: share for word, share in area.items() if word not in COLOURLESS}
    filling = max(colours, key=lambda word: colours[word])
    if colours[filling] >= DOMINANT:
        return filling if colours[filling] > 0.5 * sum(colours.values()) else None
    height, width = inside.shape
    middle = inside[height // 4 : height - height // 4, width // 4 : width - width // 4]
    return max(COLOURLESS, key=lambda word: np.isin(middle, rows_of(COLOURS[word])).mean())


def _box(drawn: np.ndarray) -> tuple[slice, ...] | None:
    """The box around the largest connected thing; None if it is too small."""
    from scipy.ndimage import find_objects, label

    labelled: Any = label(drawn, np.ones((3, 3)))  # the parts and their number; scipy is not annotated
    parts = labelled[0]
    boxes = find_objects(parts)
    if not boxes:
        return None
    box = boxes[int(np.bincount(parts.ravel())[1:].argmax())]
    return box if drawn[box].size >= SMALLEST * drawn.size else None
