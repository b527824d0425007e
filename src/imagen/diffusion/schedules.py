"""Noise schedules: the only place that knows about time.

Time runs from 0 (clean image) to 1 (pure noise). Networks, losses and samplers see only the `NoiseLevel` a schedule
returns, so a model can be sampled with a schedule it was not trained on. Every schedule is strictly decreasing in
log-SNR, finite at both ends, and computes in the dtype of its argument: pass float64 where it matters.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from imagen.devices import moved
from imagen.diffusion.noise_level import NoiseLevel
from imagen.errors import UserError
from imagen.tensors import PerImage


class NoiseSchedule(ABC):
    """A strictly decreasing map from time in [0, 1] to log-SNR."""

    @abstractmethod
    def __call__(self, time: PerImage) -> NoiseLevel:
        """The noise level at each `time` in [0, 1]."""

    @abstractmethod
    def time_of(self, log_snr: PerImage) -> PerImage:
        """The inverse: the time at which the schedule passes `log_snr`, in [0, 1].

        A log-SNR outside the schedule's range gets the time of the nearer end.
        """

    @property
    def log_snr_range(self) -> tuple[float, float]:
        """The log-SNR at time 1 (lowest) and at time 0 (highest)."""
        lowest, highest = self(torch.tensor([1.0, 0.0], dtype=torch.float64)).log_snr.tolist()
        return lowest, highest

    def sample(self, batch_size: int, generator: torch.Generator, device: torch.device | str) -> NoiseLevel:
        """Noise levels for one training batch: each time is uniform in [0, 1], and together they are stratified.

        One random offset places one time in each of `batch_size` equal strata (VDM, Kingma et al. 2021, appendix I.1),
        which lowers the variance of the loss; a random order keeps image i from always getting stratum i.

        Args:
            batch_size: number of levels.
            generator: on the CPU, so that the levels are the same whatever the device.
            device: of the result.

        Returns:
            One float32 level for each image.
        """
        offset = torch.rand((), generator=generator, dtype=torch.float64)
        strata = torch.randperm(batch_size, generator=generator)
        return NoiseLevel(moved(self((strata + offset) / batch_size).log_snr.float(), device))


@dataclass(frozen=True)
class CosineSchedule(NoiseSchedule):
    """alpha = cos(angle), sigma = sin(angle), the angle linear in time (Nichol & Dhariwal 2021; Imagen's 64 and 256).

    log_snr(t) = -2 log tan(a + t (b - a)), a = atan(exp(-log_snr_max / 2)), b = atan(exp(-log_snr_min / 2)): the ends
    are finite and reached exactly.

    Raises:
        UserError: unless log_snr_min < log_snr_max, both finite.
    """

    log_snr_min: float = -15.0
    log_snr_max: float = 15.0

    def __post_init__(self) -> None:
        check_range(self.log_snr_min, self.log_snr_max)

    def _angles(self) -> tuple[float, float]:
        return math.atan(math.exp(-self.log_snr_max / 2)), math.atan(math.exp(-self.log_snr_min / 2))

    def __call__(self, time: PerImage) -> NoiseLevel:
        first, last = self._angles()
        return NoiseLevel(-2 * (first + time * (last - first)).tan().log())

    def time_of(self, log_snr: PerImage) -> PerImage:
        first, last = self._angles()
        angle = (-log_snr / 2).exp().atan()
        return ((angle - first) / (last - first)).clamp(0, 1)


@dataclass(frozen=True)
class LinearSchedule(NoiseSchedule):
    """Imagen's 256 → 1024 schedule: 1000 betas, evenly spaced from 1e-4 to 0.02, in continuous time.

    -log(alpha²) = beta_min u + (beta_max - beta_min) u² / 2, the betas being rates per unit of time (1000 times the
    discrete ones). Without noise at u = 0 the log-SNR is infinite, so time [0, 1] covers u in [u_min, 1], where u_min
    is where the log-SNR is `log_snr_max`; the default is the first of the 1000 discrete levels, u_min ≈ 1/1000.

    Raises:
        UserError: unless 0 <= beta_min <= beta_max, beta_max > 0, and log_snr_max is above the log-SNR at time 1.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    log_snr_max: float = 9.21

    def __post_init__(self) -> None:
        if not (0 <= self.beta_min <= self.beta_max < math.inf and self.beta_max > 0):
            raise UserError(
                f"betas of the linear schedule are {self.beta_min} and {self.beta_max}; "
                "they must be finite, 0 <= beta_min <= beta_max and beta_max > 0"
            )
        check_range(-math.log(math.expm1((self.beta_min + self.beta_max) / 2)), self.log_snr_max)

    def _first(self) -> float:
        return float(self._u_of(torch.tensor([self.log_snr_max], dtype=torch.float64)))

    def _u_of(self, log_snr: PerImage) -> PerImage:
        # The positive root of slope/2 u² + beta_min u = -log alpha², in the form that does not cancel at small u.
        decay = torch.nn.functional.softplus(-log_snr)
        slope = self.beta_max - self.beta_min
        return 2 * decay / (self.beta_min + (self.beta_min**2 + 2 * slope * decay).sqrt())

    def __call__(self, time: PerImage) -> NoiseLevel:
        first = self._first()
        u = first + time * (1 - first)
        decay = self.beta_min * u + (self.beta_max - self.beta_min) / 2 * u**2
        return NoiseLevel(-decay.expm1().log())

    def time_of(self, log_snr: PerImage) -> PerImage:
        first = self._first()
        return ((self._u_of(log_snr) - first) / (1 - first)).clamp(0, 1)


@dataclass(frozen=True)
class ShiftedSchedule(NoiseSchedule):
    """More noise for larger images: log_snr + 2 log(reference_resolution / resolution) (simple diffusion, eq. 4).

    Averaging `resolution / reference_resolution` squared pixels then leaves the noise `schedule` has at the reference
    resolution. The shifted log-SNR stays in the range of `schedule`: times whose level would leave it are cut off and
    the rest is stretched to [0, 1] (for a cosine of ±15 at 256 pixels, the noisiest 0.1 % of time). For larger images
    the noisy end therefore stays where it was and the clean end is lower by the shift.

    Raises:
        UserError: if a resolution is not positive, or the shift is larger than the range of `schedule`.
    """

    schedule: NoiseSchedule
    resolution: int
    reference_resolution: int = 64

    def __post_init__(self) -> None:
        if min(self.resolution, self.reference_resolution) < 1:
            raise UserError(
                f"resolutions of the shifted schedule are {self.resolution} and {self.reference_resolution}; "
                "they must be at least 1"
            )
        lowest, highest = self.schedule.log_snr_range
        if abs(self._shift()) >= highest - lowest:
            raise UserError(
                f"shift of {self._shift():.3g} in log-SNR is larger than the schedule's range [{lowest:.3g}, "
                f"{highest:.3g}]; choose a reference_resolution nearer to {self.resolution}"
            )

    def _shift(self) -> float:
        return 2 * math.log(self.reference_resolution / self.resolution)

    def _times(self) -> tuple[float, float]:
        lowest, highest = self.schedule.log_snr_range
        ends = torch.tensor([highest, lowest], dtype=torch.float64) - self._shift()
        first, last = self.schedule.time_of(ends).tolist()
        return first, last

    def __call__(self, time: PerImage) -> NoiseLevel:
        first, last = self._times()
        return NoiseLevel(self.schedule(first + time * (last - first)).log_snr + self._shift())

    def time_of(self, log_snr: PerImage) -> PerImage:
        first, last = self._times()
        return ((self.schedule.time_of(log_snr - self._shift()) - first) / (last - first)).clamp(0, 1)


@dataclass(frozen=True)
class FlowSchedule(NoiseSchedule):
    """Flow matching's path (1 - u) x0 + u eps as log-SNR: 2 log((1 - u) / u), u linear in time.

    `shift` s moves time towards noise, u → s u / (1 + (s - 1) u) (SD3, eq. 23), which subtracts 2 log s from the
    log-SNR: what `ShiftedSchedule` does. Time [0, 1] covers exactly [log_snr_min, log_snr_max], whatever the shift.

    Raises:
        UserError: unless shift is positive and log_snr_min < log_snr_max, all finite.
    """

    shift: float = 1.0
    log_snr_min: float = -15.0
    log_snr_max: float = 15.0

    def __post_init__(self) -> None:
        if not 0 < self.shift < math.inf:
            raise UserError(f"shift of the flow schedule is {self.shift}; it must be positive and finite")
        check_range(self.log_snr_min, self.log_snr_max)

    def _u_of(self, log_snr: PerImage) -> PerImage:
        return torch.sigmoid(-log_snr / 2 - math.log(self.shift))

    def _ends(self) -> tuple[float, float]:
        ends = torch.tensor([self.log_snr_max, self.log_snr_min], dtype=torch.float64)
        first, last = self._u_of(ends).tolist()
        return first, last

    def __call__(self, time: PerImage) -> NoiseLevel:
        first, last = self._ends()
        u = first + time * (last - first)
        return NoiseLevel(-2 * torch.logit(u) - 2 * math.log(self.shift))

    def time_of(self, log_snr: PerImage) -> PerImage:
        first, last = self._ends()
        return ((self._u_of(log_snr) - first) / (last - first)).clamp(0, 1)


@dataclass(frozen=True)
class LogNormalSchedule(NoiseSchedule):
    """EDM's noise in training (Karras et al. 2022, table 1): ln s is normal, s = sigma / alpha = exp(-log_snr / 2).

    Time is the share of training with less noise: uniform times draw s from that distribution, cut off at `sigma_min`
    and `sigma_max` (with the defaults, 2 draws in 100,000). So equal steps in time cross the noisiest part, from s = 80
    to 4, in the first of 64: sample with `RhoSpacing`, which chooses levels by s.

    Args:
        p_mean: mean of ln s.
        p_std: standard deviation of ln s.
        sigma_min: s at time 0.
        sigma_max: s at time 1.

    Raises:
        UserError: unless p_std > 0 and 0 < sigma_min < sigma_max, all finite.
    """

    p_mean: float = -1.2
    p_std: float = 1.2
    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        positive = 0 < self.p_std < math.inf and 0 < self.sigma_min < self.sigma_max < math.inf
        if not (positive and math.isfinite(self.p_mean)):
            raise UserError(
                f"the log-normal schedule has p_mean={self.p_mean}, p_std={self.p_std}, sigma_min={self.sigma_min}, "
                f"sigma_max={self.sigma_max}; they must be finite, p_std > 0 and 0 < sigma_min < sigma_max"
            )

    def _tails(self) -> tuple[float, float]:
        """The shares of the distribution that are cut off below and above; each exact, however small."""
        ends = torch.tensor([self.sigma_min, self.sigma_max], dtype=torch.float64).log()
        below, above = torch.special.ndtr((ends - self.p_mean) / self.p_std * torch.tensor([1, -1])).tolist()
        return below, above

    def __call__(self, time: PerImage) -> NoiseLevel:
        below, above = self._tails()
        kept = 1 - below - above
        less, more = below + kept * time, above + kept * (1 - time)  # from the nearer end: float32 near 1 is coarse
        normal = torch.where(less < more, torch.special.ndtri(less), -torch.special.ndtri(more))
        return NoiseLevel(-2 * (self.p_mean + self.p_std * normal))

    def time_of(self, log_snr: PerImage) -> PerImage:
        below, above = self._tails()
        less = torch.special.ndtr((-log_snr / 2 - self.p_mean) / self.p_std)
        return ((less - below) / (1 - below - above)).clamp(0, 1)


def check_range(log_snr_min: float, log_snr_max: float) -> None:
    """Raises UserError unless log_snr_min < log_snr_max, both finite."""
    if not -math.inf < log_snr_min < log_snr_max < math.inf:
        raise UserError(
            f"log-SNR range is [{log_snr_min:g}, {log_snr_max:g}]; both ends must be finite and the first the smaller"
        )
