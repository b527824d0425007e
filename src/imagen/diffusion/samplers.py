"""Samplers turn noise into images by estimating x0 at ever lower noise levels.

Every sampler sees only z and x0; eps is implied by the (guided, thresholded) x0, never taken from the network. A step
goes from one log-SNR, `here`, to a higher one, `there`; its few coefficients are computed once, in float64, as plain
numbers, because all images of a batch are at the same level. The last step returns x0 itself. Where a path goes back to
a lower log-SNR, fresh noise is added: RePaint's resampling (`imagen.diffusion.spacing.resampled`).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Protocol, cast

import torch

from imagen.checks.arguments import Count, described, fits
from imagen.diffusion.noise_level import CommonLevel, NoiseLevel
from imagen.diffusion.schedules import NoiseSchedule
from imagen.diffusion.spacing import Spacing, UniformTime
from imagen.errors import UserError
from imagen.randomness import randn_per_image
from imagen.tensors import Images

Denoise = Callable[[Images, NoiseLevel], Images]
"""(z, level) -> x0: already guided, thresholded and corrected."""


class DenoiseWithVariance(Protocol):
    """What a sampler that takes the learned variance is given in the place of a `Denoise`."""

    def __call__(self, z: Images, level: NoiseLevel) -> Images: ...

    @property
    def gamma(self) -> Images:
        """Of the last estimate, for each value of each image: see `DDPMSampler`."""
        ...


@dataclass(frozen=True)
class Estimate:
    """An estimate of x0, and the log-SNR of the z that it was made from."""

    log_snr: float
    x0: Images


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

    evaluations_per_step: ClassVar[int] = 1
    """Calls of the denoiser in a step; the last one, to x0, is always a single call."""

    @abstractmethod
    def step(
        self,
        denoise: Denoise,
        z: Images,
        here: float,
        there: float,
        generators: Sequence[torch.Generator],
        before: Estimate | None,
    ) -> tuple[Images, Images]:
        """z at the log-SNR `there`, and the estimate of x0 at `here` that led to it.

        Args:
            denoise: estimates x0, already guided, thresholded and corrected.
            z: noisy images at the log-SNR `here`, which is below `there`.
            generators: one for each image, for noise added on the way; deterministic samplers do not draw.
            before: the estimate of the step before; None for the first step, and where the path has gone back.
        """

    def walk(self, denoise: Denoise, path: Sequence[float], z: Images, generators: Sequence[torch.Generator]) -> Images:
        """The clean images at the end of `path`.

        Args:
            denoise: estimates x0, already guided, thresholded and corrected.
            path: log-SNRs, of which the last is the highest. Where one is below the one before it, noise is added.
            z: noisy images at the first of them, float32; image i of the result depends on z[i] and generators[i].
            generators: one for each image.
        """
        assert len(generators) in (0, len(z)), f"{len(generators)} generators for {len(z)} images"
        before = None
        for here, there in pairwise(path):
            if there < here:
                z, before = add_back(z, here, there, generators), None
            else:
                z, x0 = self.step(denoise, z, here, there, generators, before)
                before = Estimate(here, x0)
        return denoise(z, level_of(z, path[-1]))

    def __call__(
        self, denoise: Denoise, schedule: NoiseSchedule, noise: Images, generators: Sequence[torch.Generator]
    ) -> Images:
        """The clean images that standard normal `noise` turns into, on the levels that `spacing` places on `schedule`.

        `schedule` need not be the one that the network was trained on. The other arguments are those of `walk`.
        """
        return self.walk(denoise, self.log_snrs(schedule), noise, generators)

    def evaluations(self, path: Sequence[float]) -> int:
        """Number of denoiser evaluations of one image on `path`."""
        return 1 + self.evaluations_per_step * sum(here <= there for here, there in pairwise(path))

    def log_snrs(self, schedule: NoiseSchedule) -> list[float]:
        """The log-SNR at the start of each step, noisiest first."""
        return self.spacing(schedule, self.num_steps).tolist()


@dataclass(frozen=True)
class DDPMSampler(Sampler):
    """Ancestral sampling (Ho et al. 2020; Imagen, section 2.1 and appendix A).

    Args:
        gamma: where the variance of a step lies, on a log scale, between that of q(z_there | z_here, x0) at 0 and that
            of q(z_here | z_there) at 1: DDPM's "fixed small" and "fixed large".
        learned_variance: take that share from the network, for each value of each image (Nichol & Dhariwal 2021,
            eq. 15), in the place of `gamma`. Only stages whose network was trained to say it can be sampled so.

    Raises:
        UserError: unless gamma is in [0, 1].
    """

    gamma: float = 0.0
    learned_variance: bool = field(default=False, metadata={"added_later": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.gamma <= 1:
            raise UserError(f"gamma of the DDPM sampler is {self.gamma}; it must be in [0, 1]")

    def step(
        self,
        denoise: Denoise,
        z: Images,
        here: float,
        there: float,
        generators: Sequence[torch.Generator],
        before: Estimate | None,
    ) -> tuple[Images, Images]:
        x0 = denoise(z, level_of(z, here))
        gamma = cast(DenoiseWithVariance, denoise).gamma if self.learned_variance else self.gamma
        fresh = -math.expm1(here - there)  # 1 - exp(here - there), the share of the noise that is drawn anew
        mean = (1 - fresh) * alpha(there) / alpha(here) * z + fresh * alpha(there) * x0
        std = math.sqrt(fresh) * sigma(there) ** (1 - gamma) * sigma(here) ** gamma
        return mean + std * randn_per_image(generators, tuple(z.shape[1:]), z.device), x0


@dataclass(frozen=True)
class DDIMSampler(Sampler):
    """Deterministic sampling (Song et al. 2021; Imagen, eq. 3): x0 and the implied eps, combined at the next level."""

    def step(
        self,
        denoise: Denoise,
        z: Images,
        here: float,
        there: float,
        generators: Sequence[torch.Generator],
        before: Estimate | None,
    ) -> tuple[Images, Images]:
        x0 = denoise(z, level_of(z, here))
        return exponential_step(z, x0, here, there), x0


@dataclass(frozen=True)
class DPMSolverPP2M(Sampler):
    """DPM-Solver++(2M), second order at one call of the denoiser per step (Lu et al. 2022, algorithm 2).

    x0 is extrapolated linearly in log-SNR from the last two estimates; the first and the last step are of first order.
    """

    def step(
        self,
        denoise: Denoise,
        z: Images,
        here: float,
        there: float,
        generators: Sequence[torch.Generator],
        before: Estimate | None,
    ) -> tuple[Images, Images]:
        x0 = denoise(z, level_of(z, here))
        estimate = x0
        if before is not None:
            estimate = torch.lerp(before.x0, x0, 1 + (there - here) / (here - before.log_snr) / 2)
        return exponential_step(z, estimate, here, there), x0


@dataclass(frozen=True)
class HeunSampler(Sampler):
    """EDM's deterministic sampler (Karras et al. 2022, algorithm 1), of second order.

    Two calls of the denoiser per step, one for the last: 2 num_steps - 1. Meant for `RhoSpacing`.
    """

    evaluations_per_step: ClassVar[int] = 2

    def step(
        self,
        denoise: Denoise,
        z: Images,
        here: float,
        there: float,
        generators: Sequence[torch.Generator],
        before: Estimate | None,
    ) -> tuple[Images, Images]:
        x0 = denoise(z, level_of(z, here))
        euler = exponential_step(z, x0, here, there)
        x0_there = denoise(euler, level_of(z, there))
        eps = (z - alpha(here) * x0) / sigma(here)
        eps_there = (euler - alpha(there) * x0_there) / sigma(there)
        # In z / alpha over s = sigma / alpha, the slope of the path is eps; Heun takes the mean of both ends.
        half_step = (math.exp(-there / 2) - math.exp(-here / 2)) / 2
        return euler + alpha(there) * half_step * (eps_there - eps), x0


def exponential_step(z: Images, x0: Images, here: float, there: float) -> Images:
    """The exact solution of the probability flow from `here` to `there` if x0 stayed constant on the way.

    alpha(there) x0 + sigma(there) eps with eps = (z - alpha(here) x0) / sigma(here), written so that nothing cancels.
    """
    return sigma(there) / sigma(here) * z - alpha(there) * math.expm1((here - there) / 2) * x0


def add_back(z: Images, here: float, there: float, generators: Sequence[torch.Generator]) -> Images:
    """z at the lower log-SNR `there`: q(z_there | z_here), with fresh noise of each image's own generator."""
    share = alpha(there) / alpha(here)
    std = math.sqrt(sigma(there) ** 2 - (share * sigma(here)) ** 2)
    return share * z + std * randn_per_image(generators, tuple(z.shape[1:]), z.device)


def alpha(log_snr: float) -> float:
    """Scale of the clean image, as `NoiseLevel.alpha`, for one number."""
    return 1 / math.sqrt(1 + math.exp(-log_snr))


def sigma(log_snr: float) -> float:
    """Scale of the noise, as `NoiseLevel.sigma`, for one number."""
    return 1 / math.sqrt(1 + math.exp(log_snr))


def level_of(z: Images, log_snr: float) -> NoiseLevel:
    """The level `log_snr` for each image of `z`."""
    return CommonLevel(z.new_full((len(z),), log_snr), log_snr)
