"""Which skin tones a picture shows, read where OpenMoji draws the skin of that emoji.

Brown hair has the colour of medium-dark skin, dark hair that of dark skin, and horses are brown, so the area of a
colour says too little. But an emoji is drawn once for each tone, and only skin and hair differ between these drawings:
where the colour is each drawing's own tone, there is the skin. A picture's tone is that of most pixels around there.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float

from imagen.data.openmoji.names import VARIATION, Emoji, all_emoji
from imagen.data.openmoji.palette import NO_TONE, SKIN, Indices, nearest, oklab, rows_of
from imagen.data.openmoji.rendering import draw
from imagen.data.source import Picture

AROUND = 0.03
"""How far from the place in the drawing skin is looked for, as a share of the side: generated people stand a little
elsewhere. Farther off begins the hair."""

AGREEING = 0.79
"""A pixel is skin if it has the right tone in this share of the drawings; antialiasing differs between tones."""

STEEP = 0.15
"""A change of lightness between two pixels above this is an edge, where skin mixes with the black outline and looks
like a darker tone."""

SMALLEST = 4
"""Pixels. With less skin in the drawing (a person in bed, at 64 pixels) nothing can be read."""

LEAST = 0.2
"""With less than this share of the skin that the drawing has, no tone is recognised."""

CLEAR = 0.4
"""A tone has more than this share of the skin that is found, or none is recognised: the colours of noise are spread."""

TONES = tuple(SKIN)
COLOURS = (*rows_of(tuple(SKIN.values())), *rows_of((NO_TONE,)))
"""What skin may look like: five tones, and the yellow of none."""

Weights = Float[np.ndarray, "height width"]


@dataclass(frozen=True)
class Place:
    """Where one person's skin is: a weight for each pixel, 0 to 1, and how much skin the drawings have there."""

    weights: Weights
    expected: float

    def tone(self, colours: Indices, flatness: Weights) -> str | None:
        """The tone of a picture, "none" for yellow people; None if there is too little skin or no clear tone."""
        weights = self.weights * flatness
        found = [float(weights[colours == colour].sum()) for colour in COLOURS]
        if sum(found) < LEAST * self.expected or max(found) <= CLEAR * sum(found):
            return None
        return (*TONES, "none")[int(np.argmax(found))]


def read_tones(picture: Picture, emoji: Emoji) -> tuple[str | None, ...] | None:
    """The tones of the people in a square `picture` that should show `emoji`, in the order of its name; None for a
    person whose skin is not found, "none" for a yellow one.

    None if nothing can be read: the emoji has no tone, its drawing has too little skin at this size, or OpenMoji draws
    it without its tones ("people wrestling" and "people with bunny ears" with two tones, as of 17.0.0).
    """
    places = places_of(emoji.without_tones, len(emoji.skin_tones), len(picture))
    if not places:
        return None
    colours, flatness = nearest(picture), _flatness(picture)
    return tuple(place.tone(colours, flatness) for place in places)


@cache
def places_of(without_tones: str, people: int, resolution: int) -> tuple[Place, ...]:
    """Where the skin of each person is in an emoji's drawings; empty if that cannot be told."""
    variants = [
        emoji for emoji in _by_composition()[_key(without_tones)] if emoji.skin_tones and _tells_apart(emoji, people)
    ]
    if not people or not variants:
        return ()
    drawings = [draw(emoji.stem, resolution) for emoji in variants]
    colours = np.stack([nearest(drawing) for drawing in drawings])
    tones = np.array([[COLOURS[TONES.index(tone)] for tone in emoji.skin_tones] for emoji in variants])
    skin = [(colours == tones[:, person, None, None]).mean(axis=0) > AGREEING for person in range(people)]
    if min(int(area.sum()) for area in skin) < SMALLEST:
        return ()
    alike = np.isin(colours, COLOURS).any(axis=0)  # skin or hair of any drawing
    flatness = [_flatness(drawing) for drawing in drawings]
    places = []
    for area in skin:
        here, elsewhere = _blurred(area), _blurred(alike & ~area)
        weights = here / (here + elsewhere + 1e-3)
        found = [(weights * flat)[np.isin(seen, COLOURS)].sum() for flat, seen in zip(flatness, colours, strict=True)]
        places.append(Place(weights, float(np.median(found))))
    return tuple(places)


def _tells_apart(emoji: Emoji, people: int) -> bool:
    """Whether the drawing shows who is who: two people of one tone do not."""
    return len(emoji.skin_tones) == len(set(emoji.skin_tones)) == people


@cache
def _by_composition() -> dict[str, list[Emoji]]:
    found: dict[str, list[Emoji]] = {}
    for emoji in all_emoji():
        found.setdefault(_key(emoji.without_tones), []).append(emoji)
    return found


def _key(without_tones: str) -> str:
    return without_tones.replace(VARIATION, "")


def _blurred(area: np.ndarray) -> Weights:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(area.astype(float), AROUND * len(area))


def _flatness(picture: Picture) -> Weights:
    """1 inside an area of one colour, near 0 on edges; never 0, because thin people are all edge."""
    from scipy.ndimage import sobel

    lightness = oklab(picture)[..., 0]
    change = np.hypot(sobel(lightness, 0), sobel(lightness, 1)) / 4  # between pixels two apart
    return np.exp(-((change / STEEP) ** 2)) + 1e-4
