"""Pictures and masks of the user as tensors: from a file, a PIL image, or a tensor."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from PIL import Image
from torch import Tensor

from imagen.data.pixels import from_uint8
from imagen.data.reading.decode import UnreadableImageError, decode, rgb_pixels
from imagen.errors import UserError
from imagen.files import user_path
from imagen.inputs.sizes import PictureTensor

PictureLike = str | Path | Image.Image | Tensor
"""A file, a PIL image, or a tensor (3, height, width) in [-1, 1]."""

Mask = Bool[Tensor, "_ _"]
"""True where a picture is to be drawn anew."""

WHITE = 128
"""The mean of a pixel's red, green and blue from which it counts as white in a mask: JPEG leaves no clean edges."""


def read_picture(picture: Any, name: str = "picture") -> PictureTensor:
    """A picture in [-1, 1].

    Args:
        picture: as `PictureLike`.
        name: what the user calls it.

    Raises:
        UserError: for a file that is no picture, and for a tensor of another shape or range.
    """
    if isinstance(picture, Tensor):
        return _checked(picture, name)
    return from_uint8(_pixels(picture, name)[None])[0]


def read_mask(mask: Any, name: str = "mask") -> Mask:
    """A mask; in a picture, white is drawn anew. A tensor must be of torch.bool, (height, width).

    Raises:
        UserError: for what is no mask, and for one that leaves nothing to draw.
    """
    if isinstance(mask, Tensor):
        if mask.dtype != torch.bool or mask.ndim != 2:
            raise UserError(
                f"{name} is of {mask.dtype} and shape {tuple(mask.shape)}; give (height, width) of torch.bool, True "
                "where the picture is to be drawn anew"
            )
        anew = mask
    else:
        anew = torch.from_numpy(_pixels(mask, name).mean(axis=2) >= WHITE)
    if not anew.any():
        raise UserError(f"{name} is black everywhere: nothing would be drawn anew; make white what is to change")
    return anew


def _checked(picture: Tensor, name: str) -> PictureTensor:
    if picture.ndim != 3 or picture.shape[0] != 3 or not picture.is_floating_point():
        raise UserError(
            f"{name} is of {picture.dtype} and shape {tuple(picture.shape)}; give (3, height, width) of floats in "
            "[-1, 1]"
        )
    if not (picture.abs() <= 1).all():
        raise UserError(f"{name} has values outside of [-1, 1], or NaN; for pixels see imagen.data.pixels.from_uint8")
    return picture.float()


def _pixels(picture: Any, name: str) -> Any:
    if isinstance(picture, Image.Image):
        return rgb_pixels(picture)
    if not isinstance(picture, str | Path):
        raise UserError(f"{name}={picture!r:.80} must be a file, a PIL image or a tensor")
    path = user_path(picture)
    if not path.is_file():
        raise UserError(f"{name}={picture}: no such file")
    try:
        return decode(path)
    except UnreadableImageError as error:
        raise UserError(f"{name}={picture}: {error}") from None
