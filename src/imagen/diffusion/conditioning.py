"""Everything a denoiser is told besides the noisy image."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from imagen.diffusion.noise_level import NoiseLevel
from imagen.tensors import Images, Text, TextMask

OtherSizeImages = Float[Tensor, "batch channels other_height other_width"]
"""Images of the same batch as `Images`, but not of the same size."""


def resize(images: Images, resolution: int) -> Float[Tensor, "batch channels {resolution} {resolution}"]:
    """Square resize, bilinear; antialiased when it makes images smaller. The only resize of tensors in the project."""
    if images.shape[-1] == resolution and images.shape[-2] == resolution:
        return images
    return interpolate(images.float(), size=(resolution, resolution), mode="bilinear", antialias=True)


@dataclass(frozen=True)
class LowResImage:
    """A smaller image, resized to the resolution of the stage and noised to `level`."""

    image: Images
    level: NoiseLevel

    @classmethod
    def augment(cls, image: OtherSizeImages, resolution: int, level: NoiseLevel, eps: Images) -> "LowResImage":
        """Noise conditioning augmentation (Imagen, section 2.4), the same call in training and in sampling.

        Args:
            image: low-resolution images in [-1, 1].
            resolution: of the stage that is told about them.
            level: how much noise to add (`aug_level` as a point on a noise schedule).
            eps: standard normal noise, already of the stage's `resolution`.
        """
        return cls(level.add_noise(resize(image, resolution), eps), level)


@dataclass(frozen=True)
class Conditioning:
    """Text, and for super-resolution the low-resolution image.

    `text` is zero wherever `text_mask` is False. An image whose mask is False everywhere is unconditional.
    """

    text: Text
    text_mask: TextMask
    low_res: LowResImage | None = None

    def drop_text(self, drop: torch.Tensor) -> "Conditioning":
        """Without text for the images where `drop`, bool of shape (batch,), is True."""
        mask = self.text_mask & ~drop[:, None]
        return replace(self, text=self.text * mask[..., None], text_mask=mask)

    def without_text(self) -> "Conditioning":
        """The unconditional counterpart, for classifier-free guidance: zeros, as in the paper."""
        return replace(self, text=torch.zeros_like(self.text), text_mask=torch.zeros_like(self.text_mask))

    def concat(self, other: "Conditioning") -> "Conditioning":
        """Both batches, one after the other, so that one pass of the network serves them.

        Raises:
            ValueError: if one has a low-resolution image and the other has none.
        """
        if (self.low_res is None) != (other.low_res is None):
            raise ValueError("cannot concatenate conditionings with and without a low-resolution image")
        low_res = None
        if self.low_res is not None:
            low_res = LowResImage(
                torch.cat([self.low_res.image, other.low_res.image]),
                NoiseLevel(torch.cat([self.low_res.level.log_snr, other.low_res.level.log_snr])),
            )
        text = torch.cat([self.text, other.text])
        return type(self)(text, torch.cat([self.text_mask, other.text_mask]), low_res)
