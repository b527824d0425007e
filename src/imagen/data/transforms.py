"""Geometry: from a picture of any size to the square that a stage trains on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from imagen.data.reading.decode import UnreadableImageError, image_size
from imagen.data.reading.problems import Fault, Problem
from imagen.data.source import Picture
from imagen.randomness import make_generator
from imagen.tensors import Images

Square = UInt8[np.ndarray, "side side 3"]
"""One square picture, RGB."""


class TooSmallError(ValueError):
    """The picture is smaller than the square, so it would have to be enlarged."""


@dataclass(frozen=True)
class Geometry:
    """How a square is cropped from a picture.

    `random_crop` places the square at random along the longer side; otherwise it is central. `horizontal_flip` mirrors
    half of the pictures: leave it off if captions say left and right. `upscale` enlarges pictures that are too small.
    """

    random_crop: bool = False
    horizontal_flip: bool = False
    upscale: bool = False

    def fixed(self) -> "Geometry":
        """The same without randomness, for validation."""
        return replace(self, random_crop=False, horizontal_flip=False)

    def __call__(self, picture: Picture, resolution: int, key: int) -> Square:
        """A square of `resolution` pixels per side; everything random is a function of `key`.

        Raises:
            TooSmallError: if a side of the picture has fewer pixels than `resolution` and `upscale` is off.
        """
        height, width = picture.shape[:2]
        side = min(height, width)
        if side < resolution and not self.upscale:
            raise TooSmallError(too_small(width, height, resolution))
        top, left = (height - side) // 2, (width - side) // 2
        if self.random_crop:
            top, left = _corner(height - side, width - side, make_generator(key, "crop"))
        square = resize_square(picture[top : top + side, left : left + side], resolution)
        if self.horizontal_flip and torch.rand((), generator=make_generator(key, "flip")) < 0.5:
            square = square[:, ::-1]
        return square


def too_small(width: int, height: int, resolution: int) -> str:
    """Why a picture of that size is refused."""
    needed = f"{resolution} × {resolution}"
    return f"{width} × {height} pixels are fewer than the {needed} needed"


def header_problem(row: int, where: str, file: Path | bytes, max_pixels: int, min_side: int) -> Problem | None:
    """Why the picture in a file, or in its bytes, cannot be used, judged by its header alone; None if it can."""
    try:
        width, height = image_size(file, max_pixels)
    except UnreadableImageError as error:
        return Problem(row, error.fault, f"{where}: {error}")
    if min(width, height) < min_side:
        return Problem(row, Fault.SMALL, f"{where}: {too_small(width, height, min_side)}")
    return None


def resize_square(square: Square, resolution: int) -> UInt8[np.ndarray, "{resolution} {resolution} 3"]:
    """Antialiased resize (Pillow's bicubic, whose support grows with the reduction). All uint8 pictures use it."""
    if square.shape[0] == resolution:
        return square
    size = (resolution, resolution)
    return np.array(Image.fromarray(np.ascontiguousarray(square)).resize(size, Image.Resampling.BICUBIC))


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
