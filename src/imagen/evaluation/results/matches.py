"""A generated picture and the training pictures nearest to it, to be shown."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from imagen.data.source import Picture


@dataclass(frozen=True)
class Neighbour:
    """A training picture, every caption of it and of training pictures equal to it, and its distance, 0 to 1."""

    picture: Picture
    captions: Sequence[str]
    distance: float


@dataclass(frozen=True)
class Match:
    """`cell`: name of the cell that made the picture. `copy`: whether its `ratio` counts as that of a copy. `near`: the
    nearest training pictures. `unseen`: the real picture of the prompt, if there is one that was not trained on."""

    cell: str
    text: str
    picture: Picture
    ratio: float
    copy: bool
    near: Sequence[Neighbour]
    unseen: UInt8[np.ndarray, "real_height real_width 3"] | None
