"""Small changes to pictures and captions, so that a judge does not learn a small set by heart."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from imagen.errors import UserError
from imagen.tensors import PerImage, Pixels


@dataclass(frozen=True)
class Augmentation:
    """Changes that leave a caption true: colours stay, and nothing is mirrored, since captions may say left and right.

    Args:
        shift: the largest shift, as a share of the side; what comes in from outside repeats the edge.
        zoom: the largest enlargement or reduction, as a share of the size.
        soften: whether some pictures are slightly blurred or noisy (`soften`).
        drop_words: the share of words that are left out of captions of several words.

    Raises UserError for a share outside of [0, 0.5].
    """

    shift: float = 0.08
    zoom: float = 0.1
    soften: bool = True
    drop_words: float = 0.1

    def __post_init__(self) -> None:
        for name in ("shift", "zoom", "drop_words"):
            if not 0 <= getattr(self, name) <= 0.5:
                raise UserError(f"augmentation.{name}={getattr(self, name)} must lie between 0 and 0.5")

    def pictures(self, pixels: Pixels, generator: torch.Generator) -> Pixels:
        """The changed pictures, of the same size."""
        draws = torch.rand(len(pixels), 3, generator=generator) * 2 - 1
        if self.shift or self.zoom:
            pixels = moved(pixels, draws[:, :2] * self.shift, 1 + draws[:, 2] * self.zoom)
        return soften(pixels, generator) if self.soften else pixels

    def captions(self, captions: Sequence[str], generator: torch.Generator) -> list[str]:
        """The captions with some words left out; each keeps at least one."""
        return [self._thinned(caption, generator) for caption in captions]

    def _thinned(self, caption: str, generator: torch.Generator) -> str:
        words = caption.split()
        kept = (torch.rand(len(words), generator=generator) >= self.drop_words).tolist()
        return " ".join(word for word, keep in zip(words, kept, strict=True) if keep) if any(kept) else caption


def moved(pixels: Pixels, shift: Float[Tensor, "batch 2"], scale: PerImage) -> Pixels:
    """Pictures with their content enlarged by `scale` and moved by `shift` (right, down), a share of the side."""
    images = pixels.movedim(-1, 1).float()
    affine = torch.zeros(len(images), 2, 3)
    affine[:, 0, 0] = affine[:, 1, 1] = 1 / scale
    affine[:, :, 2] = -2 * shift / scale[:, None]
    grid = functional.affine_grid(affine, list(images.shape), align_corners=False)
    images = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return images.round().to(torch.uint8).movedim(1, -1)


def soften(pixels: Pixels, generator: torch.Generator) -> Pixels:
    """Slightly blur a quarter of the pictures (by resizing) and add slight noise to a third, so that features do not
    depend on traits that only clean drawings have. Both are mild, so that the features still reflect sharpness."""
    images = pixels.movedim(-1, 1).float()
    side = images.shape[-1]
    draws = torch.rand(len(images), 3, generator=generator)
    blurred = functional.interpolate(images, size=side // 2, mode="bicubic", antialias=True)
    blurred = functional.interpolate(blurred, size=side, mode="bicubic")
    images = torch.where((draws[:, 0] < 0.25)[:, None, None, None], blurred, images)
    strength: PerImage = torch.where(draws[:, 1] < 0.33, draws[:, 2] * 12, 0.0)
    noise = torch.randn(images.shape, generator=generator) * strength[:, None, None, None]
    return (images + noise).clamp(0, 255).round().to(torch.uint8).movedim(1, -1)
