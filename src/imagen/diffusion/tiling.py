"""Tiled sampling: pictures larger than those that a network was trained on."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from imagen.diffusion.conditioning import Conditioning
from imagen.diffusion.guidance import ConditionalDenoise
from imagen.diffusion.noise_level import NoiseLevel
from imagen.tensors import Images


@dataclass(frozen=True)
class TiledDenoiser:
    """Estimates x0 of a large picture from overlapping tiles of it (MultiDiffusion, Bar-Tal et al. 2023).

    At every step each tile is denoised as a picture of its own, with its part of the signals, and a pixel of several
    tiles gets the mean of their estimates, weighted by the distance to the edge of each tile. z is one large picture
    with one noise, so neighbouring tiles agree on it and no seam is left.

    Args:
        denoiser: of pictures of `side` × `side`.
        side: of the tiles, in pixels.
        overlap: share of a tile, in (0, 0.5], that it has in common with the next one, at least.
        multiple: tiles begin at multiples of this number of pixels: the factor of a super-resolution stage, so that a
            tile begins with a whole pixel of the smaller picture.
    """

    denoiser: ConditionalDenoise
    side: int
    overlap: float
    multiple: int = 1

    def __call__(self, z: Images, level: NoiseLevel, conditioning: Conditioning) -> Images:
        height, width = z.shape[-2:]
        if max(height, width) <= self.side:
            return self.denoiser(z, level, conditioning)
        total, weights = torch.zeros_like(z), z.new_zeros(1, 1, height, width)
        for rows, columns in self._windows(height, width):
            part = conditioning.crop((height, width), rows, columns)
            x0 = self.denoiser(z[..., rows, columns], level, part)
            weight = self._weight(x0.shape[-2], x0)[:, None] * self._weight(x0.shape[-1], x0)
            total[..., rows, columns] += weight * x0
            weights[..., rows, columns] += weight
        return total / weights

    def _windows(self, height: int, width: int) -> Iterator[tuple[slice, slice]]:
        for top in self.starts(height):
            for left in self.starts(width):
                yield slice(top, min(top + self.side, height)), slice(left, min(left + self.side, width))

    def count(self, height: int, width: int) -> int:
        """Number of tiles of a picture."""
        return len(self.starts(height)) * len(self.starts(width))

    def starts(self, length: int) -> list[int]:
        """Where the tiles begin along a side of `length` pixels: evenly spaced, the last one ends with the picture."""
        if length <= self.side:
            return [0]
        shared = math.ceil(self.overlap * self.side)
        count = math.ceil((length - shared) / (self.side - shared))
        last = length - self.side
        return [last * i // (count - 1) // self.multiple * self.multiple for i in range(count - 1)] + [last]

    def _weight(self, side: int, like: Tensor) -> Float[Tensor, "side"]:
        """1 inside, falling to nearly 0 over the pixels that two tiles share."""
        distance = torch.arange(side, device=like.device) + 0.5
        distance = torch.minimum(distance, side - distance)
        return (distance / max(1, math.ceil(self.overlap * self.side))).clamp(max=1).to(like.dtype)
