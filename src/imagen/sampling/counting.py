"""Progress of sampling: a sampler that tells of every evaluation of the denoiser."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from imagen.cascade import SamplingSettings
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.samplers import Denoise, Sampler
from imagen.diffusion.schedules import NoiseSchedule
from imagen.tensors import Images


@dataclass(frozen=True, kw_only=True)
class CountedSampler(Sampler):
    """Samples as `sampler` does, and calls `advance` after every evaluation of the denoiser."""

    sampler: Sampler
    advance: Callable[[], object]

    def __call__(
        self, denoise: Denoise, schedule: NoiseSchedule, noise: Images, generators: Sequence[torch.Generator]
    ) -> Images:
        def counted(z: Images, level: NoiseLevel) -> Images:
            x0 = denoise(z, level)
            self.advance()
            return x0

        return self.sampler(counted, schedule, noise, generators)


def counted(settings: Sequence[SamplingSettings], advance: Callable[[], object]) -> list[SamplingSettings]:
    """The same settings, with samplers that call `advance`."""
    return [
        replace(one, sampler=CountedSampler(one.sampler.num_steps, sampler=one.sampler, advance=advance))
        for one in settings
    ]
