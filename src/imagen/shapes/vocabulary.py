"""The words of the shapes world and the colours they stand for."""

from enum import StrEnum, unique


@unique
class Shape(StrEnum):
    CIRCLE = "circle"
    SQUARE = "square"
    TRIANGLE = "triangle"
    CROSS = "cross"
    RING = "ring"


@unique
class Colour(StrEnum):
    RED = "red"
    ORANGE = "orange"
    YELLOW = "yellow"
    GREEN = "green"
    BLUE = "blue"
    PURPLE = "purple"


@unique
class Background(StrEnum):
    WHITE = "white"
    GREY = "grey"
    BLACK = "black"


@unique
class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


@unique
class Relation(StrEnum):
    """Position of the first object relative to the second. Images have y downwards."""

    LEFT = "to the left of"
    RIGHT = "to the right of"
    ABOVE = "above"
    BELOW = "below"

    @property
    def inverse(self) -> "Relation":
        """`a R b` is true exactly when `b R.inverse a` is."""
        return _INVERSE[self]

    @property
    def side(self) -> str:
        """The side of the picture on which the first object is, in words."""
        return _SIDES[self]

    @property
    def axis(self) -> int:
        """0 when the relation is horizontal (x), 1 when it is vertical (y)."""
        return 0 if self in (Relation.LEFT, Relation.RIGHT) else 1

    @property
    def sign(self) -> int:
        """-1 when the first object has the smaller coordinate on `axis`, else +1."""
        return -1 if self in (Relation.LEFT, Relation.ABOVE) else 1


_INVERSE = {
    Relation.LEFT: Relation.RIGHT,
    Relation.RIGHT: Relation.LEFT,
    Relation.ABOVE: Relation.BELOW,
    Relation.BELOW: Relation.ABOVE,
}
_SIDES = {
    Relation.LEFT: "on the left",
    Relation.RIGHT: "on the right",
    Relation.ABOVE: "at the top",
    Relation.BELOW: "at the bottom",
}

Rgb = tuple[int, int, int]
"""An sRGB colour, each channel 0..255."""

# At least 100 levels apart (Euclidean), and none lies between another and a background, so that an anti-aliased or
# slightly wrong pixel still has one name. At least 10 levels from 0 and 255: room for jitter.
COLOUR_RGB: dict[Colour, Rgb] = {
    Colour.RED: (215, 25, 35),
    Colour.ORANGE: (245, 130, 20),
    Colour.YELLOW: (245, 230, 60),
    Colour.GREEN: (30, 160, 70),
    Colour.BLUE: (30, 80, 220),
    Colour.PURPLE: (150, 45, 185),
}

BACKGROUND_RGB: dict[Background, Rgb] = {
    Background.WHITE: (243, 243, 243),
    Background.GREY: (128, 128, 128),
    Background.BLACK: (12, 12, 12),
}

NUMBER_WORDS: dict[int, str] = {2: "two", 3: "three", 4: "four"}
