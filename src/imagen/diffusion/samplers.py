"""Samplers turn noise into images by estimating x0 at ever lower noise levels.

Every sampler sees only z and x0; eps is implied by the (guided, thresholded) x0, never taken from the network. A step
goes from one log-SNR, `here`, to a higher one, `there`; its few coefficients are computed once, in float64, as plain
numbers, because all images of a batch are at the same level. The last step returns x0 itself.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch

from imagen.checks.arguments import Count, described, fits
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.schedules import NoiseSchedule
from imagen.diffusion.spacing import Spacing, UniformTime
from imagen.errors import UserError
from imagen.randomness import randn_per_image
from imagen.tensors import Images

Denoise = Callable[[Images, NoiseLevel], Images]
"""(z, level) -> x0: already guided, thresholded and corrected."""


@dataclass(frozen=True)
class Sampler(ABC):
    """A way from pure noise to a clean image in `num_steps` steps.

    Args:
        num_steps: number of steps; for most samplers also the number of denoiser evaluations.
        spacing: the noise levels at which the steps begin.

    Raises:
        UserError: unless num_steps is a whole number of at least 1.
    """

    num_steps: int
    spacing: Spacing = field(default_factory=UniformTime)

    def __post_init__(self) -> None:
        if not fits(self.num_steps, Count):
            raise UserError(f"num_steps of the sampler is {self.num_steps}; it must be {described(Count)}")

    @abstractmethod
    def __call__(
        self, denoise: Denoise, schedule: NoiseSchedule, noise: Images, generators: Sequence[torch.Generator]
    ) -> Images:
        """The clean images the noise turns into.

        Args:
            denoise: estimates x0, already guided, thresholded and corrected.
            schedule: on which `spacing` places the levels; it need not be the one the network was trained on.
            noise: standard normal, float32; image i of the result depends on noise[i] and generators[i] alone.
            generators: one for each image, for noise added on the way; deterministic samplers do not draw.
        """

    @property
    def evaluations(self) -> int:
        """Number of denoiser evaluations for one image."""
        return self.num_steps

    def log_snrs(self, schedule: NoiseSchedule) -> list[float]:
        """The log-SNR at the start of each step, noisiest first."""
        return self.spacing(schedule, self.num_steps).tolist()


@dataclass(frozen=True)
class DDPMSampler(Sampler):
    """Ancestral sampling (Ho et al. 2020; Imagen, section 2.1 and appendix A).

    Args:
        gamma: where the variance of a step lies, on a log scale, between that of q(z_there | z_here, x0) at 0 and that
            of q(z_here | z_there) at 1: DDPM's "fixed small" and "fixed large".

    Raises:
        UserError: unless gamma is in [0, 1].
    """

    gamma: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.gamma <= 1:
            raise UserError(f"gamma of the DDPM sampler is {self.gamma}; it must be in [0, 1]")

    def __call__(
        self, denoise: Denoise, schedule: NoiseSchedule, noise: Images, generators: Sequence[torch.Generator]
    ) -> Images:
        assert len(generators) == len(noise), f"{len(generators)} generators for {len(noise)} images"
        z, log_snrs = noise, self.log_snrs(schedule)
        for here, there in pairwise(log_snrs):
            x0 = denoise(z, level_of(z, here))
            fresh = -math.expm1(here - there)  # 1 - exp(here - there), the share of the noise that is drawn anew
            mean = (1 - fresh) * alpha(there) / alpha(here) * z + fresh * alpha(there) * x0
            std = math.sqrt(fresh) * sigma(there) ** (1 - self.gamma) * sigma(here) ** self.gamma
            z = mean + std * randn_per_image(generators, tuple(noise.shape[1:]), noise.device)
        return denoise(z, level_of(z, log_snrs[-1]))


@dataclass(frozen=True)
class DDIMSampler(Sampler):
    """Deterministic sampling (Song et al. 2021; Imagen, eq. 3): x0 and the implied eps, combined at the next level."""

    def __call__(
        self, denoise: Denoise, schedule: NoiseSchedule, noise: Images, generators: Sequence[torch.Generator]
    ) -> Images:
        z, log_snrs = noise, self.log_snrs(schedule)
        for here, there in pairwise(log_snrs):
            z = exponential_step(z, denoise(z, level_of(z, here)), here, there)
        return denoise(z, level_of(z, log_snrs[-1]))


@dataclass(frozen=True)
class DPMSolverPP2M(Sampler):
    """DPM-Solver++(2M), second order at one call of the denoiser per step (Lu et al. 2022, algorithm 2).

    x0 is extrapolated linearly in log-SNR from the last two estimates; the first and the last step are of first order.
    """

    def __call__(
        self, denoise: Denoise, schedule: NoiseSchedule, noise: Images, generators: Sequence[torch.Generator]
    ) -> Images:
        z, log_snrs = noise, self.log_snrs(schedule)
        before, x0_before = None, None
        for here, there in pairwise(log_snrs):
            x0 = denoise(z, level_of(z, here))
            estimate = x0
            if before is not None and x0_before is not None:
                estimate = torch.lerp(x0_before, x0, 1 + (there - here) / (here - before) / 2)
            z = exponential_step(z, estimate, here, there)
            before, x0_before = here, x0
        return denoise(z, level_of(z, log_snrs[-1]))


@dataclass(frozen=True)
class HeunSampler(Sampler):
    """EDM's deterministic sampler (Karras et al. 2022, algorithm 1), of second order.

    Two calls of the denoiser per step, one for the last: 2 num_steps - 1. Meant for `RhoSpacing`.
    """

    @property
    def evaluations(self) -> int:
        """As `Sampler.evaluations`."""
        return 2 * self.num_steps - 1

    def __call__(
        self, denoise: Denoise, schedule: NoiseSchedule, noise: Images, generators: Sequence[torch.Generator]
    ) -> Images:
        z, log_snrs = noise, self.log_snrs(schedule)
        for here, there in pairwise(log_snrs):
            x0 = denoise(z, level_of(z, here))
            euler = exponential_step(z, x0, here, there)
            x0_there = denoise(euler, level_of(z, there))
            eps = (z - alpha(here) * x0) / sigma(here)
            eps_there = (euler - alpha(there) * x0_there) / sigma(there)
            # In z / alpha over s = sigma / alpha, the slope of the path is eps; Heun takes the mean of both ends.
            half_step = (math.exp(-there / 2) - math.exp(-here / 2)) / 2
            z = euler + alpha(there) * half_step * (eps_there - eps)
        return denoise(z, level_of(z, log_snrs[-1]))


def exponential_step(z: Images, x0: Images, here: float, there: float) -> Images:
    """The exact solution of the probability flow from `here` to `there` if x0 stayed constant on the way.

    alpha(there) x0 + sigma(there) eps with eps = (z - alpha(here) x0) / sigma(here), written so that nothing cancels.
    """
    return sigma(there) / sigma(here) * z - alpha(there) * math.expm1((here - there) / 2) * x0


def alpha(log_snr: float) -> float:
    """Scale of the clean image, as `NoiseLevel.alpha`, for one number."""
    return 1 / math.sqrt(1 + math.exp(-log_snr))


def sigma(log_snr: float) -> float:
    """Scale of the noise, as `NoiseLevel.sigma`, for one number."""
    return 1 / math.sqrt(1 + math.exp(log_snr))


def level_of(z: Images, log_snr: float) -> NoiseLevel:
    """The level `log_snr` for each image of `z`."""
    return NoiseLevel(z.new_full((len(z),), log_snr))
