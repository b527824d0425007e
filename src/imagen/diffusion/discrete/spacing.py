"""Spacings on a table of whole-numbered times."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from imagen.checks.arguments import fits
from imagen.diffusion.discrete.schedule import DiscreteSchedule
from imagen.diffusion.schedules import NoiseSchedule
from imagen.diffusion.spacing import LogSNRs, Spacing
from imagen.errors import UserError


@dataclass(frozen=True)
class LeadingSpacing(Spacing):
    """Every k-th time of the table, from t = 0 up: "leading" in diffusers, and what DeepFloyd IF was published with.

    100 steps of 1000 times start at t = 990: never at the noisiest ones, where 1/alpha is 2 · 10⁴.

    Raises:
        UserError: for a schedule that is no table, or more steps than times.
    """

    def __call__(self, schedule: NoiseSchedule, num_steps: int) -> LogSNRs:
        table = _discrete(schedule, "leading spacing")
        if num_steps > table.steps:
            raise UserError(
                f"num_steps of the sampler is {num_steps}, and the stage has {table.steps} times: take fewer"
            )
        t = torch.arange(num_steps).flip(0) * (table.steps // num_steps)
        return table.at(t).log_snr


@dataclass(frozen=True)
class ListedTimes(Spacing):
    """The times that are listed, noisiest first, such as DeepFloyd IF's uneven "smart100".

    Args:
        times: whole numbers, decreasing, as many as the sampler has steps.

    Raises:
        UserError: for other times; for a schedule that is no table.
    """

    times: Sequence[int]

    def __post_init__(self) -> None:
        if not self.times or not all(fits(t, int) and t >= 0 for t in self.times):
            raise UserError(f"times of a spacing are {list(self.times)!r:.80}; they must be whole numbers from 0 up")
        if any(after >= before for before, after in pairwise(self.times)):
            raise UserError(f"times of a spacing are {list(self.times)!r:.80}; each must be below the one before")

    def __call__(self, schedule: NoiseSchedule, num_steps: int) -> LogSNRs:
        table = _discrete(schedule, "a list of times")
        if num_steps != len(self.times):
            raise UserError(
                f"num_steps of the sampler is {num_steps} and {len(self.times)} times are listed: give the same number"
            )
        if self.times[0] >= table.steps:
            raise UserError(f"the first of the listed times is {self.times[0]}; the stage has 0 to {table.steps - 1}")
        return table.at(torch.tensor(list(self.times))).log_snr


def _discrete(schedule: NoiseSchedule, what: str) -> DiscreteSchedule:
    if not isinstance(schedule, DiscreteSchedule):
        raise UserError(
            f"{what} needs a stage that was trained on a table of times, and this one has a {type(schedule).__name__}: "
            "choose sampler.spacing of another class"
        )
    return schedule
