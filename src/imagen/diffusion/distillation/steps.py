"""Several steps of a teacher in one of its student (progressive distillation, Salimans & Ho 2022, section 3).

A path is the log-SNRs that a teacher goes through by DDIM while its student takes a single step from the first to the
last of them. With z = alpha x0 + sigma eps and u = alpha / sigma, DDIM is Euler's method for z / sigma over u, whose
slope is x0. So one step with x0 ends where several end if x0 is the mean of theirs, weighted by their share of the way
in u: that mean is the student's target. It is the paper's x̃, written so that nothing cancels. It lies where the
teacher's estimates lie, inside the range of images if these are thresholded.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float64
from torch import Tensor

from imagen.checks.arguments import Count, described, fits
from imagen.devices import moved
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.samplers import DDIMSampler
from imagen.diffusion.schedules import NoiseSchedule
from imagen.diffusion.spacing import Spacing
from imagen.errors import UserError
from imagen.tensors import Images

Paths = Float64[Tensor, "points batch"]
"""A path for each image: log-SNRs, increasing, on the CPU; the last is infinite where it ends at the clean image."""

Teach = Callable[[Images, NoiseLevel], Images]
"""(z, level) -> x0: the teacher's estimate, guided and thresholded."""


def student_target(teach: Teach, z: Images, paths: Paths) -> Images:
    """The estimate of x0 with which one DDIM step through all of its path takes each image where the teacher's go.

    Args:
        teach: is asked once for each step of the paths.
        z: noisy images at the first log-SNR of their paths.
        paths: of two points or more.
    """
    travelled = ((paths[:-1] - paths[-1]) / 2).exp()  # u in units of its last value; 0 on the way to a clean image
    shares = torch.cat([travelled, torch.ones_like(travelled[:1])]).diff(dim=0) / (1 - travelled[0])
    target, parts = torch.zeros_like(z), moved(shares.to(z.dtype), z.device)
    for step, (here, there) in enumerate(pairwise(moved(paths.to(z.dtype), z.device))):
        x0 = teach(z, NoiseLevel(here))
        target = target + parts[step][:, None, None, None] * x0
        if step + 1 < len(shares):
            z = ddim_step(z, x0, NoiseLevel(here), NoiseLevel(there))
    return target


def ddim_step(z: Images, x0: Images, here: NoiseLevel, there: NoiseLevel) -> Images:
    """`imagen.diffusion.samplers.exponential_step` for images at levels of their own."""
    towards = -torch.expm1((here.log_snr - there.log_snr) / 2)[:, None, None, None]
    return there.sigma / here.sigma * z + there.alpha * towards * x0


@dataclass(frozen=True)
class Lesson(ABC):
    """Which steps a student takes the place of, on the levels of `schedule`."""

    schedule: NoiseSchedule

    @abstractmethod
    def draw(self, batch_size: int, generator: torch.Generator) -> Paths:
        """A path of the teacher for each image of a training batch. `generator` is on the CPU."""


CLEANEST = 1 / 64
"""The time at which a sampler of 64 steps begins its last one."""


@dataclass(frozen=True)
class OneEstimate(Lesson):
    """A single step of the teacher, from any level that samplers of up to 64 steps begin one at: the student learns its
    guided estimate.

    At cleaner levels what thresholding does to an image is as large as its noise. The loss, which counts errors there
    in units of that noise, would be made of it.
    """

    def draw(self, batch_size: int, generator: torch.Generator) -> Paths:
        cleanest = self.schedule(torch.tensor([CLEANEST], dtype=torch.float64)).log_snr.item()
        here = self.schedule.sample(batch_size, generator, "cpu").log_snr.double().clamp(max=cleanest)
        return torch.stack([here, torch.full_like(here, math.inf)])


@dataclass(frozen=True)
class StepsInOne(Lesson):
    """Several steps of the teacher in one, from a level at which the student begins a step.

    Args:
        num_steps: of the student.
        spacing: of both; where the student's steps begin, a step of the teacher must begin too.
        in_one: how many steps of the teacher, at least 2, one of the student takes the place of.

    Raises:
        UserError: if a number is out of range, and unless the steps fit into each other.
    """

    num_steps: int
    spacing: Spacing
    in_one: int = 2

    def __post_init__(self) -> None:
        if not fits(self.num_steps, Count):
            raise UserError(f"steps={self.num_steps} of a student must be {described(Count)}")
        if not fits(self.in_one, Count) or self.in_one < 2:
            raise UserError(f"steps_in_one={self.in_one} of a student must be a whole number of at least 2")
        if self._teachers()[: -1 : self.in_one] != self.sampler.log_snrs(self.schedule):
            raise UserError(
                f"{type(self.spacing).__name__} places {self.teachers_steps} steps of a teacher elsewhere than "
                f"{self.num_steps} of its student: choose UniformTime or UniformLogSNR"
            )

    @property
    def sampler(self) -> DDIMSampler:
        """How the student is sampled."""
        return DDIMSampler(self.num_steps, self.spacing)

    @property
    def teachers_steps(self) -> int:
        """Number of steps that the teacher makes."""
        return self.in_one * self.num_steps

    def draw(self, batch_size: int, generator: torch.Generator) -> Paths:
        # Stratified as `NoiseSchedule.sample`: in a batch all steps are drawn equally often, as far as that goes.
        offset = torch.rand((), generator=generator, dtype=torch.float64)
        strata = torch.randperm(batch_size, generator=generator)
        steps = ((strata + offset) / batch_size * self.num_steps).long().clamp(max=self.num_steps - 1)
        teachers = torch.tensor(self._teachers(), dtype=torch.float64)
        return torch.stack([teachers[self.in_one * steps + passed] for passed in range(self.in_one + 1)])

    def _teachers(self) -> list[float]:
        return [*DDIMSampler(self.teachers_steps, self.spacing).log_snrs(self.schedule), math.inf]
