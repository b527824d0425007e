"""Pictures outside the split `train` that show nothing new: OpenMoji draws "farmer" and "man farmer" alike."""

from functools import cache

import numpy as np

from imagen.data.openmoji.names import Emoji, all_emoji
from imagen.data.openmoji.rendering import draw
from imagen.data.openmoji.splits import Split, split_of

SIDE = 32
MOST_DIFFERENT = 2.0
"""Root mean square difference in grey levels of 255. Up to 1.6 only details differ, such as the hair of one person of a
couple; from 2.5 on something new is to be seen."""


@cache
def repeats() -> frozenset[str]:
    """The stems of the pictures outside of `train` that are drawn like a picture of it, compared at 32 × 32.

    The first call draws all pictures: 5 s.
    """
    seen = [emoji for emoji in all_emoji() if split_of(emoji) is Split.TRAIN]
    others = [emoji for emoji in all_emoji() if split_of(emoji) is not Split.TRAIN]
    known, asked = _drawn(seen), _drawn(others)
    squares = (asked**2).sum(1)[:, None] + (known**2).sum(1)[None] - 2 * asked @ known.T  # exact: integers below 2^53
    alike = squares.min(1) <= MOST_DIFFERENT**2 * asked.shape[1]
    return frozenset(emoji.stem for emoji, is_alike in zip(others, alike.tolist(), strict=True) if is_alike)


def _drawn(emoji: list[Emoji]) -> np.ndarray:
    return np.stack([draw(one.stem, SIDE).ravel() for one in emoji]).astype(np.float64)
