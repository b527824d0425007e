"""What a sweep found: numbers by cell and by control, their audits, and the facts they depend on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from imagen.evaluation.arrays import Pixels
from imagen.evaluation.features import Extractor
from imagen.evaluation.jackknife import Interval
from imagen.evaluation.metrics import Audit
from imagen.evaluation.summary import Measured
from imagen.evaluation.sweep import Cell

GROUND_TRUTH = "ground-truth"
NOISE = "noise"
SHUFFLED = "shuffled-captions"


@dataclass(frozen=True)
class CellResult:
    """The numbers of one cell over `count` pictures, and the intervals of those that have one."""

    cell: Cell
    count: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]


@dataclass(frozen=True)
class Step:
    """What changes from one guidance weight to the next of a curve, on the same prompts and noise: `difference` is the
    number at `to_weight` less the one at `from_weight`."""

    thresholding: str
    from_weight: float
    to_weight: float
    metric: str
    difference: Interval


def steps(measured: Mapping[Cell, Measured]) -> list[Step]:
    """The paired differences between neighbouring weights, of every number that has a jackknife in both cells."""
    found = []
    for label in dict.fromkeys(cell.thresholding for cell in measured):
        curve = sorted((c for c in measured if c.thresholding == label), key=lambda cell: cell.guidance_weight)
        for low, high in pairwise(curve):
            one, other = measured[low].jackknives, measured[high].jackknives
            for metric in [name for name in one if name in other]:
                difference = (other[metric] - one[metric]).interval
                found.append(Step(label, low.guidance_weight, high.guidance_weight, metric, difference))
    return found


@dataclass(frozen=True)
class Results:
    """`controls`: the same metrics of real pictures of the prompts (the floor of the Fréchet distance, the ceiling of
    the alignment), of pure noise, and the alignment with other pictures' captions. `steps`: paired differences between
    neighbouring weights. `pictures`: the first pictures of
    every cell and control, for grids. `facts`: everything else that is written beside the numbers."""

    cells: Sequence[CellResult]
    controls: Mapping[str, Mapping[str, float]]
    steps: Sequence[Step]
    audits: Sequence[Audit]
    judges: Sequence[Extractor]
    texts: Sequence[str]
    pictures: Mapping[str, Pixels]
    facts: Mapping[str, Any]

    @property
    def thresholdings(self) -> list[str]:
        return list(dict.fromkeys(result.cell.thresholding for result in self.cells))

    @property
    def weights(self) -> list[float]:
        return sorted({result.cell.guidance_weight for result in self.cells})

    @property
    def metric_names(self) -> list[str]:
        return list(dict.fromkeys(name for result in self.cells for name in result.metrics))

    def curve(self, thresholding: str) -> list[CellResult]:
        """The cells of one curve by ascending weight."""
        cells = [result for result in self.cells if result.cell.thresholding == thresholding]
        return sorted(cells, key=lambda result: result.cell.guidance_weight)


def noise_pictures(seed: int, ids: Sequence[int], resolution: int) -> Pixels:
    """Independent uniform pixels: what a broken model would give at best."""
    from imagen.randomness import make_generator

    shape = (resolution, resolution, 3)
    pictures = [
        torch.randint(0, 256, shape, generator=make_generator(seed, "noise picture", i), dtype=torch.uint8) for i in ids
    ]
    return torch.stack(pictures)
