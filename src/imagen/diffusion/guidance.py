"""Guidance: how conditional and unconditional estimates are combined.

One convention in the whole project: x0 = x0_uncond + weight (x0_cond - x0_uncond), so a weight of 1 is off and 0 is
unconditional. The weights of the two estimates sum to 1 and x0 is affine in eps, v and u, so this is Imagen's
eq. 2, stated there for eps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch

from imagen.diffusion.conditioning import Conditioning
from imagen.diffusion.noise_level import NoiseLevel
from imagen.errors import UserError
from imagen.tensors import Images

ConditionalDenoise = Callable[[Images, NoiseLevel, Conditioning], Images]
"""(z, level, conditioning) -> x0: a `Denoiser`, or anything that can be called like one."""


@runtime_checkable
class Guidance(Protocol):
    def __call__(
        self, denoiser: ConditionalDenoise, z: Images, level: NoiseLevel, conditioning: Conditioning
    ) -> Images:
        """The guided estimate of x0, not thresholded."""
        ...


@dataclass(frozen=True)
class ClassifierFreeGuidance:
    """Classifier-free guidance (Ho & Salimans 2021; Imagen, section 2.2).

    Args:
        weight: 1 is off and costs one conditional pass, 0 costs one unconditional pass.
        rescale: how far to pull the standard deviation of each guided image back to that of the conditional estimate
            (Lin et al. 2023, section 3.4, there with 0.7 on v; here on x0); 0 is off, 1 is all the way.
        batched: evaluate both estimates in one pass of the network on twice the batch: faster, at the cost of memory.
        without: names of the signals that the unconditional estimate lacks (`Conditioning.without`).

    Raises:
        UserError: unless weight is finite and not negative, and rescale in [0, 1].
    """

    weight: float | int
    rescale: float | int = 0.0
    batched: bool = True
    without: Sequence[str] = field(default=("text",), metadata={"added_later": True})

    def __post_init__(self) -> None:
        check_guidance(self.weight, self.rescale)

    def __call__(
        self, denoiser: ConditionalDenoise, z: Images, level: NoiseLevel, conditioning: Conditioning
    ) -> Images:
        if self.weight == 1:
            return denoiser(z, level, conditioning)
        if self.weight == 0 and self.rescale == 0:
            return denoiser(z, level, conditioning.without(*self.without))
        x0_cond, x0_uncond = both_estimates(
            denoiser, z, level, conditioning, conditioning.without(*self.without), self.batched
        )
        return combine(x0_cond, x0_uncond, self.weight, self.rescale)


@dataclass(frozen=True)
class IntervalGuidance:
    """Classifier-free guidance inside an interval of noise, none outside (Kynkäänniemi et al. 2024).

    The images of a batch may be at different levels; the level of each decides whether it is guided. Where none is, one
    conditional pass is enough.

    Args:
        weight: inside the interval; 1 is off.
        log_snr_min: the noisy end of the interval, inclusive. The paper's EDM2-XXL interval is about [-0.95, 2.52].
        log_snr_max: its clean end, inclusive.
        rescale: as in `ClassifierFreeGuidance`.
        batched: as in `ClassifierFreeGuidance`.
        without: as in `ClassifierFreeGuidance`.

    Raises:
        UserError: unless weight is finite and not negative, rescale in [0, 1], and log_snr_min <= log_snr_max.
    """

    weight: float | int
    log_snr_min: float | int
    log_snr_max: float | int
    rescale: float | int = 0.0
    batched: bool = True
    without: Sequence[str] = field(default=("text",), metadata={"added_later": True})

    def __post_init__(self) -> None:
        check_guidance(self.weight, self.rescale)
        if not self.log_snr_min <= self.log_snr_max:
            raise UserError(
                f"guidance interval is [{self.log_snr_min}, {self.log_snr_max}] in log-SNR; "
                "log_snr_min must not be above log_snr_max"
            )

    def __call__(
        self, denoiser: ConditionalDenoise, z: Images, level: NoiseLevel, conditioning: Conditioning
    ) -> Images:
        guided = (level.log_snr >= self.log_snr_min) & (level.log_snr <= self.log_snr_max)
        if self.weight == 1 or not guided.any():
            return denoiser(z, level, conditioning)
        x0_cond, x0_uncond = both_estimates(
            denoiser, z, level, conditioning, conditioning.without(*self.without), self.batched
        )
        x0 = combine(x0_cond, x0_uncond, self.weight, self.rescale)
        return torch.where(guided[:, None, None, None], x0, x0_cond)


def both_estimates(
    denoiser: ConditionalDenoise,
    z: Images,
    level: NoiseLevel,
    conditional: Conditioning,
    unconditional: Conditioning,
    batched: bool,
) -> tuple[Images, Images]:
    """The two estimates of x0 at the same z, from one pass of the network if `batched`, else from two."""
    if not batched:
        return denoiser(z, level, conditional), denoiser(z, level, unconditional)
    twice = NoiseLevel(level.log_snr.repeat(2))
    x0_cond, x0_uncond = denoiser(z.repeat(2, 1, 1, 1), twice, conditional.concat(unconditional)).chunk(2)
    return x0_cond, x0_uncond


def combine(x0_cond: Images, x0_uncond: Images, weight: float | int, rescale: float | int) -> Images:
    """The guided estimate, its standard deviation over each image pulled towards that of `x0_cond` by `rescale`."""
    x0 = torch.lerp(x0_uncond, x0_cond, weight)
    if rescale == 0:
        return x0
    axes = (1, 2, 3)
    ratio = x0_cond.std(dim=axes, keepdim=True) / x0.std(dim=axes, keepdim=True).clamp_min(1e-12)
    return x0 * (1 + rescale * (ratio - 1))


LARGEST_WEIGHT = 1e30
"""Far larger weights overflow float32, which would only show while sampling."""


def check_guidance(weight: float | int, rescale: float | int) -> None:
    """Raises UserError unless weight is in [0, LARGEST_WEIGHT], and rescale in [0, 1]."""
    if not 0 <= weight <= LARGEST_WEIGHT:
        raise UserError(f"guidance weight is {weight}; it must be at least 0 (1 is off) and at most {LARGEST_WEIGHT:g}")
    if not 0 <= rescale <= 1:
        raise UserError(f"guidance rescale is {rescale}; it must be in [0, 1] (0 is off)")
