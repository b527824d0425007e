"""Corrections: knowledge about one picture, imposed on every estimate of it.

A correction is applied after guidance and thresholding. Samplers derive eps from the corrected x0, so a known pixel
stays on its own path from noise to image: z is alpha times the pixel plus sigma times its noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from imagen.devices import moved
from imagen.diffusion.conditioning import resize
from imagen.diffusion.noise_level import NoiseLevel
from imagen.errors import UserError
from imagen.tensors import Images


@runtime_checkable
class Correction(Protocol):
    def __call__(self, x0: Images, z: Images, level: NoiseLevel) -> Images:
        """The corrected estimate of one picture. x0, z and level are batches of one, at the resolution of a stage."""
        ...


@dataclass(frozen=True)
class KnownPixels:
    """Inpainting: known pixels keep their colour, the others are sampled to match.

    Args:
        picture: (3, height, width) in [-1, 1]; each stage gets it at its own size, which has the same shape.
        known: (height, width), True where the picture is to be kept. In a smaller stage a pixel is known if all the
            pixels that it is averaged from are.

    Raises:
        UserError: if they have different sizes, for a mask that is not boolean, and when the pictures to correct have
            another ratio of height to width.
    """

    picture: Float[Tensor, "3 height width"]
    known: Bool[Tensor, "known_height known_width"]

    def __post_init__(self) -> None:
        kind = getattr(self.known, "dtype", type(self.known).__name__)
        if kind != torch.bool:
            raise UserError(f"the mask of known pixels is of {kind}; give a tensor of torch.bool, such as mask > 0.5")
        height, width = self.picture.shape[-2:]
        mask_height, mask_width = self.known.shape
        if (mask_height, mask_width) != (height, width):
            raise UserError(
                f"the picture is {height} × {width} and the mask of its known pixels {mask_height} × {mask_width}; "
                "both must be of one size"
            )

    def __call__(self, x0: Images, z: Images, level: NoiseLevel) -> Images:
        height, width = x0.shape[-2:]
        given_height, given_width = self.picture.shape[-2:]
        if height * given_width != width * given_height:
            raise UserError(
                f"the known picture is {given_height} × {given_width} and the sampled one {height} × {width}: give one "
                "of the same ratio of height to width"
            )
        picture = resize(moved(self.picture[None].to(x0.dtype), x0.device), (height, width))
        unknown = resize(moved((~self.known)[None, None].to(x0.dtype), x0.device), (height, width))
        return torch.where(unknown > 0, x0, picture)


def check_corrections(corrections: Sequence[Correction | None], pictures: int) -> None:
    """Raises UserError unless `corrections` is a sequence of one for each picture."""
    if not isinstance(corrections, Sequence):
        raise UserError(f"corrections={corrections!r:.80} is not a list; give one for each picture, or None")
    if len(corrections) != pictures:
        raise UserError(f"corrections: {len(corrections)} for {pictures} pictures; give one for each, or None")
    for i, one in enumerate(corrections):
        if one is not None and (isinstance(one, type) or not callable(one)):
            raise UserError(f"corrections[{i}]={one!r:.80} is no Correction; give one such as KnownPixels, or None")


def correct(corrections: Sequence[Correction | None], x0: Images, z: Images, level: NoiseLevel) -> Images:
    """Estimates of a batch, each picture with its own correction; None leaves it alone."""
    corrected = [
        x0[i : i + 1] if one is None else one(x0[i : i + 1], z[i : i + 1], NoiseLevel(level.log_snr[i : i + 1]))
        for i, one in enumerate(corrections)
    ]
    return torch.cat(corrected)
