"""Spacings: the noise levels at which a sampler evaluates the denoiser, and paths made of them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from imagen.diffusion.schedules import NoiseSchedule
from imagen.errors import UserError

LogSNRs = Float[Tensor, "steps"]
"""One log-SNR for each step of a sampler, strictly increasing, float64 on the CPU."""


class Spacing(ABC):
    @abstractmethod
    def __call__(self, schedule: NoiseSchedule, num_steps: int) -> LogSNRs:
        """The log-SNR at the start of each of `num_steps` steps, noisiest first.

        The last step goes from the last of them to the clean image.
        """


@dataclass(frozen=True)
class UniformTime(Spacing):
    """Evenly spaced in the schedule's time, from 1 (included) to 0 (not included), as in the paper."""

    def __call__(self, schedule: NoiseSchedule, num_steps: int) -> LogSNRs:
        time = 1 - torch.arange(num_steps, dtype=torch.float64) / num_steps
        return schedule(time).log_snr


@dataclass(frozen=True)
class UniformLogSNR(Spacing):
    """Evenly spaced in log-SNR over the range of the schedule; the noisy end is included, the clean end is not."""

    def __call__(self, schedule: NoiseSchedule, num_steps: int) -> LogSNRs:
        lowest, highest = schedule.log_snr_range
        return lowest + (highest - lowest) * torch.arange(num_steps, dtype=torch.float64) / num_steps


@dataclass(frozen=True)
class RhoSpacing(Spacing):
    """EDM's spacing (Karras et al. 2022, eq. 5): s^(1/rho) evenly spaced, where s = sigma / alpha = exp(-log_snr / 2).

    From `sigma_max` to `sigma_min`, both included. Where the range of the schedule is narrower, it ends there.

    Raises:
        UserError: unless rho > 0 and 0 < sigma_min < sigma_max, all finite, and the schedule has levels between.
    """

    rho: float = 7.0
    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        if not (0 < self.rho < math.inf and 0 < self.sigma_min < self.sigma_max < math.inf):
            raise UserError(
                f"rho spacing has rho={self.rho}, sigma_min={self.sigma_min}, sigma_max={self.sigma_max}; "
                "they must be finite, rho > 0 and 0 < sigma_min < sigma_max"
            )

    def __call__(self, schedule: NoiseSchedule, num_steps: int) -> LogSNRs:
        lowest, highest = schedule.log_snr_range
        first = max(lowest, -2 * math.log(self.sigma_max))
        last = min(highest, -2 * math.log(self.sigma_min))
        if first >= last:
            raise UserError(
                f"rho spacing has sigma_min={self.sigma_min}, sigma_max={self.sigma_max}, outside of the schedule's "
                f"[{math.exp(-highest / 2):.3g}, {math.exp(-lowest / 2):.3g}]; choose them inside it"
            )
        position = torch.arange(num_steps, dtype=torch.float64) / max(num_steps - 1, 1)
        root_max, root_min = math.exp(-first / 2 / self.rho), math.exp(-last / 2 / self.rho)
        return -2 * self.rho * (root_max + position * (root_min - root_max)).log()


def beginning_at(path: Sequence[float], log_snr: float) -> list[float]:
    """The part of an increasing `path` above `log_snr`, which comes first: for images that are not sampled from pure
    noise (SDEdit, Meng et al. 2022)."""
    return [log_snr, *(level for level in path if level > log_snr)]


def resampled(path: Sequence[float], times: int) -> list[float]:
    """An increasing `path` on which each step is taken `times` times, going back in between.

    RePaint's resampling (Lugmayr et al. 2022, algorithm 1, U = `times`): each time, what is sampled anew sees the known
    pixels once more.
    """
    walked = list(path[:1])
    for here, there in pairwise(path):
        walked += [there, *[here, there] * (times - 1)]
    return walked
