"""What every contestant of benchmarks/race.py is given, and what it owes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagen.tensors import Images
from imagen.text.embeddings import TextEmbeddings

STAGES = ("base", "sr1")
RESOLUTIONS = (8, 32)
SR_WEIGHT = 1.5
"""Guidance weight of super-resolution at most: the default of evaluate.py."""


@dataclass(frozen=True)
class Rules:
    """The same for all.

    Args:
        minutes: of training, for both stages side by side, each on half the threads.
        pictures: number of held-out captions, with one picture of each.
        threads: of training in all, and of sampling.
        cache: folder of the embedded captions.
    """

    minutes: float
    pictures: int
    threads: int
    cache: Path


@dataclass(frozen=True)
class Point:
    """One way to sample: the guidance weight of the base stage, and the sampler's steps of each stage."""

    weight: float
    steps: tuple[int, int]

    @property
    def weights(self) -> tuple[float, float]:
        """Of each stage."""
        return self.weight, min(self.weight, SR_WEIGHT)

    @property
    def name(self) -> str:
        return f"w{self.weight:g}_{self.steps[0]}_{self.steps[1]}"


Sample = Callable[[TextEmbeddings], Images]
"""One picture of each caption, 32 × 32, in [-1, 1]."""


class Contestant(ABC):
    """A cascade 8 -> 32 that is trained and sampled by its own library."""

    description: str

    @abstractmethod
    def train(self, rules: Rules, folder: Path) -> dict[str, Any]:
        """Train both stages into `folder`, from the start: what a training that was cut off left there is not used.

        Returns:
            `minutes`: of training, measured; for each of `STAGES` its `parameters`, `steps` and `batch_size`.

        Raises:
            UserError: if a training fails.
        """

    @abstractmethod
    def points(self, weights: Sequence[float], timesteps: Sequence[int]) -> list[Point]:
        """The ways to sample it at these guidance weights; `timesteps` are for those that need many."""

    @abstractmethod
    def sampler(self, folder: Path, point: Point) -> Sample:
        """The cascade that was trained into `folder`, ready to sample. What it does here is not timed."""
