"""Geometry: from a picture of any size to the square, or the shape of a bucket, that a stage trains on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from imagen.checks.arguments import Count
from imagen.data.buckets.shapes import COMMON, SQUARE, Shapes, shapes_near
from imagen.data.reading.problems import too_small
from imagen.data.source import Picture
from imagen.randomness import make_generator
from imagen.tensors import Images, Size

Cut = UInt8[np.ndarray, "rows columns 3"]
"""A picture as it is cut and resized for training, RGB."""


class TooSmallError(ValueError):
    """A side of the picture is smaller than it is to be, so it would have to be enlarged."""


@dataclass(frozen=True)
class Geometry:
    """How a square, or the shape of a bucket, is cropped from a picture.

    `random_crop` places it at random along the side of which something is cut; otherwise it is central.
    `horizontal_flip` mirrors half of the pictures: leave it off if captions say left and right. `upscale` enlarges
    pictures that are too small.

    `buckets` lists aspect ratios, [height, width] each; "common" stands for those of most photographs and screens, None
    for squares. A picture is cut to the nearest ratio. Every batch holds pictures of one ratio, all of about as many
    pixels as the square; their sides are whole steps, `bucket_steps` of which make the side of the square.

    Raises:
        UserError: for a ratio that is not two positive numbers.
    """

    random_crop: bool = False
    horizontal_flip: bool = False
    upscale: bool = False
    buckets: Sequence[Sequence[int | float]] | Literal["common"] | None = None
    bucket_steps: Count = 8

    def __post_init__(self) -> None:
        _ = self.shapes

    @property
    def shapes(self) -> Shapes:
        """The shapes of the buckets; the square if there are none."""
        if self.buckets is None:
            return SQUARE
        return shapes_near(COMMON if isinstance(self.buckets, str) else self.buckets, self.bucket_steps)

    def fixed(self) -> "Geometry":
        """The same without randomness, for validation."""
        return replace(self, random_crop=False, horizontal_flip=False)

    def __call__(self, picture: Picture, size: int | Size, key: int) -> Cut:
        """The picture cut and resized to `size`, (height, width) or the side of a square; everything random is a
        function of `key`.

        Raises:
            TooSmallError: if a side of the picture has fewer pixels than that and `upscale` is off.
        """
        wanted = (size, size) if isinstance(size, int) else size
        height, width = picture.shape[:2]
        if not (self.upscale or covers((height, width), wanted)):
            raise TooSmallError(too_small((height, width), wanted))
        rows, columns = _largest_within((height, width), wanted)
        top, left = (height - rows) // 2, (width - columns) // 2
        if self.random_crop:
            top, left = _corner(height - rows, width - columns, make_generator(key, "crop"))
        cut = resize_picture(picture[top : top + rows, left : left + columns], wanted)
        if self.horizontal_flip and torch.rand((), generator=make_generator(key, "flip")) < 0.5:
            cut = cut[:, ::-1]
        return cut


def covers(size: Size, wanted: Size) -> bool:
    """Whether a picture of `size` can be cut and reduced to the size `wanted`, without being enlarged."""
    return size[0] >= wanted[0] and size[1] >= wanted[1]


def _largest_within(size: Size, ratio: Size) -> Size:
    """The largest rectangle of the ratio within `size`, to the nearest pixel."""
    (height, width), (rows, columns) = size, ratio
    if height * columns > width * rows:
        return max(1, round(width * rows / columns)), width
    return height, max(1, round(height * columns / rows))


def resize_picture(picture: Picture, size: Size) -> Cut:
    """Antialiased resize to (height, width) by Pillow's bicubic, whose support grows with the reduction. All uint8
    pictures use it."""
    height, width = size
    if picture.shape[:2] == size:
        return picture
    resized = Image.fromarray(np.ascontiguousarray(picture)).resize((width, height), Image.Resampling.BICUBIC)
    return np.array(resized)


def random_windows(images: Images, size: int, keys: Sequence[int]) -> Float[Tensor, "batch channels {size} {size}"]:
    """A square window of `size` pixels from each image, at a place that depends on that image's key alone.

    Super-resolution stages train on such windows (Imagen, section 2.2 and appendix F).
    """
    height, width = images.shape[-2:]
    if size == height == width:
        return images
    windows = []
    for image, key in zip(images, keys, strict=True):
        top, left = _corner(height - size, width - size, make_generator(key, "window"))
        windows.append(image[:, top : top + size, left : left + size])
    return torch.stack(windows)


def _corner(rows: int, columns: int, generator: torch.Generator) -> tuple[int, int]:
    top = torch.randint(rows + 1, (), generator=generator)
    left = torch.randint(columns + 1, (), generator=generator)
    return int(top), int(left)
