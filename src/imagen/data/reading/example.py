"""A row of a source: decoded, as training reads it, or as its files."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from imagen.data.reading.captions import Captions

Picture = UInt8[np.ndarray, "height width 3"]
"""One picture, RGB."""

OtherPicture = UInt8[np.ndarray, "other_height other_width 3"]
"""One that belongs to a `Picture` and may be of another size."""


@dataclass(frozen=True)
class Example:
    """A picture with at least one caption, which may be empty. `id` is its row in the original source.

    `weights`: the probability with which training draws each caption; none: all alike. `condition`: a picture of the
    same size to condition on, such as an outline; None where the source is not asked for it. `embeddings`: the file of
    embedded captions that lies beside the picture, not yet looked into; None where the source reads none.
    """

    image: Picture
    captions: tuple[str, ...]
    id: int
    weights: tuple[float, ...] = ()
    condition: OtherPicture | None = None
    embeddings: bytes | None = field(default=None, kw_only=True)

    @property
    def caption(self) -> str:
        """The first caption."""
        return self.captions[0]


@dataclass(frozen=True)
class PictureFile:
    """The bytes of a picture file, and the usual suffix of its format, without the dot."""

    content: bytes
    suffix: str


@dataclass(frozen=True)
class RowFiles:
    """What a row was read from, not decoded. `condition`: the picture to condition on, if rows have one."""

    captions: Captions
    picture: PictureFile
    condition: PictureFile | None = None
