"""The results of a sweep: numbers by cell and by control, their audits, and the facts they depend on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from imagen.evaluation.judges.extractor import Judge
from imagen.evaluation.judges.metric import Metric
from imagen.evaluation.results.categories import CategoryResult
from imagen.evaluation.results.copies import Copies
from imagen.evaluation.results.cost import Cost, Measure, compared_by
from imagen.evaluation.results.equal_alignment import EqualAlignment, at_equal_alignment, compared_pairs
from imagen.evaluation.results.summary import Measured
from imagen.evaluation.statistics.audit import Audit
from imagen.evaluation.statistics.jackknife import Interval, Jackknife
from imagen.evaluation.sweep.plan import Cell
from imagen.tensors import Pixels

GROUND_TRUTH = "ground-truth"
NOISE = "noise"
SHUFFLED = "shuffled-captions"


@dataclass(frozen=True)
class CellResult:
    """The numbers of one cell over `count` pictures, their intervals and jackknives as far as they have them, the
    numbers by category if the prompts have categories, and what the pictures cost."""

    cell: Cell
    count: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]
    jackknives: Mapping[str, Jackknife] = field(default_factory=dict, compare=False)
    by_category: Mapping[str, CategoryResult] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost, compare=False)

    @classmethod
    def of(cls, cell: Cell, count: int, measured: Measured, cost: Cost) -> "CellResult":
        return cls(cell, count, measured.values, measured.intervals, measured.jackknives, measured.by_category, cost)


@dataclass(frozen=True)
class Step:
    """The change of a number between neighbouring weights of a curve, on the same prompts and noise: `difference` is
    the number at `to_weight` minus that at `from_weight`, over the `pictures` that both have."""

    curve: str
    from_weight: float
    to_weight: float
    metric: str
    difference: Interval
    pictures: int


@dataclass(frozen=True)
class Results:
    """`controls`: the same metrics for real pictures of the prompts (the floor of the Fréchet distance, the ceiling of
    alignment and retrieval) and for pure noise, and the alignment with other pictures' captions; `control_intervals`:
    of those of their numbers that have one. `steps`: paired differences between neighbouring weights. `pictures`: the
    first pictures of every cell and control, for grids. `facts`: the settings that are written beside the numbers.
    `categories`: one for each prompt, None if it has none. `copies`: the comparison with the training
    pictures, if they are known."""

    cells: Sequence[CellResult]
    controls: Mapping[str, Mapping[str, float]]
    steps: Sequence[Step]
    audits: Sequence[Audit]
    judges: Sequence[Judge]
    texts: Sequence[str]
    pictures: Mapping[str, Pixels]
    facts: Mapping[str, Any]
    categories: Sequence[str | None] = ()
    control_intervals: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    copies: Copies | None = None

    @property
    def curves(self) -> list[str]:
        """The labels of the curves."""
        return list(dict.fromkeys(result.cell.curve for result in self.cells))

    @property
    def weights(self) -> list[float]:
        return sorted({result.cell.guidance_weight for result in self.cells})

    @property
    def metric_names(self) -> list[str]:
        return list(dict.fromkeys(name for result in self.cells for name in result.metrics))

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """The metrics of the judges and the checker by key."""
        known = {metric.key: metric for judge in self.judges for metric in judge.metrics.values()}
        return {name: known.get(name) or Metric.of_checker(name) for name in self.metric_names}

    @property
    def compared_by(self) -> Measure | None:
        """See `imagen.evaluation.results.cost.compared_by`."""
        return compared_by({label: [one.cost for one in self.curve(label)] for label in self.curves})

    @cached_property
    def equal_alignment(self) -> list[EqualAlignment]:
        """The other curves against the first one, where they have its alignment; empty for a single curve."""
        points = [(one.cell.curve, one.cell.guidance_weight, one.jackknives) for one in self.cells]
        return at_equal_alignment(points, compared_pairs(self.metrics))

    def curve(self, label: str) -> list[CellResult]:
        """The cells of one curve, by ascending weight."""
        cells = [result for result in self.cells if result.cell.curve == label]
        return sorted(cells, key=lambda result: result.cell.guidance_weight)


FORMAT = 3
