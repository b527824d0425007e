"""What a stage is told about a training batch: the one thing in which base and super-resolution differ."""

from abc import ABC, abstractmethod

import torch

from imagen.data.batch import Batch
from imagen.diffusion.conditioning import Conditioning, LowResImage, resize
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.schedules import NoiseSchedule
from imagen.errors import UserError
from imagen.tensors import Images


class Conditioner(ABC):
    """Builds the conditioning for training.

    `augmentation` is the noise schedule of a low-resolution image, and `factor` how much smaller that image is; a stage
    that is given none has None and 1.
    """

    augmentation: NoiseSchedule | None = None
    factor: int = 1

    @abstractmethod
    def __call__(self, batch: Batch, x0: Images, generator: torch.Generator) -> Conditioning:
        """The conditioning of clean images `x0`, which are `batch.images` at the stage's resolution."""


class TextConditioner(Conditioner):
    """For the base stage: the caption."""

    def __call__(self, batch: Batch, x0: Images, generator: torch.Generator) -> Conditioning:
        return Conditioning(batch.text, batch.text_mask)


class LowResConditioner(Conditioner):
    """For super-resolution stages: the caption, and a smaller copy of the image with noise added to it.

    Noise conditioning augmentation (Imagen, section 2.4): the aug_level of each image is uniform in [0, 1], a time on
    the `augmentation` schedule.

    Args:
        low_resolution: side of the images that the stage before makes.
        resolution: side of the images that this stage makes, a multiple of `low_resolution`. Training may use crops:
            only the ratio of the two counts there.
        augmentation: noise schedule on which aug_level is a time.
    """

    def __init__(self, low_resolution: int, resolution: int, augmentation: NoiseSchedule) -> None:
        if low_resolution >= resolution or resolution % low_resolution:
            raise UserError(
                f"a super-resolution stage from {low_resolution} to {resolution} cannot be: the larger size must be a "
                "multiple of the smaller; put sizes that fit into resolutions=[...]"
            )
        self.low_resolution = low_resolution
        self.factor = resolution // low_resolution
        self.augmentation = augmentation

    def __call__(self, batch: Batch, x0: Images, generator: torch.Generator) -> Conditioning:
        return self.at(self.augmentation.sample(len(x0), generator, x0.device), batch, x0, generator)

    def at(self, level: NoiseLevel, batch: Batch, x0: Images, generator: torch.Generator) -> Conditioning:
        """The conditioning with the smaller image noised to `level`."""
        eps = torch.randn(x0.shape, generator=generator).to(x0.device)
        side = x0.shape[-1]
        low_res = LowResImage.augment(resize(x0, side // self.factor), side, level, eps)
        return Conditioning(batch.text, batch.text_mask, low_res)


class CleanLowResConditioner(Conditioner):
    """For the ablation of noise conditioning augmentation: a `LowResConditioner` that always trains at aug_level 0.

    Arguments as there; `augmentation` still says what an aug_level means when the stage is sampled.
    """

    def __init__(self, low_resolution: int, resolution: int, augmentation: NoiseSchedule) -> None:
        self._noised = LowResConditioner(low_resolution, resolution, augmentation)
        self.factor, self.augmentation = self._noised.factor, augmentation

    def __call__(self, batch: Batch, x0: Images, generator: torch.Generator) -> Conditioning:
        level = self.augmentation(torch.zeros(len(x0), device=x0.device))
        return self._noised.at(level, batch, x0, generator)
