"""What the rules here have in common: a conditional and an unconditional estimate, and a weight."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from imagen.diffusion.conditioning import Conditioning
from imagen.diffusion.guidance import ConditionalDenoise, check_guidance, estimates
from imagen.diffusion.noise_level import NoiseLevel
from imagen.tensors import BroadcastPerImage, Images


@dataclass(frozen=True, kw_only=True)
class TwoEstimates(ABC):
    """A rule that combines the conditional and the unconditional estimate of x0.

    Args:
        weight: 1 is off, and costs one conditional pass; every other weight costs two.
        batched: both estimates in one pass of the network: faster, at the cost of memory.
        without: names of the signals that the unconditional estimate lacks.

    Raises:
        UserError: unless weight is finite and not negative.
    """

    weight: float | int
    batched: bool = True
    without: Sequence[str] = ("text",)

    def __post_init__(self) -> None:
        check_guidance(self.weight, rescale=0.0)

    def __call__(
        self, denoiser: ConditionalDenoise, z: Images, level: NoiseLevel, conditioning: Conditioning
    ) -> Images:
        if self.weight == 1:
            return denoiser(z, level, conditioning)
        x0_cond, x0_uncond = self.both(denoiser, z, level, conditioning)
        return self.combined(x0_cond, x0_uncond, z, level)

    def both(
        self, denoiser: ConditionalDenoise, z: Images, level: NoiseLevel, conditioning: Conditioning
    ) -> Sequence[Images]:
        """The conditional and the unconditional estimate of x0."""
        told = [conditioning, conditioning.without(*self.without)]
        return estimates(denoiser, z, level, told, self.batched)

    def passes(self, log_snr: float) -> int:
        """See `imagen.diffusion.guidance.GuidanceWithPasses`."""
        del log_snr
        return 1 if self.weight == 1 else 2

    @abstractmethod
    def combined(self, x0_cond: Images, x0_uncond: Images, z: Images, level: NoiseLevel) -> Images:
        """The guided estimate of x0, not thresholded."""


def inner(one: Images, other: Images) -> BroadcastPerImage:
    """The inner product of each pair of images."""
    return (one * other).sum(dim=(1, 2, 3), keepdim=True)
