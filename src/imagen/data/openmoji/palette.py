"""The fixed colours that OpenMoji is drawn in, and which of them a pixel has."""

from functools import cache

import numpy as np
from jaxtyping import Float, Int, UInt8

from imagen.data.source import Picture

SKIN = {
    "light": "#fadcbc",
    "medium-light": "#debb90",
    "medium": "#c19a65",
    "medium-dark": "#a57939",
    "dark": "#6a462f",
}
"""The skin of people with a tone. Two of these colours are also hair and wood: see `imagen.data.openmoji.skin`."""

NO_TONE = "#fcea2b"
"""The skin of people without a tone; also blond hair."""

COLOURS = {
    "red": ("#ea5a47", "#d22f27", "#781e32"),
    "orange": ("#f4aa41", "#e27022"),
    "yellow": (NO_TONE, "#f1b31c"),
    "green": ("#b1cc33", "#5c9e31", "#186648"),
    "blue": ("#1e50a0",),
    "light blue": ("#92d3f5", "#61b2e4"),
    "purple": ("#b399c8", "#8967aa"),
    "pink": ("#ffa7c0", "#e67a94"),
    "brown": (SKIN["medium-dark"], SKIN["dark"]),
    "grey": ("#d0cfce", "#9b9b9a"),
    "black": ("#3f3f3f", "#000000"),
    "white": ("#ffffff",),
}
"""The palette by the words for its colours. Skin of the three lighter tones has no word."""

PALETTE = tuple(dict.fromkeys([*SKIN.values(), *(colour for colours in COLOURS.values() for colour in colours)]))

BITS = 6
"""Of each channel, for the table of nearest colours: one look-up a pixel is a hundred times faster than distances."""

Indices = Int[np.ndarray, "height width"]
"""For each pixel its colour, as a row of `PALETTE`."""


def nearest(picture: Picture) -> Indices:
    """For each pixel the nearest colour of the palette in OKLab, where equal distances look equally large."""
    red, green, blue = np.moveaxis(picture >> (8 - BITS), -1, 0)
    return _table()[red, green, blue]


def rows_of(colours: tuple[str, ...]) -> list[int]:
    """The rows of `PALETTE` with these colours."""
    return [PALETTE.index(colour) for colour in colours]


def oklab(rgb: UInt8[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape 3"]:
    """sRGB as lightness (0 to 1), green to red, blue to yellow: Ottosson (2020), *A perceptual color space*."""
    share = rgb / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ TO_CONES.T) @ TO_LAB.T


TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


@cache
def _table() -> Int[np.ndarray, "red green blue"]:
    size = 1 << BITS
    # The ends of the scale stand for themselves, so that white and black are exact.
    levels = np.linspace(0, 255, size).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
    palette = oklab(np.array([list(bytes.fromhex(colour[1:])) for colour in PALETTE], np.uint8))
    # One plane of the cube at a time: all distances at once take 170 MB.
    planes = [((oklab(plane)[..., None, :] - palette) ** 2).sum(-1).argmin(-1) for plane in colours]
    return np.stack(planes)
