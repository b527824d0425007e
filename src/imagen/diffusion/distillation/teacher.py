"""What a teacher estimates: guided and thresholded, as it is sampled."""

from dataclasses import dataclass

from imagen.diffusion.conditioning import Conditioning
from imagen.diffusion.distillation.told import GUIDANCE, GuidanceWeight
from imagen.diffusion.guidance import ConditionalDenoise, combine, estimates
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.thresholding import Thresholding
from imagen.tensors import Images


@dataclass(frozen=True)
class GuidedTeacher:
    """(z, level, conditioning) -> x0, each image guided with its own weight, the signal `guidance`.

    Args:
        denoiser: the teacher.
        thresholding: of the guided estimate; without it a student learns what high weights saturate.
        told: whether the denoiser is a student itself and told the weight. Another one is asked twice, with the caption
            and without.
        guided: False if all weights are 1: it is asked once.
    """

    denoiser: ConditionalDenoise
    thresholding: Thresholding
    told: bool
    guided: bool = True

    def __call__(self, z: Images, level: NoiseLevel, conditioning: Conditioning) -> Images:
        return self.thresholding(self._guided(z, level, conditioning))

    def _guided(self, z: Images, level: NoiseLevel, conditioning: Conditioning) -> Images:
        if self.told:
            return self.denoiser(z, level, conditioning)
        signal: GuidanceWeight = conditioning[GUIDANCE]
        others = Conditioning({name: value for name, value in conditioning.items() if name != GUIDANCE})
        if not self.guided:
            return self.denoiser(z, level, others)
        x0_cond, x0_uncond = estimates(self.denoiser, z, level, [others, others.without("text")], batched=True)
        return combine(x0_cond, x0_uncond, signal.weight.to(z)[:, None, None, None], rescale=0)
