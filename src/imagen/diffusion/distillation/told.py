"""A denoiser that is told how strongly to guide: one conditional pass in the place of two."""

from dataclasses import dataclass

import torch

from imagen.diffusion.conditioning import Conditioning, Signal
from imagen.diffusion.guidance import ConditionalDenoise
from imagen.diffusion.noise_level import NoiseLevel
from imagen.tensors import Images, PerImage

GUIDANCE = "guidance"
"""The name of the signal."""


@dataclass(frozen=True)
class GuidanceWeight(Signal):
    """The weight with which each image is to be guided, above 0. Without it 1, which is off."""

    weight: PerImage

    def null(self) -> "GuidanceWeight":
        return GuidanceWeight(torch.ones_like(self.weight))


@dataclass(frozen=True)
class ToldGuidance:
    """Guidance of a denoiser that is told `weight`, and estimates by itself what guidance with it would give (Meng et
    al. 2023, section 3)."""

    weight: float | int

    def __call__(
        self, denoiser: ConditionalDenoise, z: Images, level: NoiseLevel, conditioning: Conditioning
    ) -> Images:
        told = GuidanceWeight(torch.full_like(level.log_snr, self.weight))
        return denoiser(z, level, Conditioning(conditioning, **{GUIDANCE: told}))

    def passes(self, log_snr: float) -> int:
        """See `imagen.diffusion.guidance.GuidanceWithPasses`: one."""
        del log_snr
        return 1
