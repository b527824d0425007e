"""Noise schedules that are a table: one noise level for each whole-numbered time that a network was trained on."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from imagen.devices import moved
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.schedules import NoiseSchedule
from imagen.errors import UserError
from imagen.tensors import PerImage

MAX_BETA = 0.999
"""Nichol & Dhariwal 2021, section 3.2: betas of the cosine schedule are clipped there."""

MAX_STEPS = 100_000


@dataclass(frozen=True)
class DiscreteSchedule(NoiseSchedule):
    """DDPM's noise schedule: `steps` levels, of t = 0 (clean) to `steps` - 1 (noise).

    Time u in [0, 1] is the level of t = floor(u · steps), so every level that the schedule gives is on the table, and
    training draws t uniformly. It decreases in steps: the one schedule here that is not strictly decreasing.

    Args:
        betas: how the betas come about: "cosine" (Nichol & Dhariwal 2021, eq. 17; "squaredcos_cap_v2" of diffusers) or
            "linear" (Ho et al. 2020).
        steps: number of times.
        beta_start: first beta of the linear schedule.
        beta_end: its last beta.

    Raises:
        UserError: for other `betas`, and for numbers that make no schedule.
    """

    betas: str = "cosine"
    steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02

    def __post_init__(self) -> None:
        if self.betas not in TABLES:
            raise UserError(f"betas of a discrete schedule are {self.betas!r:.60}; choose {' or '.join(TABLES)}")
        if not 2 <= self.steps <= MAX_STEPS:
            raise UserError(f"steps of a discrete schedule are {self.steps}; they must be 2 to {MAX_STEPS}")
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise UserError(
                f"betas of the discrete schedule are {self.beta_start} to {self.beta_end}; they must be in (0, 1), the "
                "first not above the last"
            )

    @property
    def table(self) -> Float64[Tensor, "steps"]:
        """The log-SNR of each t, decreasing; on the CPU."""
        return torch.tensor(_table(self), dtype=torch.float64, device="cpu")

    def __call__(self, time: PerImage) -> NoiseLevel:
        # A float32 time of 0.57 is a little less, and t = 570 of 1000 all the same.
        return self.at((time.double() * self.steps + 1e-3).long(), time.dtype)

    def at(self, t: Int64[Tensor, "*batch"], dtype: torch.dtype = torch.float64) -> NoiseLevel:
        """The levels of whole-numbered times, which are held to the table's."""
        table = moved(self.table, t.device)
        return NoiseLevel(table[t.clamp(0, self.steps - 1)].to(torch.promote_types(dtype, torch.float32)))

    def index_of(self, log_snr: PerImage) -> Int64[Tensor, "batch"]:
        """The t whose level is nearest to each log-SNR: the very t for a level of the table, in float32 too."""
        table = self.table
        half_way = moved((table[1:] + table[:-1]) / 2, log_snr.device)
        return (half_way > log_snr.double()[:, None]).sum(dim=1)

    def time_of(self, log_snr: PerImage) -> PerImage:
        """The middle of the times that have the nearest level of the table."""
        return ((self.index_of(log_snr) + 0.5) / self.steps).to(log_snr.dtype)


def _cosine(schedule: DiscreteSchedule) -> Iterator[float]:
    def bar(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    steps = schedule.steps
    return (min(1 - bar((t + 1) / steps) / bar(t / steps), MAX_BETA) for t in range(steps))


def _linear(schedule: DiscreteSchedule) -> Iterator[float]:
    first, last = schedule.beta_start, schedule.beta_end
    return (first + (last - first) * t / (schedule.steps - 1) for t in range(schedule.steps))


TABLES: Mapping[str, Callable[[DiscreteSchedule], Iterator[float]]] = {"cosine": _cosine, "linear": _linear}
"""By name, the betas of each t."""


@lru_cache(maxsize=8)
def _table(schedule: DiscreteSchedule) -> tuple[float, ...]:
    """Numbers and no tensor, which would be kept with the device or mode that it was made under."""
    alpha_squared, table = 1.0, []
    for beta in TABLES[schedule.betas](schedule):
        alpha_squared *= 1 - beta
        table.append(math.log(alpha_squared / (1 - alpha_squared)))
    return tuple(table)
