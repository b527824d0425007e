"""Paired differences between neighbouring weights, over the pictures that both cells have."""

from collections.abc import Mapping

from imagen.evaluation.judges.metric import VQA
from imagen.evaluation.results.results import Step
from imagen.evaluation.results.summary import Measured, Summary
from imagen.evaluation.sweep.blocks import Block
from imagen.evaluation.sweep.plan import Cell, neighbours

Neighbours = tuple[Cell, Cell]
"""Two cells of a curve at guidance weights next to each other, the lower one first."""


class Comparison:
    """Measures cells; results are cached by cell and number of pictures."""

    def __init__(self, summary: Summary) -> None:
        self.summary = summary
        self._measured: dict[tuple[Cell, int], Measured] = {}

    def measured(self, cell: Cell, block: Block) -> Measured:
        """All numbers of the pictures in `block`, which are the first pictures of `cell`."""
        key = cell, len(block)
        if key not in self._measured:
            self._measured[key] = self.summary.measure(block)
        return self._measured[key]

    def steps(self, cells: Mapping[Cell, Block]) -> list[Step]:
        """The paired differences of neighbouring cells, for every number with a jackknife in both."""
        return [step for pair in neighbours(list(cells)) for step in self._steps_of(pair, cells)]

    def undecided(self, cells: Mapping[Cell, Block]) -> list[Neighbours]:
        """The neighbours that are not separated: on some axis of the Pareto plots (a judge's alignment or distance) the
        interval of their difference includes zero, or there is no interval yet."""
        axes = set(self._axes())
        pairs = []
        for pair in neighbours(list(cells)):
            clear = {step.metric for step in self._steps_of(pair, cells) if step.difference.excludes_zero}
            if not axes <= clear:
                pairs.append(pair)
        return pairs

    def _axes(self) -> list[str]:
        panel = self.summary.panel
        alignments = [judge.alignment_key for name, judge in panel.aligners.items() if self.summary.whole[name].any()]
        alignments += [judge.metrics[VQA].key for judge in panel.answerers]
        return alignments + [judge.fidelity_key for judge in panel.judges]

    def _steps_of(self, pair: Neighbours, cells: Mapping[Cell, Block]) -> list[Step]:
        low, high = pair
        count = shared(pair, cells)
        one, other = (self.measured(cell, cells[cell].first(count)).jackknives for cell in pair)
        differences = {metric: (other[metric] - one[metric]).interval for metric in one if metric in other}
        return [
            Step(low.curve, low.guidance_weight, high.guidance_weight, metric, difference, count)
            for metric, difference in differences.items()
        ]


def shared(pair: Neighbours, cells: Mapping[Cell, Block]) -> int:
    """The number of pictures that both cells have."""
    return min(len(cells[cell]) for cell in pair)
