"""Sizes of the pictures of each stage, and pictures of the user brought to them."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from imagen.checks.arguments import Count, fits
from imagen.diffusion.conditioning import resize
from imagen.errors import UserError
from imagen.stages.export import StageDescription
from imagen.tensors import Size

PictureTensor = Float[Tensor, "3 _ _"]
"""One picture in [-1, 1]."""


def sizes_of(stages: Sequence[StageDescription], size: Any) -> list[Size | None]:
    """The size of the pictures of each stage, for those of the last one to be of `size`; None: its own square.

    Raises:
        UserError: for what is no size, and where a stage would have to make a part of a pixel.
    """
    if size is None:
        return [None] * len(stages)
    if not (isinstance(size, Sequence) and len(size) == 2 and all(fits(side, Count) for side in size)):
        raise UserError(f"size={size!r:.80} must be a height and a width in pixels, such as [48,64]")
    height, width = size
    last = stages[-1].resolution
    sizes: list[Size | None] = []
    for stage in stages:
        if height * stage.resolution % last or width * stage.resolution % last:
            raise UserError(
                f"size=[{height},{width}]: stage {stage.name} would make "
                f"{height * stage.resolution / last:g} × {width * stage.resolution / last:g}; sides must be multiples "
                f"of {last // stages[0].resolution}"
            )
        own = (height * stage.resolution // last, width * stage.resolution // last)
        sizes.append(None if own == (stage.resolution, stage.resolution) else own)
    return sizes


def square(stage: StageDescription, size: Size | None) -> Size:
    """`size`, or that of the pictures that the stage was trained on."""
    return size or (stage.resolution, stage.resolution)


def reduced(picture: PictureTensor, size: Size, name: str) -> PictureTensor:
    """The picture, made smaller if it is larger than `size`.

    Raises:
        UserError: if it is smaller, or of another shape; `name` is what the user calls it.
    """
    height, width = picture.shape[-2:]
    if height * size[1] != width * size[0]:
        raise UserError(
            f"{name} is {height} × {width} and {size[0]} × {size[1]} is made here (height × width): crop it to that "
            "shape, or give size=[height,width]"
        )
    if height < size[0]:
        raise UserError(f"{name} is {height} × {width}, smaller than the {size[0]} × {size[1]} that is made here")
    return resize(picture[None], size)[0]
