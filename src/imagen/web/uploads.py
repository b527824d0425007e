"""Pictures that a user uploads or paints on, checked and put down where a command line can name them."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from imagen.data.reading.decode import UnreadableImageError, decode, image_size
from imagen.errors import UserError

MOST_BYTES = 20_000_000
MOST_PIXELS = 16_000_000

Pixels = UInt8[np.ndarray, "_ _ 3"]
Painted = Bool[np.ndarray, "_ _"]


def check_picture(file: Path | bytes) -> None:
    """Raises UserError for what is no picture, or too large; looks at the header alone."""
    size = len(file) if isinstance(file, bytes) else file.stat().st_size
    if size > MOST_BYTES:
        raise UserError(f"picture: {size} bytes are more than {MOST_BYTES}; make it smaller")
    try:
        image_size(file, MOST_PIXELS)
    except UnreadableImageError as error:
        raise UserError(f"picture: {error}") from None


def put_down_picture(file: str | None, folder: Path) -> Path:
    """A copy of the file, in `folder`.

    Raises:
        UserError: for no file, one that is no picture, and one that is too large.
    """
    if file is None:
        raise UserError("there is no picture: upload one first")
    path = Path(file)
    check_picture(path)
    _pixels(path)
    kept = folder / f"picture{path.suffix.lower() if path.suffix[1:].isalnum() else ''}"
    shutil.copyfile(path, kept)
    return kept


def put_down_painting(value: Mapping[str, Any] | None, made: int, folder: Path) -> tuple[Path, Path]:
    """The picture and the mask of gr.ImageEditor as files in `folder`: what is painted is white in the mask.

    A picture that was enlarged to be painted on (`enlarged_to_paint`) becomes the small one again.

    Args:
        value: `background` and `layers`, which are files.
        made: side of the pictures that the cascade makes, in pixels.
        folder: for the two files.

    Raises:
        UserError: where there is no picture, or nothing painted.
    """
    value = value or {}
    if value.get("background") is None:
        raise UserError("there is no picture to paint on: upload one first")
    pixels = _pixels(Path(value["background"]))
    painted = _painted(value.get("layers") or (), pixels.shape[:2])
    if not painted.any():
        raise UserError("nothing is painted: paint with the brush what is to be drawn anew")
    pixels, painted = made_small_again(pixels, painted, made)
    Image.fromarray(pixels).save(folder / "picture.png")
    Image.fromarray(painted.astype(np.uint8) * 255).save(folder / "mask.png")
    return folder / "picture.png", folder / "mask.png"


def enlarged_to_paint(picture: Pixels, least: int = 512) -> Pixels:
    """A small picture with squares in the place of its pixels, large enough for a brush."""
    times = max(1, -(-least // max(picture.shape[:2])))
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def made_small_again(pixels: Pixels, painted: Painted, made: int) -> tuple[Pixels, Painted]:
    """Undoes `enlarged_to_paint` where that loses nothing; a square is painted if any of it is."""
    times, rest = divmod(pixels.shape[1], made)
    if rest or times < 2 or pixels.shape[0] % times:
        return pixels, painted
    small = pixels[::times, ::times]
    if not np.array_equal(small.repeat(times, axis=0).repeat(times, axis=1), pixels):
        return pixels, painted
    return small, np.any(painted.reshape(len(small), times, -1, times), axis=(1, 3))


def _pixels(path: Path) -> Pixels:
    try:
        return decode(path, MOST_PIXELS)
    except UnreadableImageError as error:
        raise UserError(f"picture: {error}") from None


def _painted(layers: Sequence[str], size: tuple[int, int]) -> Painted:
    """Where any of the layers is not transparent."""
    painted = np.zeros(size, bool)
    for layer in layers:
        check_picture(Path(layer))
        with Image.open(layer) as image:
            alpha = np.asarray(image.convert("RGBA"))[..., 3]
        if alpha.shape != size:
            raise UserError(f"the painting is {alpha.shape[0]} × {alpha.shape[1]}, the picture {size[0]} × {size[1]}")
        painted |= alpha > 0
    return painted
