"""What sampling needs of a stage, whether it is being trained or was loaded."""

from dataclasses import dataclass

from imagen.diffusion.denoiser import Denoiser
from imagen.diffusion.schedules import NoiseSchedule


@dataclass(frozen=True)
class StageModel:
    """A denoiser with its noise schedule.

    `name` is the role in the cascade (base, sr1, …), `resolution` the side of its pictures. `augmentation` is the
    schedule on which aug_level is a time; None for a base stage.
    """

    name: str
    resolution: int
    denoiser: Denoiser
    schedule: NoiseSchedule
    augmentation: NoiseSchedule | None = None
