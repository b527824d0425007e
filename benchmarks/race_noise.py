"""Noise that imagen-pytorch has no argument for: benchmarks/race_peer.py gives ours to its best contestants.

One of its noise schedules is an object with `log_snr`, a decreasing function of time in [0, 1] that it uses wherever it
needs a level; and with `sample_random_times`, which draws the times of a training, uniform in [0, 1).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class PeerSchedule(Protocol):
    """What is used here of imagen-pytorch's GaussianDiffusionContinuousTimes."""

    log_snr: Callable[[Tensor], Tensor]
    sample_random_times: Callable[..., Tensor]


@dataclass(frozen=True)
class Noise:
    """Levels of noise as log-SNR, in the place of imagen-pytorch's own.

    Args:
        lowres_min: of the noise on the smaller picture, the lowest in training.
        lowres_sampling: the one in sampling.
        shifts: added to the schedule of each stage; None leaves them, and ElucidatedImagen has none.
    """

    lowres_min: float
    lowres_sampling: float
    shifts: tuple[float, float] | None = None

    def give(self, imagen: Any) -> None:
        """To an Imagen or ElucidatedImagen, before it is trained or sampled."""
        limit_times(imagen.lowres_noise_schedule, self.lowres_min)
        imagen.lowres_sample_noise_level = time_of(imagen.lowres_noise_schedule, self.lowres_sampling)  # it is a time
        if self.shifts:
            for schedule, shift in zip(imagen.noise_schedulers, self.shifts, strict=True):
                shift_log_snr(schedule, shift)


OUR_LOWRES = Noise(lowres_min=2.0, lowres_sampling=6.66)
"""Of conf/experiment/demo_sr1.yaml: the lowest of its augmentation, and the one at aug_level 0.1, our default."""
OURS = Noise(OUR_LOWRES.lowres_min, OUR_LOWRES.lowres_sampling, (2 * math.log(16 / 8), 2 * math.log(16 / 32)))
"""And of conf/experiment/demo_base.yaml and demo_sr1.yaml: reference_resolution 16 at 8 and 32 pixels."""


def time_of(schedule: PeerSchedule, log_snr: float) -> float:
    """The last time at which `schedule` still has `log_snr`, found by halving."""
    first, last = 0.0, 1.0
    assert _log_snr(schedule, first) >= log_snr >= _log_snr(schedule, last), f"{log_snr} is not on the schedule"
    for _ in range(50):
        middle = (first + last) / 2
        first, last = (middle, last) if _log_snr(schedule, middle) >= log_snr else (first, middle)
    return first


def _log_snr(schedule: PeerSchedule, time: float) -> float:
    return float(schedule.log_snr(torch.tensor(time, dtype=torch.float64)))


def limit_times(schedule: PeerSchedule, log_snr_min: float) -> None:
    """Let a training draw only times with at least `log_snr_min`, uniform as before."""
    last, draw = time_of(schedule, log_snr_min), schedule.sample_random_times

    def sample_random_times(batch_size: int, *, device: torch.device | str) -> Tensor:
        """Shape (batch_size,), float32."""
        return last * draw(batch_size, device=device)

    schedule.sample_random_times = sample_random_times


def shift_log_snr(schedule: PeerSchedule, shift: float) -> None:
    """Add `shift` to the log-SNR at every time: less noise where it is positive (simple diffusion, eq. 4)."""
    unshifted = schedule.log_snr
    schedule.log_snr = lambda time: unshifted(time) + shift
