"""The part of a stage that samples, whether it is being trained or was loaded."""

from dataclasses import dataclass

from imagen.diffusion.denoiser import Denoiser
from imagen.diffusion.schedules import NoiseSchedule
from imagen.stages.conditioners import Conditioner


@dataclass(frozen=True)
class StageModel:
    """A denoiser with its noise schedule and the conditioner that it was trained with.

    `name` is the role in the cascade (base, sr1, …), `resolution` the side of its pictures in pixels.
    """

    name: str
    resolution: int
    denoiser: Denoiser
    schedule: NoiseSchedule
    conditioner: Conditioner
