"""Guidance of an unCLIP stage that is not told its caption."""

from dataclasses import dataclass

from imagen.diffusion.conditioning import Conditioning
from imagen.diffusion.guidance import ClassifierFreeGuidance, ConditionalDenoise, check_guidance
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.unclip.vectors import PICTURE_EMBEDDING
from imagen.tensors import Images


@dataclass(frozen=True)
class EmbeddingAlone:
    """Classifier-free guidance by the embedding of a picture. The caption is dropped from both estimates, so that all
    the stage knows of it has gone through the embedding.

    Args:
        weight: 1 is off.
        batched: as in `ClassifierFreeGuidance`.

    Raises:
        UserError: unless weight is finite and not negative.
    """

    weight: float | int
    batched: bool = True

    def __post_init__(self) -> None:
        check_guidance(self.weight, rescale=0)

    def __call__(
        self, denoiser: ConditionalDenoise, z: Images, level: NoiseLevel, conditioning: Conditioning
    ) -> Images:
        return self._guidance(denoiser, z, level, conditioning.without("text"))

    @property
    def _guidance(self) -> ClassifierFreeGuidance:
        return ClassifierFreeGuidance(self.weight, batched=self.batched, without=(PICTURE_EMBEDDING,))

    def passes(self, log_snr: float) -> int:
        """See `imagen.diffusion.guidance.GuidanceWithPasses`."""
        return self._guidance.passes(log_snr)
