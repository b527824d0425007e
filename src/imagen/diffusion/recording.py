"""Samplers that wrap another one, to record its estimates of x0 or to count them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.samplers import Denoise, Sampler
from imagen.diffusion.schedules import NoiseSchedule
from imagen.tensors import Images


@dataclass(frozen=True)
class Moment:
    """One evaluation of the denoiser: its log-SNR and its x0, already guided, thresholded and corrected."""

    log_snr: float
    x0: Images


@dataclass(frozen=True, kw_only=True)
class RecordingSampler(Sampler):
    """Samples exactly as `sampler` does, and appends every estimate of x0 to `moments`, noisiest first."""

    sampler: Sampler
    moments: list[Moment] = field(default_factory=list)

    def __call__(
        self, denoise: Denoise, schedule: NoiseSchedule, noise: Images, generators: Sequence[torch.Generator]
    ) -> Images:
        def recorded(z: Images, level: NoiseLevel) -> Images:
            x0 = denoise(z, level)
            self.moments.append(Moment(float(level.log_snr[0]), x0))
            return x0

        return self.sampler(recorded, schedule, noise, generators)


@dataclass(frozen=True, kw_only=True)
class CountedSampler(Sampler):
    """Samples as `sampler` does, and calls `advance` after every evaluation of the denoiser."""

    sampler: Sampler
    advance: Callable[[], object]

    def __call__(
        self, denoise: Denoise, schedule: NoiseSchedule, noise: Images, generators: Sequence[torch.Generator]
    ) -> Images:
        def watched(z: Images, level: NoiseLevel) -> Images:
            x0 = denoise(z, level)
            self.advance()
            return x0

        return self.sampler(watched, schedule, noise, generators)


def recording(sampler: Sampler) -> RecordingSampler:
    """A recorder around `sampler`."""
    return RecordingSampler(sampler.num_steps, sampler.spacing, sampler=sampler)


def counted(sampler: Sampler, advance: Callable[[], object]) -> CountedSampler:
    """`sampler`, which calls `advance` after every evaluation of the denoiser."""
    return CountedSampler(sampler.num_steps, sampler.spacing, sampler=sampler, advance=advance)


def evenly(moments: Sequence[Moment], count: int) -> list[Moment]:
    """At most `count` of the moments, evenly spaced, the first and the last among them."""
    kept = min(count, len(moments))
    if kept <= 1:
        return list(moments[len(moments) - kept :])
    return [moments[round(i * (len(moments) - 1) / (kept - 1))] for i in range(kept)]
